//! Settings of engine and machine: what each does is seen from outside.

use super::support::{Directory, Service, arguments, eventually, program};
use lightning_db::{Compression, Database};
use lightning_ops::admin::{ReloadReport, Request};
use std::path::Path;
use std::process::Command;

#[test]
fn pages_are_compressed_as_it_is_said_when_the_database_is_made() {
    for (settings, expected) in [
        (
            &["performance.compression_enabled=false"][..],
            Compression::None,
        ),
        (&["performance.compression_enabled=true"], Compression::Lz4),
        (
            &[
                "performance.compression_enabled=true",
                "performance.compression_type=zstd",
            ],
            Compression::Zstd,
        ),
    ] {
        let directory = Directory::new();
        let service = Service::start(&directory, settings);
        assert_eq!(service.part("compression"), expected.to_string());
        assert!(!service.stop().contains("compression"));
        // What it was created with stays, and who wants another is told.
        let other = if expected == Compression::None {
            "performance.compression_enabled=true"
        } else {
            "performance.compression_enabled=false"
        };
        let service = Service::start(&directory, &[other]);
        assert_eq!(service.part("compression"), expected.to_string());
        let told = service.stop();
        assert!(
            told.contains("counts only when a database is created"),
            "{told}"
        );
        let database = Database::open_read_only(directory.path().join("data")).unwrap();
        assert_eq!(database.statistics().compression, expected);
    }
}

/// A field of one of its files below `/proc`, of each thread.
fn of_each_thread(service: &Service, field: &str) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", service.process())).unwrap();
    let mut found = Vec::new();
    for task in tasks {
        let status = std::fs::read_to_string(task.unwrap().path().join("status"));
        let Ok(status) = status else { continue };
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        found.push(line.unwrap().trim().to_owned());
    }
    found
}

/// How large it is in memory, in KiB.
fn resident(service: &Service) -> u64 {
    let all = of_each_thread(service, "VmRSS:");
    all[0].split(' ').next().unwrap().parse().unwrap()
}

/// Its large mappings, as `smaps` tells of them: a field of each.
fn of_large_mappings(service: &Service, field: &str) -> Vec<String> {
    let text = std::fs::read_to_string(format!("/proc/{}/smaps", service.process())).unwrap();
    let (mut is_large, mut found) = (false, Vec::new());
    for line in text.lines() {
        if let Some(size) = line.strip_prefix("Size:") {
            let kibibytes: u64 = size.trim().split(' ').next().unwrap().parse().unwrap();
            // Cache and write buffers of these tests.
            is_large = kibibytes >= 4 << 10;
        }
        if let Some(value) = line.strip_prefix(field)
            && is_large
        {
            found.push(value.trim().to_owned());
        }
    }
    found
}

