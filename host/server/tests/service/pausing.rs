//! Clients that are paused: what is held back, what isn't, and what becomes of it.

use crate::support::{Connection, Directory, Service, eventually};
use std::time::Duration;

/// Waits until so many clients are held back.
#[track_caller]
fn wait_for_held(client: &mut Connection, count: u64) {
    eventually(|| client.figure("blocked_clients") == count);
}

#[test]
fn writes_are_held_back_in_their_order_and_reads_are_not() {
    let directory = Directory::new();
    let service = Service::start(&directory, &[]);
    let (mut operator, mut writer) = (Connection::new(&service), Connection::new(&service));
    operator.expect(&[("SET a 1", "+OK"), ("CLIENT PAUSE 9999999 WRITE", "+OK")]);
    // What is wrong is told at once; reads in front of a write run, those behind it wait.
    writer.expect(&[("SET a", "-ERR wrong number of arguments for 'set'")]);
    writer.send("GET a\r\nINCR a\r\nGET a\r\nCLIENT ID");
    assert_eq!((writer.line(), writer.line()), ("$1".into(), "1".into()));
    wait_for_held(&mut operator, 1);
    assert!(operator.text("CLIENT LIST").contains(" flags=b "));
    assert_eq!(operator.text("GET a"), "1");
    let mut publisher = Connection::new(&service);
    publisher.send("PUBLISH channel message");
    wait_for_held(&mut operator, 2);
    operator.expect(&[("CLIENT UNPAUSE", "+OK")]);
    assert_eq!(writer.line(), ":2");
    assert_eq!((writer.line(), writer.line()), ("$1".into(), "2".into()));
    assert!(writer.line().starts_with(':'));
    assert_eq!(publisher.line(), ":0");
    wait_for_held(&mut operator, 0);
}

#[test]
fn a_transaction_is_held_back_where_it_writes() {
    let directory = Directory::new();
    let service = Service::start(&directory, &[]);
    let (mut operator, mut writer) = (Connection::new(&service), Connection::new(&service));
    writer.expect(&[("MULTI", "+OK"), ("SET a 1", "+QUEUED")]);
    // It counts from the end of the transaction that it stands in.
    operator.expect(&[
        ("MULTI", "+OK"),
        ("SET b 1", "+QUEUED"),
        ("CLIENT PAUSE 9999999 WRITE", "+QUEUED"),
        ("SET c 1", "+QUEUED"),
        ("EXEC", "*3"),
    ]);
    assert!((0..3).all(|_| operator.line() == "+OK"));
    writer.send("EXEC");
    wait_for_held(&mut operator, 1);
    operator.expect(&[
        ("EXISTS a b c", ":2"),
        ("MULTI", "+OK"),
        ("EXISTS a", "+QUEUED"),
        ("EXEC", "*1"),
    ]);
    assert_eq!(operator.line(), ":0");
    // A write isn't even queued, as in Redis.
    let mut other = Connection::new(&service);
    other.expect(&[("MULTI", "+OK")]);
    other.send("SET d 1");
    wait_for_held(&mut operator, 2);
    operator.expect(&[("CLIENT UNPAUSE", "+OK")]);
    assert_eq!((writer.line(), writer.line()), ("*1".into(), "+OK".into()));
    assert_eq!(other.line(), "+QUEUED");
}

#[test]
fn all_commands_are_held_back_until_the_time_is_over() {
    let directory = Directory::new();
    let service = Service::start(&directory, &[]);
    let mut operator = Connection::new(&service);
    operator.expect(&[
        ("CLIENT PAUSE 9999999 WRITE", "+OK"),
        ("CLIENT UNPAUSE", "+OK"),
        ("CLIENT PAUSE 0", "+OK"),
        ("PING", "+PONG"),
        // The longer of both counts, and the stricter, so that these are one of 300 ms.
        ("CLIENT PAUSE 300 WRITE", "+OK"),
        ("CLIENT PAUSE 1 ALL", "+OK"),
    ]);
    let mut reader = Connection::new(&service);
    reader.send("PING");
    // Held back as well, until it is over by itself.
    operator.expect(&[("CLIENT UNPAUSE", "+OK"), ("SET a 1", "+OK")]);
    assert_eq!(reader.line(), "+PONG");
}

