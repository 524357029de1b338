//! The clients that people use, each as it is, against the service as a process.

mod differential;
mod node;
mod python;
mod support;
mod tools;
