//! Both byte forms there and back, several databases, and malformed input.

use super::*;

const HEADER: &str = "VERSION=3\nformat=bytevalue\ntype=btree\nmapsize=1048576\n\
                      maxreaders=126\ndb_pagesize=4096\nHEADER=END\n";

type Database = (Header, Vec<(Vec<u8>, Vec<u8>)>);

fn read_all(text: &[u8]) -> Result<Vec<Database>, FormatError> {
    let mut reader = Reader::new(text);
    let mut databases = Vec::new();
    let mut record = Record::default();
    while let Some(header) = reader.next_database()? {
        let mut records = Vec::new();
        while reader.next(&mut record)? {
            records.push((record.key.clone(), record.value.clone()));
        }
        databases.push((header, records));
    }
    Ok(databases)
}

fn write_all(databases: &[Database]) -> Vec<u8> {
    let mut text = Vec::new();
    for (header, records) in databases {
        let mut writer = Writer::new(&mut text, header).unwrap();
        for (key, value) in records {
            writer.write(key, value).unwrap();
        }
        writer.finish().unwrap();
    }
    text
}

#[test]
fn all_bytes_come_back_in_both_forms() {
    let all_bytes: Vec<u8> = (0..=255).collect();
    for form in ["bytevalue", "print"] {
        let header = HEADER.replace("bytevalue", form);
        let header = Header::from_bytes(header.as_bytes()).unwrap();
        let records = vec![
            (Vec::new(), all_bytes.clone()),
            (b"\\ \\5c".to_vec(), Vec::new()),
            (all_bytes.clone(), b"text".to_vec()),
        ];
        let databases = vec![(header, records)];
        let text = write_all(&databases);
        assert_eq!(read_all(&text).unwrap(), databases);
    }
}

#[test]
fn several_databases_are_written_as_they_were_read() {
    let text = "VERSION=3\nformat=print\ndatabase=one\ntype=btree\nmapsize=4096\nmapaddr=0x7f00\n\
                maxreaders=7\nduplicates=1\nreversekey=1\ndupsort=1\ndb_pagesize=4096\nHEADER=END\n \
                a\\00b\n \n two words\n \\5cx\nDATA=END\n\
                VERSION=3\nformat=bytevalue\ndatabase=two\ntype=btree\nmapsize=4096\n\
                maxreaders=7\ndb_pagesize=4096\nHEADER=END\nDATA=END\n";
    let databases = read_all(text.as_bytes()).unwrap();
    assert_eq!(databases.len(), 2);
    assert_eq!(databases[0].0.database(), Some(b"one".as_slice()));
    assert_eq!(databases[0].0.map_bytes(), Some(4096));
    assert!(databases[0].0.has_duplicates());
    assert!(!databases[1].0.has_duplicates());
    assert_eq!(databases[0].1[0], (b"a\0b".to_vec(), Vec::new()));
    assert_eq!(databases[0].1[1], (b"two words".to_vec(), b"\\x".to_vec()));
    assert_eq!(String::from_utf8(write_all(&databases)).unwrap(), text);
}

#[test]
fn a_made_header_is_read_back() {
    for database in [None, Some("users")] {
        let header = Header::new(database, 8192);
        assert_eq!(Header::from_bytes(header.as_bytes()).unwrap(), header);
        let larger = header.with_map_bytes(16_384);
        assert_eq!(Header::from_bytes(larger.as_bytes()).unwrap(), larger);
        assert_eq!(larger, Header::new(database, 16_384));
    }
}

#[test]
fn malformed_input_is_named_by_its_line() {
    let print = HEADER.replace("bytevalue", "print");
    for (text, expected) in [
        (
            "key,value\n".to_owned(),
            "line 1: \"key,value\" is no line of a header",
        ),
        ("a=b\n".to_owned(), "line 1: \"a=b\" where VERSION=3"),
        ("VERSION=4\n".to_owned(), "line 1: version \"4\""),
        ("VERSION=3\ntype=hash\n".to_owned(), "line 2: type \"hash\""),
        (
            "VERSION=3\nformat=xml\n".to_owned(),
            "line 2: format \"xml\"",
        ),
        (
            "VERSION=3\nmapsize=big\n".to_owned(),
            "line 2: mapsize \"big\"",
        ),
        (
            "VERSION=3\nmapsize=1\nmapsize=1\n".to_owned(),
            "line 3: \"mapsize\" stands twice",
        ),
        (
            "VERSION=3\n".to_owned(),
            "line 2: the input ends within a header",
        ),
        (HEADER.to_owned(), "line 8: the input ends before DATA=END"),
        (
            format!("{HEADER} 61\n"),
            "line 9: the input ends before DATA=END",
        ),
        (
            format!("{HEADER} 61\nDATA=END\n"),
            "line 9: DATA=END where the value",
        ),
        (format!("{HEADER} 6\n 61\n"), "line 8: an odd number"),
        (format!("{HEADER} 61\n 6x\n"), "line 9: \"x\" at column 2"),
        (format!("{HEADER}61\n 61\n"), "line 8: \"61\" where a key"),
        (
            format!("{print} a\n b\\q1\n"),
            "line 9: the backslash at column 3",
        ),
        (
            format!("{print} a\n b\\\n"),
            "line 9: the backslash at column 3",
        ),
        (
            format!("{HEADER}DATA=END\nrest\n"),
            "line 9: \"rest\" is no line of a header",
        ),
        (
            format!("VERSION=3\nx={}\n", "y".repeat(9000)),
            "line 2: a header of more than",
        ),
    ] {
        let error = read_all(text.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn the_estimate_covers_small_and_large_values() {
    let mut estimate = MapEstimate::default();
    assert_eq!(estimate.map_bytes(), 1 << 20);
    for _ in 0..100_000 {
        estimate.add(10, 90);
    }
    assert_eq!(estimate.least_bytes(), 11_000_000);
    assert!(estimate.map_bytes() >= 2 * 11_000_000);
    estimate.add(10, 1 << 20);
    assert!(estimate.least_bytes() > 11_000_000 + (1 << 20));
    assert_eq!(estimate.map_bytes() % LMDB_PAGE_BYTES, 0);
}
