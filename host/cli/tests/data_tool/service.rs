//! The tool on a running service, which `cargo test --workspace` builds beside it. Where
//! it isn't there, nothing is looked at.

use super::support::{Directory, Line, Run, lightning_db};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

struct Service {
    child: Child,
    port: String,
    data: Directory,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Starts the service, and waits until it serves.
fn start(name: &str, settings: &[&str]) -> Option<Service> {
    let tool = Path::new(env!("CARGO_BIN_EXE_lightning-db"));
    let program = tool.with_file_name("lightning-admin-server");
    if !program.exists() {
        println!("SKIPPED: {} isn't there", program.display());
        return None;
    }
    let data = Directory::new(name);
    let mut command = Command::new(program);
    let path = format!("database.path={}", data.path().display());
    let key_of = |setting: &str| setting.split('=').next().unwrap().to_owned();
    let is_free = |small: &&str| settings.iter().all(|one| key_of(one) != key_of(small));
    for setting in [
        &path,
        "database.port=0",
        "monitoring.metrics_port=0",
        "monitoring.health_check_port=0",
        "database.cache_size_mb=8",
        "database.lsm_memtable_size_mb=4",
        // The path of a socket has to be short, and that of the data may not be.
        &format!(
            "admin.socket=/tmp/lightning-db-{}-{name}.sock",
            std::process::id()
        ),
    ]
    .into_iter()
    .filter(is_free)
    .chain(settings.iter().copied())
    {
        command.args(["--set", setting]);
    }
    let mut child = command
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let port = line.split_once("clients=127.0.0.1:").expect(&line).1;
    let port = port.chars().take_while(char::is_ascii_digit).collect();
    Some(Service { child, port, data })
}

impl Service {
    fn line(&self, words: &[&str]) -> Line {
        lightning_db(&[words, &["--port", &self.port]].concat())
    }

