//! Clients that keep what they have read, and are told when it holds no more.

use crate::support::{Connection, Directory, Service, eventually};

/// A client of the third version that tracks with these options.
fn tracker(service: &Service, options: &str) -> Connection {
    let mut client = Connection::new(service);
    client.send("HELLO 3");
    while client.line() != "modules" {}
    assert_eq!(client.line(), "*0");
    client.expect(&[(&format!("CLIENT TRACKING ON {options}"), "+OK")]);
    client
}

/// Reads a message that these keys are invalid.
#[track_caller]
fn expect_invalid(client: &mut Connection, keys: &[&str]) {
    assert_eq!((client.line(), client.line()), (">2".into(), "$10".into()));
    assert_eq!(client.line(), "invalidate");
    assert_eq!(client.line(), format!("*{}", keys.len()));
    for key in keys {
        assert_eq!(
            (client.line(), client.line()),
            (format!("${}", key.len()), (*key).into())
        );
    }
}

#[test]
fn who_has_read_a_key_is_told_once_that_it_is_changed() {
    let directory = Directory::new();
    let service = Service::start(&directory, &[]);
    let mut writer = Connection::new(&service);
    writer.expect(&[("MSET a 1 b 2", "+OK")]);
    let mut client = tracker(&service, "");
    assert_eq!(client.text("GET a"), "1");
    writer.expect(&[("INCR b", ":3"), ("INCR a", ":2"), ("INCR a", ":3")]);
    expect_invalid(&mut client, &["a"]);
    // Its own changes, too, behind the reply; what it reads behind them is tracked again.
    client.expect(&[
        ("MULTI", "+OK"),
        ("INCR a", "+QUEUED"),
        ("GET a", "+QUEUED"),
        ("EXEC", "*2"),
    ]);
    assert_eq!((client.line(), client.line()), (":4".into(), "$1".into()));
    assert_eq!(client.line(), "4");
    writer.expect(&[("DEL a", ":1")]);
    expect_invalid(&mut client, &["a"]);
    // Transactions that only read, keys that expire, and databases that are emptied.
    client.expect(&[("MULTI", "+OK"), ("MGET a b", "+QUEUED"), ("EXEC", "*1")]);
    assert_eq!((client.line(), client.line()), ("*2".into(), "_".into()));
    assert_eq!((client.line(), client.line()), ("$1".into(), "3".into()));
    writer.expect(&[("PEXPIRE b 20", ":1")]);
    expect_invalid(&mut client, &["b"]);
    assert!(client.say("PTTL b").starts_with(':'));
    expect_invalid(&mut client, &["b"]);
    writer.expect(&[("FLUSHALL", "+OK")]);
    assert_eq!((client.line(), client.line()), (">2".into(), "$10".into()));
    assert_eq!(
        (client.line(), client.line()),
        ("invalidate".into(), "_".into())
    );
    assert_eq!(client.say("PING"), "+PONG");
}

#[test]
fn nobody_keeps_what_is_old() {
    let directory = Directory::new();
    let service = Service::start(&directory, &[]);
    let mut client = tracker(&service, "");
    Connection::new(&service).expect(&[("SET a 0", "+OK")]);
    let address = &service;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut writer = Connection::new(address);
            for number in 1..=2000 {
                writer.expect(&[(&format!("SET a {number}"), "+OK")]);
            }
        });
        // What is kept is read again only when one is told that it holds no more: where
        // one weren't told, it would never come to the last value.
        let mut kept = client.text("GET a");
        while kept != "2000" {
            expect_invalid(&mut client, &["a"]);
            client.send("GET a");
            // Another change may be told in front of the reply.
            let mut line = client.line();
            while line == ">2" {
                for _ in 0..5 {
                    client.line();
                }
                line = client.line();
            }
            kept = client.line();
        }
    });
}

