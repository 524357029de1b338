//! The program: its command line, its start and end, signals, the log, the admin socket.

use super::support::{
    Directory, PATIENCE, Service, arguments, eventually, free_port, program, run,
};
use lightning_db::Database;
use lightning_ops::admin::{
    AdminError, ConfigurationView, ReloadReport, Request, VerifyDepth, VerifyView, VersionView,
};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

#[test]
fn the_command_line_is_explained() {
    let directory = Directory::new();
    for (arguments, words) in [
        (&["--version"][..], "lightning-admin-server "),
        (&["version"], "lightning-admin-server "),
        (&["--help"], "Examples:\n  lightning-admin-server --config"),
        (&["completions", "bash"], "complete -F _lightning"),
    ] {
        let ended = run(&directory, arguments);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        assert!(ended.stdout.contains(words), "{}", ended.stdout);
    }
    assert_eq!(run(&directory, &["man", "."]).code, 0);
    assert!(directory.path().join("lightning-admin-server.1").exists());
    for arguments in [&["--bogus"][..], &["--set", "x"], &["version", "x"]] {
        assert_eq!(run(&directory, arguments).code, 64, "{arguments:?}");
    }
}

#[test]
fn a_configuration_is_checked_without_a_start() {
    let directory = Directory::new();
    let sound = directory.file("a.toml", "[database]\npath = \"/srv/x\"\n");
    let ended = run(&directory, &["--config", &sound, "--check"]);
    assert_eq!(ended.code, 0);
    assert!(
        ended
            .stdout
            .contains("a.toml: sound; the data are in /srv/x")
    );
    let unsound = directory.file("b.toml", "[database]\nporrt = 1\n[logging]\nlevel = 2\n");
    let ended = run(&directory, &["--config", &unsound, "--check"]);
    assert_eq!(ended.code, 2);
    for words in ["has 2 mistakes", "b.toml line 2", "b.toml line 4"] {
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    }
    assert!(!Path::new("/srv/x").exists());
}

#[test]
fn without_a_file_it_says_where_its_data_are() {
    let directory = Directory::new();
    let mut command = program(&directory, &arguments(&[]));
    command.env("LIGHTNING_DB_MAX_CONNECTIONS", "77");
    let service = Service::of(command);
    let data = directory.text_of(".local/share/lightning-db/data");
    assert_eq!(service.part("data"), data);
    assert_eq!(service.part("socket"), format!("{data}/admin.sock"));
    assert_eq!(service.part("max_connections"), "77");
    assert_eq!(service.part("durability"), "sync");
    service.stop();
}

#[test]
fn what_stands_in_the_way_of_a_start_is_named() {
    let directory = Directory::new();
    let service = Service::start(&directory, &[]);
    let port = service.clients().port();
    let same_port = format!("database.port={port}");
    let same_health = format!("monitoring.health_check_port={port}");
    for (data, setting, words) in [
        ("data", "database.port=0", "data: "),
        ("b", same_port.as_str(), "database.port"),
        ("b", same_health.as_str(), "monitoring.health_check_port"),
        (
            "b",
            "admin.socket=/nonexistent/a",
            "its directory doesn't exist: make it (admin.socket)",
        ),
        ("b", "logging.file=/nonexistent/a.log", "(logging.file)"),
    ] {
        let mut line = arguments(&[setting]);
        line.extend(["--data", data]);
        let ended = run(&directory, &line);
        assert_eq!(ended.code, 2, "{setting}: {}", ended.stdout);
        assert!(ended.stderr.contains(words), "{setting}: {}", ended.stderr);
        assert!(ended.stderr.starts_with("lightning-admin-server: error: "));
    }
    service.stop();
}

#[test]
fn an_end_that_was_asked_for_keeps_what_was_written() {
    let directory = Directory::new();
    let service = Service::start(&directory, &[]);
    assert_eq!(service.say("SET a 1\r\n", 1), ["+OK"]);
    let socket = service.part("socket").to_owned();
    let told = service.stop();
    assert!(
        told.contains("INFO  ended: everything is durable"),
        "{told}"
    );
    assert!(!Path::new(&socket).exists());
    // The next start has no log to read.
    let database = Database::open_read_only(directory.path().join("data")).unwrap();
    let figures = database.statistics().engine;
    assert!(figures.entries > 0 && figures.merged_sequence == figures.appended_sequence);
    drop(database);
    let service = Service::start(&directory, &[]);
    assert_eq!(service.say("GET a\r\n", 2), ["$1", "1"]);
    service.signal("INT");
    assert!(service.wait().0.success());
}

