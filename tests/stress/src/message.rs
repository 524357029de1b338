//! What a life tells through its standard output, which outlives it.
//!
//! A message is handed to the pipe before anything is done that follows from it, so that
//! what a killed process had to tell is there; of the last one only a part may be, which
//! the reader leaves out. Only the entries of a look are handed over many at a time.
//! Numbers are little-endian.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use crate::model::{Entry, HEAD_BYTES};

/// What a life tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// The database is open.
    Opened,
    /// A table is there.
    Table(String),
    /// An entry of the table that was told last.
    Entry(Vec<u8>, Entry),
    /// All tables and entries were told; they were read between these times, in
    /// milliseconds since 1970.
    Looked(u64, u64),
    /// A worker's operations up to this number are acknowledged.
    Acknowledged(u8, u64),
    /// Flips of the superblock since it was opened.
    Flips(u64),
    /// A worker stopped, since there is no room: the error's words.
    Full(String),
    /// What must not be: the error's words.
    Failed(String),
    /// The database was checked and closed.
    Closed,
}

/// The most bytes of words in a message.
const WORDS_MAX: usize = 3_000;

impl Message {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Opened => out.push(b'o'),
            Self::Table(name) => words(&mut out, b't', name.as_bytes()),
            Self::Entry(key, entry) => {
                words(&mut out, b'e', key);
                out.extend(entry.length.to_le_bytes());
                out.extend(entry.hash.to_le_bytes());
                out.extend(entry.expiry_ms.unwrap_or(0).to_le_bytes());
                out.extend(entry.metadata.map_or([0, 0], |metadata| [1, metadata]));
                words(&mut out, b'h', &entry.head);
            }
            Self::Looked(begun, ended) => {
                out.push(b'l');
                out.extend(begun.to_le_bytes());
                out.extend(ended.to_le_bytes());
            }
            Self::Acknowledged(worker, number) => {
                out.extend([b'a', *worker]);
                out.extend(number.to_le_bytes());
            }
            Self::Flips(flips) => {
                out.push(b'f');
                out.extend(flips.to_le_bytes());
            }
            Self::Full(text) => words(&mut out, b'u', text.as_bytes()),
            Self::Failed(text) => words(&mut out, b'x', text.as_bytes()),
            Self::Closed => out.push(b'c'),
        }
        out
    }

    /// Tells it.
    ///
    /// # Errors
    /// Nobody listens any more.
    pub fn tell(&self) -> io::Result<()> {
        let mut output = io::stdout().lock();
        output.write_all(&self.encode())?;
        output.flush()
    }

    /// The next one.
    ///
    /// # Errors
    /// The end, or what is no message.
    pub fn read(input: &mut impl Read) -> io::Result<Self> {
        Ok(match array::<1>(input)?[0] {
            b'o' => Self::Opened,
            b't' => Self::Table(text(input)?),
            b'e' => {
                let key = bytes(input)?;
                let length = number(input)?;
                let hash = number(input)?;
                let expiry_ms = Some(number(input)?).filter(|expiry| *expiry != 0);
                let [is_there, metadata] = array(input)?;
                let _kind: [u8; 1] = array(input)?;
                let head = bytes(input)?;
                debug_assert!(head.len() <= HEAD_BYTES);
                Self::Entry(
                    key,
                    Entry {
                        length,
                        hash,
                        head,
                        expiry_ms,
                        metadata: (is_there == 1).then_some(metadata),
                    },
                )
            }
            b'l' => Self::Looked(number(input)?, number(input)?),
            b'a' => Self::Acknowledged(array::<1>(input)?[0], number(input)?),
            b'f' => Self::Flips(number(input)?),
            b'u' => Self::Full(text(input)?),
            b'x' => Self::Failed(text(input)?),
            b'c' => Self::Closed,
            _ => return Err(io::ErrorKind::InvalidData.into()),
        })
    }
}

fn words(out: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    let length = bytes.len().min(WORDS_MAX);
    out.push(kind);
    out.extend(u16::try_from(length).unwrap_or(u16::MAX).to_le_bytes());
    out.extend(&bytes[..length]);
}

fn array<const COUNT: usize>(input: &mut impl Read) -> io::Result<[u8; COUNT]> {
    let mut bytes = [0; COUNT];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn number(input: &mut impl Read) -> io::Result<u64> {
    Ok(u64::from_le_bytes(array(input)?))
}

fn bytes(input: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::from(u16::from_le_bytes(array(input)?))];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn text(input: &mut impl Read) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&bytes(input)?).into_owned())
}

/// All tables and entries that a life found.
#[derive(Debug, Default)]
pub struct Look {
    /// By name.
    pub tables: BTreeMap<String, BTreeMap<Vec<u8>, Entry>>,
    /// When reading began, in milliseconds since 1970.
    pub begun_ms: u64,
    /// When it had ended.
    pub ended_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_read_and_half_a_message_is_not() {
        let entry = Entry::new(&[1; 40], Some(9), Some(0));
        let messages = [
            Message::Opened,
            Message::Table("shared".to_owned()),
            Message::Entry(vec![0, 1, 2], entry),
            Message::Entry(Vec::new(), Entry::new(&[], None, None)),
            Message::Looked(1, 2),
            Message::Acknowledged(3, u64::MAX),
            Message::Flips(4),
            Message::Full("full".to_owned()),
            Message::Failed("wrong".to_owned()),
            Message::Closed,
        ];
        let told: Vec<u8> = messages.iter().flat_map(Message::encode).collect();
        let mut input = &told[..];
        for message in &messages {
            assert_eq!(Message::read(&mut input).unwrap(), *message);
        }
        assert!(Message::read(&mut input).is_err());
        let told = Message::Acknowledged(3, 4).encode();
        assert!(Message::read(&mut &told[..told.len() - 1]).is_err());
    }
}
