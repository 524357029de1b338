//! `lightning-cli`: operations. Everything is in [`lightning_cli::operations`].

use std::process::ExitCode;

fn main() -> ExitCode {
    lightning_cli::operations::main(std::env::args_os())
}
