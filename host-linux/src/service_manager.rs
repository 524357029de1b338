//! What the service manager is told: the protocol of sd_notify(3).
//!
//! Where `NOTIFY_SOCKET` isn't set, nobody is told, and that is no failure.

use sd_notify::NotifyState;
use std::io;
use std::time::Duration;

/// Tells the service manager that the service is ready, after its start or a reload.
///
/// # Errors
/// The manager's socket can't be written to.
pub fn notify_ready(status: &str) -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(status)])
}

/// Tells the service manager that the service reads its configuration again.
///
/// # Errors
/// As [`notify_ready`].
pub fn notify_reloading() -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Reloading, NotifyState::monotonic_usec_now()?])
}

/// Tells the service manager that the service ends.
///
/// # Errors
/// As [`notify_ready`].
pub fn notify_stopping(status: &str) -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Stopping, NotifyState::Status(status)])
}

/// Tells the service manager that the service is alive.
///
/// # Errors
/// As [`notify_ready`].
pub fn notify_alive() -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Watchdog])
}

/// Within which time the service manager wants to hear that the service is alive.
#[must_use]
pub fn watchdog_period() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}
