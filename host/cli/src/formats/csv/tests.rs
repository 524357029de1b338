//! What is written comes back, and what is malformed is named by its line.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

fn read_all(input: &[u8], always_hex: bool) -> Result<Vec<Record>, FormatError> {
    let mut reader = Reader::new(input, always_hex);
    let mut records = Vec::new();
    let mut record = Record::default();
    while reader.next(&mut record)? {
        records.push(record.clone());
    }
    assert_eq!(reader.bytes_read(), input.len() as u64);
    Ok(records)
}

fn write_all(records: &[Record], always_hex: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out, always_hex).unwrap();
    for record in records {
        writer.write(record.borrow()).unwrap();
    }
    writer.finish().unwrap();
    out
}

/// Bytes that CSV and the escapes treat in ways of their own, more often than others.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let special = prop::sample::select(b"\\x41,\"\r\n\0 #\xff\xc3\xa4\xef\xbb\xbf".to_vec());
    vec(prop_oneof![3 => special, 1 => any::<u8>()], 0..12)
}

fn record() -> impl Strategy<Value = Record> {
    (bytes(), bytes(), any::<Option<u64>>(), any::<Option<u8>>()).prop_map(
        |(key, value, expiry_ms, metadata)| Record {
            key,
            value,
            expiry_ms,
            metadata,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_is_written_comes_back(records in vec(record(), 0..8), always_hex: bool) {
        let text = write_all(&records, always_hex);
        // Names, and then a line for each.
        prop_assert_eq!(text.iter().filter(|byte| **byte == b'\n').count(), records.len() + 1);
        prop_assert_eq!(read_all(&text, false).unwrap(), records);
    }

    #[test]
    fn rows_of_other_programs_come_through(fields in vec(("[^\\\\]{0,6}", "[^\\\\]{0,6}"), 0..6)) {
        let mut text = "value,key\r\n".to_owned();
        for (key, value) in &fields {
            let quoted = |field: &str| format!("\"{}\"", field.replace('"', "\"\""));
            text.push_str(&format!("{},{}\r\n", quoted(value), quoted(key)));
        }
        let found = read_all(text.as_bytes(), false).unwrap();
        let found: Vec<(Vec<u8>, Vec<u8>)> =
            found.into_iter().map(|record| (record.key, record.value)).collect();
        let expected: Vec<(Vec<u8>, Vec<u8>)> = fields
            .into_iter()
            .map(|(key, value)| (key.into_bytes(), value.into_bytes()))
            .collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn no_input_is_more_than_refused(input in vec(any::<u8>(), 0..64)) {
        let mut text = b"key,value\n".to_vec();
        text.extend(input);
        let _whatever = read_all(&text, false);
    }
}

#[test]
fn a_file_reads_as_it_looks() {
    let text = "\u{feff}value,metadata,key\n\
                Ada,,user:1\n\n\
                \"said \"\"no\"\", twice\nand left\",255,C:\\data\n\
                \\xff\\\\x41,0,";
    let expected = [
        ("user:1", &b"Ada"[..], None),
        ("C:\\data", b"said \"no\", twice\nand left", Some(255)),
        ("", b"\xff\\x41", Some(0)),
    ]
    .map(|(key, value, metadata)| Record {
        key: key.as_bytes().to_vec(),
        value: value.to_vec(),
        expiry_ms: None,
        metadata,
    });
    assert_eq!(read_all(text.as_bytes(), false).unwrap(), expected);
    let digits = read_all(b"key,value_hex\n00ff,6B\n", true).unwrap();
    assert_eq!(digits[0].key, b"\0\xff");
    assert_eq!(digits[0].value, b"k");
    let mixed = read_all(b"key,value_hex\n00ff,6b\n", false).unwrap();
    assert_eq!(mixed[0].key, b"00ff");
    assert_eq!(mixed[0].value, b"k");
}

#[test]
fn what_is_malformed_is_named_by_its_line() {
    for (text, expected) in [
        ("", "line 1: the input is empty"),
        ("key\n", "line 1: no column \"value\""),
        ("k,v\na,b\n", "line 1: there is no column \"k\""),
        (
            "key,value,key_hex\n",
            "line 1: the column \"key_hex\" is there twice",
        ),
        (
            "key,value\na,b\nc\n",
            "line 3: 1 fields where the first row names 2",
        ),
        ("key,value\na,\"b\nb\"\nc,d,e\n", "line 4: 3 fields"),
        (
            "key_hex,value\n00,b\n0g,d\n",
            "line 3: key: \"g\" at column 2",
        ),
        (
            "key,value,metadata\na,b,256\n",
            "line 2: metadata \"256\" is not",
        ),
        (
            "key,value,expiry_ms\na,b,soon\n",
            "line 2: expiry_ms \"soon\" is not milli",
        ),
        (
            "key,value\na,b\nc,\"d\ne,f\n",
            "line 3: a quote is left open",
        ),
        ("key,value\na,b\nc,\"d", "line 3: a quote is left open"),
        ("key,\"value\n", "line 1: a quote is left open"),
    ] {
        let error = read_all(text.as_bytes(), false).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{text:?}: {error}");
    }
}

#[test]
fn a_row_without_end_is_refused_before_it_fills_the_memory() {
    let text = b"key,value\na,\""
        .iter()
        .copied()
        .chain([b'x'; 100_000])
        .collect::<Vec<u8>>();
    let mut reader = Reader::with_limit(&*text, false, 50_000);
    let error = reader.next(&mut Record::default()).unwrap_err().to_string();
    assert!(
        error.starts_with("line 2: a row of more than 50000 bytes"),
        "{error}"
    );
}
