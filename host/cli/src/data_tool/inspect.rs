//! `info` and `verify`.

use super::{Context, json_member, print_json, write_out};
use crate::failure::{Exit, Failure};
use crate::terminal::Progress;
use lightning_db::{Database, Error};
use std::io::Write;

pub(super) fn info(context: &Context<'_>) -> Result<Exit, Failure> {
    let database = context.open_read_only()?;
    let read = database.begin_read()?;
    let mut tables = Vec::new();
    for table in database.tables()? {
        let entries = read.open(&table)?.len()?;
        tables.push((table, entries));
    }
    let statistics = database.statistics();
    let engine = statistics.engine;
    if context.global.json {
        let tables: Vec<serde_json::Value> = tables
            .iter()
            .map(|(table, entries)| serde_json::json!({"name": table.name(), "entries": entries}))
            .collect();
        let mut object = path_object(context)?;
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
        object.insert("tables".to_owned(), tables.into());
        return print_json(&object);
    }
    write_out(|out| {
        writeln!(out, "path             {}", database.path().display())?;
        writeln!(out, "page             {} bytes", statistics.page_bytes)?;
        writeln!(out, "longest key      {} bytes", statistics.key_bytes_max)?;
        writeln!(out, "longest value    {} bytes", statistics.value_bytes_max)?;
        writeln!(out, "page file        {} bytes", engine.store.file_bytes)?;
        writeln!(out, "  of it used     {} bytes", engine.store.used_bytes)?;
        writeln!(out, "runs             {}", engine.runs)?;
        writeln!(out, "last commit      {}", engine.appended_sequence)?;
        writeln!(out, "tables           {}", tables.len())?;
        for (table, entries) in &tables {
            let name = context.text_of(table.name().as_bytes());
            writeln!(out, "  {name}: {entries} entries")?;
        }
        Ok(())
    })
}

pub(super) fn verify(context: &Context<'_>) -> Result<Exit, Failure> {
    let database = match Database::open_read_only(context.directory()?) {
        Ok(database) => database,
        Err(error) => {
            let failure = Failure::database(&error);
            if failure.exit == Exit::Failed {
                tell_damage(context, &error)?;
            }
            return Err(failure);
        }
    };
    let statistics = database.statistics();
    let pages = statistics.engine.store.used_bytes / u64::from(statistics.page_bytes.max(1));
    let mut progress = Progress::of_pages(pages, context.global.quiet);
    let checked = database.verify_with_progress(|pages| progress.set(pages, 0));
    drop(progress);
    let found = match checked {
        Ok(found) => found,
        Err(error) => {
            tell_damage(context, &error)?;
            return Err(error.into());
        }
    };
    if context.global.json {
        let mut object = path_object(context)?;
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
                "{}: sound: {} tables, {} entries, {} pages, {} large values",
                database.path().display(),
                found.tables,
                found.entries,
                found.pages,
                found.large_values
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

fn path_object(
    context: &Context<'_>,
) -> Result<serde_json::Map<String, serde_json::Value>, Failure> {
    let mut object = serde_json::Map::new();
    let path = context.directory()?.as_os_str().as_encoded_bytes();
    json_member(&mut object, "path", path);
    Ok(object)
}

/// Prints what is wrong as JSON where that is wanted; the words are the failure's.
fn tell_damage(context: &Context<'_>, error: &Error) -> Result<(), Failure> {
    if context.global.json {
        let mut object = path_object(context)?;
        object.insert("sound".to_owned(), false.into());
        object.insert("code".to_owned(), error.code().into());
        object.insert("error".to_owned(), error.to_string().into());
        print_json(&object)?;
    }
    Ok(())
}
