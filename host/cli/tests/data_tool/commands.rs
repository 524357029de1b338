//! `lightning-db` as a process: what it prints, and how it exits.

use super::support::{Directory, Run, lightning_db, lmdb_tools};

#[test]
fn a_value_is_stored_read_and_removed() {
    let data = Directory::new("point");
    let run = |line: &[&str]| lightning_db(line).data(&data).run();
    let stored = run(&["put", "ключ", "value with\nlines"]);
    stored.exits(0).prints("");
    assert!(stored.stderr.contains("created"), "{}", stored.stderr);
    run(&["get", "ключ"])
        .exits(0)
        .prints("value with\\x0alines\n");
    run(&["get", "--raw", "ключ"])
        .exits(0)
        .prints("value with\nlines");
    run(&["get", "--json", "ключ"])
        .exits(0)
        .prints("{\"key\":\"ключ\",\"value\":\"value with\\nlines\"}\n");
    run(&["get", "absent"]).exits(1).prints("").tells("");
    run(&["count"]).exits(0).prints("1\n");
    run(&["count", "--json"])
        .exits(0)
        .prints("{\"entries\":1,\"table\":\"default\"}\n");
    run(&["delete", "absent"]).exits(1).prints("");
    run(&["delete", "--json", "ключ"])
        .exits(0)
        .prints("{\"deleted\":1,\"table\":\"default\"}\n");
    run(&["get", "ключ"]).exits(1).prints("");
}

#[test]
fn bytes_come_back_from_the_command_line() {
    let data = Directory::new("bytes");
    let run = |line: &[&str]| lightning_db(line).data(&data).run();
    run(&["put", "--hex", "00ff5c", "fe0a"]).exits(0);
    run(&["get", "--hex", "00FF5c"]).exits(0).prints("fe0a\n");
    run(&["get", "\\x00\\xff\\"])
        .exits(0)
        .prints("\\xfe\\x0a\n");
    run(&["scan"]).exits(0).prints("\\x00\\xff\\\t\\xfe\\x0a\n");
    run(&["scan", "--json"])
        .exits(0)
        .prints("{\"key_hex\":\"00ff5c\",\"value_hex\":\"fe0a\"}\n");
    run(&["get", "--hex", "0g"])
        .exits(64)
        .tells("\"g\" at column 2 is no hexadecimal digit");
    run(&["put", "negative", "-5"]).exits(0);
    run(&["get", "negative"]).exits(0).prints("-5\n");
}

#[test]
fn scans_take_bounds() {
    let data = Directory::new("scan");
    let lines: String = ["a", "b", "ba", "bb", "c"]
        .iter()
        .map(|key| format!("{{\"key\":\"{key}\",\"value\":\"\"}}\n"))
        .collect();
    lightning_db(&["load"])
        .data(&data)
        .input(&lines)
        .run()
        .exits(0);
    for (options, expected) in [
        (&["--limit", "2"][..], "a b"),
        (&["--from", "b", "--to", "bb"], "b ba"),
        (&["--from", "b", "--to", "bb", "--reverse"], "ba b"),
        (&["--prefix", "b"], "b ba bb"),
        (&["--prefix", "b", "--reverse", "--limit", "1"], "bb"),
        (&["--from", "x"], ""),
        (&["--limit", "0"], ""),
    ] {
        let line = [&["scan"], options].concat();
        let scanned = lightning_db(&line).data(&data).run();
        scanned.exits(0);
        let keys: Vec<&str> = scanned
            .stdout
            .lines()
            .map(|line| line.trim_end_matches('\t'))
            .collect();
        assert_eq!(keys.join(" "), expected, "{options:?}");
    }
    lightning_db(&["scan", "--prefix", "b", "--from", "a"])
        .data(&data)
        .run()
        .exits(64);
}

