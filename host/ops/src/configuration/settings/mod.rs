//! The table of all settings, the single source of truth: a file for each group
//! of sections, in the order in which they are shown.

mod engine;
mod operation;
mod service;

use super::setting::Setting;

/// A section of the file.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// Its name, in brackets in the file.
    pub name: &'static str,
    /// What it is about.
    pub documentation: &'static str,
    /// The settings that belong there.
    pub settings: &'static [Setting],
}

/// All sections.
pub const SECTIONS: &[Section] = &[
    engine::DATABASE,
    engine::PERFORMANCE,
    engine::DURABILITY,
    operation::LOGGING,
    operation::MONITORING,
    operation::LIMITS,
    service::SECURITY,
    service::ADMIN,
    service::SERVICE,
];

/// Sections that the manual has and this version doesn't, with what they are for.
pub const UNSUPPORTED_SECTIONS: &[(&str, &str)] = &[
    ("encryption", "encryption at rest"),
    ("audit", "audit logging"),
];

/// How many memtables the service has: one takes writes while the others are written
/// to the page file.
pub const MEMTABLES: u32 = 3;
