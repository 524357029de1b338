//! The operating system, chosen here and nowhere else in this crate.
//!
//! Every system offers the same three things to the library: a data directory as a
//! [`Platform`], the paths of its files, and fresh randomness; and some to the
//! programs: connections within the machine, files replaced as a whole, figures of
//! process and machine, and what the service manager is told. A system without a
//! host crate refuses each of them.

use crate::error::{Error, Reason, Result};
use crate::machine::{FileSystemRoom, LocalListener, LocalStream, ServiceState};
use lightning_platform::{
    File, IoErrorKind, MachineGrants, MachineMemory, MachineWishes, Platform, ProcessUse,
};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What to do with a data directory when opening it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Make what is missing, then as `ReadWrite`.
    Create,
    /// Open as the one owner.
    ReadWrite,
    /// Open beside other readers, and change nothing.
    ReadOnly,
}

/// The path of one of the engine's files.
pub(crate) fn file_path(directory: &Path, file: File) -> PathBuf {
    match file {
        File::Pages => directory.join("pages.ldb"),
        File::Log(slot) => directory.join("wal").join(format!("{slot:08}.wal")),
    }
}

/// Fresh randomness: identities of a new database, salts.
pub(crate) fn entropy() -> Result<[u8; 48]> {
    let mut bytes = [0; 48];
    getrandom::fill(&mut bytes).map_err(|_| Error::new(Reason::NoEntropy))?;
    Ok(bytes)
}

fn open_error(kind: IoErrorKind, message: String) -> Error {
    Error::new(Reason::Open { kind, message })
}

/// A data directory, opened.
pub(crate) struct Opened {
    pub(crate) platform: Platform,
    /// What was given of the wishes, and what was refused: known when the engine has its
    /// memory.
    pub(crate) grants: Box<dyn Fn() -> MachineGrants>,
}

/// Opens and locks the data directory `path`.
#[cfg(target_os = "linux")]
pub(crate) fn open(path: &Path, access: Access, wishes: &MachineWishes) -> Result<Opened> {
    use lightning_host_linux::{DirectStorage, LinuxMemory, LinuxStorage, LinuxWait, OpenMode};
    use lightning_platform::Storage;
    use std::sync::Arc;

    let mode = match access {
        Access::Create => OpenMode::Create,
        Access::ReadWrite => OpenMode::ReadWrite,
        Access::ReadOnly => OpenMode::ReadOnly,
    };
    let storage = LinuxStorage::open(path, mode)
        .map_err(|error| open_error(error.io_error().kind, error.to_string()))?;
    let memory = Arc::new(LinuxMemory::new(wishes));
    let direct = wishes.direct_io;
    let (storage, direct): (Arc<dyn Storage>, _) = if direct {
        let storage = Arc::new(DirectStorage::new(storage));
        (Arc::clone(&storage) as _, Some(storage))
    } else {
        (Arc::new(storage), None)
    };
    let platform = Platform {
        storage,
        memory: Arc::clone(&memory) as _,
        wait: Arc::new(LinuxWait),
        codec: None,
        cipher: None,
    };
    let grants = move || {
        let mut grants = memory.grants();
        if let Some(direct) = &direct {
            match direct.refusal() {
                None => grants.given.push(("direct_io", "on".to_owned())),
                Some(words) => grants.refused.push(("direct_io", words)),
            }
        }
        grants
    };
    Ok(Opened {
        platform,
        grants: Box::new(grants),
    })
}

/// Opens and locks the data directory `path`.
#[cfg(not(target_os = "linux"))]
pub(crate) fn open(path: &Path, _access: Access, _wishes: &MachineWishes) -> Result<Opened> {
    Err(open_error(
        IoErrorKind::Unsupported,
        format!(
            "{}: this system is not supported yet; Linux is",
            path.display()
        ),
    ))
}

/// Connects to the process that listens at `path`. A read or a write that takes longer
/// than `timeout` fails as [`io::ErrorKind::WouldBlock`] or [`io::ErrorKind::TimedOut`].
///
/// # Errors
/// Nobody listens there, or this user may not connect.
#[cfg(target_os = "linux")]
pub fn connect_local(path: &Path, timeout: Duration) -> io::Result<Box<dyn LocalStream>> {
    let stream = lightning_host_linux::connect(path, timeout)?;
    Ok(Box::new(stream))
}

