//! `shell`, given a script.

use super::support::{Directory, Run, lightning_db};

fn shell(data: &Directory, options: &[&str], script: &str) -> Run {
    let line = [&["shell"], options].concat();
    lightning_db(&line).data(data).input(script).run()
}

#[test]
fn a_script_is_followed() {
    let data = Directory::new("shell");
    let script = "# a comment\n\
                  put user:1 'Ada Lovelace'\nput user:2 Grace --expire 1h\nput 'k\n2' \\x00\n\
                  get user:1\nscan\ncount\ndelete user:2\nscan --prefix user: --reverse\n\
                  use other\nput a b\ntables\nset\n";
    shell(&data, &["--quiet"], script)
        .exits(0)
        .tells("")
        .prints(
            "Ada Lovelace\nk\\x0a2\t\\x00\nuser:1\tAda Lovelace\nuser:2\tGrace\n3\n\
         user:1\tAda Lovelace\ndefault\t2\nother\t1\noutput  text\nhex     off\nexpiry  off\n",
        );
    lightning_db(&["get", "--table", "other", "a"])
        .data(&data)
        .run()
        .exits(0)
        .prints("b\n");
}

#[test]
fn output_is_as_it_is_set() {
    let data = Directory::new("shell-output");
    let script = "put a b\nset output json\nscan\nget a\ncount\ntables\nset hex on\nput 00 ff\n\
                  scan\nset output text\nget 00\nset output table\nset hex off\nset expiry on\n\
                  expire a 150m\nscan --from a\nttl \\x00\n";
    let ran = shell(&data, &["--quiet"], script);
    ran.exits(0);
    let (json, table) = ran.stdout.split_once("ff\n┌").unwrap();
    assert_eq!(
        json,
        "{\"key\":\"a\",\"value\":\"b\"}\n{\"key\":\"a\",\"value\":\"b\"}\n\
         {\"entries\":1,\"table\":\"default\"}\n{\"entries\":1,\"table\":\"default\"}\n\
         {\"key_hex\":\"00\",\"value_hex\":\"ff\"}\n{\"key_hex\":\"61\",\"value_hex\":\"62\"}\n"
    );
    assert!(table.contains("expires in"), "{table}");
    assert!(table.contains(" 2 h "), "{table}");
    assert!(table.ends_with("it doesn't expire\n"), "{table}");
    let json = shell(&data, &["--json"], "get a\n");
    assert!(json.stdout.contains("\"expiry_ms\":"), "{}", json.stdout);
}

#[test]
fn a_transaction_is_one() {
    let data = Directory::new("shell-transaction");
    let script = "put a 1\nbegin\nput a 2\nput b 2\ndelete a\nget b\nscan\nrollback\nscan\n\
                  begin\nput c 3\nuse made\nput d 4\nexpire d 1h\ncommit\nuse default\nscan\n";
    shell(&data, &["--quiet"], script)
        .exits(0)
        .prints("2\nb\t2\na\t1\na\t1\nc\t3\n");
    lightning_db(&["count", "--table", "made"])
        .data(&data)
        .run()
        .prints("1\n");
    shell(&data, &[], "begin\nput e 5\nbegin\n")
        .exits(64)
        .tells("line 3: a transaction is open already");
    shell(&data, &[], "begin\nput e 5\n")
        .exits(0)
        .tells("a transaction was open");
    shell(&data, &["--quiet"], "get e\n").exits(1).prints("");
    shell(&data, &["--quiet"], "commit\n")
        .exits(64)
        .tells("there is no transaction to commit");
}

#[test]
fn the_first_failure_ends_a_script_and_is_named() {
    let data = Directory::new("shell-failures");
    shell(&data, &["--quiet"], "put a 1\n\nbogus\nput b 2\n")
        .exits(64)
        .tells("line 3: ")
        .tells("`help` lists the commands");
    for (script, told) in [
        ("put a\n", "line 1: "),
        (
            "get a\nput x 'left\nopen\n",
            "line 2: the quote ' is left open",
        ),
        ("use none\nscan\n", "line 2: "),
        ("set output paper\n", "table, text or json"),
        ("set hex maybe\n", "on or off"),
        ("expire a soon\n", "line 1: "),
        ("help bogus\n", "there is no command \"bogus\""),
        ("set hex on\nget 0g\n", "line 2: KEY: \"g\" at column 2"),
    ] {
        let ran = shell(&data, &["--quiet"], script);
        assert!(ran.code != 0, "{script}");
        ran.tells(told);
        assert!(!ran.stderr.contains("Usage"), "{}", ran.stderr);
    }
    shell(&data, &["--quiet"], "get a\nget b\nexit\nbogus\n")
        .exits(1)
        .prints("1\n");
    shell(&data, &["--read-only", "--quiet"], "get a\nput a 2\n")
        .exits(2)
        .prints("1\n")
        .tells("line 2: ");
}

#[test]
fn help_lists_the_commands_without_the_programs_options() {
    let data = Directory::new("shell-help");
    let ran = shell(&data, &["--quiet"], "help\nhelp put\ninfo\nverify\n");
    ran.exits(0);
    for text in [
        "rollback",
        "Leave the shell",
        "--expire",
        "longest key",
        ": sound: ",
    ] {
        assert!(ran.stdout.contains(text), "{text}: {}", ran.stdout);
    }
    assert!(!ran.stdout.contains("--data"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("lightning-db put"), "{}", ran.stdout);
}
