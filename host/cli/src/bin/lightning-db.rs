//! `lightning-db`: the data tool. Everything is in [`lightning_cli::data_tool`].

use std::process::ExitCode;

fn main() -> ExitCode {
    lightning_cli::data_tool::main(std::env::args_os())
}
