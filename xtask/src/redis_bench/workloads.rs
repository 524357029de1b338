//! What is measured, in this order: what the load's own work allows; durable writes; servers
//! that have nothing to do; the same data in both; reads, writes and both together where a
//! power cut may take a second; and a start with all the data.

use std::time::Duration;

use anyhow::Result;

use super::Extent;
use super::load::{self, Found, KEYS, Load};
use super::report::{Row, Unit, median};
use super::server::{Durability, Kind, Server};

/// Both servers.
struct Pair {
    redis: Server,
    lightning: Server,
}

impl Pair {
    fn start(durability: Durability) -> Result<Self> {
        Ok(Self {
            redis: Server::start(Kind::Redis, durability)?,
            lightning: Server::start(Kind::Lightning, durability)?,
        })
    }

    /// A figure of each.
    fn each(&self, mut measure: impl FnMut(&Server) -> Result<f64>) -> Result<[f64; 2]> {
        Ok([measure(&self.redis)?, measure(&self.lightning)?])
    }
}

fn row(name: impl Into<String>, unit: Unit, [redis, lightning]: [f64; 2]) -> Row {
    Row {
        name: name.into(),
        unit,
        redis: Some(redis),
        lightning: Some(lightning),
    }
}

/// Figures of one round.
#[derive(Debug, Clone, Copy)]
struct Round {
    found: Found,
    /// Of the server, for each request, in microseconds.
    processor_us: f64,
    flushes_per_request: Option<f64>,
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts and times are far below 2^52"
)]
fn round(server: &Server, load: Load, keys: u64) -> Result<Round> {
    let flushes = server.flushes()?;
    let before = server.processor_time()?;
    let found = load.run(server, keys)?;
    let took = server.processor_time()? - before;
    let flushed = server.flushes()?.zip(flushes);
    let requests = load.requests as f64;
    Ok(Round {
        found,
        processor_us: took.as_micros() as f64 / requests,
        flushes_per_request: flushed.map(|(now, before)| (now - before) as f64 / requests),
    })
}

/// Runs a load on both in turns, and tells the medians.
fn compare(extent: &Extent, name: &str, pair: &Pair, load: Load) -> Result<Vec<Row>> {
    if !extent.includes(name) {
        return Ok(Vec::new());
    }
    eprintln!("{name}");
    let keys = extent.requests(KEYS);
    let load = Load {
        requests: extent.requests(load.requests),
        ..load
    };
    let mut rounds: [Vec<Round>; 2] = Default::default();
    for _ in 0..extent.rounds {
        rounds[0].push(round(&pair.redis, load, keys)?);
        rounds[1].push(round(&pair.lightning, load, keys)?);
    }
    let figure = |suffix: &str, unit: Unit, of: fn(&Round) -> Option<f64>| {
        let of_server = |rounds: &Vec<Round>| median(rounds.iter().filter_map(of).collect());
        Row {
            name: format!("{name}{suffix}"),
            unit,
            redis: of_server(&rounds[0]),
            lightning: of_server(&rounds[1]),
        }
    };
    let mut rows = vec![
        figure("", Unit::Rate, |round| Some(round.found.rate)),
        figure(": server's processor time", Unit::Microseconds, |round| {
            Some(round.processor_us)
        }),
        figure(": p99", Unit::Milliseconds, |round| {
            Some(round.found.p99_ms)
        }),
    ];
    if name.starts_with("durable") {
        rows.push(figure(": flushes for each SET", Unit::Number, |round| {
            round.flushes_per_request
        }));
    }
    Ok(rows)
}

/// A load of one kind while another one runs: percentiles of the first.
fn beside(extent: &Extent, pair: &Pair, name: &str, load: Load, other: Load) -> Result<Vec<Row>> {
    if !extent.includes(name) {
        return Ok(Vec::new());
    }
    eprintln!("{name}");
    let keys = extent.requests(KEYS);
    let load = Load {
        requests: extent.requests(load.requests),
        ..load
    };
    let mut found: [Vec<Found>; 2] = Default::default();
    for _ in 0..extent.rounds {
        for (place, server) in [&pair.redis, &pair.lightning].into_iter().enumerate() {
            let _beside = other.run_on(server, keys)?;
            found[place].push(load.run(server, keys)?);
        }
    }
    let figure = |suffix: &str, unit: Unit, of: fn(&Found) -> f64| {
        let of_server = |found: &Vec<Found>| median(found.iter().map(of).collect());
        Row {
            name: format!("{name}{suffix}"),
            unit,
            redis: of_server(&found[0]),
            lightning: of_server(&found[1]),
        }
    };
    Ok(vec![
        figure("", Unit::Rate, |found| found.rate),
        figure(": p99", Unit::Milliseconds, |found| found.p99_ms),
        figure(": p999", Unit::Milliseconds, |found| found.p999_ms),
    ])
}

