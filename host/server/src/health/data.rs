//! The check of stored data: a sample of entries, read.

use lightning_db::Database;
use lightning_ops::admin::{CheckView, HealthStatus, VerifyDepth};
use lightning_ops::verification;
use std::collections::BTreeMap;

/// Reads a sample. May wait for the device: not for a thread that serves clients.
#[must_use]
pub fn check(database: &Database, tells_figures: bool) -> CheckView {
    let mut view = CheckView {
        status: HealthStatus::Healthy,
        message: String::new(),
        remedy: None,
        figures: BTreeMap::new(),
    };
    match verification::verify(database, VerifyDepth::Quick, |_| {}) {
        Ok(found) => {
            if tells_figures {
                view.figures
                    .insert("tables".to_owned(), found.tables.into());
                view.figures
                    .insert("entries_read".to_owned(), found.entries.into());
            }
            match found.damage {
                None => {
                    view.message = format!(
                        "a sample of {} entries in {} tables is sound",
                        found.entries, found.tables
                    );
                }
                Some(damage) => {
                    view.status = HealthStatus::Critical;
                    view.message = damage;
                    view.remedy = Some(
                        "run `lightning-cli verify integrity` to see how much is damaged, and \
                         restore a backup"
                            .to_owned(),
                    );
                }
            }
        }
        Err(error) => {
            view.status = HealthStatus::Warning;
            view.message = format!("the data can't be read: {error}");
            view.remedy = Some("mend what the message names, and look again".to_owned());
        }
    }
    view
}
