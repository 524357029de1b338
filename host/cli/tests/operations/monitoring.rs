//! `health`, `stats`, `verify` and `system`, against a service that answers what a test
//! says, and on a directory that no service has.

use super::service::service;
use super::support::{Directory, Run, lightning_cli};
use lightning_db::Database;
use std::os::unix::net::UnixListener;

/// Runs the tool against a service that answers so; gives what it asked, too.
#[track_caller]
fn with_answer(answer: &str, arguments: &[&str]) -> (Run, serde_json::Value) {
    let directory = Directory::new();
    let socket = directory.text_of("a.sock");
    let asked = service(&socket, &format!("{answer}\n"));
    let ran = lightning_cli(&[arguments, &["--socket", &socket]].concat());
    let asked = asked.join().unwrap();
    (ran, serde_json::from_str(&asked).unwrap())
}

fn health(status: &str) -> String {
    format!(
        "{{\"ok\":{{\"status\":\"{status}\",\"details\":{{\"disk\":{{\"status\":\"{status}\",\
         \"message\":\"70 % full\",\"remedy\":\"remove something\",\"figures\":{{\"a\":1}}}}}}}}}}"
    )
}

#[test]
fn the_health_decides_how_it_exits() {
    for (status, code) in [("healthy", 0), ("warning", 1), ("critical", 2)] {
        let (ran, asked) = with_answer(&health(status), &["health"]);
        ran.exits(code).tells("");
        let first = ran.stdout.lines().next().unwrap();
        assert_eq!(first, status);
        assert!(ran.stdout.contains("70 % full"), "{}", ran.stdout);
        assert!(ran.stdout.contains("to do: remove something"));
        let expected = serde_json::json!({"command": "health", "tests": [],
            "verify_data": false, "detailed": false});
        assert_eq!(asked, expected);
    }
}

#[test]
fn what_is_wanted_of_the_health_is_asked_for() {
    let all = serde_json::json!({"command": "health", "tests": ["memory", "disk"],
        "verify_data": true, "detailed": true});
    let line = ["health", "--tests", "memory,disk"];
    let (ran, asked) = with_answer(
        &health("healthy"),
        &[&line[..], &["--comprehensive"]].concat(),
    );
    assert_eq!(asked, all);
    assert!(ran.stdout.contains("a = 1"), "{}", ran.stdout);
    let each = ["--detailed", "--verify-data", "--json"];
    let (ran, asked) = with_answer(&health("warning"), &[&line[..], &each].concat());
    assert_eq!(asked, all);
    assert_eq!(
        ran.exits(1).json()["details"]["disk"]["message"],
        "70 % full"
    );
    let refusal = "{\"error\":{\"message\":\"there is no check \\\"x\\\"\",\"exit\":64}}";
    let (ran, _) = with_answer(refusal, &["health", "--tests", "x"]);
    ran.exits(64).tells("there is no check \"x\"");
}

#[test]
fn a_silent_service_is_waited_for_as_long_as_is_said() {
    let directory = Directory::new();
    let socket = directory.text_of("a.sock");
    // Connections are taken in by the system; nobody answers.
    let _listener = UnixListener::bind(&socket).unwrap();
    lightning_cli(&["health", "--timeout", "100ms", "--socket", &socket])
        .exits(3)
        .tells("no answer within 0.1 s");
    lightning_cli(&["health", "--timeout", "soon"]).exits(64);
}

const DISK: &str = "{\"ok\":{\"subject\":\"disk\",\"figures\":[{\"name\":\"used_bytes\",\
    \"value\":3221225473.0,\"unit\":\"bytes\",\"label\":\"files\"},{\"name\":\"full_ratio\",\
    \"value\":0.5,\"unit\":\"ratio\",\"label\":\"full\",\"is_detail\":true}],\"findings\":[]}}";

