//! Connections to a process on this machine by the path of a socket.

use rustix::fs::Mode;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Who may connect to a socket of [`listen`]: its owner and group.
const SOCKET_MODE: u32 = 0o660;
/// Connections that wait to be taken in.
const BACKLOG: i32 = 16;

/// Connects to the socket at `path`. A read or a write that takes longer than
/// `timeout` fails with [`io::ErrorKind::WouldBlock`].
///
/// # Errors
/// There is no socket, nobody listens, or this user may not write to it.
pub fn connect(path: &Path, timeout: Duration) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    Ok(stream)
}

/// A socket that processes of this machine connect to; its name goes with it.
#[derive(Debug)]
pub struct LocalListener {
    socket: UnixListener,
    path: PathBuf,
    /// Device and inode of the name, by which it is known from another's.
    name: (u64, u64),
    timeout: Duration,
}

/// Listens at `path` for this user and its group. The socket of a process that has
/// ended is replaced. Whatever takes longer than `timeout`, here or at a connection,
/// fails with [`io::ErrorKind::WouldBlock`].
///
/// # Errors
/// [`io::ErrorKind::AddrInUse`]: another process listens there;
/// [`io::ErrorKind::AlreadyExists`]: something there is no socket.
pub fn listen(path: &Path, timeout: Duration) -> io::Result<LocalListener> {
    remove_stale(path)?;
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // The mode of the socket before it has a name is the one it gets with it, so that
    // at no moment others may connect; the process's mask may take more away.
    rustix::fs::fchmod(&socket, Mode::from_raw_mode(SOCKET_MODE))?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE))?;
    rustix::net::listen(&socket, BACKLOG)?;
    set_socket_timeout(&socket, Timeout::Recv, Some(timeout))?;
    Ok(LocalListener {
        socket: UnixListener::from(socket),
        path: path.to_owned(),
        name: name_of(path)?,
        timeout,
    })
}

fn name_of(path: &Path) -> io::Result<(u64, u64)> {
    let found = std::fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

impl LocalListener {
    /// Waits for the next connection.
    ///
    /// # Errors
    /// There was none in time; what the system says.
    pub fn accept(&self) -> io::Result<UnixStream> {
        let (stream, _) = self.socket.accept()?;
        stream.set_read_timeout(Some(self.timeout))?;
        stream.set_write_timeout(Some(self.timeout))?;
        Ok(stream)
    }
}

impl Drop for LocalListener {
    fn drop(&mut self) {
        // Unless another process has put its own there meanwhile.
        if name_of(&self.path).is_ok_and(|name| name == self.name) {
            let _outcome = std::fs::remove_file(&self.path);
        }
    }
}

fn remove_stale(path: &Path) -> io::Result<()> {
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_directory::TestDirectory;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_listener_is_reached_and_a_silent_one_timed_out() {
        let directory = TestDirectory::new();
        let path = directory.path().join("socket");
        let absent = connect(&path, Duration::from_secs(1)).unwrap_err();
        assert_eq!(absent.kind(), io::ErrorKind::NotFound);
        let listener = UnixListener::bind(&path).unwrap();
        let mut client = connect(&path, Duration::from_millis(20)).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        server.write_all(b"x").unwrap();
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
        let silent = client.read(&mut byte).unwrap_err();
        assert_eq!(silent.kind(), io::ErrorKind::WouldBlock);
        drop(listener);
        let left = connect(&path, Duration::from_secs(1)).unwrap_err();
        assert_eq!(left.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn only_a_dead_socket_is_replaced() {
        let directory = TestDirectory::new();
        let path = directory.path().join("socket");
        let soon = Duration::from_millis(20);
        let listener = listen(&path, soon).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, SOCKET_MODE);
        let nobody = listener.accept().unwrap_err();
        assert_eq!(nobody.kind(), io::ErrorKind::WouldBlock);
        let in_use = listen(&path, soon).unwrap_err();
        assert_eq!(in_use.kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        assert!(!path.exists());
        // What a process leaves that is killed.
        drop(UnixListener::bind(&path).unwrap());
        let listener = listen(&path, soon).unwrap();
        let mut client = connect(&path, Duration::from_secs(1)).unwrap();
        client.write_all(b"x").unwrap();
        let mut byte = [0];
        listener.accept().unwrap().read_exact(&mut byte).unwrap();
        // What another puts there is left to it.
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "data").unwrap();
        drop(listener);
        assert_eq!(std::fs::read(&path).unwrap(), b"data");
        let other = listen(&path, soon).unwrap_err();
        assert_eq!(other.kind(), io::ErrorKind::AlreadyExists);
    }
}
