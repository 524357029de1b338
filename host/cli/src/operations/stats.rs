//! `stats`.

use super::arguments::{SizeUnit, StatsOptions};
use super::target::{Target, admin_failure};
use crate::failure::{Exit, Failure};
use crate::output::{print_json, write_out};
use lightning_ops::admin::{Client, FigureView, Request, StatisticsView, Unit};
use std::io::{self, Write};

pub(super) fn run(target: &Target<'_>, options: &StatsOptions) -> Result<Exit, Failure> {
    let mut client = target.connect()?;
    let view = ask(&mut client, options)?;
    if let Some(unit) = options.unit {
        let size = first_size(&view, unit)?;
        return write_out(|out| writeln!(out, "{size}"));
    }
    let exit = print(target, options, &view)?;
    let Some(period) = options.watch else {
        return Ok(exit);
    };
    loop {
        std::thread::sleep(period);
        let view = ask(&mut client, options)?;
        if !target.global.json {
            write_out(|out| writeln!(out))?;
        }
        print(target, options, &view)?;
    }
}

fn ask(client: &mut Client, options: &StatsOptions) -> Result<StatisticsView, Failure> {
    client
        .call(&Request::Stats {
            subject: options.subject.clone(),
        })
        .map_err(|error| admin_failure(&error))
}

fn print(
    target: &Target<'_>,
    options: &StatsOptions,
    view: &StatisticsView,
) -> Result<Exit, Failure> {
    if target.global.json {
        let figures: serde_json::Map<String, serde_json::Value> = view
            .figures
            .iter()
            .map(|figure| (figure.name.clone(), json_number(figure.value)))
            .collect();
        print_json(&serde_json::json!({
            "subject": view.subject,
            "figures": figures,
            "findings": view.findings,
        }))?;
    } else {
        write_out(|out| write_view(out, view, options.detailed))?;
    }
    Ok(if view.findings.is_empty() {
        Exit::Fine
    } else {
        Exit::Finding
    })
}

/// A whole number without a fraction, as counts are.
fn json_number(value: Option<f64>) -> serde_json::Value {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    match value {
        None => serde_json::Value::Null,
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is whole, and within what both types have exactly"
        )]
        Some(number) if (0.0..=EXACT_MAX).contains(&number) && number.fract() == 0.0 => {
            (number as u64).into()
        }
        Some(number) => number.into(),
    }
}

fn write_view(out: &mut impl Write, view: &StatisticsView, detailed: bool) -> io::Result<()> {
    let shown: Vec<&FigureView> = view
        .figures
        .iter()
        .filter(|figure| detailed || !figure.is_detail)
        .collect();
    let widths = shown.iter().map(|figure| figure.label.chars().count());
    let width = widths.max().unwrap_or(0);
    for figure in shown {
        let value = figure
            .value
            .map_or_else(|| "-".to_owned(), |value| text_of(value, figure.unit));
        writeln!(out, "{:width$}  {value}", figure.label)?;
    }
    for finding in &view.findings {
        writeln!(out, "finding: {finding}")?;
    }
    Ok(())
}

/// A value for people.
fn text_of(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Count if value.fract() == 0.0 => format!("{value}"),
        Unit::Count => format!("{value:.2}"),
        Unit::PerSecond => format!("{value:.1} /s"),
        Unit::Ratio => format!("{:.2} %", value * 100.0),
        Unit::Seconds if value == 0.0 => "0 s".to_owned(),
        Unit::Seconds if value < 1e-3 => format!("{:.1} µs", value * 1e6),
        Unit::Seconds if value < 1.0 => format!("{:.2} ms", value * 1e3),
        Unit::Seconds => format!("{value:.1} s"),
        Unit::Bytes => size_text(value),
    }
}

fn size_text(bytes: f64) -> String {
    if bytes < 1024.0 {
        return format!("{bytes} bytes");
    }
    let mut value = bytes;
    let mut shown = "bytes";
    for unit in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        shown = unit;
    }
    format!("{value:.1} {shown}")
}

/// The first size of a subject in a unit, rounded up: for the arithmetic of a shell.
fn first_size(view: &StatisticsView, unit: SizeUnit) -> Result<u64, Failure> {
    let bytes = view
        .figures
        .iter()
        .find(|figure| figure.unit == Unit::Bytes)
        .and_then(|figure| figure.value)
        .ok_or_else(|| Failure::usage(format!("{} has no size: leave out --unit", view.subject)))?;
    let exponent = match unit {
        SizeUnit::B => 0,
        SizeUnit::Kb => 1,
        SizeUnit::Mb => 2,
        SizeUnit::Gb => 3,
        SizeUnit::Tb => 4,
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a size is a whole number that was one of 64 bits"
    )]
    let bytes = bytes as u64;
    Ok(bytes.div_ceil(1024_u64.pow(exponent)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_readable() {
        for (value, unit, text) in [
            (12.0, Unit::Count, "12"),
            (0.25, Unit::Count, "0.25"),
            (1234.56, Unit::PerSecond, "1234.6 /s"),
            (0.999, Unit::Ratio, "99.90 %"),
            (0.000_012_3, Unit::Seconds, "12.3 µs"),
            (0.0123, Unit::Seconds, "12.30 ms"),
            (90.0, Unit::Seconds, "90.0 s"),
            (0.0, Unit::Seconds, "0 s"),
            (1000.0, Unit::Bytes, "1000 bytes"),
            (1536.0, Unit::Bytes, "1.5 KiB"),
            (5e12, Unit::Bytes, "4.5 TiB"),
        ] {
            assert_eq!(text_of(value, unit), text);
        }
        assert_eq!(json_number(Some(3.0)).to_string(), "3");
        assert_eq!(json_number(Some(0.5)).to_string(), "0.5");
        assert_eq!(json_number(None).to_string(), "null");
    }

    #[test]
    fn sizes_are_rounded_up() {
        let figure = |name: &str, value, unit| FigureView {
            name: name.to_owned(),
            value: Some(value),
            unit,
            label: String::new(),
            is_detail: false,
        };
        let mut view = StatisticsView {
            subject: "disk".to_owned(),
            figures: vec![
                figure("a", 1.0, Unit::Count),
                figure("b", 1_073_741_825.0, Unit::Bytes),
            ],
            findings: Vec::new(),
        };
        assert_eq!(first_size(&view, SizeUnit::Gb).unwrap(), 2);
        assert_eq!(first_size(&view, SizeUnit::B).unwrap(), 1_073_741_825);
        view.figures.truncate(1);
        assert_eq!(
            first_size(&view, SizeUnit::Gb).unwrap_err().exit,
            Exit::Usage
        );
    }
}
