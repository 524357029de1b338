//! Starts the service on free ports, with a directory that is removed afterwards.

use lightning_ops::admin::{AdminError, Client, Request};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take on a machine that is busy.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A directory for a test, removed at its end.
pub struct Directory {
    path: PathBuf,
}

impl Directory {
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // Short, since the path of a socket has to be.
        let name = format!("lightning-service-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::remove_dir_all(&path).ok();
        std::fs::create_dir_all(&path).unwrap();
        Self { path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn text_of(&self, name: &str) -> String {
        self.path.join(name).to_str().unwrap().to_owned()
    }

    /// Writes a file; answers its path.
    pub fn file(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path.join(name), text).unwrap();
        self.text_of(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.path).ok();
    }
}

/// The program with these arguments, and no variables but `HOME`.
pub fn program(directory: &Directory, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lightning-admin-server"));
    command
        .args(arguments)
        .env_clear()
        .env("HOME", directory.path())
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// What the program printed that was to end by itself.
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

pub fn run(directory: &Directory, arguments: &[&str]) -> Ended {
    let output = program(directory, arguments).output().unwrap();
    Ended {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Settings of all tests: free ports, little memory.
const SMALL: [&str; 5] = [
    "database.port=0",
    "monitoring.metrics_port=0",
    "monitoring.health_check_port=0",
    "database.cache_size_mb=8",
    "database.lsm_memtable_size_mb=4",
];

/// The arguments for these settings, and those of all tests that are not among them.
pub fn arguments<'s>(settings: &[&'s str]) -> Vec<&'s str> {
    let key_of = |setting: &'s str| setting.split('=').next().unwrap();
    let is_free = |small: &&'s str| settings.iter().all(|one| key_of(one) != key_of(small));
    let small = SMALL.iter().copied().filter(is_free);
    small
        .chain(settings.iter().copied())
        .flat_map(|setting| ["--set", setting])
        .collect()
}

/// A running service.
pub struct Service {
    child: Child,
    _stdout: BufReader<ChildStdout>,
    stderr: Option<ChildStderr>,
    /// What stands in the line that it printed.
    parts: BTreeMap<String, String>,
}

impl Service {
    /// Starts it with its data in `data` of the directory, and these settings.
    pub fn start(directory: &Directory, settings: &[&str]) -> Self {
        let mut arguments = arguments(settings);
        arguments.extend(["--data", "data"]);
        Self::of(program(directory, &arguments))
    }

    /// Starts the program as it is, and waits until it serves.
    pub fn of(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut opening = String::new();
        stdout.read_line(&mut opening).unwrap();
        if !opening.contains(" serves: ") {
            let mut told = String::new();
            let mut stderr = child.stderr.take().unwrap();
            stderr.read_to_string(&mut told).unwrap();
            panic!("it doesn't serve: {opening}{told}");
        }
        let parts = opening
            .split_ascii_whitespace()
            .filter_map(|part| part.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let stderr = child.stderr.take();
        Self {
            child,
            _stdout: stdout,
            stderr,
            parts,
        }
    }

    /// A part of the line that it printed.
    pub fn part(&self, name: &str) -> &str {
        &self.parts[name]
    }

    fn address(&self, name: &str) -> SocketAddr {
        self.part(name).split(',').next().unwrap().parse().unwrap()
    }

    /// Where clients reach it.
    pub fn clients(&self) -> SocketAddr {
        self.address("clients")
    }

    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Sends lines of words, and answers what comes until `replies` lines have come.
    pub fn say(&self, lines: &str, replies: usize) -> Vec<String> {
        let mut stream = TcpStream::connect(self.clients()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(lines.as_bytes()).unwrap();
        let reader = BufReader::new(stream);
        reader.lines().take(replies).map(Result::unwrap).collect()
    }

    /// Asks by HTTP where `name` is served; answers the status and the body.
    pub fn get(&self, name: &str, path: &str) -> (u16, String) {
        let (status, _, body) = self.ask(name, "GET", path);
        (status, body)
    }

    /// The same with any method, and the headers.
    pub fn ask(&self, name: &str, method: &str, path: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.address(name)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_owned(), body.to_owned())
    }

    /// Connects as a tool.
    pub fn tool(&self) -> Client {
        Client::connect(Path::new(self.part("socket")), PATIENCE).unwrap()
    }

    /// Asks as a tool.
    pub fn call<T: DeserializeOwned>(&self, request: &Request) -> Result<T, AdminError> {
        self.tool().call(request)
    }

    pub fn signal(&self, name: &str) {
        let process = self.process().to_string();
        let sent = Command::new("kill").args(["-s", name, &process]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits until it has ended; answers how, and what it told on standard error.
    pub fn wait(mut self) -> (ExitStatus, String) {
        let started = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(started.elapsed() < PATIENCE, "it doesn't end");
            std::thread::sleep(Duration::from_millis(5));
        };
        let mut told = String::new();
        let mut stderr = self.stderr.take().unwrap();
        stderr.read_to_string(&mut told).unwrap();
        (status, told)
    }

    /// Ends it as a service manager does; answers what it told on standard error.
    pub fn stop(self) -> String {
        self.signal("TERM");
        let (status, told) = self.wait();
        assert!(status.success(), "{status} {told}");
        told
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A connection whose replies are read a line at a time.
pub struct Connection(TcpStream);

impl Connection {
    pub fn new(service: &Service) -> Self {
        let stream = TcpStream::connect(service.clients()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    /// Sends a line, or several.
    pub fn send(&mut self, line: &str) {
        self.0.write_all(format!("{line}\r\n").as_bytes()).unwrap();
    }

    /// The first line of the reply to a line.
    pub fn say(&mut self, line: &str) -> String {
        self.send(line);
        self.line()
    }

    pub fn line(&mut self) -> String {
        let mut line = Vec::new();
        let mut byte = [0];
        while !line.ends_with(b"\r\n") {
            self.0.read_exact(&mut byte).unwrap();
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap().trim_end().to_owned()
    }

    /// The text that a line is answered with.
    pub fn text(&mut self, line: &str) -> String {
        let length = self.say(line);
        let length: usize = length.strip_prefix('$').unwrap().parse().unwrap();
        let mut text = vec![0; length + 2];
        self.0.read_exact(&mut text).unwrap();
        String::from_utf8(text).unwrap().trim_end().to_owned()
    }

    /// A figure of `INFO`.
    pub fn figure(&mut self, name: &str) -> u64 {
        let text = self.text("INFO all");
        let mut lines = text.lines().filter_map(|line| line.split_once(':'));
        let found = lines.find(|(of, _)| *of == name);
        found.unwrap().1.parse().unwrap()
    }

    #[track_caller]
    pub fn expect(&mut self, pairs: &[(&str, &str)]) {
        for (line, begin) in pairs {
            let told = self.say(line);
            assert!(told.starts_with(begin), "{line}: {told}");
        }
    }

    pub fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        !matches!(self.0.read(&mut byte), Ok(1))
    }
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Waits until something holds.
#[track_caller]
pub fn eventually(mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "it doesn't come to hold");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The path of a program, where it is in `PATH`.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    if found.is_none() {
        // `cargo xtask ci` installs it, and names it where it can't.
        println!("SKIPPED: {name} isn't there");
    }
    found
}
