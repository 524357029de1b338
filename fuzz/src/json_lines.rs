//! JSON Lines: what is read is written again, and read as the same.

use lightning_cli::formats::json_lines::{Reader, write};
use lightning_cli::formats::{FormatError, Record};

/// Reads `data` as a file to load.
pub fn run(data: &[u8]) {
    let records = read(data);
    for always_hex in [false, true] {
        let mut text = Vec::new();
        for record in &records {
            write(&mut text, record.borrow(), always_hex).expect("memory takes all");
        }
        assert_eq!(
            read(&text),
            records,
            "written and read it is something else"
        );
    }
}

/// All records up to the end, or to what is malformed.
fn read(data: &[u8]) -> Vec<Record> {
    let mut reader = Reader::new(data);
    let mut records = Vec::new();
    let mut record = Record::default();
    loop {
        match reader.next(&mut record) {
            Ok(true) => records.push(record.clone()),
            Ok(false) => return records,
            Err(FormatError::Malformed { line, .. }) => {
                let lines = data.split(|byte| *byte == b'\n').count() as u64;
                assert!(line >= 1 && line <= lines, "line {line} of {lines}");
                return records;
            }
            Err(FormatError::Io(error)) => panic!("memory failed: {error}"),
        }
    }
}
