//! `info` and `verify`.

use super::place::{Purpose, directory_failure};
use super::store::{Service, Store};
use super::{Context, json_member, print_json, write_out};
use crate::failure::{Exit, Failure};
use crate::output::counted;
use crate::terminal::Progress;
use lightning_db::{Database, Error};
use std::io::{self, Write};
use std::path::Path;

pub(super) fn info(context: &Context<'_>) -> Result<Exit, Failure> {
    let mut store = context.open(Purpose::Read)?;
    info_of(context, &mut *store)
}

/// Prints what `store` is and holds.
pub(super) fn info_of(context: &Context<'_>, store: &mut dyn Store) -> Result<Exit, Failure> {
    let mut tables = Vec::new();
    for table in store.tables()? {
        let entries = store.count(&table)?;
        tables.push((table, entries));
    }
    if let Some(database) = store.database() {
        return info_of_directory(context, database, &tables);
    }
    let name = store.name();
    match store.service() {
        Some(service) => info_of_service(context, &name, service, &tables),
        None => Ok(Exit::Fine),
    }
}

fn info_of_service(
    context: &Context<'_>,
    name: &str,
    service: &mut Service,
    tables: &[(String, u64)],
) -> Result<Exit, Failure> {
    let figures = service.info("server")?;
    let figure = |wanted: &str| {
        let found = figures.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.as_str())
    };
    let version = figure("lightning_version").unwrap_or("unknown");
    let number = |name: &str| figure(name).and_then(|text| text.parse::<u64>().ok());
    let process = number("process_id");
    let uptime = number("uptime_in_seconds");
    if context.global.json {
        return print_json(&serde_json::json!({
            "url": name,
            "version": version,
            "process": process,
            "uptime_seconds": uptime,
            "tables": json_tables(tables),
        }));
    }
    write_out(|out| {
        let or_unknown =
            |number: Option<u64>| number.map_or("unknown".to_owned(), |number| number.to_string());
        writeln!(out, "service          {name}")?;
        writeln!(out, "version          {version}")?;
        writeln!(out, "process          {}", or_unknown(process))?;
        writeln!(out, "runs for         {} s", or_unknown(uptime))?;
        write_tables(context, out, tables)
    })
}

fn json_tables(tables: &[(String, u64)]) -> Vec<serde_json::Value> {
    let json =
        |(name, entries): &(String, u64)| serde_json::json!({"name": name, "entries": entries});
    tables.iter().map(json).collect()
}

fn write_tables(
    context: &Context<'_>,
    out: &mut impl Write,
    tables: &[(String, u64)],
) -> io::Result<()> {
    writeln!(out, "tables           {}", tables.len())?;
    for (name, entries) in tables {
        let name = context.text_of(name.as_bytes());
        writeln!(out, "  {name}: {entries} entries")?;
    }
    Ok(())
}

fn info_of_directory(
    context: &Context<'_>,
    database: &Database,
    tables: &[(String, u64)],
) -> Result<Exit, Failure> {
    let statistics = database.statistics();
    let engine = statistics.engine;
    let compression = statistics.compression.to_string();
    if context.global.json {
        let mut object = path_object(database.path());
        for (name, value) in [
            ("page_bytes", u64::from(statistics.page_bytes)),
            ("key_bytes_max", statistics.key_bytes_max as u64),
            ("value_bytes_max", statistics.value_bytes_max as u64),
            ("file_bytes", engine.store.file_bytes),
            ("used_bytes", engine.store.used_bytes),
            ("runs", u64::from(engine.runs)),
            ("last_commit", engine.appended_sequence),
        ] {
            object.insert(name.to_owned(), value.into());
        }
        object.insert("compression".to_owned(), compression.into());
        object.insert("tables".to_owned(), json_tables(tables).into());
        return print_json(&object);
    }
    write_out(|out| {
        writeln!(out, "path             {}", database.path().display())?;
        writeln!(out, "page             {} bytes", statistics.page_bytes)?;
        writeln!(out, "compression      {compression}")?;
        writeln!(out, "longest key      {} bytes", statistics.key_bytes_max)?;
        writeln!(out, "longest value    {} bytes", statistics.value_bytes_max)?;
        writeln!(out, "page file        {} bytes", engine.store.file_bytes)?;
        writeln!(out, "  of it used     {} bytes", engine.store.used_bytes)?;
        writeln!(out, "runs             {}", engine.runs)?;
        writeln!(out, "last commit      {}", engine.appended_sequence)?;
        write_tables(context, out, tables)
    })
}

pub(super) fn verify(context: &Context<'_>) -> Result<Exit, Failure> {
    let path = context.directory()?;
    let database = match Database::open_read_only(&path) {
        Ok(database) => database,
        Err(error) => {
            let failure = directory_failure(&error, &path);
            if failure.exit == Exit::Failed {
                tell_damage(context, &path, &error)?;
            }
            return Err(failure);
        }
    };
    verify_database(context, &database)
}

/// Reads everything in `database` and checks it.
pub(super) fn verify_database(context: &Context<'_>, database: &Database) -> Result<Exit, Failure> {
    let statistics = database.statistics();
    let pages = statistics.engine.store.used_bytes / u64::from(statistics.page_bytes.max(1));
    let mut progress = Progress::of_pages(pages, context.global.quiet);
    let checked = database.verify_with_progress(|pages| progress.set(pages, 0));
    drop(progress);
    let found = match checked {
        Ok(found) => found,
        Err(error) => {
            tell_damage(context, database.path(), &error)?;
            return Err(error.into());
        }
    };
    if context.global.json {
        let mut object = path_object(database.path());
        object.insert("sound".to_owned(), true.into());
        for (name, value) in [
            ("tables", found.tables),
            ("entries", found.entries),
            ("pages", found.pages),
            ("large_values", found.large_values),
            ("leaked_units", found.leaked_units),
        ] {
            object.insert(name.to_owned(), value.into());
        }
        print_json(&object)?;
    } else {
        write_out(|out| {
            writeln!(
                out,
                "{}: sound: {}, {}, {}, {}",
                database.path().display(),
                counted(found.tables, "table", "tables"),
                counted(found.entries, "entry", "entries"),
                counted(found.pages, "page", "pages"),
                counted(found.large_values, "large value", "large values")
            )
        })?;
    }
    if found.leaked_units == 0 {
        return Ok(Exit::Fine);
    }
    context.note(&format_args!(
        "{} units of the page file are in use and belong to nothing; no data is lost, and \
         dumping and loading the database gives the space back",
        found.leaked_units
    ));
    Ok(Exit::Finding)
}

fn path_object(path: &Path) -> serde_json::Map<String, serde_json::Value> {
    let mut object = serde_json::Map::new();
    json_member(&mut object, "path", path.as_os_str().as_encoded_bytes());
    object
}

/// Prints what is wrong as JSON where that is wanted; the words are the failure's.
fn tell_damage(context: &Context<'_>, path: &Path, error: &Error) -> Result<(), Failure> {
    if context.global.json {
        let mut object = path_object(path);
        object.insert("sound".to_owned(), false.into());
        object.insert("code".to_owned(), error.code().into());
        object.insert("error".to_owned(), error.to_string().into());
        print_json(&object)?;
    }
    Ok(())
}