#[test]
fn keys_are_told_by_their_beginning_and_to_another_client() {
    let directory = Directory::new();
    let service = Service::start(&directory, &[]);
    let mut writer = Connection::new(&service);
    let mut client = tracker(&service, "BCAST PREFIX a: PREFIX b: NOLOOP");
    writer.expect(&[("MSET a:1 1 c:1 1 a:2 1", "+OK")]);
    expect_invalid(&mut client, &["a:1", "a:2"]);
    client.expect(&[("SET a:1 1", "+OK"), ("PING", "+PONG")]);
    // A client of the second version listens in the place of another.
    let mut listener = Connection::new(&service);
    let id = listener.say("CLIENT ID");
    listener.send("SUBSCRIBE __redis__:invalidate");
    for _ in 0..6 {
        listener.line();
    }
    let mut second = Connection::new(&service);
    let redirect = format!("CLIENT TRACKING ON OPTIN REDIRECT {}", &id[1..]);
    second.expect(&[(&redirect, "+OK"), ("CLIENT GETREDIR", &id)]);
    assert_eq!(second.text("GET a:1"), "1");
    writer.expect(&[("SET a:1 2", "+OK")]);
    expect_invalid(&mut client, &["a:1"]);
    second.expect(&[("CLIENT CACHING YES", "+OK")]);
    assert_eq!(second.text("GET a:1"), "2");
    assert!(second.text("CLIENT LIST").contains(" flags=t "));
    writer.expect(&[("SET a:1 3", "+OK")]);
    let told: Vec<String> = (0..8).map(|_| listener.line()).collect();
    let expected = [
        "*3",
        "$7",
        "message",
        "$20",
        "__redis__:invalidate",
        "*1",
        "$3",
        "a:1",
    ];
    assert_eq!(told, expected);
    expect_invalid(&mut client, &["a:1"]);
}

#[test]
fn as_many_keys_are_tracked_as_are_said() {
    let directory = Directory::new();
    let service = Service::start(&directory, &["limits.tracking_table_max_keys=2"]);
    let mut writer = Connection::new(&service);
    let mut client = tracker(&service, "");
    client.send("MGET a b c d");
    for line in ["*4", "_", "_", "_", "_"] {
        assert_eq!(client.line(), line);
    }
    expect_invalid(&mut client, &["a"]);
    expect_invalid(&mut client, &["b"]);
    for (name, figure) in [
        ("tracking_clients", 1),
        ("tracking_total_keys", 2),
        ("tracking_total_items", 2),
        ("tracking_total_prefixes", 0),
    ] {
        assert_eq!(writer.figure(name), figure, "{name}");
    }
    writer.expect(&[("CONFIG SET tracking-table-max-keys 1", "+OK")]);
    expect_invalid(&mut client, &["c"]);
    drop(client);
    eventually(|| writer.figure("tracking_clients") == 0);
    assert_eq!(writer.figure("tracking_total_keys"), 0);
}

#[test]
fn what_is_wrong_with_tracking_is_told_in_the_words_of_redis() {
    let directory = Directory::new();
    let service = Service::start(&directory, &[]);
    let mut client = Connection::new(&service);
    client.expect(&[
        ("CLIENT TRACKING", "-ERR wrong number of arguments for 'client|tracking' command"),
        ("CLIENT TRACKING MAYBE", "-ERR syntax error"),
        ("CLIENT TRACKING ON BOGUS", "-ERR syntax error"),
        ("CLIENT TRACKING ON REDIRECT x", "-ERR value is not an integer or out of range"),
        (
            "CLIENT TRACKING ON REDIRECT 999999",
            "-ERR The client ID you want redirect to does not exist",
        ),
        (
            "CLIENT TRACKING ON REDIRECT 1 REDIRECT 1",
            "-ERR A client can only redirect to a single other client",
        ),
        ("CLIENT TRACKING ON PREFIX a", "-ERR PREFIX option requires BCAST mode to be enabled"),
        ("CLIENT TRACKING ON BCAST OPTIN", "-ERR OPTIN and OPTOUT are not compatible with BCAST"),
        (
            "CLIENT TRACKING ON OPTIN OPTOUT",
            "-ERR You can't specify both OPTIN mode and OPTOUT mode",
        ),
        (
            "CLIENT TRACKING ON BCAST PREFIX ab PREFIX a",
            "-ERR Prefix 'ab' overlaps with another provided prefix 'a'. Prefixes for a single client must not overlap.",
        ),
        (
            "CLIENT CACHING YES",
            "-ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
        ),
        ("CLIENT GETREDIR", ":-1"),
        ("CLIENT TRACKING ON OPTIN", "+OK"),
        ("CLIENT GETREDIR", ":0"),
        (
            "CLIENT CACHING NO",
            "-ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.",
        ),
        (
            "CLIENT TRACKING ON OPTOUT",
            "-ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it with a different mode.",
        ),
        (
            "CLIENT TRACKING ON BCAST",
            "-ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with a different mode.",
        ),
        ("CLIENT TRACKING OFF", "+OK"),
        ("CLIENT TRACKING ON BCAST PREFIX a", "+OK"),
        (
            "CLIENT TRACKING ON BCAST PREFIX ab",
            "-ERR Prefix 'ab' overlaps with an existing prefix 'a'. Prefixes for a single client must not overlap.",
        ),
        ("RESET", "+RESET"),
        ("CLIENT GETREDIR", ":-1"),
    ]);
}
