//! Users of a file and of commands: what each may do is seen from outside.

use super::support::{Connection, Directory, Service, arguments, run};
use std::os::unix::fs::PermissionsExt as _;

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
    let mut stranger = Connection::new(&service);
    stranger.expect(&[
        ("GET data:a", "-NOAUTH"),
        ("AUTH reader wrong", "-WRONGPASS"),
        ("AUTH nobody r", "-WRONGPASS"),
    ]);
    let mut admin = Connection::new(&service);
    admin.expect(&[
        ("AUTH admin root", "+OK"),
        ("SET data:a 1", "+OK"),
        ("SET other 2", "+OK"),
    ]);
    let mut reader = Connection::new(&service);
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
    let mut other = Connection::new(&service);
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
    let mut admin = Connection::new(&service);
    admin.expect(&[
        ("AUTH admin root", "+OK"),
        ("ACL SETUSER writer on >w ~* +set", "+OK"),
        ("ACL SAVE", "+OK"),
    ]);
    let saved = std::fs::read_to_string(&path).unwrap();
    assert!(saved.contains("\nuser writer on #"), "{saved}");
    assert!(!saved.contains("root"), "{saved}");
    let mut writer = Connection::new(&service);
    writer.expect(&[("AUTH writer w", "+OK"), ("SET a 1", "+OK")]);
    // A file with a mistake changes nothing.
    file(&directory, &format!("{USERS}user writer +bogus\n"));
    admin.expect(&[("ACL LOAD", "-ERR")]);
    writer.expect(&[("SET a 2", "+OK")]);
    // The file as it was knows no writer.
    file(&directory, USERS);
    admin.expect(&[("ACL LOAD", "+OK")]);
    assert!(writer.is_closed());
    let mut reader = Connection::new(&service);
    reader.expect(&[("AUTH reader r", "+OK")]);
    admin.expect(&[("ACL DELUSER reader nobody", ":1")]);
    assert!(reader.is_closed());
    // A reload of the configuration reads it, too.
    service.signal("HUP");
    super::support::eventually(|| {
        let mut reader = Connection::new(&service);
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

#[test]
fn a_value_is_not_taken_for_an_option() {
    let directory = Directory::new();
    let service = Service::start(&directory, &[]);
    let mut writer = Connection::new(&service);
    writer.expect(&[
        ("ACL SETUSER writer on nopass %W~* +@all", "+OK"),
        ("AUTH writer any", "+OK"),
        ("SET a get", "+OK"),
        ("SET get a", "+OK"),
        // An option it is, so that the value would be read.
        ("SET a b get", "-NOPERM"),
    ]);
}
