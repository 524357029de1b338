//! One file of Redis's tests: run against a service of its own, and read.

use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::expectation::ExpectedFile;
use super::server::Server;
use super::source::Source;

/// Tests that need what a service on its own doesn't give: debugging commands, replicas,
/// snapshots in files, memory for 4 GiB.
const TAGS: &str = "-needs:debug -needs:repl -needs:save -needs:config-maxmemory \
                    -needs:pfdebug -large-memory";
/// How long one file may take, in seconds.
const SECONDS_MAX: &str = "240";
/// The ports that the suite talks to itself on.
const BASE_PORT: usize = 21_111;
const PORTS: usize = 2_000;

/// What became of the tests of a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct FileResult {
    /// The names of those that passed.
    pub passed: Vec<String>,
    /// Those that failed, with what the suite says.
    pub failed: Vec<(String, String)>,
    /// Whether the file came to its end.
    pub is_whole: bool,
}

/// Runs a file of tests.
pub fn file(
    source: &Source,
    file: &ExpectedFile,
    worker: usize,
    verbose: bool,
) -> Result<FileResult> {
    let server = Server::start(&format!("worker-{worker}"))?;
    let mut command = Command::new("timeout");
    command
        .current_dir(&source.folder)
        .args([SECONDS_MAX, "tclsh", "tests/test_helper.tcl"])
        .args(["--host", "127.0.0.1", "--port", &server.port.to_string()])
        .args(["--singledb", "--ignore-encoding", "--ignore-digest"])
        // A command that there isn't ends its test and not the whole file.
        .arg("--durable")
        .args(["--clients", "1", "--tags", TAGS])
        .args(["--baseport", &(BASE_PORT + worker * PORTS).to_string()])
        .args(["--single", &test_file(source, file)?]);
    for name in file.skip.keys() {
        command.args(["--skiptest", name]);
    }
    let output = command
        .stdin(Stdio::null())
        .output()
        .context("starting tclsh")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if verbose {
        println!("{text}");
    }
    Ok(parse(&text))
}

/// The name of the file that is run: where the suite would leave its first part out, a copy
/// of it, without the mark that says so.
fn test_file(source: &Source, file: &ExpectedFile) -> Result<String> {
    if !file.taken_in {
        return Ok(file.name.clone());
    }
    let name = format!("{}-taken-in", file.name);
    let path = |name: &str| source.folder.join("tests").join(format!("{name}.tcl"));
    let text = std::fs::read_to_string(path(&file.name)).context("reading a file of tests")?;
    // The first part has this mark beside what it is about.
    let copy = text.replacen("acl external:skip", "acl", 1);
    std::fs::write(path(&name), copy).context("writing a copy of a file of tests")?;
    Ok(name)
}

/// Takes the colours out.
fn plain(line: &str) -> String {
    let mut text = String::new();
    let mut is_code = false;
    for letter in line.chars() {
        match letter {
            '\u{1b}' => is_code = true,
            'm' if is_code => is_code = false,
            _ if is_code => {}
            letter => text.push(letter),
        }
    }
    text
}

fn parse(text: &str) -> FileResult {
    let mut result = FileResult::default();
    // The summary at the end tells the failures once more.
    let mut lines = text.lines().map(plain).peekable();
    while let Some(line) = lines.next() {
        if let Some(test) = line.strip_prefix("[ok]: ") {
            let name = test.rsplit_once(" (").map_or(test, |(name, _)| name);
            result.passed.push(name.to_owned());
        } else if let Some(test) = line.strip_prefix("[err]: ") {
            let name = test
                .rsplit_once(" in tests/")
                .map_or(test, |(name, _)| name);
            let told = lines.peek().cloned().unwrap_or_default();
            result.failed.push((name.to_owned(), told));
        } else if line.starts_with("[exception]") {
            let told = lines.peek().cloned().unwrap_or_default();
            result.failed.push((line, told));
        } else if line.contains("done]: ") || line.contains(" done]") {
            result.is_whole = true;
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_suite_is_read_whatever_its_colours() {
        let text = "[\u{1b}[0;32;49mok\u{1b}[0m]: SET (and) GET (12 ms)\n\
                    [ignore]: other: Tag denied\n\
                    [\u{1b}[0;31;49merr\u{1b}[0m]: MGET in tests/unit/type/string.tcl\n\
                    Expected 1\n\
                    [1/1 \u{1b}[0;33;49mdone\u{1b}[0m]: unit/type/string (1 seconds)\n\
                    *** [\u{1b}[0;31;49merr\u{1b}[0m]: MGET in tests/unit/type/string.tcl\n";
        let expected = FileResult {
            passed: vec!["SET (and) GET".to_owned()],
            failed: vec![("MGET".to_owned(), "Expected 1".to_owned())],
            is_whole: true,
        };
        assert_eq!(parse(text), expected);
    }
}
