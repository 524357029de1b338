//! Typed keys: the bytes' order is that of the values, and they are read as what they were.

use arbitrary::{Arbitrary, Unstructured};
use lightning_db::{EncodeBuffer, Key};

/// Encodes pairs of keys made of `data`, and reads keys from it.
pub fn run(data: &[u8]) {
    let _ = <(&str, u64)>::read_key(data);
    let _ = <(&[u8], bool, i128)>::read_key(data);
    let _ = <&str>::read_key(data);
    let mut input = Unstructured::new(data);
    let _ = pairs(&mut input);
}

fn pairs(input: &mut Unstructured<'_>) -> arbitrary::Result<()> {
    let (one, other) = <(u64, u64)>::arbitrary(input)?;
    compare(bytes::<u64>(one), bytes::<u64>(other), one.cmp(&other));
    assert_eq!(u64::read_key(&bytes::<u64>(one)), Some(one));
    let (one, other) = <(i32, i32)>::arbitrary(input)?;
    compare(bytes::<i32>(one), bytes::<i32>(other), one.cmp(&other));
    assert_eq!(i32::read_key(&bytes::<i32>(one)), Some(one));
    let one: (&str, i64, &[u8]) = Arbitrary::arbitrary(input)?;
    let other: (&str, i64, &[u8]) = Arbitrary::arbitrary(input)?;
    type Triple = (&'static str, i64, &'static [u8]);
    let encoded = bytes::<Triple>(one);
    compare(encoded.clone(), bytes::<Triple>(other), one.cmp(&other));
    let read = Triple::read_key(&encoded).expect("an encoded key is read");
    assert_eq!((&*read.0, read.1, &*read.2), one);
    Ok(())
}

fn bytes<K: Key>(key: K::Given<'_>) -> Vec<u8> {
    let mut buffer = EncodeBuffer::new();
    K::encode_key(key, &mut buffer).to_vec()
}

fn compare(one: Vec<u8>, other: Vec<u8>, order: std::cmp::Ordering) {
    assert_eq!(one.cmp(&other), order, "the bytes are in another order");
}