/// Connects to the process that listens at `path`.
///
/// # Errors
/// Always, on this system.
#[cfg(not(target_os = "linux"))]
pub fn connect_local(_path: &Path, _timeout: Duration) -> io::Result<Box<dyn LocalStream>> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Replaces the contents of the file at `path`, which has to be there, so that a reader
/// and a power cut find the old or the new ones. Owner, group and mode stay.
///
/// # Errors
/// What the system says; the file is as it was, unless only making it durable failed.
#[cfg(target_os = "linux")]
pub fn replace_file(path: &Path, contents: &[u8]) -> io::Result<()> {
    lightning_host_linux::replace_file(path, contents)
}

/// Replaces the contents of the file at `path`.
///
/// # Errors
/// Always, on this system.
#[cfg(not(target_os = "linux"))]
pub fn replace_file(_path: &Path, _contents: &[u8]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Whether others than its owner and group can read a file.
///
/// # Errors
/// The file can't be looked at.
#[cfg(target_os = "linux")]
pub fn is_readable_by_others(path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::PermissionsExt as _;

    Ok(std::fs::metadata(path)?.permissions().mode() & 0o004 != 0)
}

/// Whether others than its owner and group can read a file.
///
/// # Errors
/// Always: this system is not supported yet.
#[cfg(not(target_os = "linux"))]
pub fn is_readable_by_others(_path: &Path) -> io::Result<bool> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(target_os = "linux")]
impl LocalListener for lightning_host_linux::LocalListener {
    fn accept(&self) -> io::Result<Box<dyn LocalStream>> {
        Ok(Box::new(Self::accept(self)?))
    }
}

/// Listens at `path` for processes of this user and its group; the socket of a process
/// that has ended is replaced. What takes longer than `timeout`, here or at a connection,
/// fails as [`io::ErrorKind::WouldBlock`] or [`io::ErrorKind::TimedOut`].
///
/// # Errors
/// [`io::ErrorKind::AddrInUse`]: another process listens there;
/// [`io::ErrorKind::AlreadyExists`]: something there is no socket.
#[cfg(target_os = "linux")]
pub fn listen_local(path: &Path, timeout: Duration) -> io::Result<Box<dyn LocalListener>> {
    Ok(Box::new(lightning_host_linux::listen(path, timeout)?))
}

/// Listens at `path` for processes of this machine.
///
/// # Errors
/// Always, on this system.
#[cfg(not(target_os = "linux"))]
pub fn listen_local(_path: &Path, _timeout: Duration) -> io::Result<Box<dyn LocalListener>> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Has this thread give way to others where processors are short, by so many steps of
/// niceness.
#[cfg(target_os = "linux")]
pub fn give_way(steps: i32) {
    // Refused, the thread does its work all the same.
    lightning_host_linux::give_way(steps).ok();
}

/// Has this thread give way to others where processors are short: not on this system.
#[cfg(not(target_os = "linux"))]
pub fn give_way(_steps: i32) {}

/// How often this thread has waited for something; `None` where the system doesn't say.
#[cfg(target_os = "linux")]
pub fn waits_of_this_thread() -> Option<u64> {
    lightning_host_linux::waits_of_this_thread()
}

/// How often this thread has waited for something: this system doesn't say.
#[cfg(not(target_os = "linux"))]
pub fn waits_of_this_thread() -> Option<u64> {
    None
}

/// What this process takes of the machine.
///
/// # Errors
/// What the system says.
#[cfg(target_os = "linux")]
pub fn process_use() -> io::Result<ProcessUse> {
    lightning_host_linux::process_use()
}

/// What this process takes of the machine.
///
/// # Errors
/// Always, on this system.
#[cfg(not(target_os = "linux"))]
pub fn process_use() -> io::Result<ProcessUse> {
    Err(io::ErrorKind::Unsupported.into())
}

/// How much memory there is for this process.
///
/// # Errors
/// What the system says.
#[cfg(target_os = "linux")]
pub fn machine_memory() -> io::Result<MachineMemory> {
    lightning_host_linux::machine_memory()
}

/// How much memory there is for this process.
///
/// # Errors
/// Always, on this system.
#[cfg(not(target_os = "linux"))]
pub fn machine_memory() -> io::Result<MachineMemory> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Size and room of the file system that holds `path`.
///
/// # Errors
/// What the system says.
#[cfg(target_os = "linux")]
pub fn file_system_room(path: &Path) -> io::Result<FileSystemRoom> {
    let found = lightning_host_linux::device::space(path)
        .map_err(|error| io::Error::other(lightning_host_linux::io_error_text(error)))?;
    Ok(FileSystemRoom {
        total_bytes: found.total_bytes,
        available_bytes: found.available_bytes,
    })
}

