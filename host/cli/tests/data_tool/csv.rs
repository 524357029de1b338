//! CSV in and out.

use super::support::{Directory, lightning_db};

#[test]
fn csv_comes_back_unchanged() {
    let data = Directory::new("csv");
    let text = "key,value,expiry_ms,metadata\n\
                \"a,b\",\"said \"\"no\"\"\",,\n\
                grün,x\\x0ay,4000000000000,255\n\
                \\xff\\x00,\\\\x41,,0\n";
    lightning_db(&["load", "--format", "csv"])
        .data(&data)
        .input(text)
        .run()
        .exits(0)
        .prints("");
    lightning_db(&["get", "--hex", "ff00"])
        .data(&data)
        .run()
        .exits(0)
        .prints("5c783431\n");
    lightning_db(&["dump", "--format", "csv"])
        .data(&data)
        .run()
        .exits(0)
        .prints(text);
    let digits = lightning_db(&["dump", "--format", "csv", "--hex"])
        .data(&data)
        .run();
    assert!(
        digits
            .stdout
            .starts_with("key_hex,value_hex,expiry_ms,metadata\n612c62,"),
        "{}",
        digits.stdout
    );
    let other = Directory::new("csv-digits");
    lightning_db(&["load", "--format", "csv"])
        .data(&other)
        .input(&digits.stdout)
        .run()
        .exits(0);
    let dumped = lightning_db(&["dump", "--format", "csv"])
        .data(&other)
        .run();
    dumped.exits(0).prints(text);
    lightning_db(&["dump", "--format", "csv", "--all-tables"])
        .data(&other)
        .run()
        .exits(64)
        .tells("--all-tables needs --format mdb");
}

#[test]
fn a_malformed_row_is_named_and_what_came_before_it_can_be_gone_on_from() {
    let data = Directory::new("csv-malformed");
    let load = ["load", "--format", "csv", "--ack", "--batch", "2"];
    let rows = "key,value\na,1\nb,2\nc\nd,4\n";
    let ran = lightning_db(&load).data(&data).input(rows).run();
    ran.exits(2)
        .prints("2\n")
        .tells("standard input: line 4: 1 fields where the first row names 2 columns")
        .tells("go on with --skip 2");
    let mended = rows.replace("c\n", "c,3\n");
    let resumed = [&load[..], &["--skip", "2"]].concat();
    lightning_db(&resumed)
        .data(&data)
        .input(&mended)
        .run()
        .exits(0)
        .prints("4\n");
    lightning_db(&["count"]).data(&data).run().prints("4\n");
}
