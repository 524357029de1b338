//! A connection to the service.

use super::address::Address;
use super::reply::Reply;
use crate::failure::{Exit, Failure};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{self, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the service may be silent when it owes a reply, or take nothing. Longer
/// than it gives a request by default.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// What proves who either side is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Security {
    /// The password.
    pub(crate) password: Option<Vec<u8>>,
    /// A file of certificates that may sign the service's.
    pub(crate) ca_file: Option<PathBuf>,
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// Requests on their way, encoded.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    bytes: Vec<u8>,
    count: usize,
}

impl Requests {
    /// Adds a request: a command and its arguments.
    pub(crate) fn add(&mut self, words: &[&[u8]]) {
        self.count += 1;
        let length = |out: &mut Vec<u8>, kind: u8, number: usize| {
            out.push(kind);
            out.extend_from_slice(number.to_string().as_bytes());
            out.extend_from_slice(b"\r\n");
        };
        length(&mut self.bytes, b'*', words.len());
        for word in words {
            length(&mut self.bytes, b'$', word.len());
            self.bytes.extend_from_slice(word);
            self.bytes.extend_from_slice(b"\r\n");
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// How many bytes they take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets them.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
    }
}

/// A connection, logged in.
pub(crate) struct Connection {
    stream: BufReader<Box<dyn Stream>>,
    address: Address,
    database: u32,
    is_broken: bool,
}

impl Connection {
    /// Connects and logs in.
    pub(crate) fn open(address: &Address, security: &Security) -> Result<Self, Failure> {
        let stream = connect(address)
            .map_err(|error| unreachable(address, &connect_reason(address, &error)))?;
        let stream: Box<dyn Stream> = if address.tls {
            Box::new(over_tls(address, security, stream)?)
        } else {
            Box::new(stream)
        };
        let mut connection = Self {
            stream: BufReader::new(stream),
            address: address.clone(),
            database: 0,
            is_broken: false,
        };
        connection.log_in(security)?;
        if let Some(database) = address.database {
            connection.select(database)?;
        }
        Ok(connection)
    }

    /// Where it leads.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    fn log_in(&mut self, security: &Security) -> Result<(), Failure> {
        match (&self.address.user.clone(), &security.password) {
            (None, None) => {}
            (Some(user), Some(password)) => {
                self.ask(&[b"AUTH", user.as_bytes(), password])?;
            }
            (None, Some(password)) => {
                self.ask(&[b"AUTH", password])?;
            }
            (Some(user), None) => {
                return Err(Failure::usage(format!(
                    "the user {user:?} needs a password: name its file by --password-file, or \
                     set REDISCLI_AUTH"
                )));
            }
        }
        // What stands in the service's list of clients; one that has no names goes on without.
        let _named = self.exchange(&[b"CLIENT", b"SETNAME", b"lightning-db"])?;
        Ok(())
    }

    /// Whether this database is the one that is chosen.
    pub(crate) fn is_at(&self, database: u32) -> bool {
        self.database == database
    }

    /// Chooses the database.
    pub(crate) fn select(&mut self, database: u32) -> Result<(), Failure> {
        if database != self.database {
            self.ask(&[b"SELECT", database.to_string().as_bytes()])?;
            self.database = database;
        }
        Ok(())
    }

    /// Asks, and gives the reply; an error of the service is a failure.
    pub(crate) fn ask(&mut self, words: &[&[u8]]) -> Result<Reply, Failure> {
        match self.exchange(words)? {
            Reply::Error(error) => Err(self.refusal(&error)),
            reply => Ok(reply),
        }
    }

    fn exchange(&mut self, words: &[&[u8]]) -> Result<Reply, Failure> {
        let mut requests = Requests::default();
        requests.add(words);
        self.send(&requests)?;
        self.receive()
    }

    /// Sends requests, whose replies are to be received then, each by itself.
    pub(crate) fn send(&mut self, requests: &Requests) -> Result<(), Failure> {
        let stream = self.stream.get_mut();
        let sent = stream
            .write_all(&requests.bytes)
            .and_then(|()| stream.flush());
        sent.map_err(|error| self.broken(&error))
    }

