//! The service under test, and what it says of its commands.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::workspace;

/// A service on a free port, with a data folder of its own that goes with it.
pub struct Server {
    process: Child,
    // Kept, since a service that can't print any more is another one.
    _output: BufReader<ChildStdout>,
    folder: PathBuf,
    /// Where it listens on 127.0.0.1.
    pub port: u16,
}

impl Server {
    /// Starts the program that was built; `name` keeps the data of several apart.
    pub fn start(name: &str) -> Result<Self> {
        Self::start_with(name, &[])
    }

    /// The same with further settings.
    pub fn start_with(name: &str, settings: &[&str]) -> Result<Self> {
        let folder = workspace::target().join("redis-suite/data").join(name);
        std::fs::remove_dir_all(&folder).ok();
        std::fs::create_dir_all(&folder).context("making a folder for data")?;
        let program = workspace::target().join("debug/lightning-admin-server");
        let mut command = Command::new(&program);
        for setting in [
            format!("database.path={}", folder.display()),
            "database.port=0".to_owned(),
            "database.cache_size_mb=64".to_owned(),
            "database.lsm_memtable_size_mb=16".to_owned(),
            "monitoring.metrics_port=0".to_owned(),
            "monitoring.health_check_port=0".to_owned(),
        ] {
            command.args(["--set", &setting]);
        }
        for setting in settings {
            command.args(["--set", setting]);
        }
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let output = process.stdout.take().context("no output of the service")?;
        let mut output = BufReader::new(output);
        let mut line = String::new();
        output.read_line(&mut line)?;
        let digits = line.split_once("127.0.0.1:").map(|(_, behind)| {
            let digits = behind.chars().take_while(char::is_ascii_digit);
            digits.collect::<String>()
        });
        let mut server = Self {
            process,
            _output: output,
            folder,
            port: 0,
        };
        server.port = digits
            .and_then(|digits| digits.parse().ok())
            .with_context(|| format!("the service said {line:?}"))?;
        Ok(server)
    }

    /// Its commands by name, subcommands as `command|subcommand`, with their groups and
    /// what they do.
    pub fn commands(&self) -> Result<BTreeMap<String, OwnCommand>> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.write_all(b"COMMAND DOCS\r\n")?;
        let mut commands = BTreeMap::new();
        collect(&read(&mut BufReader::new(stream))?, &mut commands);
        Ok(commands)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

/// A command of the service.
pub struct OwnCommand {
    pub group: String,
    pub summary: String,
}

enum Reply {
    Text(String),
    List(Vec<Reply>),
}

/// A reply of text and arrays; nothing else is asked for here.
fn read(input: &mut impl BufRead) -> Result<Reply> {
    let mut line = String::new();
    input.read_line(&mut line)?;
    let line = line.trim_end();
    let Some((kind, rest)) = line.split_at_checked(1) else {
        bail!("the service closed the connection");
    };
    match kind {
        "*" => {
            let count: usize = rest.parse()?;
            let items: Result<Vec<Reply>> = (0..count).map(|_| read(input)).collect();
            Ok(Reply::List(items?))
        }
        "$" => {
            let length: u64 = rest.parse()?;
            let mut text = Vec::new();
            input.take(length + 2).read_to_end(&mut text)?;
            let text = String::from_utf8(text)?;
            Ok(Reply::Text(text.trim_end_matches("\r\n").to_owned()))
        }
        _ => bail!("the service answered {line}"),
    }
}

/// Takes the commands out of the pairs of name and documentation.
fn collect(docs: &Reply, commands: &mut BTreeMap<String, OwnCommand>) {
    let Reply::List(pairs) = docs else { return };
    for pair in pairs.chunks_exact(2) {
        let [Reply::Text(name), Reply::List(fields)] = pair else {
            continue;
        };
        let mut command = OwnCommand {
            group: String::new(),
            summary: String::new(),
        };
        for field in fields.chunks_exact(2) {
            match field {
                [Reply::Text(field), Reply::Text(text)] if field == "group" => {
                    command.group.clone_from(text);
                }
                [Reply::Text(field), Reply::Text(text)] if field == "summary" => {
                    command.summary.clone_from(text);
                }
                [Reply::Text(field), parts] if field == "subcommands" => {
                    collect(parts, commands);
                }
                _ => {}
            }
        }
        commands.insert(name.clone(), command);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documentation_is_read_with_its_subcommands() {
        let text = "*2\r\n$1\r\na\r\n*6\r\n$7\r\nsummary\r\n$2\r\nS.\r\n$5\r\ngroup\r\n$1\r\ng\r\n\
                    $11\r\nsubcommands\r\n*2\r\n$3\r\na|b\r\n*2\r\n$7\r\nsummary\r\n$2\r\nT.\r\n";
        let mut commands = BTreeMap::new();
        collect(&read(&mut text.as_bytes()).unwrap(), &mut commands);
        assert_eq!(commands.len(), 2);
        assert_eq!(
            (&*commands["a"].group, &*commands["a"].summary),
            ("g", "S.")
        );
        assert_eq!(commands["a|b"].summary, "T.");
    }
}
