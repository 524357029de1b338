//! The tool's side of the admin protocol: one request, one answer, blocking.

use super::message::{ANSWER_BYTES_MAX, ErrorAnswer, Request, Response};
use crate::io_words::words_of;
use lightning_db::LocalStream;
use serde::de::DeserializeOwned;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why the service gave no answer, or no good one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// The socket can't be reached.
    #[error("{socket}: {reason}", socket = .socket.display())]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// Why, and what to do next.
        reason: String,
    },
    /// The service was reached, and the connection broke or stayed silent.
    #[error("{socket}: {reason}; its log may say why", socket = .socket.display())]
    NoAnswer {
        /// The socket.
        socket: PathBuf,
        /// What happened.
        reason: String,
    },
    /// The answer is not what this version understands.
    #[error(
        "{socket}: the answer is not understood ({reason}): is the service of another version \
         than this tool?",
        socket = .socket.display()
    )]
    Malformed {
        /// The socket.
        socket: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The service says no.
    #[error("{}", .0.message)]
    Refused(ErrorAnswer),
}

impl AdminError {
    /// How a tool ends: 3 where the service can't be reached or doesn't answer, 2 where
    /// the answer is not understood, and what the service says where it refuses.
    #[must_use]
    pub fn exit(&self) -> u8 {
        match self {
            Self::Unreachable { .. } | Self::NoAnswer { .. } => 3,
            Self::Malformed { .. } => 2,
            Self::Refused(answer) => answer.exit,
        }
    }
}

/// A connection to the running service.
pub struct Client {
    stream: BufReader<Box<dyn LocalStream>>,
    socket: PathBuf,
    timeout: Duration,
}

impl Client {
    /// Connects to the service at `socket`. Each answer may take `timeout`.
    ///
    /// # Errors
    /// [`AdminError::Unreachable`].
    pub fn connect(socket: &Path, timeout: Duration) -> Result<Self, AdminError> {
        let stream = lightning_db::connect_local(socket, timeout).map_err(|error| {
            AdminError::Unreachable {
                socket: socket.to_owned(),
                reason: unreachable_reason(&error, socket.is_file() || socket.is_dir()),
            }
        })?;
        Ok(Self::over(stream, socket, timeout))
    }

    /// A client over a connection that is there; `socket` and `timeout` are for messages.
    #[must_use]
    pub fn over(stream: Box<dyn LocalStream>, socket: &Path, timeout: Duration) -> Self {
        Self {
            stream: BufReader::new(stream),
            socket: socket.to_owned(),
            timeout,
        }
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// Why there is none. After [`AdminError::NoAnswer`] the connection is of no more use,
    /// and the request may have been done.
    pub fn call<T: DeserializeOwned>(&mut self, request: &Request) -> Result<T, AdminError> {
        let line = self
            .exchange(&request.to_line())
            .map_err(|error| AdminError::NoAnswer {
                socket: self.socket.clone(),
                reason: self.broken_reason(&error),
            })?;
        let malformed = |error: serde_json::Error| AdminError::Malformed {
            socket: self.socket.clone(),
            reason: error.to_string(),
        };
        match serde_json::from_slice(&line).map_err(malformed)? {
            Response::Ok(value) => serde_json::from_value(value).map_err(malformed),
            Response::Error(answer) => Err(AdminError::Refused(answer)),
        }
    }

    fn exchange(&mut self, request: &str) -> io::Result<Vec<u8>> {
        let stream = self.stream.get_mut();
        stream.write_all(request.as_bytes())?;
        stream.flush()?;
        let mut line = Vec::new();
        let most = ANSWER_BYTES_MAX as u64;
        Read::take(&mut self.stream, most).read_until(b'\n', &mut line)?;
        if line.last() == Some(&b'\n') {
            Ok(line)
        } else if line.len() < ANSWER_BYTES_MAX {
            Err(io::ErrorKind::UnexpectedEof.into())
        } else {
            Err(io::ErrorKind::FileTooLarge.into())
        }
    }

    fn broken_reason(&self, error: &io::Error) -> String {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                format!("no answer within {} s", self.timeout.as_secs_f64())
            }
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset => {
                "the service closed the connection without an answer".to_owned()
            }
            io::ErrorKind::FileTooLarge => {
                format!("the answer is longer than {ANSWER_BYTES_MAX} bytes")
            }
            _ => words_of(error),
        }
    }
}

