//! The service from its start to its end.

use crate::access::{Access, AccessFileError, ReadAccess};
use crate::connection::{self, Ends};
use crate::engine;
use crate::expire;
use crate::server::Server;
use crate::store::Store;
use crate::tls::{Tls, TlsError};
use lightning_db::Database;
use lightning_ops::configuration::{Configuration, Loaded};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

/// How long clients may take to finish what they are at when the service ends.
const DRAIN: Duration = Duration::from_secs(10);
/// How long what is in the log may take to be merged at the end.
const MERGE: Duration = Duration::from_secs(20);
/// How long others may keep their part in the service when it ends.
const LET_GO: Duration = Duration::from_secs(1);
/// How long accepting pauses when the system has no more descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why the service doesn't start, or didn't end well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// The database.
    #[error(transparent)]
    Database(#[from] lightning_db::Error),
    /// The file of the password or of the users.
    #[error(transparent)]
    Access(#[from] AccessFileError),
    /// The certificate or its key.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A directory that can't be made.
    #[error("{path}: can't be made: {error}", path = .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A port that can't be listened on.
    #[error("{address}: can't listen there: {reason} ({key})")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why, and what to do next.
        reason: String,
        /// The key that says so.
        key: &'static str,
    },
    /// What the system refused.
    #[error("{action}: {error}")]
    System {
        /// What was to be done.
        action: &'static str,
        /// Why it could not be.
        error: io::Error,
    },
}

/// A service that listens.
pub struct Service {
    server: Arc<Server>,
    listeners: Vec<Listener>,
}

/// A place where clients come in.
struct Listener {
    socket: TcpListener,
    /// Where they speak TLS.
    tls: Option<Arc<Tls>>,
}

/// How long a client may take to begin to speak TLS.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The ports of one address: each whether TLS is spoken there, and the key that says so.
fn ports(
    configuration: &Configuration,
    tls: Option<&Arc<Tls>>,
) -> Vec<(u16, Option<Arc<Tls>>, &'static str)> {
    let plain_key = "database.bind, database.port";
    let port = configuration.database.port;
    let tls_port = configuration.security.tls.as_ref().and_then(|tls| tls.port);
    match tls_port {
        Some(tls_port) => vec![
            (port, None, plain_key),
            (tls_port, tls.cloned(), "database.bind, security.tls_port"),
        ],
        None => vec![(port, tls.cloned(), plain_key)],
    }
}

/// Clients that may wait to be taken in; the system may allow fewer. One more would have to
/// try again a second later.
const BACKLOG: u32 = 4096;

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // So that a service can be started again while the system still remembers connections
    // of the last one.
    socket.set_reuseaddr(lightning_db::address_reuse_is_safe())?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn listen(address: SocketAddr, key: &'static str) -> Result<TcpListener, ServiceError> {
    bind(address).map_err(|error| {
        let reason = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "another process does; end it, or choose another port".to_owned()
            }
            io::ErrorKind::PermissionDenied => {
                "only root may listen on ports below 1024; choose another".to_owned()
            }
            io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
            _ => error.to_string(),
        };
        ServiceError::Listen {
            address,
            reason,
            key,
        }
    })
}

impl Service {
    /// Opens the database and listens.
    ///
    /// # Errors
    /// What stands in the way, with the key or file at fault.
    pub async fn start(loaded: Loaded) -> Result<Self, ServiceError> {
        let configuration = loaded.configuration.clone();
        let access = Access::new(ReadAccess::read(&configuration)?);
        let tls = configuration
            .security
            .tls
            .as_ref()
            .map(Tls::read)
            .transpose()?;
        let tls = tls.map(Arc::new);
        let database = engine::open(&configuration)?;
        let databases = usize::try_from(configuration.database.databases).unwrap_or(1);
        let usable = engine::usable_transaction_bytes(&configuration);
        let store = Store::new(database, databases, usable)?;
        let server = Arc::new(Server::new(store, access, tls.clone(), loaded));
        let mut listeners = Vec::new();
        for address in &configuration.database.bind {
            for (port, tls, key) in ports(&configuration, tls.as_ref()) {
                let socket = listen(SocketAddr::new(*address, port), key)?;
                listeners.push(Listener { socket, tls });
            }
        }
        Ok(Self { server, listeners })
    }

