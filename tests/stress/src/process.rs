//! The process of a life, as who starts and kills it sees it.

use std::fs::File;
use std::io::{self, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::message::{Look, Message};
use crate::operation::Source;

/// How long anything may take on a machine that is busy.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// What a life told, put together.
pub enum Told {
    /// The database is open.
    Opened,
    /// All that it found.
    Looked(Look),
    /// Any other message.
    Other(Message),
}

/// Why the next message isn't there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoMore {
    /// The process has ended, and everything was read.
    Ended,
    /// Nothing came for so long.
    Silent,
}

/// A limit of the system that a life is put under, by its shell's `ulimit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// None.
    None,
    /// Open files.
    Files(u64),
    /// Kibibytes of addresses.
    AddressKibibytes(u64),
}

/// A running life. It is killed when it is dropped.
pub struct Life {
    child: Child,
    told: Receiver<Told>,
    reader: Option<JoinHandle<()>>,
    begun: Instant,
}

/// The places of one database: its files, a copy of them from before the last opening, and
/// what its processes told on standard error.
#[derive(Debug, Clone)]
pub struct Places {
    /// All of it.
    pub folder: PathBuf,
    /// The database.
    pub data: PathBuf,
}

impl Places {
    /// Makes the folder, empty.
    ///
    /// # Errors
    /// The system's.
    pub fn new(folder: &Path) -> io::Result<Self> {
        if folder.exists() {
            std::fs::remove_dir_all(folder)?;
        }
        std::fs::create_dir_all(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
            data: folder.join("data"),
        })
    }

    /// Copies the files of the database as they are now to `before`: what fails when it is
    /// opened can be looked at as it was.
    ///
    /// # Errors
    /// The system's.
    pub fn save(&self) -> io::Result<()> {
        let before = self.folder.join("before");
        if before.exists() {
            std::fs::remove_dir_all(&before)?;
        }
        copy_folder(&self.data, &before)
    }

    /// What its processes told on standard error, which should be nothing.
    pub fn complaints(&self) -> String {
        std::fs::read_to_string(self.folder.join("stderr")).unwrap_or_default()
    }
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    if !from.exists() {
        return Ok(());
    }
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy_folder(&path, &to)?;
        } else {
            std::fs::copy(&path, &to)?;
        }
    }
    Ok(())
}

impl Life {
    /// Starts one.
    ///
    /// # Errors
    /// The system's.
    pub fn begin(source: &Source, places: &Places, limit: Limit) -> io::Result<Self> {
        let program = std::env::current_exe()?;
        let mut command = match limit {
            Limit::None => Command::new(program),
            Limit::Files(count) => under(&format!("ulimit -n {count}"), &program),
            Limit::AddressKibibytes(count) => under(&format!("ulimit -v {count}"), &program),
        };
        let complaints = File::options()
            .create(true)
            .append(true)
            .open(places.folder.join("stderr"))?;
        let begun = Instant::now();
        let mut child = command
            // Printing the way to a failed allocation allocates, and where that fails too the
            // standard library waits for its own lock, for ever.
            .env("RUST_BACKTRACE", "0")
            .arg("life")
            .args(["--setup", source.setup.name])
            .args(["--seed", &source.seed.to_string()])
            .args(["--base-ms", &source.base_ms.to_string()])
            .arg("--directory")
            .arg(&places.data)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(complaints)
            .spawn()?;
        let output = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let (send, told) = channel();
        let reader = thread::spawn(move || read_all(BufReader::new(output), &send));
        Ok(Self {
            child,
            told,
            reader: Some(reader),
            begun,
        })
    }

    /// When it was started.
    pub const fn begun(&self) -> Instant {
        self.begun
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it tells next, waited for at most so long.
    ///
    /// # Errors
    /// Nothing came.
    pub fn next(&self, limit: Duration) -> Result<Told, NoMore> {
        self.told.recv_timeout(limit).map_err(|error| match error {
            RecvTimeoutError::Timeout => NoMore::Silent,
            RecvTimeoutError::Disconnected => NoMore::Ended,
        })
    }

    /// Says a line to it.
    ///
    /// # Errors
    /// It doesn't listen.
    pub fn say(&mut self, line: &str) -> io::Result<()> {
        let input = self.child.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        writeln!(input, "{line}")?;
        input.flush()
    }

    /// Kills it by `SIGKILL`.
    ///
    /// # Errors
    /// The system's.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()
    }

    /// Waits until it has ended; what it told can be read on.
    ///
    /// # Errors
    /// It doesn't end, or the system's.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        let begun = Instant::now();
        // It may wait for a line.
        drop(self.child.stdin.take());
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if begun.elapsed() > PATIENCE {
                return Err(io::ErrorKind::TimedOut.into());
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _killed = self.child.kill();
        let _ended = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ended = reader.join();
        }
    }
}

fn under(limit: &str, program: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{limit} && exec \"$0\" \"$@\"")]);
    command.arg(program);
    command
}

fn read_all(mut input: impl io::Read, told: &Sender<Told>) {
    let mut look = Look::default();
    let mut name = String::new();
    // What isn't whole was never told.
    while let Ok(message) = Message::read(&mut input) {
        let next = match message {
            Message::Table(of_table) => {
                look.tables.entry(of_table.clone()).or_default();
                name = of_table;
                continue;
            }
            Message::Entry(key, entry) => {
                let table = look.tables.entry(name.clone()).or_default();
                table.insert(key, entry);
                continue;
            }
            Message::Looked(begun_ms, ended_ms) => {
                let look = std::mem::take(&mut look);
                Told::Looked(Look {
                    begun_ms,
                    ended_ms,
                    ..look
                })
            }
            Message::Opened => Told::Opened,
            other => Told::Other(other),
        };
        if told.send(next).is_err() {
            return;
        }
    }
}
