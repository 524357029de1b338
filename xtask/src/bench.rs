//! `cargo xtask bench`: the same measurements, of this engine alone.

use anyhow::Result;
use clap::Args;

use crate::outcome::Outcome;
use crate::peers;

/// Measures Lightning DB alone: `peers --engines lightning`.
///
/// The benchmarks live in tests/peers, beside those of the other engines, so
/// that one workload is written once. All arguments go there as they are.
#[derive(Args)]
pub struct Arguments {
    /// Further arguments for the program in tests/peers
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGS"
    )]
    forwarded: Vec<String>,
}

/// Forwards to the program in tests/peers.
pub fn run(arguments: &Arguments) -> Result<Outcome> {
    let mut forwarded = vec!["--engines".to_owned(), "lightning".to_owned()];
    forwarded.extend_from_slice(&arguments.forwarded);
    peers::forward(&forwarded)
}
