//! `config reload` and `config show --running`, against a service that answers
//! what a test says.

use super::support::{Directory, Run, lightning_cli};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::thread::JoinHandle;

/// Listens at `path`, and answers the line of one request with `answer`; gives the line.
pub fn service(path: &str, answer: &str) -> JoinHandle<String> {
    let listener = UnixListener::bind(path).unwrap();
    let answer = answer.to_owned();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        stream.get_mut().write_all(answer.as_bytes()).unwrap();
        line
    })
}

#[track_caller]
fn reload_with(answer: &str, options: &[&str]) -> Run {
    let directory = Directory::new();
    let socket = directory.text_of("a.sock");
    let asked = service(&socket, answer);
    let line = [&["config", "reload", "--socket", &socket], options].concat();
    let ran = lightning_cli(&line);
    assert_eq!(asked.join().unwrap(), "{\"command\":\"config_reload\"}\n");
    ran
}

const REPORT: &str = "{\"ok\":{\"file\":\"/c.toml\",\"applied\":[{\"key\":\"logging.level\",\
    \"before\":\"info\",\"after\":\"debug\"}],\"needs_restart\":[{\"key\":\
    \"database.cache_size_mb\",\"before\":1,\"after\":2}],\"creation_only\":[],\
    \"warnings\":[\"something odd\"]}}\n";

#[test]
fn reload_lists_what_counts_and_what_has_to_wait() {
    let ran = reload_with(REPORT, &[]);
    ran.exits(1)
        .prints(
            "applied:\n  logging.level = \"debug\" (was \"info\")\n\
             count after a restart of the service:\n  database.cache_size_mb = 2 (was 1)\n",
        )
        .tells("note: something odd");
    let json = reload_with(REPORT, &["--json"]);
    json.exits(1);
    assert_eq!(json.json()["applied"][0]["after"], "debug");
    let nothing = "{\"ok\":{\"file\":null,\"applied\":[],\"needs_restart\":[],\
        \"creation_only\":[],\"warnings\":[]}}\n";
    reload_with(nothing, &[])
        .exits(0)
        .prints("nothing has changed\n")
        .tells("");
}

#[test]
fn refusals_and_broken_answers_are_told() {
    let refusal = "{\"error\":{\"message\":\"/c.toml line 2: no\",\"exit\":2}}\n";
    reload_with(refusal, &[])
        .exits(2)
        .prints("")
        .tells("error: /c.toml line 2: no");
    reload_with("", &[])
        .exits(3)
        .tells("a.sock: the service closed the connection without an answer");
    reload_with("+PONG\r\n", &[])
        .exits(2)
        .tells("a.sock: the answer is not understood");
}

#[test]
fn a_service_that_is_not_there_is_named_with_the_way_out() {
    let directory = Directory::new();
    let data = directory.path().to_str().unwrap();
    let socket = directory.text_of("admin.sock");
    let file = directory.file("config.toml", &format!("[database]\npath = \"{data}\"\n"));
    for options in [
        &["--socket", &socket][..],
        &["--data", data],
        &["--config", &file],
    ] {
        lightning_cli(&[&["config", "reload"], options].concat())
            .exits(3)
            .prints("")
            .tells(&format!(
                "error: {socket}: no service listens here: start lightning-admin-server, or"
            ));
    }
    lightning_cli(&["config", "reload", "--data", data])
        .tells(&format!("note: asks the service at {socket}"));
    drop(UnixListener::bind(&socket).unwrap());
    lightning_cli(&["config", "show", "--running", "--socket", &socket])
        .exits(3)
        .tells("the service that listened here has ended: start");
    lightning_cli(&["config", "reload", "--socket", &file])
        .exits(3)
        .tells("config.toml: it is no socket: name the service's by --socket, its data by --data");
}

#[test]
fn what_the_service_runs_with_is_shown() {
    let directory = Directory::new();
    let socket = directory.text_of("admin.sock");
    let answer = "{\"ok\":{\"file\":null,\"settings\":[{\"key\":\"a.b\",\"value\":5,\"origin\":\
        \"default\",\"source\":\"default\",\"effect\":\"reload\"}],\"warnings\":[]}}\n";
    let asked = service(&socket, answer);
    let data = directory.path().to_str().unwrap();
    lightning_cli(&["config", "show", "--running", "--data", data])
        .exits(0)
        .prints("a.b  5  default\n");
    assert_eq!(asked.join().unwrap(), "{\"command\":\"config_show\"}\n");
}