#[test]
fn figures_are_for_people_for_programs_and_for_the_shell() {
    let (ran, asked) = with_answer(DISK, &["stats", "disk"]);
    ran.exits(0).prints("files  3.0 GiB\n");
    assert_eq!(
        asked,
        serde_json::json!({"command": "stats", "subject": "disk"})
    );
    with_answer(DISK, &["stats", "disk", "--detailed"])
        .0
        .prints("files  3.0 GiB\nfull   50.00 %\n");
    with_answer(DISK, &["stats", "disk", "--unit", "gb"])
        .0
        .exits(0)
        .prints("4\n");
    let (ran, _) = with_answer(DISK, &["stats", "disk", "--json"]);
    let expected = serde_json::json!({"subject": "disk",
        "figures": {"used_bytes": 3_221_225_473_u64, "full_ratio": 0.5}, "findings": []});
    assert_eq!(ran.json(), expected);
    let found = DISK.replace("\"findings\":[]", "\"findings\":[\"too full\"]");
    let (ran, _) = with_answer(&found, &["stats", "disk"]);
    ran.exits(1).prints("files  3.0 GiB\nfinding: too full\n");
}

#[test]
fn watched_figures_come_until_the_service_goes() {
    // The service answers once, and leaves.
    let (ran, _) = with_answer(DISK, &["stats", "disk", "--watch", "10ms"]);
    ran.exits(3)
        .prints("files  3.0 GiB\n")
        .tells("the service closed the connection without an answer");
}

#[test]
fn the_service_checks_its_data() {
    let answer = "{\"ok\":{\"data\":\"/d\",\"depth\":\"quick\",\"sound\":true,\"tables\":2,\
        \"entries\":7,\"pages\":null,\"leaked_units\":0}}";
    let (ran, asked) = with_answer(answer, &["verify", "integrity", "--quick"]);
    ran.exits(0)
        .prints("/d: a sample is sound: 2 tables, 7 entries\n");
    assert_eq!(
        asked,
        serde_json::json!({"command": "verify_integrity", "depth": "quick"})
    );
    let damaged = answer.replace("\"sound\":true", "\"sound\":false,\"damage\":\"page 3\"");
    let (ran, _) = with_answer(&damaged, &["verify", "integrity", "--json"]);
    assert_eq!(
        ran.exits(2).tells("error: page 3").json()["damage"],
        "page 3"
    );
}

#[test]
fn data_that_no_service_has_are_read_directly() {
    let directory = Directory::new();
    let data = directory.text_of("data");
    let database = Database::open(&data).unwrap();
    let table = database.table("default").unwrap();
    database.put(&table, b"a", b"1").unwrap();
    // Another process holds them.
    lightning_cli(&["verify", "integrity", "--data", &data]).exits(3);
    drop(database);
    for (option, words) in [("--full", "sound"), ("--quick", "a sample is sound")] {
        let ran = lightning_cli(&["verify", "integrity", option, "--data", &data]);
        ran.exits(0).tells(&format!(
            "note: no service answers at {data}/admin.sock: reads {data}"
        ));
        let begin = format!("{data}: {words}: 1 table, 1 entry");
        assert!(ran.stdout.starts_with(&begin), "{}", ran.stdout);
    }
    let absent = directory.text_of("absent");
    lightning_cli(&["verify", "integrity", "--data", &absent]).exits(3);
}

#[test]
fn the_processor_is_described() {
    let ran = lightning_cli(&["system", "cpu-features", "--json"]);
    let view = ran.exits(0).json();
    assert!(view["processors"].as_u64().unwrap() >= 1);
    assert_eq!(view["architecture"], std::env::consts::ARCH);
    lightning_cli(&["system", "cpu-features"])
        .exits(0)
        .tells("");
}

#[test]
fn what_there_is_not_yet_is_unknown() {
    for line in [
        &["backup", "create"][..],
        &["restore"],
        &["analyze", "working-set"],
        &["stats"],
    ] {
        lightning_cli(line).exits(64);
    }
}
