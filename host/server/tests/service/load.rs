//! Many clients, slow ones, ones that send nonsense, and a disk that is full.

use crate::support::{Directory, PATIENCE, Service, arguments, eventually, program};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

fn connect(service: &Service) -> TcpStream {
    let stream = TcpStream::connect(service.clients()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// What comes until the line's end.
fn line(stream: &TcpStream) -> String {
    let mut text = String::new();
    BufReader::with_capacity(1, stream)
        .read_line(&mut text)
        .unwrap();
    text.trim_end().to_owned()
}

fn ask(mut stream: &TcpStream, command: &str) -> String {
    stream.write_all(command.as_bytes()).unwrap();
    line(stream)
}

/// A line of `/proc/PID/status`, in bytes.
fn memory(service: &Service, name: &str) -> u64 {
    let path = format!("/proc/{}/status", service.process());
    let text = std::fs::read_to_string(path).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let mut words = line.unwrap().trim_start_matches(':').split_whitespace();
    words.next().unwrap().parse::<u64>().unwrap() << 10
}

fn set(key: &str, value: &str) -> String {
    format!(
        "*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${}\r\n{value}\r\n",
        key.len(),
        value.len()
    )
}

#[test]
fn ten_thousand_clients_are_served_and_one_more_is_told_why_not() {
    const CLIENTS: usize = 10_000;
    let files = lightning_db::raise_open_files_limit().unwrap();
    if files.is_some_and(|most| most < u64::try_from(CLIENTS).unwrap() + 500) {
        println!(
            "SKIPPED: this system allows {files:?} open files, ten thousand clients need more"
        );
        return;
    }
    let directory = Directory::new();
    let setting = format!("limits.max_connections={CLIENTS}");
    let service = Service::start(&directory, &[&setting]);
    let before = memory(&service, "VmRSS");
    let mut clients: Vec<TcpStream> = (0..CLIENTS).map(|_| connect(&service)).collect();
    // All are connected, and all of them have something to ask at once.
    for (number, client) in clients.iter_mut().enumerate() {
        client
            .write_all(set(&format!("key:{number}"), "value").as_bytes())
            .unwrap();
    }
    for client in &clients {
        assert_eq!(line(client), "+OK");
    }
    let count = format!(":{CLIENTS}");
    assert_eq!(ask(&clients[0], "DBSIZE\r\n"), count);
    let each = (memory(&service, "VmRSS") - before) / u64::try_from(CLIENTS).unwrap();
    assert!(each < 16 << 10, "a silent client costs {each} bytes");
    let one_more = connect(&service);
    assert_eq!(line(&one_more), "-ERR max number of clients reached");
    assert_eq!((&one_more).read(&mut [0]).unwrap(), 0);
    clients.pop();
    eventually(|| {
        let next = connect(&service);
        ask(&next, "PING\r\n") == "+PONG"
    });
    drop(clients);
    service.stop();
}

#[test]
fn with_few_descriptors_fewer_clients_are_served_and_the_others_told() {
    let directory = Directory::new();
    let mut words = arguments(&["limits.max_connections=1000"]);
    words.extend(["--data", "data"]);
    let plain = program(&directory, &words);
    // 64 of them are the service's own.
    let mut limited = Command::new("/bin/sh");
    limited
        .args(["-c", "ulimit -n 104 && exec \"$0\" \"$@\""])
        .arg(plain.get_program())
        .args(plain.get_args())
        .env_clear()
        .env("HOME", directory.path())
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let service = Service::of(limited);
    assert_eq!(service.part("open_files"), "104");
    assert_eq!(service.part("max_connections"), "40");
    let clients: Vec<TcpStream> = (0..40).map(|_| connect(&service)).collect();
    for client in &clients {
        assert_eq!(ask(client, "PING\r\n"), "+PONG");
    }
    for _ in 0..200 {
        let one_more = connect(&service);
        assert_eq!(line(&one_more), "-ERR max number of clients reached");
    }
    // Segments of the log are files, too: some memtables of writes take several.
    let value = "v".repeat(100_000);
    for (number, client) in clients.iter().cycle().take(200).enumerate() {
        assert_eq!(ask(client, &set(&format!("key:{number}"), &value)), "+OK");
    }
    let (_, figures) = service.get("health", "/health");
    assert!(figures.contains("healthy"), "{figures}");
    drop(clients);
    let told = service.stop();
    assert!(told.contains("raise LimitNOFILE"), "{told}");
}

#[test]
fn who_does_not_read_holds_nobody_up_and_gets_everything_later() {
    let directory = Directory::new();
    let service = Service::start(&directory, &["limits.max_client_output_bytes=1048576"]);
    let value = "v".repeat(100_000);
    assert_eq!(ask(&connect(&service), &set("long", &value)), "+OK");
    let before = memory(&service, "VmRSS");
    let gets = 200;
    let slow: Vec<TcpStream> = (0..50)
        .map(|_| {
            let mut stream = connect(&service);
            stream
                .write_all("GET long\r\n".repeat(gets).as_bytes())
                .unwrap();
            stream
        })
        .collect();
    // Each of these takes its turn behind all of theirs.
    let quick = connect(&service);
    for _ in 0..100 {
        assert_eq!(ask(&quick, "PING\r\n"), "+PONG");
    }
    let grown = memory(&service, "VmRSS").saturating_sub(before);
    assert!(
        grown < 64 << 20,
        "{grown} bytes wait for clients that don't read"
    );
    let mut replies = Vec::new();
    (&slow[0])
        .take(u64::try_from(gets * (value.len() + 11)).unwrap())
        .read_to_end(&mut replies)
        .unwrap();
    assert_eq!(replies.len(), gets * (value.len() + 11));
    // One reply that is longer than what may wait is refused, and so is a transaction.
    let many = format!("MGET {}\r\n", "long ".repeat(20));
    let refusal = ask(&quick, &many);
    assert!(
        refusal.contains("limits.max_client_output_bytes"),
        "{refusal}"
    );
    assert_eq!(ask(&quick, "MULTI\r\n"), "+OK");
    assert_eq!(ask(&quick, "SET other value\r\n"), "+QUEUED");
    for _ in 0..20 {
        assert_eq!(ask(&quick, "GET long\r\n"), "+QUEUED");
    }
    let refusal = ask(&quick, "EXEC\r\n");
    assert!(
        refusal.contains("limits.max_client_output_bytes"),
        "{refusal}"
    );
    assert_eq!(ask(&quick, "EXISTS other\r\n"), ":0");
}

#[test]
fn who_listens_and_does_not_read_is_closed() {
    let directory = Directory::new();
    let service = Service::start(&directory, &["limits.max_client_output_bytes=1048576"]);
    let listener = connect(&service);
    assert_eq!(ask(&listener, "SUBSCRIBE news\r\n"), "*3");
    let talker = connect(&service);
    let news = format!("PUBLISH news {}\r\n", "n".repeat(50_000));
    // As much as the system's buffers hold, and a good deal more.
    eventually(|| ask(&talker, &news) == ":0");
    let told = service.stop();
    assert!(told.contains("max_client_output_bytes"), "{told}");
}

#[test]
fn what_is_sent_by_halves_is_waited_for_no_longer_than_is_set() {
    let directory = Directory::new();
    let service = Service::start(&directory, &["limits.idle_timeout_sec=1"]);
    let halves: Vec<TcpStream> = [
        "",
        "*",
        "*3\r\n$3\r\nSET\r\n$1",
        "*2\r\n$3\r\nGET\r\n$5\r\nhal",
    ]
    .into_iter()
    .map(|half| {
        let mut stream = connect(&service);
        stream.write_all(half.as_bytes()).unwrap();
        stream
    })
    .collect();
    let busy = connect(&service);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        assert_eq!(ask(&busy, "PING\r\n"), "+PONG");
        thread::sleep(Duration::from_millis(100));
    }
    for half in &halves {
        assert_eq!((&*half).read(&mut [0]).unwrap(), 0);
    }
}

#[test]
fn nonsense_is_told_and_the_connection_closed() {
    let directory = Directory::new();
    let service = Service::start(&directory, &["limits.max_query_bytes=1048576"]);
    let mut frames: Vec<(Vec<u8>, &str)> = [
        ("*x\r\n", "-ERR Protocol error: invalid multibulk length"),
        (
            "*9999999999999\r\n",
            "-ERR Protocol error: invalid multibulk length",
        ),
        ("*2\r\n:1\r\n", "-ERR Protocol error: expected '$', got ':'"),
        ("*1\r\n$-5\r\n", "-ERR Protocol error: invalid bulk length"),
        (
            "*1\r\n$99999999999\r\n",
            "-ERR Protocol error: invalid bulk length",
        ),
        (
            "GET \"half\r\n",
            "-ERR Protocol error: unbalanced quotes in request",
        ),
    ]
    .map(|(frame, told)| (frame.as_bytes().to_vec(), told))
    .into();
    frames.push((
        vec![b'x'; 64 * 1024],
        "-ERR Protocol error: too big inline request",
    ));
    for (frame, told) in frames {
        let mut stream = connect(&service);
        // What it doesn't read any more it may refuse to take.
        let _sent = stream.write_all(&frame);
        assert_eq!(line(&stream), told);
        let mut rest = Vec::new();
        match stream.read_to_end(&mut rest) {
            Ok(_) => assert!(rest.is_empty()),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }
    // One that is whole, but larger than a client may send: it is closed, and told so.
    let mut stream = connect(&service);
    let _sent = stream.write_all(set("key", &"v".repeat(2 << 20)).as_bytes());
    let mut rest = Vec::new();
    let _closed = stream.read_to_end(&mut rest);
    assert_eq!(ask(&connect(&service), "EXISTS key\r\n"), ":0");
    let told = service.stop();
    assert!(told.contains("limits.max_query_bytes"), "{told}");
    assert!(!told.contains("panicked"), "{told}");
}

/// A small file system in memory, taken down at the end.
struct SmallDisk(String);

impl SmallDisk {
    fn mount(directory: &Directory, name: &str, size: &str) -> Option<Self> {
        let path = directory.text_of(name);
        std::fs::create_dir(&path).unwrap();
        let size = format!("size={size}");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs", &path])
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(path)),
            _ => {
                println!("SKIPPED: only root may mount a small file system");
                None
            }
        }
    }

    fn grow(&self, size: &str) {
        let option = format!("remount,size={size}");
        let grown = Command::new("mount")
            .args(["-o", &option, &self.0])
            .status();
        assert!(grown.unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").args(["-l", &self.0]).status().ok();
    }
}

#[test]
fn a_full_disk_refuses_writes_and_nothing_else_until_there_is_room() {
    let directory = Directory::new();
    let Some(disk) = SmallDisk::mount(&directory, "disk", "40m") else {
        return;
    };
    let data = format!("{}/data", disk.0);
    let mut words = arguments(&["limits.request_timeout_sec=2"]);
    words.extend(["--data", &data]);
    let service = Service::of(program(&directory, &words));
    let value = "v".repeat(10_000);
    let clients: Vec<TcpStream> = (0..8).map(|_| connect(&service)).collect();
    let mut stored = Vec::new();
    let mut refusal = None;
    'full: for round in 0..10_000 {
        for (number, mut client) in clients.iter().enumerate() {
            let key = format!("key:{round}:{number}");
            client.write_all(set(&key, &value).as_bytes()).unwrap();
        }
        let replies: Vec<String> = clients.iter().map(line).collect();
        for (number, reply) in replies.into_iter().enumerate() {
            if reply == "+OK" {
                stored.push(format!("key:{round}:{number}"));
            } else {
                refusal = Some(reply);
            }
        }
        if refusal.is_some() {
            break 'full;
        }
    }
    let refusal = refusal.expect("40 MiB hold more than 800 MB");
    assert!(refusal.starts_with('-'), "{refusal}");
    let mut reader = BufReader::new(connect(&service));
    let mut get = |key: &str| {
        reader
            .get_mut()
            .write_all(format!("STRLEN {key}\r\n").as_bytes())
            .unwrap();
        let mut reply = String::new();
        reader.read_line(&mut reply).unwrap();
        reply.trim_end().to_owned()
    };
    for key in &stored {
        assert_eq!(
            get(key),
            format!(":{}", value.len()),
            "{key}, with a full disk"
        );
    }
    // What fills the disk can be deleted, and that makes room.
    let (deleted, kept): (Vec<_>, Vec<_>) = (0..stored.len()).partition(|number| number % 2 == 0);
    for number in deleted {
        let key = &stored[number];
        let reply = ask(&clients[0], &format!("DEL {key}\r\n"));
        assert_eq!(reply, ":1", "{key}, with a full disk");
    }
    eventually(|| ask(&clients[0], &set("freed", &value)) == "+OK");
    let stored: Vec<String> = kept
        .into_iter()
        .map(|number| stored[number].clone())
        .collect();
    disk.grow("400m");
    eventually(|| ask(&clients[0], &set("again", &value)) == "+OK");
    for key in stored.iter().step_by(7) {
        assert_eq!(
            get(key),
            format!(":{}", value.len()),
            "{key}, with room again"
        );
    }
    drop(clients);
    let told = service.stop();
    assert!(!told.contains("panicked"), "{told}");
}

