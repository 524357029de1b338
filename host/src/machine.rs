//! What a service on this library asks of the operating system besides its files.
//!
//! The answers come through `platform.rs`, as everything of the system does.

use std::io;

/// A connection to a process on this machine.
pub trait LocalStream: io::Read + io::Write + Send {}

impl<T: io::Read + io::Write + Send> LocalStream for T {}

/// A place where processes of this machine connect to; its name goes with it.
pub trait LocalListener: Send {
    /// Waits for the next connection.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`]: there was none in time; what the system says.
    fn accept(&self) -> io::Result<Box<dyn LocalStream>>;
}

/// Room of a file system, as an unprivileged user sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileSystemRoom {
    /// Its size in bytes, without what is kept for the system's administrator: the part
    /// of it that is taken is then the one that `df` tells.
    pub total_bytes: u64,
    /// Bytes that can still be written.
    pub available_bytes: u64,
}

/// What the service manager is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceState<'a> {
    /// It serves, after its start or a reload; in words, for people.
    Ready(&'a str),
    /// It reads its configuration again; [`Ready`](Self::Ready) has to follow.
    Reloading,
    /// It ends; in words, for people.
    Stopping(&'a str),
    /// It is alive: see [`watchdog_period`](crate::watchdog_period).
    Alive,
}