    /// Waits for the next reply.
    pub(crate) fn receive(&mut self) -> Result<Reply, Failure> {
        let reply = Reply::read(&mut self.stream);
        reply.map_err(|error| self.broken(&error))
    }

    /// Whether it has failed: replies can't be told from each other any more.
    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// What an error of the service means, and what to do.
    pub(crate) fn refusal(&self, error: &str) -> Failure {
        let to_do = match error.split(' ').next().unwrap_or_default() {
            "NOAUTH" => "; name the file of its password by --password-file, or set REDISCLI_AUTH",
            "WRONGPASS" => "; the password, or the user, is another one",
            "NOPERM" => "; this user may not do that",
            _ => "",
        };
        let exit = if to_do.is_empty() {
            Exit::Failed
        } else {
            Exit::Unreachable
        };
        Failure::new(
            exit,
            format!("{}: the service says: {error}{to_do}", self.address),
        )
    }

    /// What a reply means that is none of those that are due.
    pub(crate) fn unexpected(&self, reply: &Reply) -> Failure {
        match reply {
            Reply::Error(error) => self.refusal(error),
            _ => Failure::new(
                Exit::Failed,
                format!(
                    "{}: the answer is not understood: is this a service of another version?",
                    self.address
                ),
            ),
        }
    }

    fn broken(&mut self, error: &io::Error) -> Failure {
        self.is_broken = true;
        let reason = match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                format!(
                    "no answer within {} s; its log may say why",
                    SILENCE_MAX.as_secs()
                )
            }
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset => {
                let hint = if self.address.tls {
                    "; its log may say why"
                } else {
                    "; its log may say why, or it speaks TLS: --tls"
                };
                format!("the service closed the connection{hint}")
            }
            io::ErrorKind::InvalidData if self.address.tls => {
                format!("TLS: {error}; --cacert names the file of certificates to trust")
            }
            io::ErrorKind::InvalidData => {
                format!("no service of the Redis protocol, or it speaks TLS (--tls): {error}")
            }
            _ => error.to_string(),
        };
        unreachable(&self.address, &reason)
    }
}

fn unreachable(address: &Address, reason: &str) -> Failure {
    Failure::new(Exit::Unreachable, format!("{address}: {reason}"))
}

fn connect(address: &Address) -> io::Result<TcpStream> {
    let mut last = None;
    for place in (address.host.as_str(), address.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&place, CONNECT_TIMEOUT) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(SILENCE_MAX))?;
                stream.set_write_timeout(Some(SILENCE_MAX))?;
                return Ok(stream);
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()))
}

fn connect_reason(address: &Address, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            "no service listens there: start lightning-admin-server, or name another place by \
             --url, or --host and --port"
                .to_owned()
        }
        io::ErrorKind::TimedOut => format!("no connection within {} s", CONNECT_TIMEOUT.as_secs()),
        _ => format!("{} can't be connected to: {error}", address.host),
    }
}

fn over_tls(
    address: &Address,
    security: &Security,
    stream: TcpStream,
) -> Result<StreamOwned<ClientConnection, TcpStream>, Failure> {
    let Some(path) = &security.ca_file else {
        return Err(Failure::usage(
            "TLS needs --cacert FILE: the certificate that signed the service's, as PEM",
        ));
    };
    let mut trusted = RootCertStore::empty();
    let fault =
        |reason: String| Failure::new(Exit::Failed, format!("{}: {reason}", path.display()));
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|error| fault(error.to_string()))?;
    for certificate in certificates {
        certificate
            .map_err(|error| error.to_string())
            .and_then(|certificate| trusted.add(certificate).map_err(|error| error.to_string()))
            .map_err(fault)?;
    }
    if trusted.is_empty() {
        return Err(fault("there is no certificate in it, as PEM".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let refused = |error: rustls::Error| unreachable(address, &format!("TLS: {error}"));
    let settings = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(refused)?
        .with_root_certificates(trusted)
        .with_no_client_auth();
    let name = ServerName::try_from(address.host.clone())
        .map_err(|error| unreachable(address, &error.to_string()))?;
    let connection = ClientConnection::new(Arc::new(settings), name).map_err(refused)?;
    Ok(StreamOwned::new(connection, stream))
}