    /// What connections share.
    #[must_use]
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// Where clients reach it.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let addresses = self
            .listeners
            .iter()
            .map(|listener| listener.socket.local_addr());
        addresses.filter_map(Result::ok).collect()
    }

    /// Serves until [`Server::shut_down`] is called, then lets clients finish, makes
    /// everything durable and closes the database.
    ///
    /// # Errors
    /// A failed device at the end.
    pub async fn run(self) -> Result<(), ServiceError> {
        let mut serving = JoinSet::new();
        let server = Arc::clone(&self.server);
        serving.spawn(async move { server.store().acknowledgements.serve().await });
        serving.spawn(expire::serve(Arc::clone(&self.server)));
        let mut accepting = JoinSet::new();
        for listener in self.listeners {
            accepting.spawn(accept(Arc::clone(&self.server), listener));
        }
        let mut connections = JoinSet::new();
        while let Some(joined) = accepting.join_next().await {
            if let Ok(of_listener) = joined {
                connections.spawn(drain(of_listener));
            }
        }
        while connections.join_next().await.is_some() {}
        // They let go of what is shared.
        serving.shutdown().await;
        let server = self.server;
        let closed = tokio::task::spawn_blocking(move || match alone(server) {
            Ok(server) => {
                merge(server.store().database());
                server.close()
            }
            // Somebody still holds it, so that it closes with them; what was
            // acknowledged is durable.
            Err(server) => server.store().database().sync(),
        })
        .await;
        match closed {
            Ok(outcome) => Ok(outcome?),
            Err(error) => Err(ServiceError::System {
                action: "closing the database",
                error: io::Error::other(error),
            }),
        }
    }
}

/// The server by itself, when those who have a part in it for a moment have let go of it.
fn alone(server: Arc<Server>) -> Result<Server, Arc<Server>> {
    let started = Instant::now();
    while Arc::strong_count(&server) > 1 && started.elapsed() < LET_GO {
        std::thread::sleep(Duration::from_millis(1));
    }
    Arc::try_unwrap(server)
}

/// Has what is in the log merged, so that the next start has nothing to read there; in
/// vain it costs that start some time, and nothing else.
fn merge(database: &Database) {
    match database.checkpoint(MERGE) {
        Ok(true) => {}
        Ok(false) => tracing::warn!("not all was merged in time: the next start reads the log"),
        Err(error) => {
            tracing::error!(%error, "not all was merged: the next start reads the log");
        }
    }
}

impl std::fmt::Debug for Service {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Service")
            .field("server", &self.server)
            .field("addresses", &self.addresses())
            .finish()
    }
}

/// Lets connections finish, and ends them when that takes too long.
async fn drain(mut connections: JoinSet<()>) {
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, all).await.is_err() {
        connections.shutdown().await;
    }
}

/// Takes in clients of one listener until the service ends; answers with their connections.
async fn accept(server: Arc<Server>, listener: Listener) -> JoinSet<()> {
    let mut connections = JoinSet::new();
    let mut shutdown = server.shutdown();
    loop {
        if *shutdown.borrow() {
            return connections;
        }
        tokio::select! {
            accepted = listener.socket.accept() => match accepted {
                Ok((stream, client)) => {
                    let server = Arc::clone(&server);
                    connections.spawn(welcome(server, stream, client, listener.tls.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a client could not be taken in");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            _ = shutdown.changed() => {}
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn welcome(
    server: Arc<Server>,
    mut stream: TcpStream,
    client: SocketAddr,
    tls: Option<Arc<Tls>>,
) {
    if let Err(refusal) = server.admit(client) {
        server.clients().rejected.fetch_add(1, Ordering::Relaxed);
        if tls.is_none() {
            let _outcome = stream.write_all(refusal.as_bytes()).await;
        }
        return;
    }
    let ends = Ends {
        client: Some(client),
        local: stream.local_addr().ok(),
    };
    // Without it small replies wait for the client's acknowledgement of earlier ones.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection keeps its delay");
    }
    let Some(tls) = tls else {
        let (reader, writer) = stream.into_split();
        return connection::serve(server, reader, writer, ends).await;
    };
    let handshake = tls.acceptor().accept(stream);
    match tokio::time::timeout(HANDSHAKE, handshake).await {
        Ok(Ok(stream)) => {
            let (reader, writer) = tokio::io::split(stream);
            connection::serve(server, reader, writer, ends).await;
        }
        Ok(Err(error)) => tracing::info!(%client, %error, "a client didn't speak TLS"),
        Err(_) => tracing::info!(%client, "a client took too long to begin to speak TLS"),
    }
}