#[test]
fn a_client_that_leaves_while_it_is_held_back_leaves_nothing() {
    let directory = Directory::new();
    let service = Service::start(&directory, &["limits.idle_timeout_sec=1"]);
    let mut operator = Connection::new(&service);
    operator.expect(&[("CLIENT PAUSE 9999999 WRITE", "+OK")]);
    let before = operator.figure("connected_clients");
    let mut writers: Vec<Connection> = (0..3).map(|_| Connection::new(&service)).collect();
    for writer in &mut writers {
        writer.send("WATCH a\r\nSET a 1");
        assert_eq!(writer.line(), "+OK");
    }
    wait_for_held(&mut operator, 3);
    // One is ended by another, one leaves, and one stays though it says nothing.
    let stays = writers.pop();
    let ended = writers.pop();
    drop(writers);
    wait_for_held(&mut operator, 2);
    operator.expect(&[("CLIENT KILL TYPE normal SKIPME yes", ":2")]);
    wait_for_held(&mut operator, 0);
    assert_eq!(operator.figure("connected_clients"), before);
    assert!(ended.unwrap().is_closed() && stays.unwrap().is_closed());
    let mut stays = Connection::new(&service);
    stays.send("SET b 1");
    wait_for_held(&mut operator, 1);
    // Longer than one that says nothing may.
    for _ in 0..30 {
        std::thread::sleep(Duration::from_millis(50));
        operator.expect(&[("EXISTS a b", ":0")]);
    }
    operator.expect(&[("CLIENT UNPAUSE", "+OK")]);
    assert_eq!(stays.line(), "+OK");
    operator.expect(&[("EXISTS a b", ":1")]);
}

#[test]
fn what_expires_is_not_removed_while_writes_are_held_back() {
    let directory = Directory::new();
    let service = Service::start(&directory, &[]);
    let mut operator = Connection::new(&service);
    operator.expect(&[
        ("MULTI", "+OK"),
        ("SET a 1 PX 1", "+QUEUED"),
        ("CLIENT PAUSE 9999999 WRITE", "+QUEUED"),
        ("EXEC", "*2"),
    ]);
    assert_eq!(
        (operator.line(), operator.line()),
        ("+OK".into(), "+OK".into())
    );
    eventually(|| operator.say("EXISTS a") == ":0");
    // Several times as long as it would stay otherwise.
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(operator.figure("expired_keys"), 0);
    operator.expect(&[("DBSIZE", ":1"), ("CLIENT UNPAUSE", "+OK")]);
    eventually(|| operator.say("DBSIZE") == ":0");
    assert_eq!(operator.figure("expired_keys"), 1);
}

#[test]
fn the_service_ends_without_what_is_held_back() {
    let directory = Directory::new();
    for by_client in [false, true] {
        let service = Service::start(&directory, &[]);
        let (mut operator, mut writer) = (Connection::new(&service), Connection::new(&service));
        let pause = "CLIENT PAUSE 9999999 WRITE";
        operator.expect(&[("SET kept 1", "+OK"), (pause, "+OK")]);
        writer.send("SET held 1");
        wait_for_held(&mut operator, 1);
        let status = if by_client {
            operator.send("SHUTDOWN");
            service.wait().0
        } else {
            operator.expect(&[("CLIENT PAUSE 9999999 ALL", "+OK")]);
            service.signal("TERM");
            service.wait().0
        };
        assert!(status.success());
        assert!(writer.is_closed());
        let service = Service::start(&directory, &[]);
        // A pause ends with the service that it was told.
        Connection::new(&service).expect(&[("EXISTS kept held", ":1"), ("SET kept 2", "+OK")]);
        service.stop();
    }
}

#[test]
fn what_is_wrong_with_a_pause_is_told_in_the_words_of_redis() {
    let directory = Directory::new();
    let service = Service::start(&directory, &[]);
    Connection::new(&service).expect(&[
        (
            "CLIENT PAUSE",
            "-ERR wrong number of arguments for 'client|pause' command",
        ),
        (
            "CLIENT PAUSE 1 READ",
            "-ERR CLIENT PAUSE mode must be WRITE or ALL",
        ),
        (
            "CLIENT PAUSE x READ",
            "-ERR CLIENT PAUSE mode must be WRITE or ALL",
        ),
        (
            "CLIENT PAUSE x",
            "-ERR timeout is not an integer or out of range",
        ),
        (
            "CLIENT PAUSE 1.5 WRITE",
            "-ERR timeout is not an integer or out of range",
        ),
        ("CLIENT PAUSE -1 ALL", "-ERR timeout is negative"),
        (
            "CLIENT PAUSE 1 ALL 2",
            "-ERR unknown subcommand or wrong number of arguments for 'PAUSE'. Try CLIENT HELP.",
        ),
        (
            "CLIENT UNPAUSE 1",
            "-ERR wrong number of arguments for 'client|unpause' command",
        ),
        ("SET a 1", "+OK"),
    ]);
}
