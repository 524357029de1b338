//! What the service looks after by itself: room on the disk, and damage in what is stored.
//!
//! One thread does both, a little each time, and only where the settings say so: they are
//! asked each time. It keeps neither the service nor its database open.

use crate::failure::{Failure, FailureKind};
use crate::server::Server;
use lightning_db::Scrub;
use lightning_ops::configuration::Configuration;
use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How often something is done.
const TICK: Duration = Duration::from_millis(250);
/// Each so many ticks it looks at the disk.
const TICKS_A_LOOK: u32 = 2;
/// Bytes that are read and checked at each tick: 2 MiB a second.
const SCRUBBED_BYTES: u64 = 512 << 10;
/// How long it rests when it found damage, so as not to say the same again and again.
const PAUSE: Duration = Duration::from_secs(60);
/// Room that is kept besides that for memtables.
const SPARE_BYTES: u64 = 64 << 20;
/// Of the whole disk, at most this part is kept.
const KEPT_PART: u64 = 10;

/// Whether there is room to write more than what deletes and merges need.
#[derive(Debug, Default)]
pub struct RoomGuard {
    /// What is left, and what has to be, where that is more; 0 otherwise.
    left_bytes: AtomicU64,
    kept_bytes: AtomicU64,
}

impl RoomGuard {
    /// Refuses what may need more room, while there is little.
    ///
    /// # Errors
    /// What the client is told.
    pub fn check(&self) -> Result<(), Failure> {
        let kept = self.kept_bytes.load(Ordering::Relaxed);
        if kept == 0 {
            return Ok(());
        }
        let left = self.left_bytes.load(Ordering::Relaxed);
        Err(Failure::reply(format!(
            "MISCONF the disk has {} KiB left, and {} KiB are kept for deletes and merges: make \
             room there (durability.enable_safety_guards)",
            left >> 10,
            kept >> 10
        )))
    }

    /// Notes that nothing is to be refused.
    fn open(&self) {
        if self.kept_bytes.swap(0, Ordering::Relaxed) > 0 {
            tracing::info!("commands that need room are taken again");
        }
    }

    /// Notes how much room there is, on a disk of `total_bytes`.
    fn note(&self, left_bytes: u64, total_bytes: u64, wanted_bytes: u64) {
        let kept_bytes = wanted_bytes.min(total_bytes / KEPT_PART);
        let was_short = self.kept_bytes.load(Ordering::Relaxed) > 0;
        // Some more before it is enough again, or commands would be taken and refused in turn.
        let enough = kept_bytes + if was_short { kept_bytes / 4 } else { 0 };
        if left_bytes >= enough {
            return self.open();
        }
        self.left_bytes.store(left_bytes, Ordering::Relaxed);
        self.kept_bytes.store(kept_bytes.max(1), Ordering::Relaxed);
        if !was_short {
            tracing::warn!(
                left_bytes,
                kept_bytes,
                "the disk has little room left: commands that need some are refused"
            );
        }
    }
}

/// What deletes and merges may need: all memtables as log and as runs.
fn wanted_bytes(configuration: &Configuration) -> u64 {
    let database = &configuration.database;
    let memtables = u64::from(database.memtables) * u64::from(database.memtable_bytes);
    2 * memtables + SPARE_BYTES
}

/// Starts the thread. It ends with the service.
///
/// # Errors
/// The system gives no thread.
pub(crate) fn start(server: Weak<Server>) -> std::io::Result<()> {
    let work = move || {
        let mut care = Care {
            ticks: 0,
            scrub: None,
            paused_until: None,
        };
        while let Some(server) = server.upgrade() {
            if *server.shutdown().borrow() {
                return;
            }
            care.tick(&server);
            drop(server);
            thread::sleep(TICK);
        }
    };
    let thread = thread::Builder::new().name("lightning-care".to_owned());
    thread.spawn(work).map(drop)
}

struct Care {
    ticks: u32,
    scrub: Option<Scrub>,
    paused_until: Option<Instant>,
}

impl Care {
    fn tick(&mut self, server: &Server) {
        let settings = server.settings();
        let configuration = &settings.configuration;
        if self.ticks.is_multiple_of(TICKS_A_LOOK) {
            look_at_disk(server, configuration);
        }
        self.ticks = self.ticks.wrapping_add(1);
        if configuration.durability.enable_paranoia_checks {
            self.scrub(server);
        } else {
            self.scrub = None;
            self.paused_until = None;
        }
    }

    fn scrub(&mut self, server: &Server) {
        if self
            .paused_until
            .is_some_and(|until| Instant::now() < until)
        {
            return;
        }
        self.paused_until = None;
        let database = server.store().database();
        let page_bytes = u64::from(database.statistics().page_bytes);
        let scrub = self.scrub.get_or_insert_default();
        match database.scrub(scrub, SCRUBBED_BYTES / page_bytes.max(1)) {
            Ok(scrubbed) => server
                .metrics()
                .note_scrubbed(scrubbed.pages, scrubbed.is_round),
            Err(error) => {
                let failure = Failure::from(error);
                if failure.kind() == FailureKind::Corruption {
                    server.metrics().note_failure(FailureKind::Corruption);
                    tracing::error!(
                        reason = %failure.log_words(),
                        "stored data are damaged: run `lightning-cli verify integrity`, and restore a backup"
                    );
                } else {
                    tracing::warn!(reason = %failure.log_words(), "stored data can't be checked");
                }
                self.paused_until = Instant::now().checked_add(PAUSE);
            }
        }
    }
}

fn look_at_disk(server: &Server, configuration: &Configuration) {
    let guard = server.room();
    if !configuration.durability.enable_safety_guards {
        return guard.open();
    }
    match lightning_db::file_system_room(&configuration.database.path) {
        Ok(found) => guard.note(
            found.available_bytes,
            found.total_bytes,
            wanted_bytes(configuration),
        ),
        // What can't be seen refuses nothing.
        Err(error) => {
            tracing::debug!(%error, "the room of the disk can't be asked for");
            guard.open();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn little_room_refuses_until_there_is_somewhat_more() {
        let guard = RoomGuard::default();
        let note = |left, total, wanted| {
            guard.note(left * MIB, total * MIB, wanted * MIB);
            guard.check().is_ok()
        };
        assert!(note(500, 10_000, 250));
        assert!(!note(249, 10_000, 250));
        assert!(!note(300, 10_000, 250));
        assert!(note(313, 10_000, 250));
        assert!(note(250, 10_000, 250));
        // Of a small disk a tenth is kept.
        assert!(note(10, 100, 250));
        assert!(!note(9, 100, 250));
        let told = guard.check().unwrap_err().message().into_owned();
        assert!(told.starts_with("MISCONF the disk has 9216 KiB left, and 10240 KiB"));
        guard.open();
        assert!(guard.check().is_ok());
    }
}
