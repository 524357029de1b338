//! The ways in for who operates the service: figures and health by HTTP, the admin
//! socket, and the samples that both need.

use crate::admin::AdminSocket;
use crate::control::Control;
use crate::logging::Log;
use crate::monitoring::http::{self, Pages};
use crate::monitoring::samples;
use crate::service::Service;
use lightning_ops::configuration::{Configuration, Sources};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// What runs beside the service, until it is dropped.
pub(super) struct Surroundings {
    control: Arc<Control>,
    /// Where figures are served.
    pub(super) metrics: Vec<SocketAddr>,
    /// Where the health is served.
    pub(super) health: Vec<SocketAddr>,
    /// The admin socket; `None` where this system has none.
    pub(super) admin: Option<AdminSocket>,
    _tasks: JoinSet<()>,
}

impl Surroundings {
    /// Starts all of it.
    ///
    /// # Errors
    /// A port or the socket can't be had: which, why, and by what key.
    pub(super) async fn start(
        service: &Service,
        configuration: &Configuration,
        sources: Sources,
        log: Arc<Log>,
    ) -> Result<Self, String> {
        let control = Arc::new(Control::new(service.server(), sources, log));
        let mut started = Self {
            control: Arc::clone(&control),
            metrics: Vec::new(),
            health: Vec::new(),
            admin: None,
            _tasks: JoinSet::new(),
        };
        let monitoring = &configuration.monitoring;
        for address in &monitoring.bind {
            if monitoring.prometheus_export {
                let address = SocketAddr::new(*address, monitoring.metrics_port);
                let bound = started
                    .serve(address, Pages::Metrics, "monitoring.metrics_port")
                    .await?;
                started.metrics.push(bound);
            }
            let address = SocketAddr::new(*address, monitoring.health_check_port);
            let bound = started
                .serve(address, Pages::Health, "monitoring.health_check_port")
                .await?;
            started.health.push(bound);
        }
        started.admin = listen(configuration, &control)?;
        started._tasks.spawn(sample(control));
        crate::care::start(Arc::downgrade(service.server()))
            .map_err(|error| format!("no thread to look after the disk: {error}"))?;
        Ok(started)
    }

    /// Answers with the address that it serves at.
    async fn serve(
        &mut self,
        address: SocketAddr,
        pages: Pages,
        key: &str,
    ) -> Result<SocketAddr, String> {
        let listening = async {
            let listener = TcpListener::bind(address).await?;
            let bound = listener.local_addr()?;
            Ok((listener, bound))
        };
        let (listener, bound) = listening.await.map_err(|error: io::Error| {
            let reason = match error.kind() {
                io::ErrorKind::AddrInUse => {
                    "another process does; end it, or choose another port".to_owned()
                }
                io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
                _ => error.to_string(),
            };
            format!("{address}: can't listen there: {reason} (monitoring.bind, {key})")
        })?;
        let control = Arc::clone(&self.control);
        self._tasks.spawn(http::serve(listener, pages, control));
        Ok(bound)
    }

    /// What they have the service do.
    pub(super) fn control(&self) -> &Arc<Control> {
        &self.control
    }
}

fn listen(
    configuration: &Configuration,
    control: &Arc<Control>,
) -> Result<Option<AdminSocket>, String> {
    let path = &configuration.admin.socket;
    match AdminSocket::start(path, Arc::clone(control)) {
        Ok(socket) => Ok(Some(socket)),
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            tracing::warn!(
                "this system has no admin socket: lightning-cli can't reach the service"
            );
            Ok(None)
        }
        Err(error) => {
            let reason = match error.kind() {
                io::ErrorKind::AddrInUse => "another service listens there".to_owned(),
                io::ErrorKind::AlreadyExists => {
                    "something there is no socket, and is left alone".to_owned()
                }
                io::ErrorKind::NotFound => "its directory doesn't exist: make it".to_owned(),
                _ => error.to_string(),
            };
            Err(format!(
                "{}: can't listen there: {reason} (admin.socket)",
                path.display()
            ))
        }
    }
}

/// Takes a sample now and then, until the service ends.
async fn sample(control: Arc<Control>) {
    let mut ticks = tokio::time::interval(samples::PERIOD);
    // The first tick comes at once; there is nothing to see yet.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        if control.sample().is_err() {
            return;
        }
    }
}
