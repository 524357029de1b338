//! `health`.

use super::arguments::HealthOptions;
use super::target::{Target, admin_failure};
use crate::failure::{Exit, Failure};
use crate::output::{print_json, write_out};
use lightning_ops::admin::{HealthStatus, HealthView, Request};
use std::io::{self, Write};
use std::time::Duration;

/// How long the service may take, where nothing is said.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The same where it reads data.
const DATA_TIMEOUT: Duration = Duration::from_secs(120);

pub(super) fn run(target: &Target<'_>, options: &HealthOptions) -> Result<Exit, Failure> {
    let verify_data = options.verify_data || options.comprehensive;
    let detailed = options.detailed || options.comprehensive;
    let reads_data = verify_data || options.tests.iter().any(|test| test == "data");
    let default = if reads_data { DATA_TIMEOUT } else { TIMEOUT };
    let mut client = target.connect_within(options.timeout.unwrap_or(default))?;
    let view: HealthView = client
        .call(&Request::Health {
            tests: options.tests.clone(),
            verify_data,
            detailed,
        })
        .map_err(|error| admin_failure(&error))?;
    if target.global.json {
        print_json(&view)?;
    } else {
        write_out(|out| write_view(out, &view))?;
    }
    Ok(match view.status {
        HealthStatus::Healthy => Exit::Fine,
        HealthStatus::Warning => Exit::Finding,
        HealthStatus::Critical => Exit::Failed,
    })
}

fn write_view(out: &mut impl Write, view: &HealthView) -> io::Result<()> {
    writeln!(out, "{}", view.status.word())?;
    if let Some(service) = &view.service {
        writeln!(
            out,
            "  service {}, process {}, up {} s, data {}",
            service.version, service.process, service.uptime_seconds, service.data
        )?;
    }
    let width = view.details.keys().map(String::len).max().unwrap_or(0);
    for (name, check) in &view.details {
        let status = check.status.word();
        writeln!(out, "  {name:width$}  {status:8}  {}", check.message)?;
        if let Some(remedy) = &check.remedy {
            writeln!(out, "  {:width$}  {:8}  to do: {remedy}", "", "")?;
        }
        for (figure, value) in &check.figures {
            writeln!(out, "  {:width$}  {:8}    {figure} = {value}", "", "")?;
        }
    }
    Ok(())
}
