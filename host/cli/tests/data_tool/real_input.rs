//! The index of available Debian packages: through LMDB, in, out, and back into
//! LMDB; and the same load, killed a hundred times and resumed.
//!
//! Where `apt-cache` or LMDB's tools are missing, or the index is empty, that is
//! told on standard error, and nothing else is done.

use super::support::{Directory, Lmdb, lightning_db, lmdb_tools};
use std::fmt::Write;
use std::process::Command;

const KILLS: u32 = 100;

/// The index in the text form of `mdb_dump`, or `None` where there is none.
fn package_index() -> Option<String> {
    let Ok(output) = Command::new("apt-cache").arg("dumpavail").output() else {
        eprintln!("not run: apt-cache is missing; this is no Debian system");
        return None;
    };
    let mut text = "VERSION=3\nformat=bytevalue\ntype=btree\nmapsize=1073741824\n\
                    maxreaders=126\ndb_pagesize=4096\nHEADER=END\n"
        .to_owned();
    let mut count = 0;
    let records = String::from_utf8_lossy(&output.stdout);
    for record in records
        .split("\n\n")
        .filter(|record| !record.trim().is_empty())
    {
        let field = |name: &str| {
            record
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
                .unwrap_or("?")
        };
        let key = format!(
            "{} {} {}",
            field("Package"),
            field("Version"),
            field("Architecture")
        );
        for bytes in [key.as_str(), record] {
            text.push(' ');
            for byte in bytes.bytes() {
                write!(text, "{byte:02x}").unwrap();
            }
            text.push('\n');
        }
        count += 1;
    }
    text.push_str("DATA=END\n");
    if count == 0 {
        eprintln!("not run: apt-cache knows no packages; `apt-get update` fetches them");
        return None;
    }
    eprintln!("{count} packages");
    Some(text)
}

/// The index as LMDB dumps it.
fn dumped_index() -> Option<(Lmdb, String)> {
    let lmdb = lmdb_tools()?;
    let index = package_index()?;
    let loaded = lmdb.load("index", &index);
    let first = lmdb.dump(&loaded, &[]);
    Some((lmdb, first))
}

#[test]
fn the_package_index_goes_through_unchanged() {
    let Some((lmdb, first)) = dumped_index() else {
        return;
    };
    let data = Directory::new("packages");
    lightning_db(&["load", "--format", "mdb"])
        .data(&data)
        .input(&first)
        .run()
        .exits(0);
    let dumped = lightning_db(&["dump", "--format", "mdb"]).data(&data).run();
    dumped.exits(0);
    assert!(dumped.stdout == first, "lightning-db dumps another text");
    let taken = lmdb.load("taken", &dumped.stdout);
    assert!(
        lmdb.dump(&taken, &[]) == first,
        "LMDB took in something else"
    );
    lightning_db(&["verify"]).data(&data).run().exits(0);
}

#[test]
fn the_package_index_survives_a_hundred_kills() {
    let Some((_lmdb, first)) = dumped_index() else {
        return;
    };
    let data = Directory::new("packages-killed");
    let file = data.path().with_extension("mdb");
    std::fs::write(&file, &first).unwrap();
    let name = file.to_str().unwrap();
    let mut acknowledged = 0_u64;
    for attempt in 0..KILLS {
        let skip = acknowledged.to_string();
        let line = [
            "load", "--quiet", "--ack", "--batch", "10", "--format", "mdb", "--skip", &skip, name,
        ];
        let last = lightning_db(&line)
            .data(&data)
            .kill_after_lines(1 + attempt % 7, attempt);
        acknowledged = acknowledged.max(last);
        let counted = lightning_db(&["count"]).data(&data).run();
        counted.exits(0);
        let count: u64 = counted.stdout.trim().parse().unwrap();
        assert!(
            count >= acknowledged,
            "{count} of {acknowledged} after kill {attempt}"
        );
    }
    let skip = acknowledged.to_string();
    let line = ["load", "--format", "mdb", "--skip", &skip, name];
    lightning_db(&line).data(&data).run().exits(0);
    let dumped = lightning_db(&["dump", "--format", "mdb"]).data(&data).run();
    dumped.exits(0);
    assert!(dumped.stdout == first, "lightning-db dumps another text");
    lightning_db(&["verify"]).data(&data).run().exits(0);
    std::fs::remove_file(&file).unwrap();
}
