//! The tables and the JSON at the end of a run: figures, ratios, verdicts.

use std::path::Path;

use anyhow::{Context as _, Result};
use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value as Json, json};

use crate::engines::SUBJECT;
use crate::run::{Plan, Results};
use crate::workloads::{Against, Better, Figure, Figures, Target, Unit, Workload};

/// The figures of one measurement, for the progress line.
pub fn in_one_line(workload: &Workload, figures: &Figures) -> String {
    let parts: Vec<String> = workload
        .figures
        .iter()
        .filter_map(|figure| {
            let value = figures.get(figure.name)?;
            Some(format!("{} {}", figure.name, write(figure.unit, *value)))
        })
        .collect();
    if parts.is_empty() {
        "done".to_owned()
    } else {
        parts.join(", ")
    }
}

/// Prints both tables on standard output.
pub fn print(plan: &Plan, results: &Results) {
    println!(
        "\nMedians of {} round(s), scale {}, cache {} MiB. After ±: half the range between rounds.\n{}",
        plan.rounds,
        plan.scale,
        plan.cache_bytes >> 20,
        figures_table(plan, results)
    );
    if plan.engines.iter().any(|engine| engine.name == SUBJECT) {
        let verdicts = verdicts(plan, results);
        let count = |met| {
            verdicts
                .iter()
                .filter(|verdict| verdict.is_met() == met)
                .count()
        };
        println!(
            "\nTargets of {SUBJECT}: {} met, {} missed, {} not judged.\n{}",
            count(Some(true)),
            count(Some(false)),
            count(None),
            verdicts_table(&verdicts)
        );
    } else {
        println!("\n{SUBJECT} was not measured: no targets to judge.");
    }
}

/// Writes settings, samples, medians and verdicts to `path`.
pub fn save(plan: &Plan, results: &Results, path: &Path) -> Result<()> {
    let figures: Vec<Json> = all_figures(plan)
        .map(|figure| {
            let engines: serde_json::Map<String, Json> = plan
                .engines
                .iter()
                .map(|engine| {
                    let entry = json!({
                        "median": results.median(engine.name, figure.name),
                        "rounds": results.samples(engine.name, figure.name),
                    });
                    (engine.name.to_owned(), entry)
                })
                .collect();
            json!({
                "name": figure.name,
                "title": figure.title,
                "unit": unit_name(figure.unit),
                "more_is_better": figure.better == Better::More,
                "engines": engines,
            })
        })
        .collect();
    let verdicts: Vec<Json> = verdicts(plan, results)
        .iter()
        .map(|verdict| {
            json!({
                "figure": verdict.figure.name,
                "demanded": verdict.demand(),
                "quotient": verdict.quotient,
                "met": verdict.is_met(),
            })
        })
        .collect();
    let document = json!({
        "scale": plan.scale,
        "rounds": plan.rounds,
        "phase_seconds": plan.seconds,
        "cache_bytes": plan.cache_bytes,
        "figures": figures,
        "targets": verdicts,
        "failures": results.failures,
    });
    std::fs::write(path, format!("{document:#}\n"))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// One target, judged.
struct Verdict {
    figure: &'static Figure,
    target: &'static Target,
    value: Option<f64>,
    reference: Option<(String, f64)>,
    quotient: Option<f64>,
}

impl Verdict {
    /// Nothing when a figure is missing, because its engine was left out or failed.
    fn is_met(&self) -> Option<bool> {
        self.quotient.map(|quotient| match self.figure.better {
            Better::More => quotient >= self.target.bound,
            Better::Less => quotient <= self.target.bound,
        })
    }

    fn demand(&self) -> String {
        let sign = match self.figure.better {
            Better::More => "≥",
            Better::Less => "≤",
        };
        let bound = self.target.bound;
        match self.target.against {
            Against::Best => format!("{sign} {bound} of the best"),
            Against::Peer(peer) => format!("{sign} {bound} of {peer}"),
            Against::Own(figure) => format!("{sign} {bound} of own {figure}"),
            Against::Nothing => format!("{sign} {}", write(self.figure.unit, bound)),
        }
    }
}

fn verdicts(plan: &Plan, results: &Results) -> Vec<Verdict> {
    if !plan.engines.iter().any(|engine| engine.name == SUBJECT) {
        return Vec::new();
    }
    all_figures(plan)
        .flat_map(|figure| figure.targets.iter().map(move |target| (figure, target)))
        .map(|(figure, target)| {
            let value = results.median(SUBJECT, figure.name);
            let reference = match target.against {
                Against::Best => best_peer(plan, results, figure),
                Against::Peer(peer) => results
                    .median(peer, figure.name)
                    .map(|value| (peer.to_owned(), value)),
                Against::Own(own) => results
                    .median(SUBJECT, own)
                    .map(|value| (format!("own {own}"), value)),
                Against::Nothing => Some((String::new(), 1.0)),
            };
            let quotient = value
                .zip(reference.as_ref())
                .map(|(value, (_, reference))| value / reference);
            Verdict {
                figure,
                target,
                value,
                reference,
                quotient,
            }
        })
        .collect()
}

fn all_figures(plan: &Plan) -> impl Iterator<Item = &'static Figure> {
    plan.workloads
        .iter()
        .flat_map(|workload| workload.figures.iter())
}