#[test]
fn memory_stays_within_what_is_set_by_the_kernels_own_count() {
    const LIMIT: u64 = 192 << 20;
    let directory = Directory::new();
    let setting = format!("database.max_memory_mb={}", LIMIT >> 20);
    let service = Service::start(&directory, &[&setting, "database.cache_size_mb=32"]);
    let value = "v".repeat(3 << 20);
    // 64 clients at once: twice as much as there is, of requests and then of replies.
    let told = thread::scope(|scope| {
        let clients: Vec<_> = (0..64)
            .map(|number| {
                let (service, value) = (&service, &value);
                scope.spawn(move || {
                    let mut told = Vec::new();
                    for round in 0..4 {
                        let mut stream = connect(service);
                        let key = format!("key:{}", (number + round) % 64);
                        if stream.write_all(set(&key, value).as_bytes()).is_err() {
                            told.push("closed".to_owned());
                            continue;
                        }
                        let mut reader = BufReader::new(stream);
                        let mut reply = String::new();
                        if reader.read_line(&mut reply).is_err() || reply != "+OK\r\n" {
                            told.push(reply);
                            continue;
                        }
                        let gets = format!("GET {key}\r\n").repeat(4);
                        reader.get_mut().write_all(gets.as_bytes()).unwrap();
                        let mut replies = Vec::new();
                        let all = 4 * (value.len() + 12);
                        let taken = reader.take(u64::try_from(all).unwrap());
                        let _cut = { taken }.read_to_end(&mut replies);
                        told.push("served".to_owned());
                    }
                    told
                })
            })
            .collect();
        let all = clients.into_iter().map(|client| client.join().unwrap());
        all.flatten().collect::<Vec<String>>()
    });
    let peak = memory(&service, "VmHWM");
    assert!(peak <= LIMIT, "{} MiB of {}", peak >> 20, LIMIT >> 20);
    let served = told.iter().filter(|told| *told == "served").count();
    assert!(served > told.len() / 3, "{served} of {} served", told.len());
    println!(
        "{served} of {} served within {} MiB",
        told.len(),
        peak >> 20
    );
}
