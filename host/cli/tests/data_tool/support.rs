//! Runs `lightning-db` and LMDB's tools as processes, in directories that are
//! removed afterwards.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

/// A path for a database. Nothing is there at first; what is there at last is removed.
pub struct Directory {
    path: PathBuf,
}

impl Directory {
    pub fn new(name: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        let path = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("data-tool-{name}-{process}-{number}"));
        std::fs::remove_dir_all(&path).ok();
        Self { path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Each file and directory, its bytes and its times.
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>, SystemTime, SystemTime)> {
        let mut found = Vec::new();
        let mut folders = vec![self.path.clone()];
        while let Some(folder) = folders.pop() {
            // Read before this test reads, which may change the access time.
            for entry in std::fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                let metadata = std::fs::metadata(&path).unwrap();
                let times = (metadata.modified().unwrap(), metadata.created());
                let created = times.1.unwrap_or(SystemTime::UNIX_EPOCH);
                if metadata.is_dir() {
                    folders.push(path.clone());
                    found.push((path, Vec::new(), times.0, created));
                } else {
                    let bytes = std::fs::read(&path).unwrap();
                    found.push((path, bytes, times.0, created));
                }
            }
        }
        found.sort();
        found
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.path).ok();
    }
}

/// A command line to be run.
pub struct Line {
    arguments: Vec<OsString>,
    input: Vec<u8>,
    variables: Vec<(String, String)>,
}

/// `lightning-db` with these arguments.
pub fn lightning_db(arguments: &[&str]) -> Line {
    Line {
        arguments: arguments.iter().map(OsString::from).collect(),
        input: Vec::new(),
        variables: Vec::new(),
    }
}

impl Line {
    pub fn data(mut self, directory: &Directory) -> Self {
        self.arguments.push("--data".into());
        self.arguments.push(directory.path().into());
        self
    }

    pub fn input(mut self, text: &str) -> Self {
        self.input = text.as_bytes().to_vec();
        self
    }

    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lightning-db"));
        command
            .args(&self.arguments)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub fn run(self) -> Run {
        Run::of(run_with_input(&mut self.command(), self.input))
    }

    /// Kills the process a moment after it has printed so many lines; answers the
    /// number on the last whole line.
    pub fn kill_after_lines(self, lines: u32, tenths_ms: u32) -> u64 {
        let mut process = self.command().stdin(Stdio::null()).spawn().unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut last = 0;
        let mut line = String::new();
        let mut seen = 0;
        while output.read_line(&mut line).unwrap() > 0 {
            // A line that was cut is no acknowledgement.
            if let Some(number) = line.strip_suffix('\n') {
                last = number.parse().unwrap();
            }
            line.clear();
            seen += 1;
            if seen == lines {
                std::thread::sleep(Duration::from_micros(u64::from(tenths_ms) * 100));
                process.kill().unwrap();
            }
        }
        process.wait().unwrap();
        last
    }
}

/// A process that waits for more input.
pub struct Held {
    process: Child,
    stdin: ChildStdin,
}

impl Line {
    /// Starts the process, gives it `input`, and waits for a line of output.
    pub fn hold_after(self, input: &str) -> Held {
        let mut process = self.command().spawn().unwrap();
        let mut stdin = process.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        Held { process, stdin }
    }
}

impl Held {
    /// Ends the input and waits for the process.
    pub fn finish(self) -> Run {
        drop(self.stdin);
        Run::of(self.process.wait_with_output().unwrap())
    }
}

fn run_with_input(command: &mut Command, input: Vec<u8>) -> Output {
    let mut process = command.spawn().unwrap();
    let mut stdin = process.stdin.take().unwrap();
    let writer = std::thread::spawn(move || {
        // A process that fails early doesn't read all.
        stdin.write_all(&input).ok();
    });
    let output = process.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

/// What a process did.
pub struct Run {
    pub stdout: String,
    pub stderr: String,
    pub code: i32,
}

impl Run {
    fn of(output: Output) -> Self {
        Self {
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            code: output.status.code().unwrap(),
        }
    }

    #[track_caller]
    pub fn exits(&self, code: i32) -> &Self {
        assert_eq!(self.code, code, "{}{}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub fn prints(&self, text: &str) -> &Self {
        assert!(self.stdout == text, "printed:\n{}", self.stdout);
        self
    }

    /// Whether standard error holds `text`; for no text, whether it is empty.
    #[track_caller]
    pub fn tells(&self, text: &str) -> &Self {
        let told = if text.is_empty() {
            self.stderr.is_empty()
        } else {
            self.stderr.contains(text)
        };
        assert!(told, "told:\n{}", self.stderr);
        self
    }
}

/// LMDB's tools, with directories of their own.
pub struct Lmdb {
    root: Directory,
}

/// LMDB's tools, or `None` (told on standard error) where they are not installed.
pub fn lmdb_tools() -> Option<Lmdb> {
    for tool in ["mdb_load", "mdb_dump"] {
        if Command::new(tool).arg("-V").output().is_err() {
            eprintln!("not run: {tool} is missing; it is in the package lmdb-utils");
            return None;
        }
    }
    Some(Lmdb {
        root: Directory::new("lmdb-files"),
    })
}

impl Lmdb {
    /// Loads `text` into a new database.
    pub fn load(&self, name: &str, text: &str) -> PathBuf {
        let path = self.root.path().join(name);
        std::fs::remove_dir_all(&path).ok();
        std::fs::create_dir_all(&path).unwrap();
        let mut command = Command::new("mdb_load");
        command
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let output = run_with_input(&mut command, text.as_bytes().to_vec());
        assert!(output.status.success(), "{output:?}");
        path
    }

    /// What `mdb_dump` writes of a database.
    pub fn dump(&self, path: &Path, options: &[&str]) -> String {
        let output = Command::new("mdb_dump")
            .args(options)
            .arg(path)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}