#[test]
fn wrong_lines_exit_64_and_absent_directories_3() {
    let absent = Directory::new("absent");
    for line in [
        &["get"][..],
        &["get", "a", "b"],
        &["bogus"],
        &[],
        &["get", "--raw", "--json", "a", "--data", "d"],
        &["load", "--batch", "0"],
    ] {
        lightning_db(line).data(&absent).run().exits(64).prints("");
    }
    lightning_db(&["get", "a"])
        .run()
        .exits(64)
        .tells("--data DIR is missing");
    lightning_db(&["load", "--format", "xml"])
        .data(&absent)
        .run()
        .exits(64);
    lightning_db(&["dump", "--all-tables"])
        .data(&absent)
        .run()
        .exits(64);
    for command in [
        &["get", "a"][..],
        &["scan"],
        &["count"],
        &["dump"],
        &["info"],
        &["verify"],
    ] {
        let ran = lightning_db(command).data(&absent).run();
        ran.exits(3).prints("").tells("not found");
        assert!(!absent.path().exists());
    }
    lightning_db(&["delete", "a"]).data(&absent).run().exits(3);
    assert!(!absent.path().exists());
    std::fs::create_dir(absent.path()).unwrap();
    lightning_db(&["get", "a"]).data(&absent).run().exits(3);
}

#[test]
fn help_and_version_exit_0() {
    for line in [
        &["--help"][..],
        &["-h"],
        &["--version"],
        &["version"],
        &["load", "--help"],
    ] {
        let ran = lightning_db(line).run();
        ran.exits(0).tells("");
        assert!(ran.stdout.contains("lightning-db"), "{}", ran.stdout);
    }
    let help = lightning_db(&["--help"]).run();
    assert!(help.stdout.contains("Examples:"), "{}", help.stdout);
    assert!(
        !help.stdout.contains('\u{1b}'),
        "colours without a terminal"
    );
}

#[test]
fn completions_and_man_pages_are_made() {
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let ran = lightning_db(&["completions", shell]).run();
        ran.exits(0);
        assert!(ran.stdout.contains("all-tables"), "{shell}");
    }
    let pages = Directory::new("man");
    std::fs::create_dir(pages.path()).unwrap();
    lightning_db(&["man", pages.path().to_str().unwrap()])
        .run()
        .exits(0);
    for page in ["lightning-db.1", "lightning-db-load.1"] {
        let text = std::fs::read_to_string(pages.path().join(page)).unwrap();
        assert!(text.contains(".SH"), "{page}");
    }
    let absent = pages.path().join("absent");
    lightning_db(&["man", absent.to_str().unwrap()])
        .run()
        .exits(2)
        .tells("absent: ");
}

#[test]
fn tables_are_apart_and_named_when_one_is_missing() {
    let data = Directory::new("tables");
    for table in ["users", "orders"] {
        lightning_db(&["put", "k", table, "--table", table])
            .data(&data)
            .run()
            .exits(0);
    }
    lightning_db(&["--table", "users", "get", "k"])
        .data(&data)
        .run()
        .exits(0)
        .prints("users\n");
    lightning_db(&["get", "k"])
        .data(&data)
        .run()
        .exits(1)
        .tells("no table \"default\"; there are \"orders\", \"users\"");
    let info = lightning_db(&["info", "--json"]).data(&data).run();
    info.exits(0);
    assert!(
        info.stdout.contains(
            "\"tables\":[{\"entries\":1,\"name\":\"orders\"},{\"entries\":1,\"name\":\"users\"}]"
        ),
        "{}",
        info.stdout
    );
    let verified = lightning_db(&["verify"]).data(&data).run();
    verified.exits(0);
    assert!(
        verified.stdout.contains("sound: 2 tables, 2 entries"),
        "{}",
        verified.stdout
    );
}

