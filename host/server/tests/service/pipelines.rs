//! Commands that come together: each is answered as if it had come alone.

use crate::support::{Directory, Service};
use std::fmt::Write as _;

/// Lines of the reply that a value is, or that there is none.
fn bulk(value: Option<&str>) -> Vec<String> {
    match value {
        Some(value) => vec![format!("${}", value.len()), value.to_owned()],
        None => vec!["$-1".to_owned()],
    }
}

/// More reads than are looked at together, with writes, other databases, transactions and
/// errors among them.
#[test]
fn each_command_of_a_pipeline_is_answered_as_if_alone() {
    const KEYS: usize = 400;
    let directory = Directory::new();
    let service = Service::start(&directory, &[]);
    let mut lines = String::new();
    for number in (0..KEYS).step_by(2) {
        writeln!(lines, "SET key:{number} value:{number}\r").unwrap();
    }
    service.say(&lines, KEYS / 2);

    let value = |number: usize| number.is_multiple_of(2).then(|| format!("value:{number}"));
    let mut lines = String::new();
    let mut expected = Vec::new();
    let mut say = |command: &str, reply: Vec<String>| {
        writeln!(lines, "{command}\r").unwrap();
        expected.extend(reply);
    };
    let word = |word: &str| vec![word.to_owned()];
    for number in 0..KEYS {
        let key = format!("key:{number}");
        say(&format!("GET {key}"), bulk(value(number).as_deref()));
        match number % 61 {
            7 => {
                say("SELECT 1", word("+OK"));
                say(&format!("GET {key}"), bulk(None));
                say(&format!("STRLEN {key}"), word(":0"));
                say("SELECT 0", word("+OK"));
            }
            19 => {
                say(
                    &format!("GET {key} more"),
                    word("-ERR wrong number of arguments for 'get' command"),
                );
                say(
                    "NOTHING",
                    word("-ERR unknown command 'NOTHING', with args beginning with: "),
                );
            }
            23 => {
                say("MULTI", word("+OK"));
                say(&format!("GET {key}"), word("+QUEUED"));
                say(&format!("EXISTS {key} key:0"), word("+QUEUED"));
                let there = 1 + usize::from(value(number).is_some());
                let replies = [
                    word("*2"),
                    bulk(value(number).as_deref()),
                    word(&format!(":{there}")),
                ];
                say("EXEC", replies.concat());
            }
            31 => {
                let keys: Vec<usize> = (number..number + 40).collect();
                let names: Vec<String> =
                    keys.iter().map(|number| format!("key:{number}")).collect();
                let values = keys
                    .iter()
                    .map(|number| value(*number).filter(|_| *number < KEYS));
                let values = values.flat_map(|value| bulk(value.as_deref()));
                say(
                    &format!("MGET {}", names.join(" ")),
                    word("*40").into_iter().chain(values).collect(),
                );
            }
            47 => {
                say(&format!("SET {key} new"), word("+OK"));
                say(&format!("GET {key}"), bulk(Some("new")));
                say(&format!("DEL {key}"), word(":1"));
                say(&format!("GET {key}"), bulk(None));
            }
            _ => {}
        }
    }
    let replies = service.say(&lines, expected.len());
    for (number, (reply, expected)) in replies.iter().zip(&expected).enumerate() {
        assert_eq!(reply, expected, "line {number}");
    }
    assert_eq!(replies.len(), expected.len());
}
