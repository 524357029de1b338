//! A real file system that is full: a small tmpfs, and a small ext4 in a file. Only root
//! mounts them; who doesn't is told that nothing was run.

mod support;

use lightning_db::{Database, Error};
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::Directory;

/// Names the directory to the process that is killed.
const DIRECTORY: &str = "LIGHTNING_FULL_DEVICE";
const MOUNTED_BYTES: u64 = 24 << 20;
/// What somebody gives back at least: more than what is in memtables takes in the trees.
const HELD_BYTES: usize = 8 << 20;
/// Maintenance tries again within two seconds, and may need a few attempts.
const RESUMED_WITHIN: Duration = Duration::from_secs(30);

/// A file system that ends with the test.
struct Mounted {
    directory: Directory,
    path: PathBuf,
}

impl Mounted {
    fn new(kind: &str) -> Option<Self> {
        let directory = Directory::new(&format!("full-{kind}"));
        let path = directory.path().join("mounted");
        fs::create_dir_all(&path).unwrap();
        let image = directory.path().join("image");
        let size = format!("size={MOUNTED_BYTES}");
        let mut mount = Command::new("mount");
        if kind == "ext4" {
            let file = File::create(&image).unwrap();
            file.set_len(MOUNTED_BYTES).unwrap();
            succeeds(
                Command::new("mkfs.ext4")
                    .args(["-q", "-m", "0"])
                    .arg(&image),
            )?;
            mount.args(["-o", "loop"]).arg(&image);
        } else {
            mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]);
        }
        succeeds(mount.arg(&path))?;
        Some(Self { directory, path })
    }

    fn database(&self) -> PathBuf {
        self.path.join("database")
    }

    /// Takes room that somebody gives back later.
    fn take(&self, bytes: usize) {
        let mut file = File::create(self.path.join("held")).unwrap();
        file.write_all(&vec![7; bytes]).unwrap();
        file.sync_all().unwrap();
    }

    /// Takes all room that is left.
    fn fill(&self) {
        let mut file = File::create(self.path.join("ballast")).unwrap();
        for bytes in [1 << 20, 4_096] {
            while file
                .write_all(&vec![7; bytes])
                .and_then(|()| file.sync_data())
                .is_ok()
            {}
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.path.join("ballast")).unwrap();
        if let Err(error) = fs::remove_file(self.path.join("held")) {
            assert_eq!(error.kind(), ErrorKind::NotFound);
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let mut unmount = Command::new("umount");
        if succeeds(unmount.arg(&self.path)).is_none() {
            eprintln!("left behind: {}", self.directory.path().display());
        }
    }
}

/// Nothing where the program is missing or refuses.
fn succeeds(command: &mut Command) -> Option<()> {
    let output = command.stdin(Stdio::null()).output();
    match output {
        Ok(output) if output.status.success() => Some(()),
        Ok(output) => {
            eprintln!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
            None
        }
        Err(error) => {
            eprintln!("{command:?}: {error}");
            None
        }
    }
}

fn is_full(error: &Error) -> bool {
    matches!(error.code(), 101 | 504)
}

/// Puts rows from `first` on until one is refused; answers the first that was.
fn put_until_full(database: &Database, first: u64, most: u64) -> u64 {
    let table = database.typed_table::<u64, &[u8]>("rows").unwrap();
    for number in first..first + most {
        if let Err(error) = database.put(&table, number, &value(number)) {
            assert!(is_full(&error), "{error}");
            return number;
        }
    }
    first + most
}

fn value(number: u64) -> Vec<u8> {
    vec![number as u8; 300 + (number % 1_000) as usize]
}

/// Whether the rows are those before `end`, and at most the one that was refused.
fn check(database: &Database, end: u64) {
    let table = database.existing_typed_table::<u64, &[u8]>("rows").unwrap();
    let table = table.expect("the table is there");
    let read = database.begin_read().unwrap();
    let view = read.open(&table).unwrap();
    let found = view.len().unwrap();
    assert!(
        found == end || found == end + 1,
        "{found} rows, {end} were acknowledged"
    );
    for number in 0..end {
        let stored = view.get(number).unwrap();
        assert_eq!(stored.as_deref(), Some(&value(number)[..]), "row {number}");
    }
}

