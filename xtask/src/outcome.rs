//! What a command that did not fail came to.

/// The end of a command without an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// All of it ran, and nothing was found wrong.
    Passed,
    /// It could not run here; the reason is for the reader of the summary.
    Skipped(String),
}
