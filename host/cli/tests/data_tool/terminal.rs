//! `shell` on a terminal, which tmux is: keys go in, and what stands on the screen is read.

use super::support::{Directory, lightning_db};
use std::process::Command;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);
/// Long enough for the shell to have read what was typed before.
const PAUSE: Duration = Duration::from_millis(200);

/// A shell on a terminal of its own; it ends with the terminal.
struct Screen {
    /// The socket of a tmux that is nobody else's.
    socket: String,
}

impl Screen {
    /// Starts a shell on a database; `home` is where its history is. `None`, told on standard
    /// error: there is no tmux.
    fn start(name: &str, data: &Directory, home: &Directory) -> Option<Self> {
        if Command::new("tmux").arg("-V").output().is_err() {
            eprintln!("SKIPPED: tmux is missing; it is in the package tmux");
            return None;
        }
        let screen = Self {
            socket: format!("lightning-{name}-{}", std::process::id()),
        };
        let program = env!("CARGO_BIN_EXE_lightning-db");
        let (data, home) = (data.path().display(), home.path().display());
        let line = format!(
            "env XDG_STATE_HOME='{home}' '{program}' shell --data '{data}'; echo ended with $?; cat"
        );
        screen.tmux(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            "100",
            "-y",
            "40",
            &line,
        ]);
        screen.shows("leaves");
        Some(screen)
    }

    #[track_caller]
    fn tmux(&self, arguments: &[&str]) -> String {
        let output = Command::new("tmux")
            .args(["-L", &self.socket])
            .args(arguments)
            .env("TERM", "xterm")
            .env("LC_ALL", "C.UTF-8")
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "tmux {arguments:?}: {told}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Types text.
    fn types(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
    }

    /// Presses keys, by tmux's names for them.
    fn presses(&self, keys: &[&str]) {
        for key in keys {
            self.tmux(&["send-keys", key]);
        }
        std::thread::sleep(PAUSE);
    }

    /// Types a line and ends it.
    fn enters(&self, line: &str) {
        self.types(line);
        self.presses(&["Enter"]);
    }

    /// Waits until the screen shows this text; answers all that it shows.
    #[track_caller]
    fn shows(&self, text: &str) -> String {
        let started = Instant::now();
        loop {
            let shown = self.tmux(&["capture-pane", "-p"]);
            if shown.contains(text) {
                return shown;
            }
            assert!(started.elapsed() < PATIENCE, "no {text:?} in:\n{shown}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn clears(&self) {
        self.presses(&["C-l"]);
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let mut command = Command::new("tmux");
        command
            .args(["-L", &self.socket, "kill-server"])
            .output()
            .ok();
    }
}

#[test]
fn a_terminal_edits_lines_remembers_and_completes_them() {
    let (data, home) = (Directory::new("terminal"), Directory::new("terminal-home"));
    let Some(screen) = Screen::start("edit", &data, &home) else {
        return;
    };
    // What is typed is edited: the cursor goes back, and a letter more comes in.
    screen.types("put usr:1 Ada");
    screen.presses(&["Home", "M-f", "Right", "Right", "Right", "e", "Enter"]);
    screen.enters("get user:1");
    screen.shows("\nAda\n");
    screen.enters("put user:1 'Ada Lovelace'");
    // Entries stand in a table.
    screen.enters("scan");
    let shown = screen.shows("Ada Lovelace │");
    assert!(shown.contains("┌") && shown.contains("│ key"), "{shown}");
    assert!(shown.contains("│ user:1"), "{shown}");
    // History: the last line but one again.
    screen.clears();
    screen.presses(&["Up", "Up"]);
    screen.shows("put user:1 'Ada Lovelace'");
    screen.presses(&["C-c"]);
    // Commands and keys are completed.
    screen.clears();
    screen.types("cou");
    screen.presses(&["Tab", "Enter"]);
    screen.shows("> count");
    screen.types("get user");
    screen.presses(&["Tab", "Enter"]);
    screen.shows("> get user:1");
    // Ctrl-C gives a line up and not the shell, Ctrl-D ends it.
    screen.clears();
    screen.types("put lost 1");
    screen.presses(&["C-c"]);
    screen.enters("get lost");
    screen.shows("it is not there");
    screen.presses(&["C-d"]);
    screen.shows("ended with 0");
    drop(screen);
    lightning_db(&["get", "user:1"])
        .data(&data)
        .run()
        .exits(0)
        .prints("Ada Lovelace\n");
    // The next shell knows the lines of this one.
    let Some(screen) = Screen::start("history", &data, &home) else {
        return;
    };
    screen.presses(&["Up"]);
    screen.shows("> get lost");
}

#[test]
fn a_quote_that_is_left_open_goes_on_in_the_next_line() {
    let (data, home) = (Directory::new("quote"), Directory::new("quote-home"));
    let Some(screen) = Screen::start("quote", &data, &home) else {
        return;
    };
    screen.enters("put a 'first");
    screen.enters("second'");
    screen.enters("get a");
    screen.shows("first\\x0asecond");
    screen.enters("begin");
    screen.shows("default*>");
    screen.presses(&["C-d"]);
    screen.shows("a transaction was open");
    drop(screen);
    lightning_db(&["get", "a"])
        .data(&data)
        .run()
        .exits(0)
        .prints("first\\x0asecond\n");
}
