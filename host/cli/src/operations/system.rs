//! `system cpu-features`.

use super::arguments::SystemCommand;
use super::target::Target;
use crate::failure::{Exit, Failure};
use crate::output::{print_json, write_out};
use std::io::Write;

/// A feature of the processor: its name, whether it is there, and what it is good for.
type Feature = (&'static str, bool, &'static str);

const CHECKSUMS: &str = "checksums of pages and log (CRC-32C)";
const WIDE: &str = "comparing and copying, where the build is for this processor";
const CIPHER: &str = "encryption and TLS";

#[cfg(target_arch = "x86_64")]
fn features() -> Vec<Feature> {
    vec![
        ("sse4.2", is_x86_feature_detected!("sse4.2"), CHECKSUMS),
        ("pclmulqdq", is_x86_feature_detected!("pclmulqdq"), CIPHER),
        ("avx2", is_x86_feature_detected!("avx2"), WIDE),
        ("bmi2", is_x86_feature_detected!("bmi2"), WIDE),
        ("avx512f", is_x86_feature_detected!("avx512f"), WIDE),
        ("aes", is_x86_feature_detected!("aes"), CIPHER),
        ("vaes", is_x86_feature_detected!("vaes"), CIPHER),
    ]
}

#[cfg(target_arch = "aarch64")]
fn features() -> Vec<Feature> {
    use std::arch::is_aarch64_feature_detected;

    vec![
        ("crc", is_aarch64_feature_detected!("crc"), CHECKSUMS),
        ("pmull", is_aarch64_feature_detected!("pmull"), CIPHER),
        ("neon", is_aarch64_feature_detected!("neon"), WIDE),
        ("sve", is_aarch64_feature_detected!("sve"), WIDE),
        ("aes", is_aarch64_feature_detected!("aes"), CIPHER),
    ]
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn features() -> Vec<Feature> {
    Vec::new()
}

pub(super) fn run(target: &Target<'_>, command: &SystemCommand) -> Result<Exit, Failure> {
    let SystemCommand::CpuFeatures = command;
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let features = features();
    let architecture = std::env::consts::ARCH;
    if target.global.json {
        let named: serde_json::Map<String, serde_json::Value> = features
            .iter()
            .map(|(name, is_there, _)| ((*name).to_owned(), (*is_there).into()))
            .collect();
        return print_json(&serde_json::json!({
            "architecture": architecture,
            "processors": processors,
            "features": named,
        }));
    }
    write_out(|out| {
        writeln!(
            out,
            "{architecture}, {processors} processors for this process"
        )?;
        for (name, is_there, good_for) in &features {
            let there = if *is_there { "yes" } else { "no" };
            writeln!(out, "  {name:10} {there:4} {good_for}")?;
        }
        writeln!(
            out,
            "What is chosen when the database is built: RUSTFLAGS=\"-C target-cpu=native\"."
        )
    })
}