/// Memory and processor time of servers that have nothing to do.
#[expect(clippy::cast_precision_loss, reason = "bytes are far below 2^52")]
fn idle(extent: &Extent, pair: &Pair, name: &str) -> Result<Vec<Row>> {
    if !extent.includes("idle") {
        return Ok(Vec::new());
    }
    settle(pair)?;
    let time = Duration::from_secs(if extent.divisor > 1 { 2 } else { 10 });
    let before = pair.each(|server| Ok(server.processor_time()?.as_secs_f64()))?;
    std::thread::sleep(time);
    let after = pair.each(|server| Ok(server.processor_time()?.as_secs_f64()))?;
    let per_second = [0, 1].map(|at| (after[at] - before[at]) * 1e6 / time.as_secs_f64());
    Ok(vec![
        row(
            format!("idle{name}: memory"),
            Unit::Bytes,
            pair.each(|server| Ok(server.memory_bytes()? as f64))?,
        ),
        row(
            format!("idle{name}: processor time of a second"),
            Unit::Microseconds,
            per_second,
        ),
    ])
}

/// Waits until neither server does what a load has left it to do, or for half a minute.
fn settle(pair: &Pair) -> Result<()> {
    let mut before = pair.each(|server| Ok(server.processor_time()?.as_secs_f64()))?;
    for _ in 0..30 {
        std::thread::sleep(Duration::from_secs(1));
        let after = pair.each(|server| Ok(server.processor_time()?.as_secs_f64()))?;
        if after
            .iter()
            .zip(before)
            .all(|(after, before)| after - before < 0.015)
        {
            break;
        }
        before = after;
    }
    Ok(())
}

/// All of it.
#[expect(clippy::cast_precision_loss, reason = "bytes are far below 2^52")]
pub fn measure(extent: &Extent) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let get = Load {
        command: "get",
        connections: 50,
        pipeline: 1,
        threads: 1,
        requests: 200_000,
    };
    let set = Load {
        command: "set",
        ..get
    };
    let one = |load: Load, requests| Load {
        connections: 1,
        requests,
        ..load
    };
    let pipelined = |load: Load, requests| Load {
        pipeline: 16,
        requests,
        ..load
    };
    let threads = |load: Load| Load { threads: 2, ..load };

    let durable = Pair::start(Durability::Sync)?;
    // No server answers anything faster to this client.
    let ping = Load {
        command: "ping_mbulk",
        ..get
    };
    rows.extend(compare(extent, "PING, 50 connections", &durable, ping)?);
    rows.extend(compare(
        extent,
        "durable SET, 1 connection",
        &durable,
        one(set, 10_000),
    )?);
    rows.extend(compare(
        extent,
        "durable SET, 50 connections",
        &durable,
        set,
    )?);
    rows.extend(compare(
        extent,
        "durable SET, 50 connections, two threads of load",
        &durable,
        threads(set),
    )?);
    drop(durable);

    let pair = Pair::start(Durability::EverySecond)?;
    rows.extend(idle(extent, &pair, ", empty")?);
    for server in [&pair.redis, &pair.lightning] {
        load::fill(server, extent.requests(KEYS))?;
    }
    if extent.includes("memory") {
        let bytes = pair.each(|server| Ok(server.memory_bytes()? as f64))?;
        rows.push(row("memory with the data", Unit::Bytes, bytes));
        let bytes = pair.each(|server| Ok(server.data_bytes()? as f64))?;
        rows.push(row("the data's files", Unit::Bytes, bytes));
    }
    for (name, load) in [
        ("GET, 50 connections", get),
        ("GET, 50 connections, two threads of load", threads(get)),
        ("GET, 50 connections, -P 16", pipelined(get, 2_000_000)),
        ("periodic SET, 50 connections", set),
        (
            "periodic SET, 50 connections, -P 16",
            pipelined(set, 1_000_000),
        ),
    ] {
        rows.extend(compare(extent, name, &pair, load)?);
    }
    let half = |load: Load| Load {
        connections: 25,
        ..load
    };
    let name = "mixed load, 25 and 25 connections: GET";
    rows.extend(beside(extent, &pair, name, half(get), half(set))?);
    let name = "mixed load, 25 and 25 connections: SET";
    rows.extend(beside(extent, &pair, name, half(set), half(get))?);
    rows.extend(idle(extent, &pair, ", with the data")?);
    if extent.includes("restart") {
        rows.extend(restart(pair)?);
    }
    Ok(rows)
}

/// Starts with all the data, after a clean end and after a kill.
fn restart(pair: Pair) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let Pair {
        mut redis,
        mut lightning,
    } = pair;
    for (name, kill) in [("a clean end", false), ("kill -9", true)] {
        let (again, of_redis) = redis.restart(kill)?;
        redis = again;
        let (again, of_lightning) = lightning.restart(kill)?;
        lightning = again;
        rows.push(row(
            format!("restart after {name}"),
            Unit::Milliseconds,
            [of_redis, of_lightning].map(|time| time.as_secs_f64() * 1e3),
        ));
        for server in [&redis, &lightning] {
            let count = server.ask("DBSIZE")?;
            eprintln!("{:?} has {count} after {name}", server.kind);
        }
    }
    Ok(rows)
}
