//! Whether recorded histories of transactions keep to their isolation level.
//!
//! A history names for each read the transaction that wrote what it saw. From that and
//! the order of versions follow the dependencies between transactions, and from their
//! cycles the anomalies (Adya, "Weak Consistency", 1999). Nothing here knows how the engine does it.

#[cfg(test)]
mod against_adya;
mod checker;
mod graph;
mod history;
mod planted;
mod record;
mod serial;

pub use checker::{Anomaly, check};
pub use history::History;
pub use planted::{PLANTED, named};
pub use record::{Plan, record};
pub use serial::serial;
