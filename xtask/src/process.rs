//! Running other programs: their output goes straight to the terminal unless it is asked for.
//!
//! Where there is no terminal it is passed on line by line, and an error ends with the last
//! lines of it: who reads the end of a long run's output finds there why a step failed. What
//! the program leaves running keeps its output open, and isn't waited for.

use std::collections::VecDeque;
use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Read, Write};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// How many of its last lines an error tells.
const LAST_LINES: usize = 20;
/// How long the end of a program's output is waited for when it has ended.
const OUTPUT_ENDS_WITHIN: Duration = Duration::from_secs(2);

/// The command line as a reader would type it.
pub fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut line = program
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

/// Prints the command line, runs it, and fails where its exit code isn't 0.
pub fn run(command: &mut Command) -> Result<()> {
    let line = describe(command);
    println!("$ {line}");
    let last = Arc::<LastLines>::default();
    let status = if io::stdout().is_terminal() {
        command.status()
    } else {
        pass_on(command, &last)
    };
    let status = status.with_context(|| format!("cannot start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed: {status}{}", last.told());
    }
    Ok(())
}

/// The end of what a program printed.
#[derive(Default)]
struct LastLines(Mutex<VecDeque<String>>);

impl LastLines {
    fn push(&self, line: &[u8]) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LAST_LINES {
            lines.pop_front();
        }
        lines.push_back(String::from_utf8_lossy(line).trim_end().to_owned());
    }

    fn told(&self) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().fold(String::new(), |mut told, line| {
            told.push_str("\n    ");
            told.push_str(line);
            told
        })
    }
}

/// Runs a program and passes on what it prints.
fn pass_on(command: &mut Command, last: &Arc<LastLines>) -> io::Result<ExitStatus> {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // Dropped by who has read everything.
    let (open, ended) = mpsc::channel::<()>();
    if let Some(from) = child.stdout.take() {
        let (last, open) = (Arc::clone(last), open.clone());
        std::thread::spawn(move || {
            let _open = open;
            copy_lines(from, io::stdout(), &last);
        });
    }
    if let Some(from) = child.stderr.take() {
        let last = Arc::clone(last);
        std::thread::spawn(move || {
            let _open = open;
            copy_lines(from, io::stderr(), &last);
        });
    }
    let status = child.wait()?;
    let _late = ended.recv_timeout(OUTPUT_ENDS_WITHIN);
    Ok(status)
}

/// Ends where the program closes its output. That nobody listens to what is passed on is no
/// reason to end the program.
fn copy_lines(from: impl Read, mut to: impl Write, last: &LastLines) {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        let _passed = to.write_all(&line).and_then(|()| to.flush());
        last.push(&line);
        line.clear();
    }
}

/// Runs the command and returns what it printed; fails where its exit code isn't 0.
pub fn capture(command: &mut Command) -> Result<String> {
    let line = describe(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{line}`"))?;
    if !output.status.success() {
        bail!(
            "`{line}` failed: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{line}` printed no UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_ends_with_the_last_lines_of_both_outputs() {
        let last = Arc::<LastLines>::default();
        let mut command = Command::new("sh");
        command.args(["-c", "for n in $(seq 100); do echo line $n; done; exit 3"]);
        let status = pass_on(&mut command, &last).unwrap();
        assert_eq!(status.code(), Some(3));
        let told = last.told();
        assert!(told.starts_with("\n    line 81\n"), "{told}");
        assert!(told.ends_with("\n    line 100"), "{told}");

        let last = Arc::<LastLines>::default();
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2"]);
        assert!(pass_on(&mut command, &last).unwrap().success());
        let told = last.told();
        assert!(
            told.contains("\n    out") && told.contains("\n    err"),
            "{told}"
        );
    }
}
