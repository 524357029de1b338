//! Encodings come back, and compare as what they encode.

use super::*;
use std::cmp::Ordering;
use std::fmt::Debug;

/// Encodes each of `keys`, given in ascending order, and compares each pair.
fn check_order<K: Key>(keys: &[K::Given<'static>])
where
    for<'a> K::Read<'a>: Debug,
{
    let encoded: Vec<Vec<u8>> = keys
        .iter()
        .map(|key| K::encode_key(key.clone(), &mut EncodeBuffer::new()).to_vec())
        .collect();
    for (index, bytes) in encoded.iter().enumerate() {
        assert!(K::read_key(bytes).is_some());
        for (other, other_bytes) in encoded.iter().enumerate() {
            assert_eq!(bytes.cmp(other_bytes), index.cmp(&other), "{index} {other}");
        }
    }
}

fn come_back<K>(keys: &[K])
where
    K: for<'a> Key<Given<'a> = K, Read<'a> = K> + Copy + PartialEq + Debug,
{
    for key in keys {
        let mut buffer = EncodeBuffer::new();
        assert_eq!(K::read_key(K::encode_key(*key, &mut buffer)), Some(*key));
    }
}

#[test]
fn integers_keep_their_order() {
    let unsigned = [0, 1, 127, 128, 255, 256, 1 << 40, u64::MAX - 1, u64::MAX];
    check_order::<u64>(&unsigned);
    come_back(&unsigned);
    let signed = [i64::MIN, -(1 << 40), -256, -1, 0, 1, 255, 1 << 40, i64::MAX];
    check_order::<i64>(&signed);
    come_back(&signed);
    let all: Vec<i8> = (i8::MIN..=i8::MAX).collect();
    check_order::<i8>(&all);
    come_back(&all);
    check_order::<i128>(&[i128::MIN, -1, 0, 1, i128::MAX]);
    check_order::<u128>(&[0, 1, 1 << 100, u128::MAX]);
    check_order::<bool>(&[false, true]);
    check_order::<[u8; 2]>(&[[0, 0], [0, 1], [1, 0]]);
}

#[test]
fn tuples_compare_part_by_part() {
    let texts = [
        "", "\0", "\0\0", "\0a", "\u{1}", "a", "a\0", "a\0b", "a\u{1}", "ab", "b",
    ];
    let numbers = [0, 1, 0x00FF, 0xFF00_0000_0000_0000, u64::MAX];
    let mut keys = Vec::new();
    for text in texts {
        for number in numbers {
            keys.push((text, number));
        }
    }
    check_order::<(&str, u64)>(&keys);
    for key in &keys {
        let mut buffer = EncodeBuffer::new();
        let bytes = <(&str, u64)>::encode_key(*key, &mut buffer);
        let (text, number) = <(&str, u64)>::read_key(bytes).unwrap();
        assert_eq!((text.as_ref(), number), *key);
    }
    let mut keys = Vec::new();
    for first in [false, true] {
        for second in texts {
            for third in texts {
                keys.push((first, second.as_bytes(), third));
            }
        }
    }
    check_order::<(bool, &[u8], &str)>(&keys);
    for key in &keys {
        let mut buffer = EncodeBuffer::new();
        let bytes = <(bool, &[u8], &str)>::encode_key(*key, &mut buffer);
        let (first, second, third) = <(bool, &[u8], &str)>::read_key(bytes).unwrap();
        assert_eq!((first, second.as_ref(), third.as_ref()), *key);
    }
}

#[test]
fn bytes_that_no_key_has_are_refused() {
    assert!(u32::read_key(&[0; 3]).is_none());
    assert!(bool::read_key(&[2]).is_none());
    assert!(<&str as Key>::read_key(&[0xFF]).is_none());
    for bytes in [
        &b""[..],
        b"a",
        b"a\0",
        b"a\0\x02",
        b"a\0\x01",
        b"a\0\xff\0\x01",
    ] {
        assert!(<(&str, u8)>::read_key(bytes).is_none(), "{bytes:?}");
    }
    assert!(<(&str, u8)>::read_key(b"a\0\x01\x07\x07").is_none());
    assert!(<(&str, u8)>::read_key(b"\xff\0\x01\x07").is_none());
    assert!(<(&str, u8)>::read_key(b"a\0\x01\x07").is_some());
}

#[test]
fn all_keys_with_a_beginning_begin_with_its_bytes() {
    let mut buffer = EncodeBuffer::new();
    let prefix = <(&str, u8)>::encode_prefix("a", &mut buffer).to_vec();
    for (key, begins) in [(("a", 0), true), (("a\0", 0), false), (("ab", 0), false)] {
        let mut buffer = EncodeBuffer::new();
        let bytes = <(&str, u8)>::encode_key(key, &mut buffer);
        assert_eq!(bytes.starts_with(&prefix), begins, "{key:?}");
    }
}

#[test]
fn values_come_back() {
    fn check<V>(value: V)
    where
        V: for<'a> Value<Given<'a> = V, Read<'a> = V> + Clone + PartialEq + Debug,
    {
        let mut buffer = EncodeBuffer::new();
        let bytes = V::encode_value(value.clone(), &mut buffer);
        assert_eq!(V::read_value(bytes), Some(value));
    }
    check(7_u8);
    check(-7_i128);
    check(1.5_f64);
    check(true);
    check([1_u8, 2, 3]);
    check(());
    assert!(<f64 as Value>::read_value(&[0; 4]).is_none());
    assert!(<() as Value>::read_value(&[0]).is_none());
}

#[test]
fn long_keys_leave_the_stack() {
    let long = "x".repeat(100);
    let mut buffer = EncodeBuffer::new();
    let bytes = <(&str, &str)>::encode_key((&long[..60], &long), &mut buffer);
    let (first, second) = <(&str, &str)>::read_key(bytes).unwrap();
    assert_eq!((first.len(), second.len()), (60, 100));
    assert_eq!(bytes.len().cmp(&164), Ordering::Equal);
}