/// The best engine apart from the subject, and its median.
fn best_peer(plan: &Plan, results: &Results, figure: &Figure) -> Option<(String, f64)> {
    let peers = plan
        .engines
        .iter()
        .filter(|engine| engine.name != SUBJECT)
        .filter_map(|engine| Some((engine.name, results.median(engine.name, figure.name)?)));
    let best = match figure.better {
        Better::More => peers.max_by(|one, other| one.1.total_cmp(&other.1)),
        Better::Less => peers.min_by(|one, other| one.1.total_cmp(&other.1)),
    };
    best.map(|(name, value)| (name.to_owned(), value))
}

fn figures_table(plan: &Plan, results: &Results) -> Table {
    let mut table = new_table();
    let mut header = vec!["workload".to_owned(), "figure".to_owned()];
    header.extend(plan.engines.iter().map(|engine| engine.name.to_owned()));
    header.push("best peer".to_owned());
    header.push(format!("{SUBJECT} / best"));
    table.set_header(header);
    for workload in &plan.workloads {
        for figure in workload.figures {
            let mut row = vec![workload.name.to_owned(), figure.title.to_owned()];
            row.extend(plan.engines.iter().map(|engine| {
                match results.median(engine.name, figure.name) {
                    Some(median) => {
                        let samples = results.samples(engine.name, figure.name);
                        write(figure.unit, median) + &spread(samples, median)
                    }
                    None => "-".to_owned(),
                }
            }));
            let best = best_peer(plan, results, figure);
            let quotient = results
                .median(SUBJECT, figure.name)
                .zip(best.as_ref())
                .map(|(value, (_, best))| format!("{:.2}", value / best));
            row.push(best.map_or_else(|| "-".to_owned(), |(name, _)| name));
            row.push(quotient.unwrap_or_else(|| "-".to_owned()));
            table.add_row(row);
        }
    }
    align_right_from(&mut table, 2);
    table
}

fn verdicts_table(verdicts: &[Verdict]) -> Table {
    let mut table = new_table();
    table.set_header(["figure", "demanded", SUBJECT, "against", "ratio", "verdict"]);
    for verdict in verdicts {
        let unit = verdict.figure.unit;
        let missing = || "-".to_owned();
        let against = match (&verdict.reference, verdict.target.against) {
            (_, Against::Nothing) => String::new(),
            (Some((name, value)), _) => format!("{name} {}", write(unit, *value)),
            (None, _) => missing(),
        };
        let ratio = match verdict.target.against {
            Against::Nothing => verdict.value.map(|value| value / verdict.target.bound),
            _ => verdict.quotient,
        };
        table.add_row([
            verdict.figure.title.to_owned(),
            verdict.demand(),
            verdict
                .value
                .map_or_else(missing, |value| write(unit, value)),
            against,
            ratio.map_or_else(missing, |ratio| format!("{ratio:.2}")),
            match verdict.is_met() {
                Some(true) => "pass".to_owned(),
                Some(false) => "FAIL".to_owned(),
                None => missing(),
            },
        ]);
    }
    align_right_from(&mut table, 2);
    table
}

fn new_table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table
}

fn align_right_from(table: &mut Table, first: usize) {
    for column in table.column_iter_mut().skip(first) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

fn spread(samples: &[f64], median: f64) -> String {
    let least = samples.iter().copied().fold(f64::INFINITY, f64::min);
    let most = samples.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if samples.len() < 2 || median == 0.0 {
        return String::new();
    }
    format!(" ±{:.0}%", (most - least) / 2.0 / median * 100.0)
}

fn unit_name(unit: Unit) -> &'static str {
    match unit {
        Unit::Rate => "1/s",
        Unit::Microseconds => "us",
        Unit::Milliseconds => "ms",
        Unit::Mebibytes => "MiB",
        Unit::Number => "1",
    }
}

/// A value with three digits or so, and its unit.
fn write(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Rate => write_rate(value),
        Unit::Number => format!("{value:.2}"),
        _ => {
            let digits = if value < 10.0 { 2 } else { 1 };
            format!("{value:.digits$} {}", unit_name(unit))
        }
    }
}

fn write_rate(value: f64) -> String {
    match value {
        1e6.. => format!("{:.2} M/s", value / 1e6),
        1e3.. => format!("{:.1} k/s", value / 1e3),
        _ => format!("{value:.0} /s"),
    }
}