    fn run(&self, words: &[&str]) -> Run {
        self.line(words).run()
    }
}

#[test]
fn entries_go_in_and_out() {
    let Some(service) = start("entries", &[]) else {
        return;
    };
    service
        .run(&["put", "ключ", "a\nb"])
        .exits(0)
        .prints("")
        .tells("");
    service.run(&["get", "ключ"]).exits(0).prints("a\\x0ab\n");
    service.run(&["get", "--raw", "ключ"]).prints("a\nb");
    service
        .run(&["get", "absent"])
        .exits(1)
        .prints("")
        .tells("");
    service
        .run(&["put", "--hex", "00ff", "fe", "--table", "db3"])
        .exits(0);
    service
        .run(&["get", "--json", "--hex", "00ff", "--table", "db3"])
        .prints("{\"key_hex\":\"00ff\",\"value_hex\":\"fe\"}\n");
    let url = format!("redis://localhost:{}/3", service.port);
    lightning_db(&["count", "--url", &url])
        .run()
        .exits(0)
        .prints("1\n");
    lightning_db(&["count", "--url", &url, "--table", "db1"])
        .run()
        .exits(64);
    service.run(&["count"]).prints("1\n");
    service.run(&["delete", "absent"]).exits(1);
    service.run(&["delete", "ключ"]).exits(0);
    service
        .run(&["count", "--json"])
        .prints("{\"entries\":0,\"table\":\"default\"}\n");
    let info = service.run(&["info"]);
    info.exits(0);
    assert!(
        info.stdout.contains("  db3: 1 entries\n"),
        "{}",
        info.stdout
    );
    let info = service.run(&["info", "--json"]).stdout;
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(info["process"], service.child.id());
    assert_eq!(info["tables"][0]["name"], "db3");
    service
        .run(&["get", "a", "--table", "users"])
        .exits(64)
        .tells("db1");
    service
        .run(&["verify"])
        .exits(64)
        .tells("lightning-cli verify integrity");
}

/// A directory and a service give the same for the same entries.
#[test]
fn a_scan_gives_what_a_directory_gives() {
    let Some(service) = start("scans", &[]) else {
        return;
    };
    let data = Directory::new("scans-directory");
    // Keys that look like patterns, and more than a part of a scan has.
    let keys = (0..3000)
        .map(|number| format!("key:{number:05}"))
        .chain(["a*", "a[b]", "a\\", "a?", "ab", "zz"].map(str::to_owned));
    let lines: String = keys
        .map(|key| serde_json::json!({"key": key, "value": format!("of {key}")}).to_string() + "\n")
        .collect();
    let load = ["load", "--batch", "700"];
    lightning_db(&load).data(&data).input(&lines).run().exits(0);
    service.line(&load).input(&lines).run().exits(0).tells("");
    for options in [
        &[][..],
        &["--limit", "1"],
        &["--limit", "1500"],
        &["--limit", "0"],
        &["--reverse"],
        &["--reverse", "--limit", "3"],
        &["--prefix", "a"],
        &["--prefix", "a*"],
        &["--prefix", "a["],
        &["--prefix", "a\\"],
        &["--prefix", "key:0010"],
        &["--prefix", "key:02", "--reverse", "--limit", "7"],
        &["--prefix", "nothing"],
        &["--from", "key:01000", "--to", "key:02100"],
        &["--from", "key:01500"],
        &["--to", "ab"],
        &["--from", "ab", "--to", "key:00002", "--reverse"],
        &["--from", "z", "--to", "b"],
        &["--json", "--prefix", "a"],
    ] {
        let line = [&["scan"], options].concat();
        let expected = lightning_db(&line).data(&data).run();
        let found = service.run(&line);
        found.exits(0);
        assert!(found.stdout == expected.stdout, "{options:?}");
    }
    for format in ["jsonl", "csv", "mdb"] {
        let line = ["dump", "--format", format];
        let expected = lightning_db(&line).data(&data).run();
        service.run(&line).exits(0).prints(&expected.stdout);
    }
}

#[test]
fn a_load_is_acknowledged_when_it_is_durable_and_goes_on_after_a_kill() {
    let Some(mut service) = start("loads", &["database.databases=4"]) else {
        return;
    };
    let far = 4_000_000_000_000_u64;
    let text: String = (0..25)
        .map(|number| format!("k{number:02},v,{far},\n"))
        .collect();
    let text = format!("key,value,expiry_ms,metadata\n{text}");
    let load = ["load", "--format", "csv", "--ack", "--batch", "10"];
    service
        .line(&load)
        .input(&text)
        .run()
        .exits(0)
        .prints("10\n20\n25\n")
        .tells("");
    service.run(&["dump", "--format", "csv"]).prints(&text);
    let metadata = "{\"key\":\"m\",\"value\":\"\",\"metadata\":1}\n";
    service
        .line(&["load"])
        .input(metadata)
        .run()
        .exits(0)
        .tells("1 metadata bytes were left out");
    // A table that the service doesn't have.
    service
        .run(&["put", "a", "b", "--table", "db4"])
        .exits(2)
        .tells("out of range");
    service.child.kill().unwrap();
    service.child.wait().unwrap();
    service
        .run(&["get", "k00"])
        .exits(3)
        .tells("no service listens there");
    lightning_db(&["count"])
        .data(&service.data)
        .run()
        .exits(0)
        .prints("26\n");
}

#[test]
fn whoever_writes_is_told_where_an_answer_is_no_promise() {
    let Some(service) = start("periodic", &["durability.wal_sync_mode=periodic"]) else {
        return;
    };
    let told = "acknowledges before it has synced";
    service.run(&["put", "a", "1"]).exits(0).tells(told);
    service
        .run(&["put", "a", "1", "--quiet"])
        .exits(0)
        .tells("");
    service.run(&["get", "a"]).exits(0).prints("1\n").tells("");
}

#[test]
fn a_password_comes_from_a_file_or_the_environment() {
    let files = Directory::new("passwords");
    std::fs::create_dir_all(files.path()).unwrap();
    let file = |name: &str, text: &str, mode: u32| {
        use std::os::unix::fs::PermissionsExt as _;
        let path = files.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let right = file("right", "open sesame\n", 0o600);
    let wrong = file("wrong", "close\n", 0o600);
    let open = file("open", "open sesame\n", 0o644);
    let setting = format!("security.password_file={right}");
    let Some(service) = start("password", &[&setting]) else {
        return;
    };
    let with = |path: &str| service.run(&["put", "a", "1", "--password-file", path]);
    with(&right).exits(0);
    with(&wrong).exits(3).tells("WRONGPASS");
    with(&open).exits(2).tells("chmod 600");
    service.run(&["get", "a"]).exits(3).tells("--password-file");
    service
        .line(&["get", "a"])
        .variable("REDISCLI_AUTH", "open sesame")
        .run()
        .exits(0)
        .prints("1\n");
    let user = ["get", "a", "--user", "default", "--password-file", &right];
    service.run(&user).exits(0).prints("1\n");
    lightning_db(&["get", "a", "--url", "redis://:secret@localhost"])
        .run()
        .exits(64)
        .tells("--password-file");
}

#[test]
fn tls_is_spoken_where_the_certificate_is_trusted() {
    let files = Directory::new("tls");
    std::fs::create_dir_all(files.path()).unwrap();
    let path = |name: &str| files.path().join(name).to_str().unwrap().to_owned();
    let (certificate, key) = (path("cert.pem"), path("key.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ed25519", "-nodes", "-days", "2"])
        .args([
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
        ])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", &key, "-out", &certificate])
        .stderr(Stdio::null())
        .status();
    if !made.is_ok_and(|status| status.success()) {
        println!("SKIPPED: openssl isn't there");
        return;
    }
    let settings = [
        format!("security.tls_cert_file={certificate}"),
        format!("security.tls_key_file={key}"),
    ];
    let Some(service) = start("tls-service", &settings.each_ref().map(String::as_str)) else {
        return;
    };
    let url = format!("rediss://localhost:{}", service.port);
    let with =
        |words: &[&str]| lightning_db(&[&["put", "a", "1", "--url", &url], words].concat()).run();
    with(&["--cacert", &certificate]).exits(0).tells("");
    with(&[]).exits(64).tells("--cacert FILE");
    with(&["--cacert", &key])
        .exits(2)
        .tells("no certificate in it");
    service
        .run(&["get", "a", "--host", "localhost"])
        .exits(3)
        .tells("it speaks TLS");
    // Signed for another name.
    service
        .run(&["get", "a", "--cacert", &certificate])
        .exits(3)
        .tells("TLS: ");
}

#[test]
fn what_no_service_gives_is_told() {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port().to_string()
    };
    lightning_db(&["get", "a", "--port", &port])
        .run()
        .exits(3)
        .tells("no service listens there: start lightning-admin-server");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let answered = std::thread::spawn(move || {
        use std::io::Write as _;
        let (mut stream, _) = listener.accept().unwrap();
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .unwrap();
        // Until the tool has read it.
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        while reader.read_line(&mut line).is_ok_and(|read| read > 0) {}
    });
    lightning_db(&["get", "a", "--port", &port])
        .run()
        .exits(3)
        .tells("no service of the Redis protocol");
    answered.join().unwrap();
    let data = Directory::new("both");
    lightning_db(&["get", "a", "--port", &port])
        .data(&data)
        .run()
        .exits(64)
        .tells("leave out one");
}

#[test]
fn the_error_for_a_directory_in_use_names_the_service() {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let place = format!("/tmp/lightning-db-held-{}", std::process::id());
    let settings = [
        format!("database.port={port}"),
        format!("admin.socket={place}/admin.sock"),
        format!("database.path={place}"),
    ];
    let Some(service) = start("held", &settings.each_ref().map(String::as_str)) else {
        return;
    };
    let way = format!("leave out --data, and give --url redis://127.0.0.1:{port}");
    for line in [
        &["get", "a"][..],
        &["put", "a", "b"],
        &["verify"],
        &["shell"],
    ] {
        lightning_db(&[line, &["--data", &place]].concat())
            .run()
            .exits(3)
            .tells(&way);
    }
    drop(service);
    std::fs::remove_dir_all(&place).ok();
}

#[test]
fn the_shell_works_on_a_service() {
    let Some(service) = start("shells", &[]) else {
        return;
    };
    let script = "put a 1\nput b 2 --expire 1h\nscan\nexpire a 1h\nset output json\nttl a\n\
                  set output text\nexpire b never\nttl b\nexpire c never\nuse db2\nput x y\n\
                  tables\ncount\ninfo\n";
    let ran = service.line(&["shell"]).input(script).run();
    ran.exits(1);
    for text in [
        "a\t1\nb\t2\n{\"expiry_ms\":1",
        "it doesn't expire\ndefault\t2\ndb2\t1\n1\nservice          redis://",
    ] {
        assert!(ran.stdout.contains(text), "{text}: {}", ran.stdout);
    }
    for (script, told) in [
        ("begin\n", "a service has no transactions"),
        ("use users\n", "there can be no table \"users\""),
        ("verify\n", "lightning-cli verify integrity"),
    ] {
        service
            .line(&["shell"])
            .input(script)
            .run()
            .exits(64)
            .tells(told);
    }
}
