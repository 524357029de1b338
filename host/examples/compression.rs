//! What compression costs and saves: `cargo run --release -p lightning-db --example compression`.
//!
//! Rows of JSON are put in an order that is none, merged, read at random from a cache that
//! holds an eighth of them, scanned, and overwritten. Prints a line for each codec.

use lightning_db::{Compression, Database};
use std::time::{Duration, Instant};

const ROWS: u64 = 400_000;

fn row(number: u64, round: u64) -> String {
    let mixed = (number + round * ROWS).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let city = ["Berlin", "Lisbon", "Nairobi", "Kyoto"][(mixed >> 62) as usize];
    format!(
        "{{\"id\":{number},\"name\":\"user {:08x}\",\"email\":\"{:06x}@example.com\",\"city\":\"{city}\",\
         \"active\":{},\"score\":{},\"tags\":[\"reader\",\"writer\"],\"address\":{{\"street\":\"{} Main Street\"}}}}",
        mixed >> 32,
        mixed >> 40 & 0xff_ffff,
        mixed & 1 == 1,
        mixed >> 8 & 0xffff,
        mixed >> 20 & 0x1ff,
    )
}

/// Processor time of the process.
fn processor() -> Duration {
    let found = lightning_db::process_use().expect("the system tells");
    found.user_time + found.system_time
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory =
        std::env::temp_dir().join(format!("lightning-compression-{}", std::process::id()));
    for page_bytes in [4_096, 16_384] {
        for codec in [Compression::None, Compression::Lz4, Compression::Zstd] {
            std::fs::remove_dir_all(&directory).ok();
            measure(&directory, page_bytes, codec)?;
        }
    }
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}

fn measure(
    directory: &std::path::Path,
    page_bytes: u32,
    codec: Compression,
) -> Result<(), Box<dyn std::error::Error>> {
    let database = Database::builder()
        .cache_bytes(8 << 20)
        .memtable_bytes(8 << 20)
        .page_bytes(page_bytes)
        .compression(codec)
        .durability(lightning_db::Durability::Async)
        .open(directory)?;
    let table = database.table("users")?;
    let mut parts = Vec::new();
    for round in 0..2 {
        let (started, used) = (Instant::now(), processor());
        for batch in 0..ROWS / 500 {
            let mut write = database.begin_write()?;
            for index in 0..500 {
                let number = (batch * 500 + index) * 7_919 % ROWS;
                let key = format!("user:{number:08}");
                write.put(&table, key.as_bytes(), row(number, round).as_bytes())?;
            }
            write.commit()?;
        }
        database.checkpoint(Duration::from_secs(600))?;
        let (took, used) = (started.elapsed(), processor() - used);
        let name = ["write", "overwrite"][round as usize];
        parts.push(format!(
            "{name} {:.1} s ({:.1} s of processor)",
            took.as_secs_f64(),
            used.as_secs_f64()
        ));
    }
    let written = database.statistics().engine.store.written_bytes;
    let read = database.begin_read()?;
    let reader = read.open(&table)?;
    let (used, reads) = (processor(), 200_000);
    for index in 0..reads {
        let number = index * 104_729 % ROWS;
        let key = format!("user:{number:08}");
        assert!(reader.get(key.as_bytes())?.is_some());
    }
    parts.push(format!(
        "get {:.2} us of processor",
        (processor() - used).as_secs_f64() * 1e6 / reads as f64
    ));
    let used = processor();
    assert_eq!(reader.iter()?.count() as u64, ROWS);
    parts.push(format!(
        "scan {:.0} ns of processor a row",
        (processor() - used).as_secs_f64() * 1e9 / ROWS as f64
    ));
    drop(reader);
    drop(read);
    let path = directory.join("pages.ldb");
    let mut bytes = u64::MAX;
    for _ in 0..40 {
        std::thread::sleep(Duration::from_millis(500));
        bytes = std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(&path)?) * 512;
    }
    println!(
        "page {page_bytes}, {codec}: {:.1} MB on the disk, {:.0} MB written; {}",
        bytes as f64 / 1e6,
        written as f64 / 1e6,
        parts.join(", ")
    );
    database.close()?;
    Ok(())
}
