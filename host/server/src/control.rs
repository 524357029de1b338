//! What who operates the service can have it do: the same for the admin socket, HTTP and
//! signals.
//!
//! The control doesn't keep the service alive: when that closes its database, whoever
//! asks is told that it ends.

use crate::access::ReadAccess;
use crate::health::{self, Wanted};
use crate::logging::Log;
use crate::monitoring::figures::Figures;
use crate::monitoring::samples::{Counters, Samples};
use crate::monitoring::{series, subjects};
use crate::server::Server;
use lightning_ops::admin::{
    ConfigurationView, DATA_CHECK, HealthStatus, HealthView, ReloadReport, ServiceView,
    StatisticsView, VerifyDepth, VerifyView,
};
use lightning_ops::configuration::{Configuration, Sources, difference};
use lightning_ops::verification;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// What was asked for makes no sense.
    #[error("{0}")]
    Usage(String),
    /// It failed; what is as it was.
    #[error("{0}")]
    Failed(String),
    /// The service ends.
    #[error("the service ends")]
    Ending,
}

/// The means to operate a service.
pub struct Control {
    server: Weak<Server>,
    sources: Sources,
    log: Arc<Log>,
    samples: Samples,
    /// Held while the configuration is read again.
    reloading: Mutex<()>,
    /// Held while stored data are read: the second who asks waits for the first.
    verifying: Mutex<()>,
}

impl Control {
    /// Operates a service that was configured by `sources` and logs to `log`.
    #[must_use]
    pub fn new(server: &Arc<Server>, sources: Sources, log: Arc<Log>) -> Self {
        Self {
            server: Arc::downgrade(server),
            sources,
            log,
            samples: Samples::new(server.started),
            reloading: Mutex::default(),
            verifying: Mutex::default(),
        }
    }

    fn server(&self) -> Result<Arc<Server>, Refusal> {
        let server = self.server.upgrade();
        server
            .filter(|server| !*server.shutdown().borrow())
            .ok_or(Refusal::Ending)
    }

    /// Takes a sample of the counters: to be called as often as samples are taken.
    ///
    /// # Errors
    /// [`Refusal::Ending`].
    pub fn sample(&self) -> Result<(), Refusal> {
        let server = self.server()?;
        let statistics = server.store().database().statistics();
        let now = Instant::now();
        self.samples
            .add(now, Counters::now(server.metrics(), &statistics));
        self.samples.snapshot_age(now, &statistics);
        Ok(())
    }

    fn figures(&self) -> Result<Figures, Refusal> {
        Ok(Figures::take(&*self.server()?, &self.samples))
    }

    /// The series of `/metrics`.
    ///
    /// # Errors
    /// [`Refusal::Ending`].
    pub fn metrics(&self) -> Result<String, Refusal> {
        let figures = self.figures()?;
        let health = health::check(&figures, &Wanted::default());
        let status = health.map_or(HealthStatus::Healthy, |health| health.status);
        Ok(series::expose(&figures, status))
    }

    /// The health, as far as it is wanted; with `verify_data`, or the check of that name,
    /// stored data are read, too.
    ///
    /// # Errors
    /// There is no such check; the service ends.
    pub fn health(
        &self,
        tests: &[String],
        verify_data: bool,
        detailed: bool,
    ) -> Result<HealthView, Refusal> {
        let figures = self.figures()?;
        let wanted = Wanted {
            tests: tests.to_vec(),
            figures: detailed,
        };
        let mut view = health::check(&figures, &wanted).map_err(Refusal::Usage)?;
        if verify_data || tests.iter().any(|test| test == DATA_CHECK.0) {
            let server = self.server()?;
            let _turn = self
                .verifying
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let found = health::data::check(server.store().database(), detailed);
            view.details.insert(DATA_CHECK.0.to_owned(), found);
            view = health::view_of(view.details);
        }
        if detailed {
            view.service = Some(ServiceView {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                process: std::process::id(),
                uptime_seconds: figures.uptime.as_secs(),
                data: figures.data_path.display().to_string(),
            });
        }
        Ok(view)
    }

    /// The figures of a subject.
    ///
    /// # Errors
    /// There is no such subject; the service ends.
    pub fn statistics(&self, subject: &str) -> Result<StatisticsView, Refusal> {
        let figures = self.figures()?;
        subjects::view(&figures, subject).ok_or_else(|| {
            Refusal::Usage(format!(
                "there are no figures of {subject:?}: there are those of {}",
                subjects::names()
            ))
        })
    }

    /// Checks the stored data while the service goes on.
    ///
    /// # Errors
    /// What is no damage: the device fails, or there is no room to check in.
    pub fn verify(&self, depth: VerifyDepth) -> Result<VerifyView, Refusal> {
        let server = self.server()?;
        let _turn = self
            .verifying
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let started = Instant::now();
        let checked = verification::verify(server.store().database(), depth, |_| {});
        let view = checked.map_err(|error| Refusal::Failed(error.to_string()))?;
        let seconds = started.elapsed().as_secs();
        match &view.damage {
            None => tracing::info!(entries = view.entries, seconds, "stored data are sound"),
            Some(damage) => tracing::error!(message = %damage, seconds),
        }
        Ok(view)
    }

    /// The settings that the service runs with.
    ///
    /// # Errors
    /// [`Refusal::Ending`].
    pub fn configuration(&self) -> Result<ConfigurationView, Refusal> {
        Ok(ConfigurationView::of(&self.server()?.settings()))
    }

    /// Reads the configuration again, and applies what can be: all of that, or, where
    /// something is wrong, nothing. The log goes on in the file of its name.
    ///
    /// # Errors
    /// What is wrong, with its place.
    pub fn reload(&self) -> Result<ReloadReport, Refusal> {
        let _turn = self
            .reloading
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let outcome = self.reload_alone();
        match &outcome {
            Ok(report) => {
                for change in &report.applied {
                    tracing::info!(key = change.key, value = %change.after, was = %change.before, "a setting counts from now on");
                }
                for change in &report.needs_restart {
                    tracing::warn!(key = change.key, value = %change.after, runs_with = %change.before, "a setting counts after a restart");
                }
                for warning in &report.warnings {
                    tracing::warn!(message = %warning);
                }
                tracing::info!(
                    applied = report.applied.len() as u64,
                    needs_restart = report.needs_restart.len() as u64,
                    "the configuration was read again"
                );
            }
            Err(refusal) => {
                tracing::error!(reason = %refusal, "the configuration was not read again: everything stays as it was");
            }
        }
        outcome
    }

    fn reload_alone(&self) -> Result<ReloadReport, Refusal> {
        let server = self.server()?;
        let failed = |error: &dyn std::error::Error| Refusal::Failed(error.to_string());
        let old = server.settings();
        let new = Configuration::load(&self.sources).map_err(|errors| failed(&errors))?;
        let next = old.reloaded(&new).map_err(|errors| failed(&errors))?;
        let access = ReadAccess::read(&next.configuration).map_err(|error| failed(&error))?;
        // The first certificate needs a restart, a renewed one doesn't.
        if let (Some(tls), Some(settings)) = (server.tls(), &next.configuration.security.tls) {
            tls.reload(settings).map_err(|error| failed(&error))?;
        }
        // From here on nothing fails.
        let report = ReloadReport::of(&new, difference(&old, &new));
        self.log.set_level(next.configuration.logging.level);
        server.set_access(access);
        server.set_settings(next);
        if let Err(error) = self.log.reopen() {
            tracing::error!(%error, "the log's file can't be opened again; it goes on where it was");
        }
        Ok(report)
    }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Control").finish_non_exhaustive()
    }
}