#[test]
fn threads_stay_on_the_processors_that_were_named() {
    let directory = Directory::new();
    let allowed = Command::new("nproc").output().unwrap();
    let count: u32 = String::from_utf8(allowed.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let service = Service::start(&directory, &[]);
    let all = of_each_thread(&service, "Cpus_allowed_list:")[0].clone();
    let last = all.rsplit([',', '-']).next().unwrap().to_owned();
    service.stop();
    let service = Service::start(&directory, &[&format!("service.cpu_affinity={last}")]);
    assert_eq!(service.part("cpu_affinity"), last);
    let lists = of_each_thread(&service, "Cpus_allowed_list:");
    assert!(lists.len() > 3, "{lists:?}");
    assert!(lists.iter().all(|list| *list == last), "{lists:?}");
    service.stop();
    // None of them: refused, with a reason, and it serves all the same.
    let service = Service::start(&directory, &["service.cpu_affinity=4000"]);
    let told = service.stop();
    assert!(told.contains("has none of the processors 4000"), "{told}");
    if count == 1 {
        println!("note: one processor only; that threads are kept from others wasn't seen");
    }
}

#[test]
fn memory_lies_on_nodes_and_threads_with_it() {
    if !Path::new("/sys/devices/system/node/node0").exists() {
        println!("SKIPPED: this kernel tells of no memory nodes");
        return;
    }
    let directory = Directory::new();
    for (setting, policy) in [
        ("service.numa=0", "bind:0"),
        ("service.numa=interleave", "interleave:"),
    ] {
        let service = Service::start(&directory, &[setting]);
        let maps = format!("/proc/{}/numa_maps", service.process());
        let maps = std::fs::read_to_string(maps).unwrap();
        let is_placed = maps.contains(policy);
        let told = service.stop();
        assert!(
            is_placed || told.contains("can't be put on nodes"),
            "{maps} {told}"
        );
    }
    let service = Service::start(&directory, &["service.numa=77"]);
    let told = service.stop();
    assert!(told.contains("no memory node 77"), "{told}");
}

#[test]
fn memory_is_touched_at_start_where_it_is_to_be() {
    let directory = Directory::new();
    // 20 MiB of cache and write buffers, and more.
    let lazy = Service::start(&directory, &["service.huge_pages=off"]);
    let lazy_kib = resident(&lazy);
    lazy.stop();
    for setting in [
        "service.prefault=true",
        "database.use_optimized_page_manager=true",
    ] {
        let service = Service::start(&directory, &[setting]);
        let touched_kib = resident(&service);
        assert!(
            touched_kib > lazy_kib + (16 << 10),
            "{setting}: {lazy_kib} {touched_kib}"
        );
        assert!(service.part("prefault").ends_with("MiB"));
        service.stop();
    }
    // What is written counts more.
    let settings = [
        "database.use_optimized_page_manager=true",
        "service.prefault=false",
    ];
    let service = Service::start(&directory, &settings);
    assert!(resident(&service) < lazy_kib + (16 << 10));
    service.stop();
}

#[test]
fn huge_pages_are_taken_asked_for_or_not_wanted() {
    let directory = Directory::new();
    let flags = |setting| {
        let service = Service::start(&directory, &[setting]);
        let flags = of_large_mappings(&service, "VmFlags:");
        (flags, service.stop())
    };
    let has = |flags: &[String], flag: &str| {
        let mut all = flags.iter().flat_map(|flags| flags.split(' '));
        all.any(|one| one == flag)
    };
    let (off, _) = flags("service.huge_pages=off");
    assert!(
        has(&off, "nh") && !has(&off, "hg") && !has(&off, "ht"),
        "{off:?}"
    );
    let (tried, told) = flags("service.huge_pages=try");
    assert!(
        has(&tried, "hg") || has(&tried, "ht") || told.contains("huge_pages"),
        "{tried:?} {told}"
    );
    let small = arguments(&["service.huge_pages=on"]);
    let mut command = program(&directory, &small);
    command.args(["--data", "huge"]);
    if Path::new("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages").exists()
        && free_huge_pages() >= 16
    {
        let service = Service::of(command);
        assert!(has(&of_large_mappings(&service, "VmFlags:"), "ht"));
        assert!(service.part("huge_pages").ends_with("MiB_set_aside"));
    } else {
        // More than there are: it doesn't start, and says what would help.
        let output = command.output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains("raise vm.nr_hugepages"), "{told}");
    }
}

fn free_huge_pages() -> u64 {
    let path = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";
    std::fs::read_to_string(path)
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}

#[test]
fn pages_go_past_the_system_cache_where_the_file_system_can() {
    let directory = Directory::new();
    let service = Service::start(&directory, &["service.direct_io=true"]);
    let replies = service.say("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\nGET a\r\n", 3);
    assert_eq!(replies, ["+OK", "$1", "b"]);
    let process = service.process();
    let flags = std::fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    let pages = flags.filter_map(Result::ok).find(|entry| {
        std::fs::read_link(entry.path()).is_ok_and(|path| path.ends_with("pages.ldb"))
    });
    let number = pages.unwrap().file_name();
    let information = format!("/proc/{process}/fdinfo/{}", number.to_str().unwrap());
    let information = std::fs::read_to_string(information).unwrap();
    let flags = information
        .lines()
        .find_map(|line| line.strip_prefix("flags:"))
        .unwrap();
    let is_direct = u32::from_str_radix(flags.trim(), 8).unwrap() & O_DIRECT != 0;
    let told = service.stop();
    assert!(is_direct != told.contains("direct_io"), "{told}");
    // What was written is there, whoever reads it.
    let database = Database::open_read_only(directory.path().join("data")).unwrap();
    database.verify().unwrap();
}

