//! Timed phases: threads that repeat an operation until their time is over.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

/// The clock and the count of one thread of a phase.
pub struct Pace {
    begun: Instant,
    duration: Duration,
    elapsed: Duration,
    operations: u64,
}

impl Pace {
    fn start(duration: Duration) -> Self {
        Self {
            begun: Instant::now(),
            duration,
            elapsed: Duration::ZERO,
            operations: 0,
        }
    }

    /// Counts `operations` as done; false when the time is over.
    pub fn lap(&mut self, operations: u64) -> bool {
        self.operations += operations;
        self.elapsed = self.begun.elapsed();
        self.elapsed < self.duration
    }

    fn rate(&self) -> f64 {
        self.operations as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// What the threads of a phase did together.
#[derive(Debug, Clone, Copy, Default)]
pub struct Done {
    /// Sum of the threads' rates, in operations a second.
    pub rate: f64,
    /// Operations of all threads.
    pub operations: u64,
}

/// Runs `worker` on `threads` threads for about `duration`, and returns what they
/// did. A worker gets its number and repeats its operation while
/// [`Pace::lap`] says so. What it prepares before the first lap counts as time,
/// so anything long belongs before this call.
pub fn run(
    threads: usize,
    duration: Duration,
    worker: impl Fn(usize, &mut Pace) -> Result<()> + Sync,
) -> Result<Done> {
    let run_one = |thread: usize| {
        let mut pace = Pace::start(duration);
        worker(thread, &mut pace).map(|()| pace)
    };
    let paces: Vec<Result<Pace>> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn({
                    let run_one = &run_one;
                    move || run_one(thread)
                })
            })
            .collect();
        handles
            .into_iter()
            .map(|handle| {
                handle
                    .join()
                    .unwrap_or_else(|_| Err(anyhow!("a thread of the measurement panicked")))
            })
            .collect()
    });
    let mut done = Done::default();
    for pace in paces {
        let pace = pace?;
        done.rate += pace.rate();
        done.operations += pace.operations;
    }
    Ok(done)
}