#[test]
fn the_second_signal_ends_it_at_once() {
    let directory = Directory::new();
    let service = Service::start(&directory, &[]);
    // A client that doesn't take its replies, so that the end waits for it.
    let mut client = TcpStream::connect(service.clients()).unwrap();
    let value = "x".repeat(1 << 20);
    let set = format!("*3\r\n$3\r\nSET\r\n$1\r\na\r\n${}\r\n{value}\r\n", 1 << 20);
    client.write_all(set.as_bytes()).unwrap();
    let mut reply = [0; 5];
    client.read_exact(&mut reply).unwrap();
    client.write_all("GET a\r\n".repeat(32).as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    service.signal("TERM");
    std::thread::sleep(Duration::from_millis(300));
    let asked = Instant::now();
    service.signal("TERM");
    let (status, told) = service.wait();
    assert_eq!(status.code(), Some(2), "{told}");
    assert!(asked.elapsed() < Duration::from_secs(1));
    assert!(told.contains("WARN  ends at once"), "{told}");
}

#[test]
fn a_reload_applies_what_it_can_and_lists_the_rest() {
    let directory = Directory::new();
    let text =
        |level: &str, size: u32| format!("[logging]\nlevel = \"{level}\"\nmax_size_mb = {size}\n");
    let file = directory.file("c.toml", &text("info", 1));
    let mut line = arguments(&[]);
    line.extend(["--data", "data", "--config", &file]);
    let service = Service::of(program(&directory, &line));
    directory.file("c.toml", &text("debug", 2));
    let report: ReloadReport = service.call(&Request::ConfigReload).unwrap();
    assert_eq!(report.applied.len(), 1);
    assert_eq!(report.applied[0].key, "logging.level");
    assert_eq!(report.needs_restart[0].key, "logging.max_size_mb");
    let view: ConfigurationView = service.call(&Request::ConfigShow).unwrap();
    let level = view
        .settings
        .iter()
        .find(|one| one.key == "logging.level")
        .unwrap();
    assert_eq!(level.value.to_string(), "\"debug\"");
    directory.file("c.toml", "[logging]\nlevel = \"loud\"\n");
    let refused = service.call::<ReloadReport>(&Request::ConfigReload);
    let Err(AdminError::Refused(refusal)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(refusal.exit, 2);
    assert!(
        refusal.message.contains("c.toml line 2"),
        "{}",
        refusal.message
    );
    directory.file("c.toml", &text("warn", 1));
    service.signal("HUP");
    eventually(|| {
        let view: ConfigurationView = service.call(&Request::ConfigShow).unwrap();
        let is_level = |one: &&lightning_ops::admin::SettingView| one.key == "logging.level";
        let level = view.settings.iter().find(is_level).unwrap();
        level.value.to_string() == "\"warn\""
    });
    let told = service.stop();
    assert!(
        told.contains("DEBUG a tool asks request=ConfigShow"),
        "{told}"
    );
    assert!(told.contains("INFO  a setting counts from now on key=logging.level"));
    assert!(told.contains("WARN  a setting counts after a restart key=logging.max_size_mb"));
    assert!(
        told.contains("ERROR the configuration was not read again"),
        "{told}"
    );
    // From the change to warn on, nothing less grave.
    assert!(!told.contains("ended"), "{told}");
}

#[test]
fn the_service_manager_is_told() {
    let directory = Directory::new();
    let path = directory.text_of("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let heard = || {
        let mut bytes = [0; 4096];
        let length = manager.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    };
    let mut line = arguments(&[]);
    line.extend(["--data", "data"]);
    let mut command = program(&directory, &line);
    command
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "200000");
    let service = Service::of(command);
    let ready = heard();
    assert!(
        ready.starts_with("READY=1\nSTATUS=lightning-admin-server "),
        "{ready}"
    );
    let until = |wanted: &str| {
        loop {
            let words = heard();
            if words.starts_with(wanted) {
                return;
            }
            assert!(words.starts_with("WATCHDOG=1"), "{words}");
        }
    };
    until("WATCHDOG=1");
    until("WATCHDOG=1");
    service.signal("HUP");
    until("RELOADING=1\nMONOTONIC_USEC=");
    until("READY=1\nSTATUS=serves, with the configuration as it was read again");
    service.signal("TERM");
    until("STOPPING=1");
    assert!(service.wait().0.success());
}

#[test]
fn both_forms_of_the_log_are_found_by_their_levels_and_hold_no_data() {
    for format in ["text", "json"] {
        let directory = Directory::new();
        let file = directory.text_of("service.log");
        let service = Service::start(
            &directory,
            &[
                &format!("logging.file={file}"),
                &format!("logging.format={format}"),
                "logging.level=trace",
                "monitoring.slowlog_log_slower_than_us=0",
            ],
        );
        service.say("SET secretkey secretvalue\r\nGET secretkey\r\n", 3);
        service.say("\u{1}*bad\r\n*1\r\n$x\r\n", 2);
        assert_eq!(service.stop(), "");
        let text = std::fs::read_to_string(&file).unwrap();
        let slow: Vec<&str> = text
            .lines()
            .filter(|line| line.contains("WARN") && line.contains("a command was slow"))
            .collect();
        assert_eq!(slow.len(), 2, "{text}");
        let part = match format {
            "text" => "command=set duration_us=",
            _ => "\"command\":\"set\",\"duration_us\":",
        };
        assert!(slow[0].contains(part), "{text}");
        // What the client waited for besides is told, too, of the batch that wrote.
        let commits: Vec<&str> = text
            .lines()
            .filter(|line| line.contains("a commit was slow"))
            .collect();
        assert_eq!(commits.len(), 1, "{text}");
        assert!(commits[0].contains("durable_wait_us"), "{text}");
        assert!(commits[0].contains("writer_wait_us"), "{text}");
        assert!(!text.contains("secret"), "{text}");
        assert!(text.contains("lightning-admin-server"), "{text}");
        if format == "json" {
            for line in text.lines() {
                serde_json::from_str::<serde_json::Value>(line).unwrap();
            }
        }
    }
}

#[test]
fn the_log_is_followed_by_the_next_and_the_oldest_goes() {
    let directory = Directory::new();
    let file = directory.text_of("a.log");
    let service = Service::start(
        &directory,
        &[
            &format!("logging.file={file}"),
            "logging.level=debug",
            "logging.max_size_mb=1",
            "logging.max_files=2",
        ],
    );
    let mut tool = service.tool();
    for _ in 0..13 {
        let tests = vec!["x".repeat(200_000)];
        let request = Request::Health {
            tests,
            verify_data: false,
            detailed: false,
        };
        tool.call::<serde_json::Value>(&request).unwrap_err();
    }
    let length = |name: &str| std::fs::metadata(directory.text_of(name)).map(|file| file.len());
    assert!((1..=1 << 20).contains(&length("a.log").unwrap()));
    assert!((800_000..=1 << 20).contains(&length("a.1.log").unwrap()));
    assert!(length("a.2.log").is_err());
    // What moves the file away has the service begin another.
    std::fs::rename(&file, directory.text_of("moved")).unwrap();
    service
        .call::<ReloadReport>(&Request::ConfigReload)
        .unwrap();
    assert!(Path::new(&file).exists());
    service.stop();
}

#[test]
fn the_admin_socket_takes_the_place_of_a_dead_one() {
    let directory = Directory::new();
    let path = directory.text_of("tool.sock");
    drop(UnixListener::bind(&path).unwrap());
    let service = Service::start(&directory, &[&format!("admin.socket={path}")]);
    assert_eq!(service.part("socket"), path);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let mut tool = service.tool();
    let version: VersionView = tool.call(&Request::Version).unwrap();
    assert_eq!(version.process, service.process());
    service.say("SET a 1\r\n", 1);
    let depth = VerifyDepth::Full;
    let found: VerifyView = tool.call(&Request::VerifyIntegrity { depth }).unwrap();
    assert!(found.sound && found.entries == 1, "{found:?}");
    service.stop();
}

#[test]
fn what_is_no_request_is_answered_and_too_long_a_one_cut_off() {
    let directory = Directory::new();
    let service = Service::start(&directory, &[]);
    let connect = || {
        let stream = UnixStream::connect(service.part("socket")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    };
    let ask = |bytes: &[u8]| {
        let mut stream = connect();
        // Who asks for too much is cut off, perhaps before all of it is sent.
        if let Err(error) = stream.write_all(bytes) {
            assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
        }
        let mut answer = String::new();
        let mut byte = [0];
        while stream.read(&mut byte).unwrap() == 1 {
            answer.push(char::from(byte[0]));
            if byte[0] == b'\n' {
                break;
            }
        }
        answer
    };
    let unknown = ask(b"{\"command\":\"fly\"}\n");
    assert!(unknown.contains("can't follow the command") && unknown.contains("64"));
    // In pieces, with a pause longer than the service's own.
    let mut slow = connect();
    slow.write_all(b"{\"command\":").unwrap();
    std::thread::sleep(Duration::from_millis(300));
    slow.write_all(b"\"version\"}\n").unwrap();
    let mut begin = [0; 6];
    slow.read_exact(&mut begin).unwrap();
    assert_eq!(&begin, b"{\"ok\":");
    let long = ask(&vec![b'x'; 1 << 20]);
    assert!(
        long.contains("a request has at most 1048576 bytes"),
        "{long}"
    );
    // More tools than there are places for are told so; a place that is given up is free.
    let held: Vec<UnixStream> = (0..20).map(|_| connect()).collect();
    eventually(|| ask(b"").contains("16 tools are connected already"));
    drop(held);
    eventually(|| ask(b"{\"command\":\"version\"}\n").contains("\"ok\""));
    service.stop();
}

#[test]
fn ports_are_those_that_are_configured() {
    let directory = Directory::new();
    let (metrics, health) = (free_port(), free_port());
    let service = Service::start(&directory, &["monitoring.bind=127.0.0.1 127.0.0.2"]);
    let addresses = service.part("metrics").to_owned();
    assert!(addresses.contains(",127.0.0.2:"), "{addresses}");
    service.stop();
    let service = Service::start(
        &directory,
        &[
            &format!("monitoring.metrics_port={metrics}"),
            &format!("monitoring.health_check_port={health}"),
        ],
    );
    assert_eq!(service.part("metrics"), format!("127.0.0.1:{metrics}"));
    assert_eq!(service.part("health"), format!("127.0.0.1:{health}"));
    service.stop();
}
