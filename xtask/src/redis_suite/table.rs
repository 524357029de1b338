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
    let passed = expectation.passed();
    let differ = expectation.given_reasons().count();
    let _ = write!(
        text,
        "\n## Redis's own tests\n\n\
         Files of the suite of Redis {version}, run against the service as against any server \
         that it didn't start: {passed} tests pass, {differ} differ. Tests that need DEBUG, \
         replicas or a snapshot in a file don't run.\n\n"
    );
    write_files(text, expectation);
    let _ = write!(
        text,
        "\n### Why tests differ\n\nThe list of tests is `{EXPECTATION}`.\n\n"
    );
    write_reasons(text, expectation);
}

/// How many tests of each file pass.
pub fn write_files(text: &mut String, expectation: &Expectation) {
    let _ = writeln!(text, "| file | pass | differ |\n|---|---|---|");
    for file in &expectation.files {
        let differ = file.differ.len() + file.skip.len();
        let _ = writeln!(text, "| {} | {} | {differ} |", file.name, file.passed);
    }
}

/// How many tests differ for which reason.
pub fn write_reasons(text: &mut String, expectation: &Expectation) {
    let _ = writeln!(text, "| tests | reason |\n|---|---|");
    for (word, reason) in &expectation.reasons {
        let given = expectation.given_reasons();
        let tests = given.filter(|given| given == word).count();
        let _ = writeln!(text, "| {tests} | {reason} |");
    }
}

/// Puts what the tests of redis-py came to, `section`, in the place of what the text said of
/// it before, or behind it. It stands at the end.
pub fn with_redis_py(text: &str, section: &str) -> String {
    let before = text.split_once(REDIS_PY).map_or(text, |(before, _)| before);
    format!("{before}{section}")
}

/// The heading of what the tests of redis-py came to.
pub const REDIS_PY: &str = "\n## redis-py's own tests\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_takes_the_place_of_the_one_before_it() {
        let section = format!("{REDIS_PY}new");
        assert_eq!(
            with_redis_py("head\n", &section),
            format!("head\n{section}")
        );
        let before = format!("head\n{REDIS_PY}old\n");
        assert_eq!(with_redis_py(&before, &section), format!("head\n{section}"));
    }
}
