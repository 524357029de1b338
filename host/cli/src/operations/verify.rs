//! `verify integrity`.

use super::arguments::{IntegrityOptions, VerifyCommand};
use super::target::{Reached, Target, admin_failure};
use crate::failure::{Exit, Failure};
use crate::output::{counted, print_json, write_out};
use crate::terminal::Progress;
use lightning_db::Database;
use lightning_ops::admin::{Request, VerifyDepth, VerifyView};
use lightning_ops::verification;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

/// How long the service may take: as long as it needs.
const TIMEOUT: Duration = Duration::from_secs(7 * 86_400);

pub(super) fn run(target: &Target<'_>, command: &VerifyCommand) -> Result<Exit, Failure> {
    let VerifyCommand::Integrity(options) = command;
    integrity(target, options)
}

fn integrity(target: &Target<'_>, options: &IntegrityOptions) -> Result<Exit, Failure> {
    let depth = if options.quick {
        VerifyDepth::Quick
    } else {
        VerifyDepth::Full
    };
    let view: VerifyView = match target.connect_or_data(TIMEOUT)? {
        Reached::Service(mut client) => client
            .call(&Request::VerifyIntegrity { depth })
            .map_err(|error| admin_failure(&error))?,
        Reached::Data(data) => verify_directory(target, &data, depth)?,
    };
    if target.global.json {
        print_json(&view)?;
    } else if view.sound {
        write_out(|out| {
            let pages = view.pages.map_or_else(String::new, |pages| {
                format!(", {}", counted(pages, "page", "pages"))
            });
            let sample = match view.depth {
                VerifyDepth::Quick => "a sample is sound",
                VerifyDepth::Full => "sound",
            };
            writeln!(
                out,
                "{}: {sample}: {}, {}{pages}",
                view.data,
                counted(view.tables, "table", "tables"),
                counted(view.entries, "entry", "entries")
            )
        })?;
    }
    if let Some(damage) = &view.damage {
        return Err(Failure::new(Exit::Failed, damage.clone()));
    }
    if view.leaked_units == 0 {
        return Ok(Exit::Fine);
    }
    target.note(&format_args!(
        "{} units of the page file are in use and belong to nothing; no data is lost, and \
         dumping and loading the database gives the space back",
        view.leaked_units
    ));
    Ok(Exit::Finding)
}

/// Reads the data that no service has.
fn verify_directory(
    target: &Target<'_>,
    data: &Path,
    depth: VerifyDepth,
) -> Result<VerifyView, Failure> {
    let database = match Database::open_read_only(data) {
        Ok(database) => database,
        // Damage that is met when it is opened is what was asked for, too.
        Err(error) if verification::is_damage(&error) => {
            return Ok(VerifyView {
                data: data.display().to_string(),
                depth,
                sound: false,
                damage: Some(error.to_string()),
                tables: 0,
                entries: 0,
                pages: None,
                leaked_units: 0,
            });
        }
        Err(error) => return Err(error.into()),
    };
    let statistics = database.statistics();
    let pages = statistics.engine.store.used_bytes / u64::from(statistics.page_bytes.max(1));
    let mut progress = Progress::of_pages(pages, target.global.quiet);
    let view = verification::verify(&database, depth, |pages| progress.set(pages, 0))?;
    Ok(view)
}
