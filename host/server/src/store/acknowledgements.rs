//! Waiting until commits are durable: one for all of the service.
//!
//! # Protocol
//! A connection puts the number of its commit and its waker among those who wait, and
//! rouses one task. That task lets the reactor run everything else that is ready first: so
//! all clients are in whose requests came together. For a sync it does so again and again
//! while that brings more commits, but no longer than a millisecond: they share it. Then it
//! awaits the newest of their tickets and wakes all whose commits are as safe by then:
//! commits become so in their order. So a flush serves whoever came until it began, the thread that flushes
//! wakes one task instead of fifty, and the fifty are woken by a thread of the reactor
//! that then runs them. Where commits don't wait for a sync, the task writes them itself,
//! as long as that waits for nothing.
//!
//! Everybody asks their own ticket when they are woken: it knows what became of the
//! commit where a device failed. Who is woken too early waits again.

use lightning_db::{Result, Ticket};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How long commits are gathered at most.
const GATHER: Duration = Duration::from_millis(1);

#[derive(Default)]
struct Waiting {
    /// Who waits for which commit.
    wakers: Vec<(u64, Waker)>,
    /// The newest commit that somebody waits for and that was not awaited yet.
    newest: Option<Ticket>,
}

/// Who waits for their commits.
#[derive(Default)]
pub struct Acknowledgements {
    waiting: Mutex<Waiting>,
    rouse: Notify,
}

impl Acknowledgements {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the ticket's commit is as safe as the durability promises.
    pub fn wait(&self, ticket: Ticket) -> Acknowledged<'_> {
        Acknowledged { all: self, ticket }
    }

    /// Awaits commits for those who wait for them, until it is dropped; one task of the
    /// service does.
    pub async fn serve(&self) {
        loop {
            self.rouse.notified().await;
            loop {
                // All whose requests came together.
                tokio::task::yield_now().await;
                let Some(mut newest) = self.lock().newest.take() else {
                    break;
                };
                let mut fulfilled = newest.try_fulfil();
                if let Ok(false) = fulfilled {
                    self.gather().await;
                    let since = self.lock().newest.take();
                    if let Some(newer) = since.filter(|of| of.sequence() > newest.sequence()) {
                        newest = newer;
                    }
                    fulfilled = newest.clone().await.map(|()| true);
                }
                let sequence = newest.sequence();
                let is_failed = fulfilled.is_err();
                for waker in self.take_up_to(if is_failed { u64::MAX } else { sequence }) {
                    waker.wake();
                }
            }
        }
    }

    /// Lets the reactor run what is ready, and what becomes ready meanwhile, while that
    /// brings more commits.
    async fn gather(&self) {
        let began = Instant::now();
        let mut before = 0;
        loop {
            // Runs again when everything that is ready now has run.
            tokio::task::yield_now().await;
            let now = self.lock().wakers.len();
            if now == before || began.elapsed() >= GATHER {
                return;
            }
            before = now;
        }
    }

    fn take_up_to(&self, sequence: u64) -> Vec<Waker> {
        let mut waiting = self.lock();
        let taken = waiting.wakers.extract_if(.., |(of, _)| *of <= sequence);
        taken.map(|(_, waker)| waker).collect()
    }

    fn register(&self, ticket: &Ticket, waker: &Waker) {
        let sequence = ticket.sequence();
        let mut waiting = self.lock();
        waiting.wakers.push((sequence, waker.clone()));
        let newest = waiting.newest.as_ref().map(Ticket::sequence);
        if newest.is_none_or(|newest| newest < sequence) {
            waiting.newest = Some(ticket.clone());
        }
        drop(waiting);
        if newest.is_none() {
            self.rouse.notify_one();
        }
    }
}

impl std::fmt::Debug for Acknowledgements {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Acknowledgements")
            .field("waiting", &self.lock().wakers.len())
            .finish_non_exhaustive()
    }
}

/// Becomes ready when a commit is as safe as the durability promises.
#[must_use = "a commit is acknowledged only when this is ready"]
pub struct Acknowledged<'a> {
    all: &'a Acknowledgements,
    ticket: Ticket,
}

impl Future for Acknowledged<'_> {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        match self.ticket.is_fulfilled() {
            Ok(true) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(error)),
            Ok(false) => {
                self.all.register(&self.ticket, context.waker());
                Poll::Pending
            }
        }
    }
}