fn unreachable_reason(error: &io::Error, is_other_file: bool) -> String {
    let reason = match error.kind() {
        _ if is_other_file => {
            "it is no socket: name the service's by --socket, its data by --data or its file by \
             --config"
        }
        io::ErrorKind::NotFound => {
            "no service listens here: start lightning-admin-server, or name its socket by \
             --socket, its data by --data or its file by --config"
        }
        io::ErrorKind::ConnectionRefused => {
            "the service that listened here has ended: start lightning-admin-server again"
        }
        io::ErrorKind::PermissionDenied => {
            "permission denied: run this as the service's user, or as one of its group"
        }
        io::ErrorKind::Unsupported => "this system is not supported yet; Linux is",
        _ => return format!("can't be connected to: {}", words_of(error)),
    };
    reason.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::VersionView;
    use std::io::Cursor;

    /// Answers what it was made with, whatever is asked.
    struct Answers {
        answers: Cursor<Vec<u8>>,
        is_silent: bool,
    }

    impl Read for Answers {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.answers.read(buffer)? {
                0 if self.is_silent => Err(io::ErrorKind::WouldBlock.into()),
                bytes => Ok(bytes),
            }
        }
    }

    impl Write for Answers {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            assert_eq!(bytes, b"{\"command\":\"version\"}\n");
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn client(answers: &str, is_silent: bool) -> Client {
        let stream = Answers {
            answers: Cursor::new(answers.as_bytes().to_vec()),
            is_silent,
        };
        Client::over(
            Box::new(stream),
            Path::new("/a.sock"),
            Duration::from_millis(1500),
        )
    }

    fn refusal(answers: &str, is_silent: bool) -> (String, u8) {
        let asked = client(answers, is_silent).call::<VersionView>(&Request::Version);
        let error = asked.unwrap_err();
        (error.to_string(), error.exit())
    }

    #[test]
    fn answers_come_one_after_the_other() {
        let answers = "{\"ok\":{\"program\":\"p\",\"version\":\"1\",\"process\":2}}\n\
                       {\"error\":{\"message\":\"no\",\"exit\":64}}\n";
        let mut client = client(answers, false);
        let version: VersionView = client.call(&Request::Version).unwrap();
        assert_eq!(version.process, 2);
        let refused = client.call::<VersionView>(&Request::Version).unwrap_err();
        assert_eq!((refused.to_string().as_str(), refused.exit()), ("no", 64));
    }

    #[test]
    fn what_goes_wrong_is_told() {
        assert_eq!(
            refusal("", false),
            (
                "/a.sock: the service closed the connection without an answer; its log may say \
                 why"
                .to_owned(),
                3
            )
        );
        let (half, exit) = refusal("{\"ok\":", false);
        assert!(half.contains("closed the connection"), "{half}");
        assert_eq!(exit, 3);
        assert_eq!(
            refusal("", true),
            (
                "/a.sock: no answer within 1.5 s; its log may say why".to_owned(),
                3
            )
        );
        let (other, exit) = refusal("{\"ok\":{}}\n", false);
        assert!(
            other.starts_with("/a.sock: the answer is not understood (missing field `program`)"),
            "{other}"
        );
        assert_eq!(exit, 2);
    }

    #[test]
    fn reasons_name_the_way_out() {
        for (kind, words) in [
            (io::ErrorKind::NotFound, "no service listens here: start"),
            (io::ErrorKind::ConnectionRefused, "has ended: start"),
            (
                io::ErrorKind::PermissionDenied,
                "run this as the service's user",
            ),
            (io::ErrorKind::Unsupported, "not supported yet"),
            (io::ErrorKind::InvalidInput, "can't be connected to: "),
        ] {
            let reason = unreachable_reason(&kind.into(), false);
            assert!(reason.contains(words), "{reason}");
        }
    }
}
