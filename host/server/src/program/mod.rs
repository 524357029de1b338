//! The program around the service: command line, log, runtime, signals.
//!
//! | file | duty |
//! |---|---|
//! | `arguments.rs` | the command line, and its help |
//! | `surroundings.rs` | the ways in for who operates it: HTTP, admin socket, samples |
//! | `signals.rs` | signals, and what the service manager is told |
//! | `hardware.rs` | processors, and what became of the wishes for the machine |
//! | `opening.rs` | the line that says what was started |

pub mod arguments;
mod hardware;
mod opening;
mod signals;
mod surroundings;

use crate::logging::Log;
use crate::service::Service;
use arguments::{Arguments, Command};
use clap::{CommandFactory as _, Parser as _};
use lightning_db::{MachineGrants, ServiceState};
use lightning_ops::configuration::{Configuration, ConfigurationErrors, Loaded, Sources};
use signals::Signals;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use surroundings::Surroundings;

/// The program's name, in messages.
const PROGRAM: &str = "lightning-admin-server";

/// How the program ends that could not start, or failed.
const FAILED: u8 = 2;
/// How the program ends whose command line is wrong.
const USAGE: u8 = 64;

/// Runs the program.
#[must_use]
pub fn run() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let is_wrong = error.use_stderr();
            let _outcome = error.print();
            return ExitCode::from(if is_wrong { USAGE } else { 0 });
        }
    };
    let outcome = match &arguments.command {
        Some(command) => obey(command),
        None => start(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            let _outcome = writeln!(std::io::stderr().lock(), "{PROGRAM}: error: {message}");
            ExitCode::from(FAILED)
        }
    }
}

fn obey(command: &Command) -> Result<(), String> {
    let mut text = Vec::new();
    match command {
        Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut Arguments::command(), PROGRAM, &mut text);
        }
        Command::Man { directory } => {
            return clap_mangen::generate_to(Arguments::command(), directory)
                .map_err(|error| format!("{}: {error}", directory.display()));
        }
        Command::Version => text = Arguments::command().render_version().into_bytes(),
    }
    // Who doesn't read on has what they wanted.
    let _outcome = std::io::stdout().lock().write_all(&text);
    Ok(())
}

fn start(arguments: &Arguments) -> Result<(), String> {
    let mut sources = Sources::of_process(arguments.config.clone());
    sources.command_line.clone_from(&arguments.settings);
    if let Some(data) = &arguments.data {
        // Whatever directory is the current one when the configuration is read again.
        let path =
            std::path::absolute(data).map_err(|error| format!("{}: {error}", data.display()))?;
        let path = path.to_string_lossy().into_owned();
        sources
            .command_line
            .push(("database.path".to_owned(), path));
    }
    let loaded = Configuration::load(&sources).map_err(|errors| words_of(&errors))?;
    for warning in &loaded.warnings {
        let _outcome = writeln!(std::io::stderr().lock(), "{PROGRAM}: note: {warning}");
    }
    if arguments.check {
        return check(&loaded);
    }
    lightning_db::give_back_large_allocations();
    let log = Log::open(&loaded.configuration.logging).map_err(|error| error.to_string())?;
    log.install();
    // Before there are threads: those that are started later do as this one.
    let pinned = hardware::keep_to_processors(&loaded.configuration);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(client_threads())
        .enable_all()
        .thread_name("lightning-client")
        .build()
        .map_err(|error| format!("no threads for clients: {error}"))?;
    let has_file = loaded.configuration.logging.file.is_some();
    let outcome = runtime.block_on(serve(loaded, sources, log, pinned));
    if let Err(message) = &outcome
        && has_file
    {
        tracing::error!(message = %message);
    }
    outcome
}

/// Threads that serve clients: one for each two processors. Flushes, merges and the
/// system's own work for the network take the others; more threads of clients than that
/// only wake one another up.
fn client_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |count| (count.get() / 2).max(1))
}

fn words_of(errors: &ConfigurationErrors) -> String {
    match errors.problems() {
        [problem] => problem.to_string(),
        problems => {
            let lines = problems.iter().map(|problem| format!("\n  {problem}"));
            format!(
                "the configuration has {} mistakes:{}",
                problems.len(),
                lines.collect::<String>()
            )
        }
    }
}

fn check(loaded: &Loaded) -> Result<(), String> {
    let file = loaded.file().map(|file| file.display().to_string());
    print_line(&format!(
        "{}: sound; the data are in {}",
        file.as_deref().unwrap_or("defaults"),
        loaded.configuration.database.path.display()
    ));
    Ok(())
}

/// Prints a line; whoever started the program may not read it.
fn print_line(line: &str) {
    let _outcome = writeln!(std::io::stdout().lock(), "{line}");
}

async fn serve(
    loaded: Loaded,
    sources: Sources,
    log: Arc<Log>,
    pinned: MachineGrants,
) -> Result<(), String> {
    let configuration = loaded.configuration.clone();
    let files_max = lightning_db::raise_open_files_limit().ok().flatten();
    let signals = Signals::take().map_err(|error| format!("signals can't be followed: {error}"))?;
    let service = Service::start(loaded)
        .await
        .map_err(|error| error.to_string())?;
    if let Some(files_max) = files_max
        && !service.server().set_files_max(files_max)
    {
        tracing::warn!(
            files_max,
            connections_max = service.server().connections_max(),
            "fewer clients than limits.max_connections will be served: this process may not \
             open more files; raise LimitNOFILE"
        );
    }
    let surroundings = Surroundings::start(&service, &configuration, sources, log).await?;
    let of_database = service.server().store().database().machine_grants();
    let grants = hardware::all_grants(pinned, of_database, &configuration);
    for (wish, reason) in &grants.refused {
        tracing::warn!(
            wish,
            reason,
            "the machine refused what the settings ask for"
        );
    }
    let line = opening::line(&service, &configuration, &surroundings, files_max, &grants);
    print_line(&line);
    if configuration.logging.file.is_some() {
        tracing::info!(message = %line);
    }
    signals::tell(ServiceState::Ready(&line));
    let server = Arc::clone(service.server());
    let control = Arc::clone(surroundings.control());
    let watched = tokio::spawn(signals::watch(signals, server, control));
    let outcome = service.run().await.map_err(|error| error.to_string());
    watched.abort();
    drop(surroundings);
    if outcome.is_ok() {
        tracing::info!("ended: everything is durable");
    }
    outcome
}
