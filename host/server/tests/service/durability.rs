//! What was acknowledged is there after the process was killed, however often.

use crate::support::{Directory, PATIENCE, Service};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

const KILLS: u64 = 100;
const CLIENTS: usize = 4;
/// The most commands that a client sends at once.
const PIPELINE_MAX: u64 = 6;

/// A few numbers that look random, the same in each run.
struct Draws(u64);

impl Draws {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % bound
    }
}

/// What one client knows of its counter. Write *n* sets the key of *n*, and raises the
/// counter to *n* in the same pipeline, hence in the same commit.
#[derive(Default)]
struct Told {
    sent: AtomicU64,
    acknowledged: AtomicU64,
}

/// Writes until the service is gone.
fn write_on(address: SocketAddr, client: usize, told: &Told, mut draws: Draws) {
    let Ok(stream) = TcpStream::connect(address) else {
        return;
    };
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let mut reader = BufReader::new(stream);
    loop {
        let first = told.sent.load(Ordering::Relaxed) + 1;
        let count = 1 + draws.below(PIPELINE_MAX);
        let mut lines = String::new();
        for number in first..first + count {
            lines.push_str(&format!(
                "SET c{client}:{number} v{number}\r\nINCR c{client}\r\n"
            ));
        }
        told.sent.store(first + count - 1, Ordering::Relaxed);
        if writer.write_all(lines.as_bytes()).is_err() {
            return;
        }
        for number in first..first + count {
            for expected in ["+OK".to_owned(), format!(":{number}")] {
                let mut line = String::new();
                match reader.read_line(&mut line) {
                    Ok(1..) if line.ends_with('\n') => assert_eq!(line.trim_end(), expected),
                    _ => return,
                }
            }
            told.acknowledged.store(number, Ordering::Relaxed);
        }
    }
}

fn number_of(service: &Service, key: &str) -> u64 {
    // Two lines, whether there is a value or not.
    let reply = service.say(&format!("GETRANGE {key} 0 -1\r\n"), 2);
    if reply[1].is_empty() {
        return 0;
    }
    reply[1].parse().unwrap()
}

/// The counter of a client says how much of it is there; that must be so.
fn check(service: &Service, client: usize, told: &Told, kill: u64) -> u64 {
    let acknowledged = told.acknowledged.load(Ordering::Relaxed);
    let sent = told.sent.load(Ordering::Relaxed);
    let found = number_of(service, &format!("c{client}"));
    assert!(
        (acknowledged..=sent).contains(&found),
        "kill {kill}: client {client} has {found} writes; {acknowledged} were acknowledged, {sent} sent"
    );
    // The last ones one by one: what a kill before this one left was looked at then.
    let first = found.saturating_sub(200).max(1);
    let mut lines = String::new();
    for number in first..=found + 1 {
        lines.push_str(&format!("GET c{client}:{number}\r\n"));
    }
    let replies = usize::try_from(found + 1 - first).unwrap() * 2 + 1;
    let replies = service.say(&lines, replies);
    for (place, number) in (first..=found).enumerate() {
        assert_eq!(replies[place * 2 + 1], format!("v{number}"), "kill {kill}");
    }
    assert_eq!(
        replies.last().unwrap(),
        "$-1",
        "kill {kill}: more than the counter says"
    );
    found
}

#[test]
fn nothing_acknowledged_is_lost_however_often_the_process_is_killed() {
    let directory = Directory::new();
    let mut draws = Draws(2026);
    let mut found = [0; CLIENTS];
    for kill in 0..KILLS {
        let settings = ["durability.wal_sync_mode=sync"];
        let service = Service::start(&directory, &settings);
        let told: [Told; CLIENTS] = std::array::from_fn(|client| Told {
            sent: AtomicU64::new(found[client]),
            acknowledged: AtomicU64::new(found[client]),
        });
        let patience = Duration::from_micros(500 + draws.below(60_000));
        thread::scope(|scope| {
            for (client, told) in told.iter().enumerate() {
                let address = service.clients();
                let draws = Draws(kill * 31 + client as u64);
                scope.spawn(move || write_on(address, client, told, draws));
            }
            thread::sleep(patience);
            service.signal("KILL");
        });
        drop(service);
        let service = Service::start(&directory, &settings);
        for client in 0..CLIENTS {
            found[client] = check(&service, client, &told[client], kill);
        }
        // Half of them go on from a clean end.
        if kill % 2 == 0 {
            service.stop();
        }
    }
    assert!(found.iter().all(|found| *found > KILLS), "{found:?}");
    let service = Service::start(&directory, &[]);
    for (client, found) in found.into_iter().enumerate() {
        let lines: String = (1..=found)
            .map(|number| format!("GET c{client}:{number}\r\n"))
            .collect();
        let replies = service.say(&lines, usize::try_from(found).unwrap() * 2);
        for (place, number) in (1..=found).enumerate() {
            assert_eq!(replies[place * 2 + 1], format!("v{number}"));
        }
    }
}
