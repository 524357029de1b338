//! The proof: a table of randomised checks, each a pure function of its seed.
//!
//! Prints one line for each check, `NAME cases N bad N`, and fails where a case
//! was bad, where a check ran no case, or where there was no check to run: an
//! empty run proves nothing. The seed is printed first, so that any run can be
//! repeated.

mod cases;
mod checks;
mod counting;
mod engine;
mod faults;
mod images;
mod isolation;
mod operations;
mod plain_storage;
mod script;
mod watched;

use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use clap::Parser;

use checks::{CHECKS, Check, Outcome, Settings};

/// Runs the randomised checks of Lightning DB.
#[derive(Parser)]
#[command(name = "proof")]
struct Arguments {
    /// A few seconds for each check (the default)
    #[arg(long, conflicts_with = "long")]
    short: bool,
    /// As many cases as a release is held to
    #[arg(long)]
    long: bool,
    /// The seed that all random choices follow from; taken from the time where it is left out
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Run only the check of this name
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Print every bad case, not only the first
    #[arg(long)]
    every: bool,
    /// End at the first bad case that is found, whichever that is
    #[arg(long, conflicts_with = "every")]
    until_bad: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if CHECKS.is_empty() {
        println!("no checks registered");
        return ExitCode::FAILURE;
    }
    let chosen: Vec<&Check> = CHECKS
        .iter()
        .filter(|check| {
            arguments
                .only
                .as_ref()
                .is_none_or(|only| only == check.name)
        })
        .collect();
    if chosen.is_empty() {
        println!("no check of this name; there are:");
        for check in CHECKS {
            println!("  {}  {}", check.name, check.about);
        }
        return ExitCode::FAILURE;
    }
    let settings = Settings {
        seed: arguments.seed.unwrap_or_else(seed_from_time),
        is_long: arguments.long,
    };
    let setting = if settings.is_long { "long" } else { "short" };
    println!("seed {}, {setting} setting", settings.seed);
    cases::quiet_panics();
    if arguments.every {
        cases::print_every();
    }
    let mut bad = Vec::new();
    for check in chosen {
        if arguments.until_bad {
            cases::end_at_first(check.name);
        }
        bad.extend(report(check, &settings));
    }
    if bad.is_empty() {
        return ExitCode::SUCCESS;
    }
    // Once more, for who reads the end of it.
    println!("\nseed {}, {setting} setting, bad:", settings.seed);
    for words in bad {
        println!("  {words}");
    }
    ExitCode::FAILURE
}

/// Runs one check and prints its line; what was bad where it didn't hold.
fn report(check: &Check, settings: &Settings) -> Option<String> {
    let start = Instant::now();
    let Outcome {
        cases,
        bad,
        first_bad,
        note,
    } = (check.run)(settings);
    let seconds = start.elapsed().as_secs_f64();
    println!("{} cases {cases} bad {bad} ({seconds:.1} s)", check.name);
    if let Some(first_bad) = &first_bad {
        println!("  first bad case: {first_bad}");
    }
    if let Some(note) = note {
        println!("  {note}");
    }
    if cases == 0 {
        println!("  ran no case");
    }
    let reason = match first_bad {
        None if cases > 0 && bad == 0 => return None,
        None => format!("{cases} cases, {bad} bad"),
        Some(first_bad) => first_bad,
    };
    Some(format!("{}: {reason}", check.name))
}

fn seed_from_time() -> u64 {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    since_epoch.as_secs() ^ u64::from(since_epoch.subsec_nanos()) << 32
}