#[test]
fn json_lines_come_back_unchanged() {
    let data = Directory::new("jsonl");
    let far = 4_000_000_000_000_u64;
    let mut lines = vec![
        "{\"key\":\"\",\"value\":\"empty key\"}".to_owned(),
        format!("{{\"key\":\"a\\n\",\"value\":\"\",\"expiry_ms\":{far},\"metadata\":255}}"),
        "{\"key\":\"grün\",\"value_hex\":\"00ff\",\"metadata\":0}".to_owned(),
        "{\"key_hex\":\"ff\",\"value\":\"\\\"quoted\\\\\"}".to_owned(),
    ];
    let large = "x".repeat(100_000);
    lines.push(format!("{{\"key_hex\":\"ff01\",\"value\":\"{large}\"}}"));
    let text = lines.join("\n") + "\n";
    lightning_db(&["load", "--batch", "2"])
        .data(&data)
        .input(&text)
        .run()
        .exits(0)
        .prints("");
    lightning_db(&["dump"])
        .data(&data)
        .run()
        .exits(0)
        .prints(&text);

    let file = data.path().with_extension("jsonl");
    let name = file.to_str().unwrap();
    lightning_db(&["dump", name])
        .data(&data)
        .run()
        .exits(0)
        .prints("");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    let copy = Directory::new("jsonl-copy");
    lightning_db(&["load", name]).data(&copy).run().exits(0);
    lightning_db(&["dump"])
        .data(&copy)
        .run()
        .exits(0)
        .prints(&text);
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn malformed_input_names_file_line_and_what_is_durable() {
    let data = Directory::new("malformed");
    let good = "{\"key\":\"a\",\"value\":\"\"}\n{\"key\":\"b\",\"value\":\"\"}\n";
    let text = format!("{good}{{\"key\":\"c\"}}\n");
    lightning_db(&["load", "--batch", "2"])
        .data(&data)
        .input(&text)
        .run()
        .exits(2)
        .prints("")
        .tells("standard input: line 3: neither \"value\" nor \"value_hex\"")
        .tells("2 records are durable; go on with --skip 2");
    lightning_db(&["count"]).data(&data).run().prints("2\n");
    let long_key = "k".repeat(5000);
    lightning_db(&["load"])
        .data(&data)
        .input(&format!(
            "{good}{{\"key\":\"{long_key}\",\"value\":\"\"}}\n"
        ))
        .run()
        .exits(2)
        .tells("line 3: ")
        .tells("5000");
    lightning_db(&["load", "no-such-file"])
        .data(&data)
        .run()
        .exits(2)
        .tells("no-such-file: ");
}

#[test]
fn a_load_acknowledges_and_resumes() {
    let data = Directory::new("resume");
    let text: String = (0..25)
        .map(|number| format!("{{\"key\":\"{number:03}\",\"value\":\"\"}}\n"))
        .collect();
    let options = ["load", "--ack", "--batch", "10"];
    lightning_db(&options)
        .data(&data)
        .input(&text)
        .run()
        .exits(0)
        .prints("10\n20\n25\n");
    let data = Directory::new("resume-rest");
    let options = ["load", "--ack", "--batch", "10", "--skip", "8", "--json"];
    lightning_db(&options)
        .data(&data)
        .input(&text)
        .run()
        .exits(0)
        .prints("18\n25\n{\"loaded\":17,\"records\":25}\n");
    lightning_db(&["count"]).data(&data).run().prints("17\n");
    lightning_db(&["load", "--skip", "26"])
        .data(&data)
        .input(&text)
        .run()
        .exits(0)
        .tells("fewer than --skip 26");
}

const MDB_TWO: &str = "VERSION=3\nformat=print\ndatabase=one\ntype=btree\nmapsize=2097152\n\
    maxreaders=7\nreversekey=1\ndb_pagesize=4096\nHEADER=END\n a\\00\n one\n b\n \nDATA=END\n\
    VERSION=3\nformat=bytevalue\ndatabase=two\ntype=btree\nmapsize=2097152\n\
    maxreaders=7\ndb_pagesize=4096\nHEADER=END\n 00\n ff\nDATA=END\n";

#[test]
fn mdb_headers_are_kept_with_their_tables() {
    let data = Directory::new("mdb");
    let load = ["load", "--format", "mdb"];
    lightning_db(&load)
        .data(&data)
        .input(MDB_TWO)
        .run()
        .exits(0);
    lightning_db(&["dump", "--format", "mdb", "--all-tables"])
        .data(&data)
        .run()
        .exits(0)
        .prints(MDB_TWO);
    lightning_db(&["--table", "two", "get", "--hex", "00"])
        .data(&data)
        .run()
        .prints("ff\n");
    lightning_db(&["--table", "all", "load", "--format", "mdb"])
        .data(&data)
        .input(MDB_TWO)
        .run()
        .exits(2)
        .tells("line 22: a second database for table \"all\"");
    lightning_db(&load)
        .data(&data)
        .input("")
        .run()
        .exits(2)
        .tells("the input is empty");
    let duplicates = MDB_TWO
        .replace("reversekey=1", "duplicates=1\ndupsort=1")
        .replace(" b\n", " a\\00\n");
    lightning_db(&load)
        .data(&data)
        .input(&duplicates)
        .run()
        .exits(2)
        .tells("line 13: key \"a\\x00\" has a second value");
}

#[test]
fn a_table_that_outgrew_its_map_gets_a_larger_one() {
    let data = Directory::new("outgrown");
    let text = MDB_TWO.replace("mapsize=2097152", "mapsize=8192");
    lightning_db(&["load", "--format", "mdb"])
        .data(&data)
        .input(&text)
        .run()
        .exits(0);
    let large = format!("{{\"key\":\"c\",\"value\":\"{}\"}}\n", "x".repeat(50_000));
    lightning_db(&["load", "--table", "one"])
        .data(&data)
        .input(&large)
        .run()
        .exits(0);
    let dumped = lightning_db(&["dump", "--format", "mdb", "--table", "one"])
        .data(&data)
        .run();
    dumped.exits(0).tells("has outgrown its mapsize of 8192");
    assert!(
        dumped.stdout.contains("mapsize=1048576\n"),
        "{}",
        dumped.stdout
    );
    assert!(
        dumped.stdout.contains("reversekey=1\n"),
        "{}",
        dumped.stdout
    );
}

#[test]
fn lmdb_takes_back_what_it_gave() {
    let Some(lmdb) = lmdb_tools() else {
        return;
    };
    let data = Directory::new("lmdb");
    let mut text = "VERSION=3\nformat=bytevalue\ntype=btree\nmapsize=33554432\nmaxreaders=33\n\
                    db_pagesize=4096\nHEADER=END\n"
        .to_owned();
    for number in 0..2000_u32 {
        // Keys out of order, values of no, few and many bytes. No backslash: the
        // print form of LMDB 0.9.24 and older loses it.
        let key = number.wrapping_mul(2_654_435_761) & 0xEFEF_EFEF;
        let value = "7f".repeat((number % 97) as usize * (number % 31) as usize);
        text.push_str(&format!(" {key:08x}\n {value}\n"));
    }
    text.push_str("DATA=END\n");
    let given = lmdb.load("given", &text);
    for form in [&[][..], &["-p"]] {
        let first = lmdb.dump(&given, form);
        lightning_db(&["load", "--format", "mdb"])
            .data(&data)
            .input(&first)
            .run()
            .exits(0);
        let dumped = lightning_db(&["dump", "--format", "mdb"]).data(&data).run();
        dumped.exits(0).prints(&first);
        let taken = lmdb.load("taken", &dumped.stdout);
        assert_eq!(lmdb.dump(&taken, form), first);
    }
    // Without a header of LMDB's own the map is made large enough.
    let plain = Directory::new("lmdb-plain");
    let lines: String = (0..5000)
        .map(|number| {
            let value = "v".repeat(number % 3000);
            format!("{{\"key\":\"{number:05}\",\"value\":\"{value}\"}}\n")
        })
        .collect();
    lightning_db(&["load"])
        .data(&plain)
        .input(&lines)
        .run()
        .exits(0);
    let dumped = lightning_db(&["dump", "--format", "mdb"])
        .data(&plain)
        .run();
    dumped.exits(0);
    let taken = lmdb.load("plain", &dumped.stdout);
    assert_eq!(lmdb.dump(&taken, &[]), dumped.stdout);
}

#[test]
fn what_reads_changes_nothing() {
    let data = Directory::new("unchanged");
    lightning_db(&["put", "k", "v"]).data(&data).run().exits(0);
    let before = data.files();
    for command in [
        &["get", "k"][..],
        &["scan"],
        &["count"],
        &["dump"],
        &["info"],
        &["verify"],
    ] {
        lightning_db(command).data(&data).run().exits(0);
        assert_eq!(data.files(), before, "{command:?}");
    }
}

#[test]
fn damage_is_found_and_named() {
    let data = Directory::new("damage");
    let lines: String = (0..3000)
        .map(|number| {
            format!(
                "{{\"key\":\"{number:05}\",\"value\":\"{}\"}}\n",
                "v".repeat(100)
            )
        })
        .collect();
    lightning_db(&["load"])
        .data(&data)
        .input(&lines)
        .run()
        .exits(0);
    let log = data.path().join("wal/00000000.wal");
    let mut bytes = std::fs::read(&log).unwrap();
    let middle = 200_000;
    bytes[middle] ^= 1;
    std::fs::write(&log, bytes).unwrap();
    let Run {
        stdout,
        stderr,
        code,
    } = lightning_db(&["verify"]).data(&data).run();
    assert_eq!(code, 2, "{stdout}{stderr}");
    assert!(
        stderr.contains("00000000.wal") || stderr.contains("pages.ldb"),
        "{stderr}"
    );
    assert!(!stderr.contains("panicked"), "{stderr}");
}

#[test]
fn a_directory_in_use_is_not_reached() {
    let data = Directory::new("in-use");
    lightning_db(&["put", "k", "v"]).data(&data).run().exits(0);
    // It waits for its input, and owns the directory as soon as it acknowledges.
    let holder = lightning_db(&["load", "--ack", "--batch", "1"])
        .data(&data)
        .hold_after("{\"key\":\"a\",\"value\":\"\"}\n");
    for command in [&["get", "k"][..], &["put", "k", "w"], &["dump"]] {
        lightning_db(command)
            .data(&data)
            .run()
            .exits(3)
            .prints("")
            .tells("in use: process ");
    }
    holder.finish().exits(0);
    lightning_db(&["get", "k"])
        .data(&data)
        .run()
        .exits(0)
        .prints("v\n");
}

#[test]
fn acknowledged_records_survive_kills() {
    let data = Directory::new("kills");
    let records = 20_000;
    let text: String = (0..records)
        .map(|number| format!("{{\"key\":\"{number:06}\",\"value\":\"{number}\"}}\n"))
        .collect();
    let file = data.path().with_extension("jsonl");
    std::fs::write(&file, &text).unwrap();
    let mut acknowledged = 0_u64;
    for attempt in 0..20 {
        let skip = acknowledged.to_string();
        let line = [
            "load",
            "--quiet",
            "--ack",
            "--batch",
            "40",
            "--skip",
            &skip,
            file.to_str().unwrap(),
        ];
        // A few batches, and then a kill at another moment each time.
        let last = lightning_db(&line)
            .data(&data)
            .kill_after_lines(1 + attempt % 5, attempt);
        acknowledged = acknowledged.max(last);
        let counted = lightning_db(&["count"]).data(&data).run();
        counted.exits(0);
        let count: u64 = counted.stdout.trim().parse().unwrap();
        assert!(count >= acknowledged, "{count} of {acknowledged}");
    }
    assert!(acknowledged > 0);
    let skip = acknowledged.to_string();
    lightning_db(&["load", "--skip", &skip, file.to_str().unwrap()])
        .data(&data)
        .run()
        .exits(0);
    lightning_db(&["dump"])
        .data(&data)
        .run()
        .exits(0)
        .prints(&text);
    lightning_db(&["verify"]).data(&data).run().exits(0);
    std::fs::remove_file(&file).unwrap();
}
