//! Keys that have expired don't stay in counts for long.

use crate::support::{Directory, Service, eventually};
use std::time::{Duration, Instant};

fn number(service: &Service, line: &str) -> u64 {
    let reply = service.say(&format!("{line}\r\n"), 1);
    let number = reply[0].strip_prefix(':');
    number.and_then(|number| number.parse().ok()).unwrap()
}

#[test]
fn what_has_expired_is_removed_soon_and_nothing_else_is() {
    let directory = Directory::new();
    let service = Service::start(&directory, &["durability.wal_sync_mode=sync"]);
    let mut lines = String::new();
    let keys = 1000;
    for key in 0..keys {
        lines.push_str(&format!("SET gone:{key} v PX {}\r\n", 100 + key % 300));
    }
    // Given another life, in each of the ways that there are.
    lines.push_str("SET stays:1 v PX 1500\r\nPERSIST stays:1\r\n");
    lines.push_str("SET stays:2 v PX 1500\r\nSET stays:2 v\r\n");
    lines.push_str("SET stays:3 v PX 1500\r\nEXPIRE stays:3 1000\r\n");
    lines.push_str("SET back v PX 1500\r\nDEL back\r\nSET back v\r\n");
    let replies = service.say(&lines, keys + 9);
    let begun = Instant::now();
    assert!(replies.iter().all(|reply| reply == "+OK" || reply == ":1"));
    // The engine looks once in a minute at most: too late for this.
    eventually(|| number(&service, "DBSIZE") == 4);
    // Until the times are over that no longer hold.
    eventually(|| begun.elapsed() > Duration::from_secs(2));
    assert_eq!(number(&service, "EXISTS stays:1 stays:2 stays:3 back"), 4);
    assert!(number(&service, "TTL stays:3") > 900);
    let told = service.say("INFO stats\r\n", 8);
    assert!(told.contains(&format!("expired_keys:{keys}")), "{told:?}");
}