/// As the kernel has it on these processors.
const O_DIRECT: u32 = if cfg!(any(target_arch = "aarch64", target_arch = "arm")) {
    0o200_000
} else {
    0o40_000
};

/// A sample of `/metrics`.
fn sample(service: &Service, name: &str) -> f64 {
    let (_, text) = service.get("metrics", "/metrics");
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("{name} in {text}"))
        .trim()
        .parse()
        .unwrap()
}

/// Starts a service on this file, and has it read another one.
fn configured(directory: &Directory, text: &str) -> Service {
    let path = directory.file("config.toml", text);
    let mut all = arguments(&[]);
    all.extend(["--data", "data", "--config", &path]);
    Service::of(program(directory, &all))
}

fn reload(directory: &Directory, service: &Service, text: &str) {
    directory.file("config.toml", text);
    let report: ReloadReport = service.call(&Request::ConfigReload).unwrap();
    assert!(report.needs_restart.is_empty(), "{report:?}");
    assert!(!report.applied.is_empty(), "{report:?}");
}

#[test]
fn expired_entries_go_as_often_as_it_is_said() {
    let directory = Directory::new();
    let seldom = "[database]\nversion_cleanup_interval_sec = 86400\n[durability]\ncheckpoint_interval_sec = 1\n";
    let service = configured(&directory, seldom);
    let mut lines = String::new();
    for number in 0..50 {
        lines.push_str(&format!("SET key{number} value PX 2000\r\n"));
    }
    service.say(&lines, 50);
    service.stop();
    // Another run doesn't know when they expire; they are in the trees.
    let service = configured(&directory, seldom);
    eventually(|| service.say("GET key1\r\nPING\r\n", 2)[0] == "$-1");
    // Not seen, but counted.
    assert!(sample(&service, "lightning_db_entries ") >= 50.0);
    reload(
        &directory,
        &service,
        "[database]\nversion_cleanup_interval_sec = 1\n[durability]\ncheckpoint_interval_sec = 1\n",
    );
    eventually(|| sample(&service, "lightning_db_entries ") < 50.0);
    service.stop();
}

#[test]
fn the_log_is_written_to_the_page_file_though_writes_go_on() {
    let directory = Directory::new();
    let service = configured(
        &directory,
        "[durability]\ncheckpoint_interval_sec = 86400\n",
    );
    let mut number = 0;
    // Writes, and answers whether some of what was written is in the page file.
    let mut write = |service: &Service| {
        number += 1;
        service.say(&format!("SET key{number} value\r\n"), 1);
        sample(service, "lightning_db_commits_unmerged ") < f64::from(number)
    };
    // While writes go on, nothing is merged: they never pause for long enough.
    for _ in 0..100 {
        assert!(!write(&service));
    }
    reload(
        &directory,
        &service,
        "[durability]\ncheckpoint_interval_sec = 1\n",
    );
    eventually(|| write(&service));
    service.stop();
}

#[test]
fn damage_is_looked_for_in_the_background() {
    let directory = Directory::new();
    let service = configured(&directory, "[durability]\ncheckpoint_interval_sec = 1\n");
    let mut lines = String::new();
    for number in 0..500 {
        lines.push_str(&format!("SET key{number} {}\r\n", "v".repeat(300)));
    }
    service.say(&lines, 500);
    eventually(|| sample(&service, "lightning_db_entries ") >= 500.0);
    assert_eq!(sample(&service, "lightning_db_scrubbed_pages_total "), 0.0);
    let paranoid = "[durability]\ncheckpoint_interval_sec = 1\nenable_paranoia_checks = true\n";
    reload(&directory, &service, paranoid);
    eventually(|| sample(&service, "lightning_db_scrub_rounds_total ") >= 1.0);
    assert!(sample(&service, "lightning_db_scrubbed_pages_total ") > 30.0);
    // What rots on the disk is in memory still, and found all the same.
    let path = directory.path().join("data/pages.ldb");
    let bytes = std::fs::read(&path).unwrap();
    let rotten: Vec<u8> = bytes[8_192..].iter().map(|byte| !byte).collect();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &rotten, 8_192).unwrap();
    let corruption = "lightning_db_errors_total{type=\"corruption\"} ";
    eventually(|| sample(&service, corruption) >= 1.0);
    service.signal("KILL");
    let (_, told) = service.wait();
    assert!(told.contains("stored data are damaged"), "{told}");
}

