//! Events on keys: which commands tell which, when, and to whom.

use crate::support::{Connection, Directory, Service};

/// A client that listens to all channels.
fn listener(service: &Service) -> Connection {
    let mut listener = Connection::new(service);
    listener.send("PSUBSCRIBE *");
    let confirmed = ["*3", "$10", "psubscribe", "$1", "*", ":1"];
    assert!(confirmed.iter().all(|line| listener.line() == *line));
    listener
}

/// The next message: the channel, a space, and what was sent.
fn message(listener: &mut Connection) -> String {
    let lines: Vec<String> = (0..9).map(|_| listener.line()).collect();
    assert_eq!((&*lines[0], &*lines[2]), ("*4", "pmessage"));
    format!("{} {}", lines[6], lines[8])
}

/// Commands, and the events that they tell on the channels of events, without what all
/// begin with.
const EVENTS: &[(&str, &[&str])] = &[
    ("SET a 1", &["new a", "set a"]),
    ("SET a 1 EX 100", &["set a", "expire a"]),
    ("SET a 1 NX", &[]),
    ("SET a 2 KEEPTTL", &["set a"]),
    ("GETEX a PERSIST", &["persist a"]),
    ("GETEX a", &[]),
    ("GETEX a EX 10", &["expire a"]),
    ("PERSIST a", &["persist a"]),
    ("PERSIST a", &[]),
    ("EXPIRE a 100", &["expire a"]),
    ("EXPIRE a -1", &["del a"]),
    ("SETEX a 100 1", &["new a", "set a", "expire a"]),
    ("PSETEX a 100000 1", &["set a", "expire a"]),
    ("GETSET a 1", &["set a"]),
    ("INCR a", &["incrby a"]),
    ("DECRBY a 2", &["incrby a"]),
    ("INCRBYFLOAT a 1.5", &["incrbyfloat a"]),
    ("APPEND a x", &["append a"]),
    ("SETRANGE a 0 y", &["setrange a"]),
    ("SETBIT a 100 1", &["setbit a"]),
    ("SETBIT a 100 1", &[]),
    ("BITFIELD a SET u8 0 7", &["setbit a"]),
    ("BITFIELD a GET u8 0", &[]),
    ("BITOP NOT b a", &["new b", "set b"]),
    ("BITOP NOT b absent", &["keymiss absent", "del b"]),
    ("RENAME a b", &["new b", "rename_from a", "rename_to b"]),
    ("COPY b a", &["new a", "copy_to a"]),
    ("COPY b a REPLACE", &["new a", "copy_to a"]),
    ("RENAME a b", &["new b", "rename_from a", "rename_to b"]),
    (
        "MSET a 1 b 2 c 3",
        &["new a", "set a", "set b", "new c", "set c"],
    ),
    ("MSETNX a 1 d 2", &[]),
    ("SETNX d 1", &["new d", "set d"]),
    ("DEL a b absent", &["del a", "del b"]),
    ("UNLINK c", &["del c"]),
    ("GETDEL d", &["del d"]),
    ("GETDEL d", &["keymiss d"]),
    ("GET d", &["keymiss d"]),
    ("EXISTS d", &["keymiss d"]),
    ("OBJECT ENCODING d", &[]),
    ("FLUSHDB", &[]),
    ("PING", &[]),
];

#[test]
fn each_command_tells_its_events_in_their_order() {
    let directory = Directory::new();
    let settings = ["monitoring.notify_keyspace_events=EAnm"];
    let service = Service::start(&directory, &settings);
    let (mut listener, mut writer) = (listener(&service), Connection::new(&service));
    for (command, events) in EVENTS {
        assert!(!writer.say(command).is_empty());
        for event in *events {
            let (name, key) = event.split_once(' ').unwrap();
            let expected = format!("__keyevent@0__:{name} {key}");
            assert_eq!(message(&mut listener), expected, "{command}");
        }
        // What is left of the reply, and nothing more was told.
        writer = Connection::new(&service);
        writer.expect(&[("PUBLISH none nothing", ":1")]);
        assert_eq!(message(&mut listener), "none nothing", "{command}");
    }
    writer.expect(&[("SET moves 1", "+OK"), ("MOVE moves 3", ":1")]);
    for expected in [
        "__keyevent@0__:new moves",
        "__keyevent@0__:set moves",
        "__keyevent@3__:new moves",
        "__keyevent@0__:move_from moves",
        "__keyevent@3__:move_to moves",
    ] {
        assert_eq!(message(&mut listener), expected);
    }
}

#[test]
fn who_hears_of_a_change_sees_it() {
    let directory = Directory::new();
    let settings = [
        "durability.wal_sync_mode=sync",
        "monitoring.notify_keyspace_events=KEA",
    ];
    let service = Service::start(&directory, &settings);
    let mut listener = listener(&service);
    let (mut reader, mut writer) = (Connection::new(&service), Connection::new(&service));
    for number in 0..200 {
        writer.send(&format!("SET a {number}"));
        assert_eq!(message(&mut listener), "__keyspace@0__:a set");
        assert_eq!(reader.text("GET a"), number.to_string());
        assert_eq!(message(&mut listener), "__keyevent@0__:set a");
    }
}

#[test]
fn events_come_in_the_order_of_the_commits() {
    const WRITES: usize = 300;
    let directory = Directory::new();
    let settings = ["monitoring.notify_keyspace_events=E$"];
    let service = Service::start(&directory, &settings);
    let mut listener = listener(&service);
    // The length tells how many have appended before.
    let mut writers: Vec<Connection> = (0..4).map(|_| Connection::new(&service)).collect();
    for number in 0..WRITES {
        for (name, writer) in writers.iter_mut().enumerate() {
            writer.send(&format!(
                "MULTI\r\nSET key:{name}:{number} 1\r\nAPPEND order {name}\r\nEXEC"
            ));
        }
    }
    let mut told = String::new();
    for _ in 0..WRITES * 4 {
        let set = message(&mut listener);
        let name = set.split(':').nth(2).unwrap().to_owned();
        assert_eq!(message(&mut listener), "__keyevent@0__:append order");
        told.push_str(&name);
    }
    assert_eq!(Connection::new(&service).text("GET order"), told);
}

#[test]
fn what_is_not_done_and_what_is_not_wanted_is_not_told() {
    let directory = Directory::new();
    let service = Service::start(&directory, &[]);
    let (mut listener, mut writer) = (listener(&service), Connection::new(&service));
    let name = "notify-keyspace-events";
    writer.expect(&[
        ("SET a 1", "+OK"),
        (
            "CONFIG SET notify-keyspace-events KEq",
            "-ERR CONFIG SET failed (possibly related to argument 'notify-keyspace-events') - Invalid event class character. Use 'Ag$lshzxeKEtmdn'.",
        ),
        // Without a channel nothing is told.
        ("CONFIG SET notify-keyspace-events A", "+OK"),
        ("SET a 1", "+OK"),
        ("CONFIG SET notify-keyspace-events xgK", "+OK"),
        ("SET a 1", "+OK"),
        ("MULTI", "+OK"),
        ("DEL a", "+QUEUED"),
        ("DISCARD", "+OK"),
        ("INCR b", ":1"),
        ("PEXPIRE b 1", ":1"),
    ]);
    assert_eq!(message(&mut listener), "__keyspace@0__:b expire");
    assert_eq!(message(&mut listener), "__keyspace@0__:b expired");
    assert_eq!(writer.say(&format!("CONFIG GET {name}")), "*2");
    let lines: Vec<String> = (0..4).map(|_| writer.line()).collect();
    assert_eq!((&*lines[1], &*lines[3]), (name, "gxK"));
}