/// Size and room of the file system that holds `path`.
///
/// # Errors
/// Always, on this system.
#[cfg(not(target_os = "linux"))]
pub fn file_system_room(_path: &Path) -> io::Result<FileSystemRoom> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Tells the service manager, where there is one that asked for it.
///
/// # Errors
/// It asked, and can't be told.
#[cfg(target_os = "linux")]
pub fn tell_service_manager(state: ServiceState<'_>) -> io::Result<()> {
    match state {
        ServiceState::Ready(words) => lightning_host_linux::notify_ready(words),
        ServiceState::Reloading => lightning_host_linux::notify_reloading(),
        ServiceState::Stopping(words) => lightning_host_linux::notify_stopping(words),
        ServiceState::Alive => lightning_host_linux::notify_alive(),
    }
}

/// Tells the service manager.
///
/// # Errors
/// Never: on this system none asks.
#[cfg(not(target_os = "linux"))]
pub fn tell_service_manager(_state: ServiceState<'_>) -> io::Result<()> {
    Ok(())
}

/// Within which time the service manager wants to hear [`ServiceState::Alive`].
#[must_use]
#[cfg(target_os = "linux")]
pub fn watchdog_period() -> Option<Duration> {
    lightning_host_linux::watchdog_period()
}

/// Within which time the service manager wants to hear [`ServiceState::Alive`].
#[must_use]
#[cfg(not(target_os = "linux"))]
pub fn watchdog_period() -> Option<Duration> {
    None
}

/// Whether a socket that may use an address again takes it from nobody who listens there.
#[must_use]
pub fn address_reuse_is_safe() -> bool {
    !cfg!(windows)
}

/// Has large allocations given back to the system when they are freed, where it would keep
/// them otherwise: for a program to call at its start, before it has threads.
pub fn give_back_large_allocations() {
    #[cfg(target_os = "linux")]
    lightning_host_linux::give_back_large_allocations();
}

/// Lets this process open as many files as its user may; answers how many, `None` for any
/// number.
///
/// # Errors
/// What the system says.
#[cfg(target_os = "linux")]
pub fn raise_open_files_limit() -> io::Result<Option<u64>> {
    lightning_host_linux::raise_open_files_limit()
}

/// Lets this process open as many files as its user may.
///
/// # Errors
/// Always, on this system.
#[cfg(not(target_os = "linux"))]
pub fn raise_open_files_limit() -> io::Result<Option<u64>> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Keeps this thread, and those that it starts afterwards, on these processors, as far as
/// the process has them; answers which these are, as `0-3,8`.
///
/// # Errors
/// The process has none of them; what the system says.
#[cfg(target_os = "linux")]
pub fn keep_to_processors(numbers: &[u32]) -> io::Result<String> {
    let kept = lightning_host_linux::keep_to_processors(numbers)?;
    Ok(lightning_host_linux::number_list_text(&kept))
}

/// Keeps this thread on these processors.
///
/// # Errors
/// Always, on this system.
#[cfg(not(target_os = "linux"))]
pub fn keep_to_processors(_numbers: &[u32]) -> io::Result<String> {
    Err(no_such_choice())
}

/// Keeps this thread, and those that it starts afterwards, on the processors of these
/// memory nodes; answers which these are, as `0-3,8`.
///
/// # Errors
/// There are no such nodes; as [`keep_to_processors`].
#[cfg(target_os = "linux")]
pub fn keep_to_nodes(numbers: &[u32]) -> io::Result<String> {
    let kept = lightning_host_linux::keep_to_nodes(numbers)?;
    Ok(lightning_host_linux::number_list_text(&kept))
}

/// Keeps this thread on the processors of these memory nodes.
///
/// # Errors
/// Always, on this system.
#[cfg(not(target_os = "linux"))]
pub fn keep_to_nodes(_numbers: &[u32]) -> io::Result<String> {
    Err(no_such_choice())
}

#[cfg(not(target_os = "linux"))]
fn no_such_choice() -> io::Error {
    let words = "this system doesn't let a program choose its processors";
    io::Error::new(io::ErrorKind::Unsupported, words)
}
