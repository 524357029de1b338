//! `CLIENT PAUSE`: commands that are held back for a while.
//!
//! # Protocol
//! A pause begins in a command that holds the writer, and a command that changes something
//! asks for the pause while it holds the writer. So when the pause is answered, whatever
//! wrote before is durable, and nothing writes until the pause has ended. Nothing that has
//! expired is removed meanwhile either, for the same reason; only the engine's own sweep
//! goes on, which removes what nobody sees.
//!
//! A command that is held back was not begun, nor was anything that its client sent behind
//! it. The connection goes on reading, within its limits, and sending; it sees its client
//! leave and the service end, and then forgets the command. It asks again when the pause
//! has ended.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// What a pause holds back: more where it is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Held {
    /// Commands that change something, or tell others.
    Writes,
    /// All commands.
    All,
}

#[derive(Debug, Clone, Copy)]
struct State {
    held: Held,
    /// `None`: past what a clock can tell.
    end: Option<Instant>,
}

impl State {
    fn has_ended(&self, now: Instant) -> bool {
        self.end.is_some_and(|end| end <= now)
    }
}

/// The pause, where there is one.
#[derive(Debug, Default)]
pub struct Pause {
    state: watch::Sender<Option<State>>,
    /// Whether there may be one, so that commands cost nothing while there is none.
    is_on: AtomicBool,
}

impl Pause {
    /// Holds commands back from here on. One that is on already becomes the stricter and
    /// the longer of both.
    pub fn begin(&self, held: Held, duration: Duration) {
        let now = Instant::now();
        let mut next = State {
            held,
            end: now.checked_add(duration),
        };
        self.state.send_modify(|state| {
            if let Some(before) = state.filter(|before| !before.has_ended(now)) {
                next.held = next.held.max(before.held);
                next.end = next.end.zip(before.end).map(|(one, other)| one.max(other));
            }
            *state = Some(next);
            self.is_on.store(true, Ordering::Relaxed);
        });
    }

    /// Ends it.
    pub fn end(&self) {
        self.state.send_modify(|state| {
            *state = None;
            self.is_on.store(false, Ordering::Relaxed);
        });
    }

    /// What is held back now.
    pub fn held(&self) -> Option<Held> {
        if !self.is_on.load(Ordering::Relaxed) {
            return None;
        }
        let now = Instant::now();
        self.state.send_if_modified(|state| {
            let has_ended = state.is_some_and(|state| state.has_ended(now));
            if has_ended {
                *state = None;
                self.is_on.store(false, Ordering::Relaxed);
            }
            has_ended
        });
        self.state.borrow().map(|state| state.held)
    }

    /// Waits until there is none.
    pub async fn ended(&self) {
        let mut changes = self.state.subscribe();
        while self.held().is_some() {
            let end = changes.borrow_and_update().and_then(|state| state.end);
            tokio::select! {
                // The sender is `self`, so that there is one.
                _ = changes.changed() => {}
                () = sleep_until(end) => {}
            }
        }
    }
}

async fn sleep_until(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn the_stricter_and_the_longer_of_two_counts() {
        let pause = Pause::default();
        assert_eq!(pause.held(), None);
        pause.begin(Held::Writes, LONG);
        assert_eq!(pause.held(), Some(Held::Writes));
        pause.begin(Held::All, Duration::ZERO);
        assert_eq!(pause.held(), Some(Held::All));
        pause.begin(Held::Writes, LONG);
        assert_eq!(pause.held(), Some(Held::All));
        pause.end();
        assert_eq!(pause.held(), None);
        pause.begin(Held::Writes, LONG);
        assert_eq!(pause.held(), Some(Held::Writes));
    }

    #[test]
    fn one_without_a_duration_has_ended() {
        let pause = Pause::default();
        pause.begin(Held::All, Duration::ZERO);
        assert_eq!(pause.held(), None);
        // And leaves nothing to the next one.
        pause.begin(Held::Writes, LONG);
        assert_eq!(pause.held(), Some(Held::Writes));
    }

    #[test]
    fn one_may_be_longer_than_a_clock_tells() {
        let pause = Pause::default();
        pause.begin(Held::All, Duration::MAX);
        pause.begin(Held::All, LONG);
        assert_eq!(pause.held(), Some(Held::All));
    }

    #[tokio::test]
    async fn who_waits_goes_on_when_it_ends_by_itself_or_by_a_command() {
        let pause = Pause::default();
        pause.ended().await;
        pause.begin(Held::All, Duration::from_millis(5));
        pause.ended().await;
        assert_eq!(pause.held(), None);
        pause.begin(Held::All, LONG);
        // It ends by the command, not by its time.
        tokio::join!(pause.ended(), async { pause.end() });
    }
}
