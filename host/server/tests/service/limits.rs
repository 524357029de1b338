//! Settings of sizes, limits and ways in: what each does is seen from outside.

use super::support::{
    Directory, PATIENCE, Service, arguments, eventually, find_program, program, run,
};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A sample of `/metrics`.
fn sample(service: &Service, name: &str) -> f64 {
    let (_, text) = service.get("metrics", "/metrics");
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("{name} in {text}"))
        .trim()
        .parse()
        .unwrap()
}

fn connect(service: &Service) -> TcpStream {
    let stream = TcpStream::connect(service.clients()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// All that comes until the service closes the connection.
fn until_closed(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    // What is reset was closed, too.
    let _outcome = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// One reply of one line.
fn reply(stream: &mut TcpStream, line: &str) -> String {
    stream.write_all(line.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n") {
        stream.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    String::from_utf8(answer).unwrap().trim_end().to_owned()
}

#[test]
fn a_page_has_the_size_of_its_creation() {
    let directory = Directory::new();
    let service = Service::start(&directory, &["database.page_size=8192"]);
    assert_eq!(service.part("page_bytes"), "8192");
    service.stop();
    let service = Service::start(&directory, &["database.page_size=4096"]);
    assert_eq!(service.part("page_bytes"), "8192");
    let told = service.stop();
    assert!(
        told.contains("database.page_size counts only when"),
        "{told}"
    );
}

#[test]
fn memory_is_what_the_settings_plan() {
    let directory = Directory::new();
    let planned = |settings: &[&str]| {
        let service = Service::start(&directory, settings);
        let planned: u64 = service.part("memory_planned_mb").parse().unwrap();
        service.stop();
        planned
    };
    let least = planned(&[]);
    assert!(planned(&["database.cache_size_mb=40"]) >= least + 30);
    // Three of them, and what follows from their size.
    assert!(planned(&["database.lsm_memtable_size_mb=16"]) >= least + 36);
    assert!(planned(&["limits.max_active_transactions=60000"]) > least);
    let mut all = arguments(&["database.max_memory_mb=25"]);
    all.extend(["--data", "data"]);
    let ended = run(&directory, &all);
    assert_eq!(ended.code, 2);
    assert!(ended.stderr.contains("memory"), "{}", ended.stderr);
}

#[test]
fn as_many_databases_are_selected_as_are_said() {
    let directory = Directory::new();
    let service = Service::start(&directory, &["database.databases=2"]);
    let replies = service.say("SELECT 1\r\nSELECT 2\r\n", 2);
    assert_eq!(replies, ["+OK", "-ERR DB index is out of range"]);
    service.stop();
}

#[test]
fn as_many_commands_are_committed_together_as_are_said() {
    let commits = |size: &str| {
        let directory = Directory::new();
        let service = Service::start(
            &directory,
            &[&format!("performance.write_batch_size={size}")],
        );
        let before = sample(&service, "lightning_db_commits_total ");
        let lines: String = (0..200)
            .map(|number| format!("SET k{number} v\r\n"))
            .collect();
        service.say(&lines, 200);
        let after = sample(&service, "lightning_db_commits_total ");
        service.stop();
        after - before
    };
    assert!(commits("1") >= 200.0);
    assert!(commits("1000") < 100.0);
}

#[test]
fn the_log_is_flushed_as_often_as_is_said() {
    let directory = Directory::new();
    let waiting = "lightning_db_commits_not_durable ";
    let start = |mode: &str, period: &str| Service::start(&directory, &[mode, period]);
    let periodic = "durability.wal_sync_mode=periodic";
    let service = start(periodic, "durability.periodic_sync_ms=60000");
    service.say("SET a 1\r\n", 1);
    assert!(sample(&service, waiting) > 0.0);
    service.stop();
    let service = start(periodic, "durability.periodic_sync_ms=20");
    service.say("SET a 2\r\n", 1);
    eventually(|| sample(&service, waiting) == 0.0);
    service.stop();
    let service = start(
        "durability.wal_sync_mode=sync",
        "durability.periodic_sync_ms=60000",
    );
    service.say("SET a 3\r\n", 1);
    assert_eq!(sample(&service, waiting), 0.0);
    service.stop();
    let service = start(
        "durability.wal_sync_mode=async",
        "durability.periodic_sync_ms=20",
    );
    service.say("SET a 4\r\n", 1);
    assert_eq!(service.part("durability"), "async");
    service.stop();
}

#[test]
fn what_is_slow_is_remembered_as_far_as_is_said() {
    let directory = Directory::new();
    let settings = [
        "monitoring.slowlog_log_slower_than_us=0",
        "monitoring.slowlog_max_len=3",
        "monitoring.latency_monitor_threshold_ms=1",
        "security.allow_debug=true",
    ];
    let service = Service::start(&directory, &settings);
    service.say("PING\r\nPING\r\nPING\r\nPING\r\nPING\r\n", 5);
    assert_eq!(service.say("SLOWLOG LEN\r\n", 1), [":3"]);
    assert_eq!(service.say("DEBUG SLEEP 0.02\r\n", 1), ["+OK"]);
    assert_eq!(service.say("LATENCY LATEST\r\n", 1), ["*1"]);
    service.stop();
    let settings = ["monitoring.slowlog_log_slower_than_us=-1"];
    let service = Service::start(&directory, &settings);
    service.say("PING\r\n", 1);
    assert_eq!(service.say("SLOWLOG LEN\r\n", 1), [":0"]);
    assert!(service.say("DEBUG SLEEP 0\r\n", 1)[0].starts_with("-ERR"));
    assert_eq!(service.say("LATENCY LATEST\r\n", 1), ["*0"]);
    service.stop();
}

#[test]
fn one_address_has_as_many_connections_as_are_said() {
    let directory = Directory::new();
    let service = Service::start(&directory, &["limits.max_connections_per_address=2"]);
    let mut held: Vec<TcpStream> = (0..2).map(|_| connect(&service)).collect();
    for stream in &mut held {
        assert_eq!(reply(stream, "PING\r\n"), "+PONG");
    }
    let told = until_closed(connect(&service));
    assert!(told.contains("of one address reached"), "{told}");
    drop(held);
    eventually(|| {
        service
            .say("PING\r\n", 1)
            .first()
            .is_some_and(|line| line == "+PONG")
    });
    service.stop();
}

#[test]
fn who_has_no_password_is_kept_out_and_few_may_try() {
    let directory = Directory::new();
    let file = directory.file("password", "secret\n");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let password = format!("security.password_file={file}");
    let settings = [&password[..], "limits.max_unauthenticated_connections=1"];
    let service = Service::start(&directory, &settings);
    let mut stranger = connect(&service);
    assert!(reply(&mut stranger, "GET a\r\n").starts_with("-NOAUTH"));
    let told = until_closed(connect(&service));
    assert!(told.contains("have not logged in"), "{told}");
    assert_eq!(reply(&mut stranger, "AUTH secret\r\n"), "+OK");
    // Who has logged in makes room for another.
    eventually(|| {
        let mut next = connect(&service);
        let mut byte = [0];
        next.write_all(b"PING\r\n").is_ok() && next.read(&mut byte).is_ok_and(|read| read == 1)
    });
    drop(stranger);
    service.stop();
    // From other machines nobody comes in without one, unless that is said.
    let all = ["database.bind=0.0.0.0"];
    let mut refused = arguments(&all);
    refused.extend(["--data", "data"]);
    let ended = run(&directory, &refused);
    assert_eq!(ended.code, 2);
    assert!(
        ended.stderr.contains("allow_unauthenticated"),
        "{}",
        ended.stderr
    );
    let settings = [all[0], "security.allow_unauthenticated=true"];
    let service = Service::start(&directory, &settings);
    assert!(service.part("clients").starts_with("0.0.0.0:"));
    service.stop();
}

#[test]
fn clients_that_say_nothing_are_let_go() {
    let directory = Directory::new();
    let service = Service::start(&directory, &["limits.idle_timeout_sec=1"]);
    let mut stream = connect(&service);
    assert_eq!(reply(&mut stream, "PING\r\n"), "+PONG");
    assert_eq!(until_closed(stream), "");
    service.stop();
}

#[test]
fn a_request_comes_whole_in_time_or_its_client_is_let_go() {
    let directory = Directory::new();
    let service = Service::start(&directory, &["limits.request_timeout_sec=1"]);
    // Whole requests may come as seldom as they like.
    let mut patient = connect(&service);
    assert_eq!(reply(&mut patient, "PING\r\n"), "+PONG");
    let mut dripping = connect(&service);
    let started = Instant::now();
    let mut sent = 0;
    while started.elapsed() < PATIENCE && dripping.write_all(b"x").is_ok() {
        sent += 1;
        std::thread::sleep(Duration::from_millis(50));
    }
    let took = started.elapsed();
    assert!(took >= Duration::from_secs(1), "{took:?}");
    assert!(took < PATIENCE, "{sent} bytes went through");
    assert_eq!(reply(&mut patient, "PING\r\n"), "+PONG");
    service.stop();
}

#[test]
fn requests_and_replies_are_as_long_as_is_said() {
    let directory = Directory::new();
    let settings = [
        "limits.max_query_bytes=65536",
        "limits.max_client_output_bytes=65536",
    ];
    let service = Service::start(&directory, &settings);
    // A whole pipeline may be more; what isn't run yet may not.
    let mut stream = connect(&service);
    let long = format!(
        "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$200000\r\n{}",
        "v".repeat(200_000)
    );
    // It may be cut off in the middle.
    let _outcome = stream.write_all(long.as_bytes());
    let told = until_closed(stream);
    assert!(told.is_empty() || told.starts_with('-'), "{told}");
    assert_eq!(service.say("EXISTS a\r\n", 1), [":0"]);
    // A client that reads nothing is let go, with what it has asked for.
    service.say(&format!("SET b {}\r\n", "v".repeat(30_000)), 1);
    let mut greedy = connect(&service);
    let lines = "GET b\r\n".repeat(2_000);
    let _outcome = greedy.write_all(lines.as_bytes());
    eventually(|| sample(&service, "lightning_db_connections ") == 0.0);
    drop(greedy);
    service.stop();
}

#[test]
fn a_certificate_has_clients_speak_tls() {
    let directory = Directory::new();
    if find_program("openssl").is_none() {
        return;
    }
    let made = Command::new("openssl")
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
        ])
        .args([
            "/CN=localhost",
            "-keyout",
            "key.pem",
            "-out",
            "certificate.pem",
        ])
        .current_dir(directory.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let (certificate, key) = (
        directory.text_of("certificate.pem"),
        directory.text_of("key.pem"),
    );
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let certificate_setting = format!("security.tls_cert_file={certificate}");
    let key = format!("security.tls_key_file={key}");
    let port = super::support::free_port();
    let tls_port = format!("security.tls_port={port}");
    let settings = [&certificate_setting[..], &key, &tls_port];
    let service = Service::start(&directory, &settings);
    // The other port stays without.
    assert_eq!(service.say("PING\r\n", 1), ["+PONG"]);
    let mut client = Command::new("openssl")
        .args([
            "s_client",
            "-quiet",
            "-verify_return_error",
            "-CAfile",
            &certificate,
        ])
        .args(["-connect", &format!("127.0.0.1:{port}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = client.stdin.take().unwrap();
    input.write_all(b"PING\r\nQUIT\r\n").unwrap();
    let mut told = String::new();
    client
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut told)
        .unwrap();
    client.wait().unwrap();
    assert_eq!(told, "+PONG\r\n+OK\r\n");
    service.stop();
    // Without a port of its own, all speak it.
    let service = Service::start(&directory, &settings[..2]);
    let told = until_closed({
        let mut stream = connect(&service);
        stream.write_all(b"PING\r\n").unwrap();
        stream
    });
    assert!(!told.contains("PONG"), "{told}");
    service.stop();
    let mut refused = program(&directory, &["--set", &certificate_setting, "--check"]);
    let ended = refused.output().unwrap();
    assert_eq!(ended.status.code(), Some(2));
}

#[test]
fn as_many_clients_are_connected_as_are_said() {
    let directory = Directory::new();
    let service = Service::start(&directory, &["limits.max_connections=1"]);
    let mut held = connect(&service);
    assert_eq!(reply(&mut held, "PING\r\n"), "+PONG");
    let told = until_closed(connect(&service));
    assert!(told.contains("max number of clients reached"), "{told}");
    service.stop();
}

#[test]
fn a_request_waits_for_others_as_long_as_is_said() {
    let directory = Directory::new();
    let service = Service::start(&directory, &["limits.request_timeout_sec=1"]);
    let long = |letters: &str| letters.repeat(1_500);
    service.say(
        &format!("SET x {}\r\nSET y {}\r\n", long("ab"), long("ba")),
        2,
    );
    let mut slow = connect(&service);
    // From its first write on it is the one that writes, and it has much to do.
    let work = "LCS x y LEN\r\n".repeat(2_000);
    let transaction = format!("MULTI\r\nSET a 1\r\n{work}EXEC\r\n");
    slow.write_all(transaction.as_bytes()).unwrap();
    let mut told = String::new();
    eventually(|| {
        told = service.say("SET b 1\r\n", 1)[0].clone();
        told != "+OK"
    });
    assert!(told.contains("limits.request_timeout_sec"), "{told}");
    // Its end would wait for that work.
    drop(service);
}

#[test]
fn clients_come_in_where_it_is_said() {
    let directory = Directory::new();
    let port = super::support::free_port();
    let bind = "database.bind=127.0.0.1 127.0.0.2";
    let service = Service::start(&directory, &[bind, &format!("database.port={port}")]);
    for address in ["127.0.0.1", "127.0.0.2"] {
        let mut stream = TcpStream::connect((address, port)).unwrap();
        assert_eq!(reply(&mut stream, "PING\r\n"), "+PONG");
    }
    service.stop();
}
