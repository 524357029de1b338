//! `config show`, `set`, `check`, `reload` and `reference`.

use super::arguments::{CheckOptions, ConfigCommand, OriginKind, SetOptions, ShowOptions};
use super::target::{Target, admin_failure, configuration_failure, shown};
use crate::failure::{Exit, Failure};
use crate::output::{counted, print_json, write_out};
use lightning_ops::admin::{ConfigurationView, ReloadReport, Request, SettingView};
use lightning_ops::configuration::{
    self, Change, Configuration, Edit, EditError, Origin, Problem, Sources, Value,
};
use std::io::{self, Write};

pub(super) fn run(target: &Target<'_>, command: &ConfigCommand) -> Result<Exit, Failure> {
    match command {
        ConfigCommand::Show(options) => show(target, options),
        ConfigCommand::Set(options) => set(target, options),
        ConfigCommand::Check(options) => check(target, options),
        ConfigCommand::Reload => reload(target),
        ConfigCommand::Reference => {
            write_out(|out| out.write_all(configuration::reference().as_bytes()))
        }
    }
}

fn show(target: &Target<'_>, options: &ShowOptions) -> Result<Exit, Failure> {
    let keys = wanted_keys(&options.keys)?;
    let mut view: ConfigurationView = if options.running {
        let mut client = target.connect()?;
        client
            .call(&Request::ConfigShow)
            .map_err(|error| admin_failure(&error))?
    } else {
        let mut sources = target.sources();
        sources.command_line.extend(options.overrides.clone());
        ConfigurationView::of(&target.load(&sources)?)
    };
    view.settings.retain(|setting| {
        let is_wanted = keys.is_empty() || keys.contains(&setting.key);
        is_wanted && is_from(setting, options.origin)
    });
    for warning in &view.warnings {
        target.note(warning);
    }
    if target.global.json {
        return print_json(&view);
    }
    write_out(|out| write_table(out, &view.settings))
}

/// The full names of the settings that are meant.
fn wanted_keys(keys: &[String]) -> Result<Vec<String>, Failure> {
    let mut wanted = Vec::new();
    for key in keys {
        // Of a name that several sections have, all are shown.
        let named = configuration::named(key);
        if named.is_empty() {
            configuration::find(key, Origin::CommandLine)
                .map_err(|problem| Failure::usage(problem.to_string()))?;
        }
        wanted.extend(named.iter().map(|setting| setting.key()));
    }
    Ok(wanted)
}

fn is_from(setting: &SettingView, origin: Option<OriginKind>) -> bool {
    let source = setting.source.as_str();
    match origin {
        None => true,
        Some(OriginKind::Written) => source != "default",
        Some(OriginKind::Default) => source == "default",
        Some(OriginKind::File) => source == "file",
        Some(OriginKind::Environment) => source == "environment",
        Some(OriginKind::CommandLine) => source == "command-line",
        Some(OriginKind::Client) => source == "client",
    }
}

fn write_table(out: &mut impl Write, settings: &[SettingView]) -> io::Result<()> {
    let rows: Vec<(&str, String, &str)> = settings
        .iter()
        .map(|setting| {
            let value = setting.value.to_string();
            (setting.key.as_str(), value, setting.origin.as_str())
        })
        .collect();
    let width = |lengths: &mut dyn Iterator<Item = usize>| lengths.max().unwrap_or(0);
    let keys = width(&mut rows.iter().map(|(key, ..)| key.chars().count()));
    let values = width(&mut rows.iter().map(|(_, value, _)| value.chars().count()));
    for (key, value, origin) in &rows {
        writeln!(out, "{key:keys$}  {value:values$}  {origin}")?;
    }
    Ok(())
}

fn set(target: &Target<'_>, options: &SetOptions) -> Result<Exit, Failure> {
    let file = target.existing_file()?;
    let sources = Sources::of_process(Some(file.clone()));
    let edit = configuration::set(&file, &sources, &options.key, &options.value)
        .map_err(|error| edit_failure(&error))?;
    if let Some(origin) = &edit.overridden_by {
        target.note(&format_args!(
            "{origin} is set here, and counts more than the file where the service has it, too"
        ));
    }
    if target.global.json {
        return print_json(&serde_json::json!({
            "file": shown(&edit.file),
            "key": edit.setting.key(),
            "lines": edit.lines,
            "before": edit.before,
            "after": edit.after,
            "effect": edit.effect,
            "overridden_by": edit.overridden_by.as_ref().map(ToString::to_string),
        }));
    }
    write_out(|out| write_edit(out, &edit))
}

