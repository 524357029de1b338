//! The service as a process, as its clients and those who operate it meet it.

mod deployment;
mod durability;
mod monitoring;
mod program;
mod settings;
mod support;
