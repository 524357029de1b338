//! `host/server/REDIS.md`: what the service covers, written from what it says of itself
//! and from the results.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::expectation::{Expectation, PATH as EXPECTATION};
use super::server::OwnCommand;
use super::source::PeerCommand;

/// The file, from the root of the workspace.
pub const PATH: &str = "host/server/REDIS.md";

const HEAD: &str = "\
# What the service covers of Redis

Written by `cargo xtask redis-suite`; changes here are lost. The service speaks the Redis
protocol so that clients of Redis can use it. It doesn't claim to replace Redis: what isn't
listed here is answered as an unknown command.
";

/// The whole text.
pub fn write(
    expectation: &Expectation,
    own: &BTreeMap<String, OwnCommand>,
    peer: &[PeerCommand],
) -> String {
    let mut text = HEAD.to_owned();
    write_commands(&mut text, expectation, own, peer);
    write_results(&mut text, expectation);
    text
}

fn shown(name: &str) -> String {
    name.to_uppercase().replace('|', " ")
}

// Writing to a string can't fail, so that what `write!` answers is let go below.
fn write_commands(
    text: &mut String,
    expectation: &Expectation,
    own: &BTreeMap<String, OwnCommand>,
    peer: &[PeerCommand],
) {
    let version = &expectation.version;
    let groups: BTreeSet<&str> = own.values().map(|command| &*command.group).collect();
    let _ = write!(text, "\n## Commands\n");
    for group in groups {
        let _ = write!(
            text,
            "\n### {group}\n\n| command | what it does |\n|---|---|\n"
        );
        for (name, command) in own.iter().filter(|(_, command)| command.group == group) {
            let is_container = own
                .range(format!("{name}|")..format!("{name}}}"))
                .next()
                .is_some();
            if !is_container {
                let _ = writeln!(text, "| {} | {} |", shown(name), command.summary);
            }
        }
    }
    let missing = |group: &str| -> Vec<String> {
        let of_group = peer.iter().filter(|command| command.group == group);
        of_group
            .filter(|command| !own.contains_key(&command.name))
            .filter(|command| {
                // Those of a command that is missing itself say nothing more.
                let container = command.name.split('|').next().unwrap_or_default();
                container == command.name || own.contains_key(container)
            })
            .map(|command| shown(&command.name))
            .collect()
    };
    let _ = write!(
        text,
        "\n### Commands of Redis {version} that are not there\n\n| group | commands |\n|---|---|\n"
    );
    let groups: BTreeSet<&str> = peer.iter().map(|command| &*command.group).collect();
    for group in groups.into_iter().filter(|group| *group != "sentinel") {
        let missing = missing(group);
        if !missing.is_empty() {
            let _ = writeln!(text, "| {group} | {} |", missing.join(", "));
        }
    }
}

fn write_results(text: &mut String, expectation: &Expectation) {
    let version = &expectation.version;
    let passed: usize = expectation.files.iter().map(|file| file.passed).sum();
    let differ: usize = expectation
        .files
        .iter()
        .map(|file| file.differ.len() + file.skip.len())
        .sum();
    let _ = write!(
        text,
        "\n## Redis's own tests\n\n\
         Files of the suite of Redis {version}, run against the service as against any server \
         that it didn't start: {passed} tests pass, {differ} differ. Tests that need DEBUG, \
         replicas or a snapshot in a file don't run.\n\n\
         | file | pass | differ |\n|---|---|---|\n"
    );
    for file in &expectation.files {
        let differ = file.differ.len() + file.skip.len();
        let _ = writeln!(text, "| {} | {} | {differ} |", file.name, file.passed);
    }
    let _ = write!(
        text,
        "\n### Why tests differ\n\nThe list of tests is `{EXPECTATION}`.\n\n\
         | tests | reason |\n|---|---|\n"
    );
    for (word, reason) in &expectation.reasons {
        let tests = expectation
            .files
            .iter()
            .flat_map(|file| file.differ.values().chain(file.skip.values()))
            .filter(|given| *given == word)
            .count();
        let _ = writeln!(text, "| {tests} | {reason} |");
    }
}
