//! The text of `mdb_dump`: what is read is written again, and read as the same.

use lightning_cli::formats::mdb::{Header, Reader, Writer};
use lightning_cli::formats::{FormatError, Record};

type Database = (Header, Vec<Record>);

/// Reads `data` as a file to load.
pub fn run(data: &[u8]) {
    for (header, records) in read(data) {
        let mut text = Vec::new();
        let mut writer = Writer::new(&mut text, &header).expect("memory takes all");
        for record in &records {
            writer
                .write(&record.key, &record.value)
                .expect("memory takes all");
        }
        writer.finish().expect("memory takes all");
        let again = read(&text);
        assert_eq!(again.len(), 1, "one database was written");
        assert_eq!(again[0].1, records, "written and read it is something else");
        assert_eq!(again[0].0.as_bytes(), header.as_bytes());
        let kept = Header::from_bytes(header.as_bytes()).expect("a header is read again");
        assert_eq!(kept.as_bytes(), header.as_bytes());
        assert_eq!(kept.map_bytes(), header.map_bytes());
    }
}

/// All whole databases up to the end, or to what is malformed.
fn read(data: &[u8]) -> Vec<Database> {
    let mut reader = Reader::new(data);
    let mut databases = Vec::new();
    while let Some(header) = sound(reader.next_database()).flatten() {
        let mut records = Vec::new();
        let mut record = Record::default();
        loop {
            match sound(reader.next(&mut record)) {
                Some(true) => records.push(record.clone()),
                Some(false) => break,
                None => return databases,
            }
        }
        databases.push((header, records));
    }
    databases
}

fn sound<T>(outcome: Result<T, FormatError>) -> Option<T> {
    match outcome {
        Ok(found) => Some(found),
        Err(FormatError::Malformed { line, .. }) => {
            assert!(line >= 1, "lines are counted from 1");
            None
        }
        Err(FormatError::Io(error)) => panic!("memory failed: {error}"),
    }
}
