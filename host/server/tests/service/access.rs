//! Users of a file and of commands: what each may do is seen from outside.

use super::support::{Directory, PATIENCE, Service, arguments, run};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;

/// A connection whose replies are read a line at a time.
struct Client(TcpStream);

impl Client {
    fn new(service: &Service) -> Self {
        let stream = TcpStream::connect(service.clients()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    /// The first line of the reply to a line.
    fn say(&mut self, line: &str) -> String {
        self.0.write_all(format!("{line}\r\n").as_bytes()).unwrap();
        self.line()
    }

    fn line(&mut self) -> String {
        let mut line = Vec::new();
        let mut byte = [0];
        while !line.ends_with(b"\r\n") {
            self.0.read_exact(&mut byte).unwrap();
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap().trim_end().to_owned()
    }

    #[track_caller]
    fn expect(&mut self, pairs: &[(&str, &str)]) {
        for (line, begin) in pairs {
            let told = self.say(line);
            assert!(told.starts_with(begin), "{line}: {told}");
        }
    }

    fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        !matches!(self.0.read(&mut byte), Ok(1))
    }
}

fn file(directory: &Directory, text: &str) -> String {
    let file = directory.file("users", text);
    let rights = std::fs::Permissions::from_mode(0o640);
    std::fs::set_permissions(&file, rights).unwrap();
    file
}

const USERS: &str = "\
user default off
user admin on >root ~* &* +@all
user reader on >r %R~data:* &news:* +@read +@connection +subscribe +multi +exec
";

#[test]
fn users_of_a_file_do_what_they_may() {
    let directory = Directory::new();
    let setting = format!("security.acl_file={}", file(&directory, USERS));
    let service = Service::start(&directory, &[&setting[..]]);
    let mut stranger = Client::new(&service);
    stranger.expect(&[
        ("GET data:a", "-NOAUTH"),
        ("AUTH reader wrong", "-WRONGPASS"),
        ("AUTH nobody r", "-WRONGPASS"),
    ]);
    let mut admin = Client::new(&service);
    admin.expect(&[
        ("AUTH admin root", "+OK"),
        ("SET data:a 1", "+OK"),
        ("SET other 2", "+OK"),
    ]);
    let mut reader = Client::new(&service);
    reader.expect(&[("AUTH reader r", "+OK"), ("GET data:a", "$1")]);
    assert_eq!(reader.line(), "1");
    reader.expect(&[
        (
            "GET other",
            "-NOPERM this user has no permissions to access one of the keys",
        ),
        ("MGET data:a other", "-NOPERM"),
        (
            "SET data:a 3",
            "-NOPERM this user has no permissions to run the 'set' command",
        ),
        (
            "CONFIG GET x",
            "-NOPERM this user has no permissions to run the 'config|get'",
        ),
        (
            "SUBSCRIBE secret",
            "-NOPERM this user has no permissions to access one of the channels",
        ),
        ("MULTI", "+OK"),
        ("GET other", "-NOPERM"),
        ("EXEC", "-EXECABORT"),
        // What was allowed when it was queued may not be when it is run.
        ("MULTI", "+OK"),
        ("GET data:a", "+QUEUED"),
        ("TYPE data:a", "+QUEUED"),
    ]);
    admin.expect(&[("ACL SETUSER reader -get", "+OK")]);
    reader.expect(&[("EXEC", "*2")]);
    assert!(reader.line().starts_with("-NOPERM ACLs rules changed"));
    assert_eq!(reader.line(), "+string");
    let mut other = Client::new(&service);
    other.expect(&[("AUTH admin root", "+OK"), ("ACL LOG 1", "*1")]);
    admin.expect(&[("ACL LOG RESET", "+OK"), ("ACL LOG", "*0")]);
    service.stop();
}

#[test]
fn users_are_saved_loaded_and_removed_with_their_connections() {
    let directory = Directory::new();
    let path = file(&directory, USERS);
    let setting = format!("security.acl_file={path}");
    let service = Service::start(&directory, &[&setting[..]]);
    let mut admin = Client::new(&service);
    admin.expect(&[
        ("AUTH admin root", "+OK"),
        ("ACL SETUSER writer on >w ~* +set", "+OK"),
        ("ACL SAVE", "+OK"),
    ]);
    let saved = std::fs::read_to_string(&path).unwrap();
    assert!(saved.contains("\nuser writer on #"), "{saved}");
    assert!(!saved.contains("root"), "{saved}");
    let mut writer = Client::new(&service);
    writer.expect(&[("AUTH writer w", "+OK"), ("SET a 1", "+OK")]);
    // A file with a mistake changes nothing.
    file(&directory, &format!("{USERS}user writer +bogus\n"));
    admin.expect(&[("ACL LOAD", "-ERR")]);
    writer.expect(&[("SET a 2", "+OK")]);
    // The file as it was knows no writer.
    file(&directory, USERS);
    admin.expect(&[("ACL LOAD", "+OK")]);
    assert!(writer.is_closed());
    let mut reader = Client::new(&service);
    reader.expect(&[("AUTH reader r", "+OK")]);
    admin.expect(&[("ACL DELUSER reader nobody", ":1")]);
    assert!(reader.is_closed());
    // A reload of the configuration reads it, too.
    service.signal("HUP");
    super::support::eventually(|| {
        let mut reader = Client::new(&service);
        reader.say("AUTH reader r") == "+OK"
    });
    service.stop();
}

#[test]
fn a_file_that_lets_everybody_in_is_no_protection() {
    let directory = Directory::new();
    let open = file(&directory, "user default on nopass ~* +@all\n");
    let setting = format!("security.acl_file={open}");
    let settings = ["database.bind=0.0.0.0", &setting[..]];
    let mut refused = arguments(&settings);
    refused.extend(["--data", "data"]);
    let ended = run(&directory, &refused);
    assert_eq!(ended.code, 2);
    assert!(ended.stderr.contains("needs no"), "{}", ended.stderr);
    let rights = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(&open, rights).unwrap();
    let mut refused = arguments(&settings[1..]);
    refused.extend(["--data", "data"]);
    let ended = run(&directory, &refused);
    assert_eq!(ended.code, 2);
    assert!(ended.stderr.contains("chmod 640"), "{}", ended.stderr);
}