fn open(path: &Path) -> Database {
    Database::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What the process does that is killed: writes until it finds no room, says so, and waits.
#[test]
fn writes_until_it_is_killed() {
    let Some(path) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let database = open(Path::new(&path));
    let end = put_until_full(&database, 0, u64::MAX / 2);
    println!("\nfull at {end}");
    let mut line = String::new();
    let _ = std::io::stdin().read_line(&mut line);
    std::process::exit(1);
}

fn killed_when_full(path: &Path) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writes_until_it_is_killed", "--nocapture"])
        .env(DIRECTORY, path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut lines = lines.map_while(Result::ok);
    let end = lines.find_map(|line| line.strip_prefix("full at ")?.parse().ok());
    child.kill().unwrap();
    child.wait().unwrap();
    end.expect("the process found no room")
}

fn a_full_device_opens_for_writing(kind: &str) {
    let Some(mounted) = Mounted::new(kind) else {
        eprintln!("not run: no small {kind} could be mounted; root can");
        return;
    };
    // By what is written, to a process that is killed.
    let path = mounted.database();
    let end = killed_when_full(&path);
    assert!(end > 1_000, "{end} rows are no test");
    mounted.fill();
    for _ in 0..4 {
        let database = open(&path);
        check(&database, end);
        drop(database);
        check(&Database::open_read_only(&path).unwrap(), end);
    }
    mounted.make_room();
    fs::remove_dir_all(&path).unwrap();
    // By somebody else, before and after some rows: how much the log has taken by then, and
    // so how much is left to be taken and given back, is another each time.
    mounted.take(HELD_BYTES);
    let database = open(&path);
    let end = put_until_full(&database, 0, 2_000);
    mounted.fill();
    let end = put_until_full(&database, end, u64::MAX / 2);
    check(&database, end);
    // Somebody else gives room back.
    mounted.make_room();
    let end = put_one_in_time(&database, end);
    let end = put_until_full(&database, end, u64::MAX / 2);
    check(&database, end);
    drop(database);
    for _ in 0..4 {
        mounted.fill();
        let database = open(&path);
        check(&database, end);
    }
}

/// Puts a row as soon as there is room, which has to come by itself; answers the next number.
fn put_one_in_time(database: &Database, number: u64) -> u64 {
    let begun = Instant::now();
    loop {
        let next = put_until_full(database, number, 1);
        if next > number {
            return next;
        }
        let waited = begun.elapsed();
        assert!(waited < RESUMED_WITHIN, "nothing was put for {waited:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Puts fill the device, deletes of every second row free it, and puts go on: without any
/// room from others.
fn deletes_free_a_full_device(kind: &str) {
    let Some(mounted) = Mounted::new(kind) else {
        eprintln!("not run: no small {kind} could be mounted; root can");
        return;
    };
    let path = mounted.database();
    let mut database = open(&path);
    let mut end = 0;
    for round in 0..2 {
        let begun = end;
        // Where there were deletes, they make room as they are merged.
        while end < begun + 500 {
            end = put_one_in_time(&database, end);
        }
        end = put_until_full(&database, end, u64::MAX / 2);
        if round == 1 {
            // After a restart, too.
            drop(database);
            database = open(&path);
        }
        let table = database.typed_table::<u64, &[u8]>("rows").unwrap();
        for number in (begun..end).filter(|number| number % 8 > 0) {
            let deleted = database.delete(&table, number);
            deleted.unwrap_or_else(|error| panic!("round {round}, row {number}: {error}"));
        }
        let read = database.begin_read().unwrap();
        let view = read.open(&table).unwrap();
        assert_eq!(view.len().unwrap(), end.div_ceil(8), "round {round}");
        for number in 0..end {
            let stored = view.get(number).unwrap();
            let kept = (number % 8 == 0).then(|| value(number));
            assert_eq!(stored.as_deref(), kept.as_deref(), "row {number}");
        }
    }
}

#[test]
fn deletes_free_a_full_tmpfs() {
    deletes_free_a_full_device("tmpfs");
}

#[test]
fn deletes_free_a_full_ext4() {
    deletes_free_a_full_device("ext4");
}

#[test]
fn a_full_tmpfs_opens_for_writing() {
    a_full_device_opens_for_writing("tmpfs");
}

#[test]
fn a_full_ext4_opens_for_writing() {
    a_full_device_opens_for_writing("ext4");
}
