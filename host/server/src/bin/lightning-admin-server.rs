//! The service: see `lightning-admin-server --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    lightning_admin_server::program::run()
}
