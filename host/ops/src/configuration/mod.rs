//! The configuration of the service.
//!
//! [`Configuration::load`] reads it: defaults, then a TOML file, then variables
//! `LIGHTNING_DB_…`, then the command line; what comes later counts more, and each
//! value keeps its [`Origin`]. Everything that is known of a setting stands in one
//! table ([`all`]); where the manual writes a key in two sections, both are
//! places of one setting, and two places that differ are refused with both lines.
//!
//! ```
//! use lightning_ops::configuration::{Configuration, Origin, Sources};
//!
//! let sources = Sources {
//!     environment: vec![
//!         ("HOME".to_owned(), "/srv/ada".to_owned()),
//!         ("LIGHTNING_DB_CACHE_SIZE_MB".to_owned(), "64".to_owned()),
//!     ],
//!     ..Sources::default()
//! };
//! let loaded = Configuration::load(&sources)?;
//! assert_eq!(loaded.configuration.database.cache_bytes, 64 << 20);
//! assert!(matches!(
//!     loaded.entry("cache_size_mb").unwrap().origin,
//!     Origin::Environment { .. }
//! ));
//! # Ok::<(), lightning_ops::configuration::ConfigurationErrors>(())
//! ```
//!
//! | file | duty |
//! |---|---|
//! | `setting.rs`, `settings/` | what a setting is, and the table of all |
//! | `value.rs` | values: read, checked, shown |
//! | `event_classes.rs` | classes of events on keys, and their letters |
//! | `file.rs` | TOML to values with lines |
//! | `load.rs`, `origin.rs`, `places.rs` | the order of sources, and default places |
//! | `relations.rs` | what must hold between settings |
//! | `typed.rs` | the values as the service uses them |
//! | `problem.rs`, `nearest.rs` | what is told of what is wrong |
//! | `edit.rs` | one setting of the file is changed |
//! | `difference.rs` | what a reload changes |
//! | `reference.rs` | the page about all settings |

mod difference;
mod edit;
mod event_classes;
mod file;
mod load;
mod nearest;
mod origin;
pub mod places;
mod problem;
mod reference;
mod relations;
mod setting;
pub mod settings;
mod typed;
mod value;

pub use difference::{Change, Difference, difference};
pub use edit::{Edit, EditError, set, text_with};
pub use event_classes::EventClasses;
pub use load::{Entry, Loaded, find};
pub use nearest::Suggestion;
pub use origin::{Origin, Sources};
pub use problem::{Assignment, ConfigurationErrors, Problem, Warning};
pub use reference::reference;
pub use setting::{
    DefaultValue, Effect, Kind, Setting, VARIABLE_PREFIX, all, in_section, named, of_variable,
};
pub use typed::{
    AdminSettings, Compression, Configuration, DatabaseSettings, DurabilitySettings, HugePages,
    LimitsSettings, LogFormat, LogLevel, LoggingSettings, MonitoringSettings, Numa,
    PerformanceSettings, SecuritySettings, ServiceSettings, TlsSettings, WalSyncMode,
};
pub use value::{Refusal, Value};

#[cfg(test)]
mod tests;