fn edit_failure(error: &EditError) -> Failure {
    match error {
        EditError::Argument(errors) => Failure::usage(errors.to_string()),
        EditError::File(errors) => configuration_failure(errors),
        _ => Failure::new(Exit::Failed, error.to_string()),
    }
}

fn write_edit(out: &mut impl Write, edit: &Edit) -> io::Result<()> {
    let lines: Vec<String> = edit.lines.iter().map(ToString::to_string).collect();
    write!(
        out,
        "{} line {}: {} = {}",
        edit.file.display(),
        lines.join(" and "),
        edit.setting.key(),
        edit.after
    )?;
    match &edit.before {
        Some(before) if edit.was_written && *before == edit.after => {
            return writeln!(out, ", as before");
        }
        Some(Value::Unset) if !edit.was_written => {}
        Some(before) if !edit.was_written => write!(out, " (was {before}, by default)")?,
        Some(before) => write!(out, " (was {before})")?,
        None => {}
    }
    writeln!(out, "\nThe change {}.", edit.effect.words())
}

fn check(target: &Target<'_>, options: &CheckOptions) -> Result<Exit, Failure> {
    let file = match &options.file {
        Some(file) => file.clone(),
        None => target.existing_file()?,
    };
    let sources = Sources::of_process(None).of_file_alone(&file);
    let loaded = match Configuration::load(&sources) {
        Ok(loaded) => loaded,
        Err(errors) => {
            if target.global.json && !errors.is_unreadable() {
                let problem = |problem: &Problem| serde_json::json!({"message": problem.to_string(), "line": problem.line()});
                let problems: Vec<serde_json::Value> =
                    errors.problems().iter().map(problem).collect();
                print_json(&serde_json::json!({
                    "file": shown(&file),
                    "sound": false,
                    "problems": problems,
                }))?;
            }
            return Err(configuration_failure(&errors));
        }
    };
    let entries = loaded.entries().iter();
    let settings = entries
        .filter(|entry| entry.origin.kind() == "file")
        .count();
    if target.global.json {
        return print_json(&serde_json::json!({
            "file": shown(&file),
            "sound": true,
            "settings": settings,
        }));
    }
    let settings = counted(settings as u64, "setting", "settings");
    write_out(|out| writeln!(out, "{}: sound: {settings}", file.display()))
}

fn reload(target: &Target<'_>) -> Result<Exit, Failure> {
    let mut client = target.connect()?;
    let report: ReloadReport = client
        .call(&Request::ConfigReload)
        .map_err(|error| admin_failure(&error))?;
    for warning in &report.warnings {
        target.note(warning);
    }
    if target.global.json {
        print_json(&report)?;
    } else {
        write_out(|out| write_report(out, &report))?;
    }
    let is_whole = report.needs_restart.is_empty()
        && report.creation_only.is_empty()
        && report.warnings.is_empty();
    Ok(if is_whole { Exit::Fine } else { Exit::Finding })
}

fn write_report(out: &mut impl Write, report: &ReloadReport) -> io::Result<()> {
    let parts: [(&str, &[Change]); 3] = [
        ("applied:", &report.applied),
        (
            "count after a restart of the service:",
            &report.needs_restart,
        ),
        (
            "count only for a database that is created:",
            &report.creation_only,
        ),
    ];
    if parts.iter().all(|(_, changes)| changes.is_empty()) {
        return writeln!(out, "nothing has changed");
    }
    for (words, changes) in parts {
        if !changes.is_empty() {
            writeln!(out, "{words}")?;
        }
        for change in changes {
            writeln!(
                out,
                "  {} = {} (was {})",
                change.key, change.after, change.before
            )?;
        }
    }
    Ok(())
}
