//! How well the service is: checks, each with what it found and what to do about it.
//!
//! The checks of figures look at what is known and wait for nothing. That of the data
//! reads pages, so it runs only where it is asked for.
//!
//! | file | duty |
//! |---|---|
//! | `checks.rs` | the checks of figures |
//! | `data.rs` | the check of stored data |

pub mod checks;
pub mod data;

use crate::monitoring::figures::Figures;
use lightning_ops::admin::{CHECKS, CheckView, DATA_CHECK, HealthStatus, HealthView};
use std::collections::BTreeMap;

/// What is wanted of a look at the health.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The checks; none for all of figures.
    pub tests: Vec<String>,
    /// The figures that the checks looked at.
    pub figures: bool,
}

/// Runs checks of figures.
///
/// # Errors
/// There is no check of such a name: what to tell.
pub fn check(figures: &Figures, wanted: &Wanted) -> Result<HealthView, String> {
    for test in &wanted.tests {
        let is_known = CHECKS.iter().any(|(name, _)| name == test);
        if !is_known && test != DATA_CHECK.0 {
            let names: Vec<&str> = CHECKS.iter().map(|(name, _)| *name).collect();
            return Err(format!(
                "there is no check {test:?}: there are {}, {}",
                names.join(", "),
                DATA_CHECK.0
            ));
        }
    }
    let mut details = BTreeMap::new();
    for (name, run) in checks::ALL {
        if wanted.tests.is_empty() || wanted.tests.iter().any(|test| test == name) {
            let mut found = run(figures);
            if !wanted.figures {
                found.figures.clear();
            }
            details.insert(name.to_owned(), found);
        }
    }
    Ok(view_of(details))
}

/// The view of what checks found.
#[must_use]
pub fn view_of(details: BTreeMap<String, CheckView>) -> HealthView {
    let worst = details.values().map(|found| found.status).max();
    HealthView {
        status: worst.unwrap_or(HealthStatus::Healthy),
        details,
        service: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitoring::figures::tests::idle;

    #[test]
    fn the_checks_are_those_that_are_listed() {
        let names: Vec<&str> = checks::ALL.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, CHECKS.map(|(name, _)| name));
    }

    #[test]
    fn the_worst_check_decides() {
        let mut figures = idle();
        let all = check(&figures, &Wanted::default()).unwrap();
        assert_eq!(all.status, HealthStatus::Healthy, "{all:?}");
        assert_eq!(all.details.len(), CHECKS.len());
        figures.is_poisoned = true;
        let all = check(&figures, &Wanted::default()).unwrap();
        assert_eq!(all.status, HealthStatus::Critical);
        let wanted = Wanted {
            tests: vec!["memory".to_owned(), "disk".to_owned()],
            figures: true,
        };
        let some = check(&figures, &wanted).unwrap();
        assert_eq!(some.status, HealthStatus::Healthy);
        assert_eq!(some.details.len(), 2);
        assert!(!some.details["memory"].figures.is_empty());
    }

    #[test]
    fn an_unknown_check_is_refused_with_those_that_there_are() {
        let wanted = Wanted {
            tests: vec!["weather".to_owned()],
            figures: false,
        };
        let refusal = check(&idle(), &wanted).unwrap_err();
        assert_eq!(
            refusal,
            "there is no check \"weather\": there are connections, disk, memory, performance, \
             snapshots, transactions, writes, data"
        );
    }
}
