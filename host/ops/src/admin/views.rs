//! What the service answers about its health, its figures and its data.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How well something is, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// Nothing is wrong.
    Healthy,
    /// Something may fail, or is slow.
    Warning,
    /// Something fails.
    Critical,
}

impl HealthStatus {
    /// Its word, as in JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// How a tool ends that found it.
    #[must_use]
    pub fn exit(self) -> u8 {
        match self {
            Self::Healthy => 0,
            Self::Warning => 1,
            Self::Critical => 2,
        }
    }
}

/// The checks of a service's health, by the names that `--tests` takes, and what each
/// looks at.
pub const CHECKS: [(&str, &str); 7] = [
    ("connections", "clients, against limits.max_connections"),
    ("disk", "room on the file system of the data"),
    (
        "memory",
        "what the process has, against its limit and the machine",
    ),
    ("performance", "how long operations took, last five minutes"),
    (
        "snapshots",
        "views that hold back what was replaced or removed",
    ),
    (
        "transactions",
        "open ones, against limits.max_active_transactions",
    ),
    (
        "writes",
        "whether writes are taken, and merged in the background",
    ),
];

/// The check that reads stored pages, which runs only where it is asked for.
pub const DATA_CHECK: (&str, &str) = ("data", "stored pages, read and checked");

/// A service's health.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HealthView {
    /// That of the worst check.
    pub status: HealthStatus,
    /// The checks that were run, by name.
    pub details: BTreeMap<String, CheckView>,
    /// Which service it is, where details are asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceView>,
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckView {
    /// How well it is.
    pub status: HealthStatus,
    /// What was found, in words.
    pub message: String,
    /// What to do about it; none where nothing is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// The figures that were looked at, where details are asked for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub figures: BTreeMap<String, serde_json::Value>,
}

/// Which service it is, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceView {
    /// Its version.
    pub version: String,
    /// The number of its process.
    pub process: u32,
    /// Since when it runs.
    pub uptime_seconds: u64,
    /// The directory of its data.
    pub data: String,
}

/// What the service has figures of, by the names that `stats` takes.
pub const SUBJECTS: [(&str, &str); 10] = [
    ("performance", "operations: how many, how long"),
    ("memory", "what the process and the engine take"),
    ("disk", "what the data take, and the room that is left"),
    ("cpu", "processor time"),
    ("errors", "what failed, and what share"),
    ("connections", "clients"),
    ("transactions", "commits and conflicts"),
    ("cache", "how often what is read is in memory"),
    ("lsm", "memtables, runs and merges"),
    ("limits", "what is used of each limit"),
];

/// Figures of one subject.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatisticsView {
    /// What they are about.
    pub subject: String,
    /// The figures, in the order in which people read them.
    pub figures: Vec<FigureView>,
    /// What is worth a look, in words.
    pub findings: Vec<String>,
}

/// A figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FigureView {
    /// Its name, as in JSON.
    pub name: String,
    /// Its value; null where it isn't known.
    pub value: Option<f64>,
    /// What it counts.
    pub unit: Unit,
    /// Its name for people.
    pub label: String,
    /// Shown only where details are asked for.
    #[serde(default)]
    pub is_detail: bool,
}

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Things.
    Count,
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
    /// Things in a second.
    PerSecond,
    /// A share, from 0 to 1.
    Ratio,
}

/// How much of the data is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerifyDepth {
    /// A sample.
    Quick,
    /// Every page.
    #[default]
    Full,
}

/// What a check of the data found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyView {
    /// The directory of the data.
    pub data: String,
    /// How much was checked.
    pub depth: VerifyDepth,
    /// Whether nothing is damaged.
    pub sound: bool,
    /// What is damaged, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damage: Option<String>,
    /// Tables that were looked at.
    pub tables: u64,
    /// Entries that were read.
    pub entries: u64,
    /// Pages that were read; null where only entries were counted.
    pub pages: Option<u64>,
    /// Units of the page file that belong to nothing.
    pub leaked_units: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_is_written_as_it_is_promised() {
        let check = CheckView {
            status: HealthStatus::Warning,
            message: "m".to_owned(),
            remedy: Some("r".to_owned()),
            figures: BTreeMap::new(),
        };
        let view = HealthView {
            status: HealthStatus::Warning,
            details: [("disk".to_owned(), check)].into(),
            service: None,
        };
        let text = serde_json::to_string(&view).unwrap();
        assert_eq!(
            text,
            "{\"status\":\"warning\",\"details\":{\"disk\":{\"status\":\"warning\",\
             \"message\":\"m\",\"remedy\":\"r\"}}}"
        );
        assert_eq!(serde_json::from_str::<HealthView>(&text).unwrap(), view);
    }

    #[test]
    fn the_worst_is_the_greatest() {
        assert!(HealthStatus::Critical > HealthStatus::Warning);
        assert!(HealthStatus::Warning > HealthStatus::Healthy);
    }
}
