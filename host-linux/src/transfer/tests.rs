//! The loops over a file in memory whose calls stop early, are interrupted and fail.

use super::*;

/// What the next call to the file does, whatever is asked for.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// Transfers at most so many bytes.
    Upto(usize),
    Fail(Errno),
}

/// A file that answers calls as it is told; when the list ends, it does all that is asked.
struct Fake {
    bytes: Vec<u8>,
    acts: Vec<Act>,
}

impl Fake {
    fn new(bytes: &[u8], acts: &[Act]) -> Self {
        Self {
            bytes: bytes.to_vec(),
            acts: acts.iter().rev().copied().collect(),
        }
    }

    fn next(&mut self) -> Result<usize, Errno> {
        match self.acts.pop() {
            Some(Act::Upto(most)) => Ok(most),
            Some(Act::Fail(errno)) => Err(errno),
            None => Ok(usize::MAX),
        }
    }

    fn read(&mut self, to: &mut [IoSliceMut<'_>], position: u64) -> Result<usize, Errno> {
        let mut left = self.next()?;
        let mut from = &self.bytes[(position as usize).min(self.bytes.len())..];
        let mut count = 0;
        for part in to {
            let length = part.len().min(left).min(from.len());
            part[..length].copy_from_slice(&from[..length]);
            from = &from[length..];
            left -= length;
            count += length;
        }
        Ok(count)
    }

    fn write(&mut self, parts: &[IoSlice<'_>], position: u64) -> Result<usize, Errno> {
        let most = self.next()?;
        let all: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let count = all.len().min(most);
        let end = position as usize + count;
        self.bytes.resize(self.bytes.len().max(end), 0xEE);
        self.bytes[position as usize..end].copy_from_slice(&all[..count]);
        Ok(count)
    }
}

const LENGTH: usize = 12;
const START: u64 = 3;
/// How the bytes of a vectored call are shared out, an empty part among them.
const PARTS: [usize; 4] = [5, 0, 1, 6];

/// Reads the middle of a file, plain and vectored; answers what both do, and what they brought.
fn read_by(bytes: &[u8], acts: &[Act]) -> (Result<(), IoError>, Vec<u8>) {
    let mut plain = vec![0xAA; LENGTH];
    let mut file = Fake::new(bytes, acts);
    let outcome = fill(&mut plain, START, |rest, position| {
        file.read(&mut [IoSliceMut::new(rest)], position)
    });
    let mut vectored = vec![0xAA; LENGTH];
    let mut file = Fake::new(bytes, acts);
    let mut rest = vectored.as_mut_slice();
    let mut offset = START;
    let mut requests = Vec::new();
    for length in PARTS {
        let (buffer, tail) = rest.split_at_mut(length);
        requests.push(ReadRequest { offset, buffer });
        rest = tail;
        offset += length as u64;
    }
    let same = fill_stretch(&mut requests, |rest, position| file.read(rest, position));
    assert_eq!((outcome, &plain), (same, &vectored), "{acts:?}");
    (outcome, plain)
}

/// Writes into the middle of a file, plain, vectored and as zeros; answers what all do, and
/// how many bytes of it arrived.
fn write_by(acts: &[Act]) -> (Result<(), IoError>, usize) {
    let before = [0xEE; 20];
    let bytes: Vec<u8> = (1..=LENGTH as u8).collect();
    let arrived = |file: &Fake, written: &[u8]| {
        let count = (0..=LENGTH)
            .rev()
            .find(|count| file.bytes[START as usize..START as usize + count] == written[..*count])
            .unwrap();
        let (front, rest) = file.bytes.split_at(START as usize);
        assert!(front.iter().chain(&rest[count..]).all(|byte| *byte == 0xEE));
        assert_eq!(file.bytes.len(), before.len());
        count
    };
    let mut file = Fake::new(&before, acts);
    let outcome = store(&bytes, START, |piece, position| {
        file.write(&[IoSlice::new(piece)], position)
    });
    let count = arrived(&file, &bytes);
    let mut file = Fake::new(&before, acts);
    let mut rest = bytes.as_slice();
    let mut offset = START;
    let mut requests = Vec::new();
    for length in PARTS {
        let (bytes, tail) = rest.split_at(length);
        requests.push(WriteRequest { offset, bytes });
        rest = tail;
        offset += length as u64;
    }
    let same = store_stretch(&requests, |rest, position| file.write(rest, position));
    assert_eq!((outcome, count), (same, arrived(&file, &bytes)), "{acts:?}");
    let mut file = Fake::new(&before, acts);
    let same = store_zeros(LENGTH as u64, START, |piece, position| {
        file.write(&[IoSlice::new(piece)], position)
    });
    assert_eq!(
        (outcome, count),
        (same, arrived(&file, &[0; LENGTH])),
        "{acts:?}"
    );
    (outcome, count)
}

/// Every pair of places at which a transfer of `LENGTH` bytes stops.
fn stops() -> impl Iterator<Item = (usize, usize)> {
    (1..=LENGTH).flat_map(|first| (1..=LENGTH).map(move |second| (first, second)))
}

#[test]
fn transfers_that_stop_at_every_byte_come_to_their_end() {
    let bytes: Vec<u8> = (100..120).collect();
    for (first, second) in stops() {
        let acts = [
            Act::Fail(Errno::INTR),
            Act::Upto(first),
            Act::Fail(Errno::INTR),
            Act::Fail(Errno::INTR),
            Act::Upto(second),
        ];
        let (outcome, read) = read_by(&bytes, &acts);
        assert_eq!(outcome, Ok(()));
        assert_eq!(read, bytes[START as usize..START as usize + LENGTH]);
        assert_eq!(write_by(&acts), (Ok(()), LENGTH));
    }
    // A byte at a time.
    let acts = [Act::Upto(1); LENGTH];
    assert_eq!(read_by(&bytes, &acts).0, Ok(()));
    assert_eq!(write_by(&acts), (Ok(()), LENGTH));
}

#[test]
fn an_error_at_every_byte_is_told_and_nothing_behind_it_is_touched() {
    let bytes: Vec<u8> = (100..120).collect();
    for (errno, kind) in [
        (Errno::IO, IoErrorKind::Device),
        (Errno::NOSPC, IoErrorKind::StorageFull),
    ] {
        for (first, second) in stops().filter(|(first, second)| first + second < LENGTH) {
            let acts = [Act::Upto(first), Act::Upto(second), Act::Fail(errno)];
            let (outcome, read) = read_by(&bytes, &acts);
            assert_eq!(outcome.map_err(|error| error.kind), Err(kind));
            assert!(read[first + second..].iter().all(|byte| *byte == 0xAA));
            let (outcome, count) = write_by(&acts);
            assert_eq!(outcome.map_err(|error| error.kind), Err(kind));
            assert_eq!(count, first + second);
        }
    }
}

#[test]
fn a_transfer_of_nothing_ends_it() {
    let bytes: Vec<u8> = (100..120).collect();
    let ended = Err(IoError::of(IoErrorKind::UnexpectedEnd));
    let device = Err(IoError::of(IoErrorKind::Device));
    for first in 0..LENGTH {
        // A file that ends there, and a call that makes no progress.
        assert_eq!(read_by(&bytes[..START as usize + first], &[]).0, ended);
        let acts = [Act::Upto(first), Act::Upto(0)];
        assert_eq!(read_by(&bytes, &acts).0, ended);
        assert_eq!(write_by(&acts), (device, first));
    }
}

#[test]
fn stretches_end_at_gaps_and_at_the_vector() {
    let count = |ranges: &[(u64, usize)]| stretch_length(ranges.iter().copied());
    assert_eq!(count(&[]), 0);
    assert_eq!(count(&[(5, 10)]), 1);
    assert_eq!(count(&[(0, 10), (10, 5), (15, 1)]), 3);
    assert_eq!(count(&[(0, 10), (11, 5), (16, 1)]), 1);
    assert_eq!(count(&[(0, 10), (10, 5), (16, 1), (17, 1)]), 2);
    assert_eq!(count(&[(u64::MAX, 10), (0, 5)]), 1);
    let many: Vec<_> = (0..1_000).map(|index| (index * 8, 8)).collect();
    assert_eq!(count(&many), VECTOR_LENGTH);
}

#[test]
fn ranges_past_every_file_are_refused() {
    assert!(readable_range(u64::MAX, 1).is_err());
    assert!(writable_range(i64::MAX as u64, 1).is_err());
    assert_eq!(
        writable_range(i64::MAX as u64 - 1, 1),
        Ok(i64::MAX as u64 - 1)
    );
}
