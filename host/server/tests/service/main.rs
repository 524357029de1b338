//! The service as a process, as its clients and those who operate it meet it.

mod access;
mod deployment;
mod durability;
mod expiry;
mod limits;
mod load;
mod monitoring;
mod notifications;
mod pausing;
mod pipelines;
mod program;
mod settings;
mod settings_table;
mod support;
mod tracking;