/// A small file system in memory, unmounted at the end.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    /// `None`: this user may not mount.
    fn mount(directory: &Directory) -> Option<Self> {
        let path = directory.path().join("data");
        std::fs::create_dir(&path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=200m", "none"])
            .arg(&path)
            .output();
        mounted
            .is_ok_and(|done| done.status.success())
            .then_some(Self(path))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(unmounted.unwrap().success());
    }
}

#[test]
fn little_room_on_the_disk_refuses_what_needs_more() {
    let directory = Directory::new();
    let Some(disk) = SmallDisk::mount(&directory) else {
        println!("SKIPPED: only root may mount a small disk");
        return;
    };
    let service = configured(&directory, "");
    assert_eq!(service.say("SET a 1\r\n", 1), ["+OK"]);
    let filler = disk.0.join("filler");
    // A tenth of it is kept.
    let available = |size: u64| {
        let room = lightning_db::file_system_room(&disk.0).unwrap();
        room.available_bytes.saturating_sub(size)
    };
    std::fs::write(&filler, vec![1; available(15 << 20) as usize]).unwrap();
    eventually(|| service.say("SET b 1\r\n", 1)[0].starts_with("-MISCONF the disk has "));
    // Reads, deletes and what they are part of go on.
    let replies = service.say("GET a\r\nDEL nothing\r\nEXPIRE a 1000\r\n", 4);
    assert_eq!(replies, ["$1", "1", ":0", ":1"]);
    // Without the guard they are taken until it is really full.
    reload(
        &directory,
        &service,
        "[durability]\nenable_safety_guards = false\n",
    );
    eventually(|| service.say("SET b 1\r\n", 1) == ["+OK"]);
    reload(
        &directory,
        &service,
        "[durability]\nenable_safety_guards = true\n",
    );
    eventually(|| service.say("SET b 2\r\n", 1)[0].starts_with("-MISCONF"));
    assert_eq!(service.say("DEL b\r\n", 1), [":1"]);
    std::fs::remove_file(&filler).unwrap();
    eventually(|| service.say("SET b 3\r\n", 1) == ["+OK"]);
    let told = service.stop();
    assert!(told.contains("the disk has little room left"), "{told}");
    assert!(told.contains("taken again"), "{told}");
}

#[test]
fn scans_read_ahead_as_far_as_it_is_said() {
    let directory = Directory::new();
    let settings = [
        "performance.prefetch_enabled=true",
        "performance.prefetch_distance=5",
    ];
    let service = Service::start(&directory, &settings);
    assert_eq!(service.part("prefetch_pages"), "5");
    service.stop();
    let settings = [
        "performance.prefetch_enabled=true",
        "service.direct_io=true",
    ];
    let service = Service::start(&directory, &settings);
    let told = service.stop();
    assert!(
        told.contains("there is no cache to read into") || told.contains("direct_io"),
        "{told}"
    );
    let settings = ["performance.prefetch_enabled=false"];
    let told = Service::start(&directory, &settings).stop();
    assert!(!told.contains("prefetch"), "{told}");
}

#[test]
fn as_many_threads_merge_as_are_said() {
    let directory = Directory::new();
    for (threads, helpers) in [(1, 0), (3, 2)] {
        let setting = format!("database.compaction_threads={threads}");
        let service = Service::start(&directory, &[&setting]);
        // What they do is seen by the library's own test, which needs more data than cache.
        // A thread names itself, and may not have come to it yet.
        eventually(|| {
            let names = of_each_thread(&service, "Name:");
            let ahead = names.iter().filter(|name| *name == "lightning-ahead");
            ahead.count() == helpers
        });
        service.stop();
    }
}
