//! The admin socket: see [`lightning_ops::admin`] for its protocol.
//!
//! It is served by threads of its own, that may wait for the device: so it answers even
//! while no thread of the clients does, and a long check holds nobody up.

use crate::control::{Control, Refusal};
use lightning_db::{LocalListener, LocalStream};
use lightning_ops::admin::{ErrorAnswer, REQUEST_BYTES_MAX, Request, Response, VersionView};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Connections that are served at once.
const CONNECTIONS_MAX: usize = 16;
/// How often who waits for a connection or a request looks whether the service ends.
const LOOK: Duration = Duration::from_millis(200);
/// After how long without a request a connection is closed.
const IDLE: Duration = Duration::from_secs(60);
/// How long accepting pauses when the system refuses.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the threads share.
struct Shared {
    control: Arc<Control>,
    ends: AtomicBool,
    connections: AtomicUsize,
}

/// The socket, while it is served.
pub struct AdminSocket {
    path: PathBuf,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

impl AdminSocket {
    /// Listens at `path`.
    ///
    /// # Errors
    /// The system refuses; another process listens there.
    pub fn start(path: &Path, control: Arc<Control>) -> io::Result<Self> {
        let listener = lightning_db::listen_local(path, LOOK)?;
        let shared = Arc::new(Shared {
            control,
            ends: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
        });
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("lightning-admin".to_owned())
            .spawn(move || accept(&*listener, &of_thread))?;
        Ok(Self {
            path: path.to_owned(),
            shared,
            listener: Some(thread),
        })
    }

    /// The path of the socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        // It looks at that soon, and takes the socket's name with it.
        if let Some(listener) = self.listener.take() {
            let _outcome = listener.join();
        }
    }
}

fn accept(listener: &dyn LocalListener, shared: &Arc<Shared>) {
    while !shared.ends.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok(stream) => welcome(stream, shared),
            Err(error) if is_silence(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "a connection to the admin socket could not be taken in");
                std::thread::sleep(ACCEPT_PAUSE);
            }
        }
    }
}

fn welcome(mut stream: Box<dyn LocalStream>, shared: &Arc<Shared>) {
    let place = Place {
        shared: Arc::clone(shared),
    };
    if shared.connections.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
        let answer = Response::Error(ErrorAnswer {
            message: format!(
                "{CONNECTIONS_MAX} tools are connected already: wait for one of them to end"
            ),
            exit: 3,
        });
        let _outcome = stream.write_all(answer.to_line().as_bytes());
        return;
    }
    let serves = move || {
        let place = place;
        if let Err(error) = serve(stream, &place.shared) {
            tracing::debug!(%error, "a connection to the admin socket broke");
        }
    };
    let spawned = std::thread::Builder::new()
        .name("lightning-admin-tool".to_owned())
        .spawn(serves);
    if let Err(error) = spawned {
        tracing::warn!(%error, "there is no thread for a connection to the admin socket");
    }
}

/// A connection's place among those that are served, given up however it ends.
struct Place {
    shared: Arc<Shared>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

fn serve(stream: Box<dyn LocalStream>, shared: &Shared) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    let mut heard = Instant::now();
    loop {
        let room = (REQUEST_BYTES_MAX - line.len()) as u64;
        match stream.by_ref().take(room).read_until(b'\n', &mut line) {
            Ok(_) if line.ends_with(b"\n") => {}
            Ok(0) if line.len() < REQUEST_BYTES_MAX => return Ok(()),
            Ok(_) if line.len() < REQUEST_BYTES_MAX => continue,
            Ok(_) => {
                let answer = Response::Error(ErrorAnswer {
                    message: format!("a request has at most {REQUEST_BYTES_MAX} bytes"),
                    exit: 64,
                });
                return stream.get_mut().write_all(answer.to_line().as_bytes());
            }
            Err(error) if is_silence(&error) => {
                if shared.ends.load(Ordering::Relaxed) || heard.elapsed() > IDLE {
                    return Ok(());
                }
                continue;
            }
            Err(error) => return Err(error),
        }
        let answer = answer(&shared.control, &line);
        stream.get_mut().write_all(answer.to_line().as_bytes())?;
        stream.get_mut().flush()?;
        line.clear();
        heard = Instant::now();
    }
}

fn is_silence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

/// Does what a line asks.
fn answer(control: &Control, line: &[u8]) -> Response {
    let line = String::from_utf8_lossy(line);
    let asked = Request::of_line(&line);
    if let Ok(request) = &asked {
        tracing::debug!(?request, "a tool asks");
    }
    asked
        .and_then(|request| obey(control, &request))
        .unwrap_or_else(Response::Error)
}

fn obey(control: &Control, request: &Request) -> Result<Response, ErrorAnswer> {
    let refused = |refusal: Refusal| ErrorAnswer {
        message: refusal.to_string(),
        exit: match refusal {
            Refusal::Usage(_) => 64,
            Refusal::Failed(_) => 2,
            Refusal::Ending => 3,
        },
    };
    match request {
        Request::Version => Response::ok(&VersionView {
            program: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            process: std::process::id(),
        }),
        Request::ConfigShow => Response::ok(&control.configuration().map_err(refused)?),
        Request::ConfigReload => Response::ok(&control.reload().map_err(refused)?),
        Request::Health {
            tests,
            verify_data,
            detailed,
        } => {
            let health = control.health(tests, *verify_data, *detailed);
            Response::ok(&health.map_err(refused)?)
        }
        Request::Stats { subject } => Response::ok(&control.statistics(subject).map_err(refused)?),
        Request::VerifyIntegrity { depth } => {
            Response::ok(&control.verify(*depth).map_err(refused)?)
        }
    }
}
