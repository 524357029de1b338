//! Signals, and what the service manager is told.
//!
//! SIGTERM or SIGINT ends the service as soon as clients have what they are at; a second
//! one ends the process at once, and costs the next start what isn't merged: it reads the
//! log. SIGHUP has the configuration read again.

use super::FAILED;
use crate::control::Control;
use crate::server::Server;
use lightning_db::ServiceState;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Tells the service manager, where there is one.
pub(super) fn tell(state: ServiceState<'_>) {
    if let Err(error) = lightning_db::tell_service_manager(state) {
        tracing::warn!(%error, "the service manager can't be told");
    }
}

/// The signals that are followed.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Has them wait from here on until [`watch`] sees them.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn take() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

/// Follows signals until the process ends.
pub(super) async fn watch(signals: Signals, server: Arc<Server>, control: Arc<Control>) {
    let Signals {
        mut terminate,
        mut interrupt,
        mut hangup,
    } = signals;
    let mut alive = Alive::new();
    loop {
        tokio::select! {
            () = either(&mut terminate, &mut interrupt) => break,
            _ = hangup.recv() => reload(Arc::clone(&control)).await,
            () = alive.tick() => tell(ServiceState::Alive),
        }
    }
    tracing::info!("ends: clients finish what they are at");
    tell(ServiceState::Stopping("clients finish what they are at"));
    server.shut_down();
    // The service closes its database when nobody else has a part in it any more.
    drop(server);
    loop {
        tokio::select! {
            () = either(&mut terminate, &mut interrupt) => {
                tracing::warn!("ends at once, since it was asked to a second time");
                std::process::exit(FAILED.into());
            }
            () = alive.tick() => tell(ServiceState::Alive),
        }
    }
}

async fn either(first: &mut Signal, second: &mut Signal) {
    tokio::select! {
        _ = first.recv() => {}
        _ = second.recv() => {}
    }
}

async fn reload(control: Arc<Control>) {
    tell(ServiceState::Reloading);
    // Reads files. What came of it stands in the log.
    let outcome = tokio::task::spawn_blocking(move || control.reload().is_ok()).await;
    tell(ServiceState::Ready(if matches!(outcome, Ok(true)) {
        "serves, with the configuration as it was read again"
    } else {
        "serves, with the configuration as it was: it can't be read again, see the log"
    }));
}

/// When the service manager wants to hear that the service is alive: that it can say so
/// shows that its threads take turns.
struct Alive {
    ticks: Option<tokio::time::Interval>,
}

impl Alive {
    fn new() -> Self {
        // Twice as often as it has to.
        let period = lightning_db::watchdog_period().map(|period| period / 2);
        let ticks = period.map(|period| {
            let mut ticks = tokio::time::interval(period.max(Duration::from_millis(1)));
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            ticks
        });
        Self { ticks }
    }

    async fn tick(&mut self) {
        match &mut self.ticks {
            Some(ticks) => {
                ticks.tick().await;
            }
            None => std::future::pending().await,
        }
    }
}
