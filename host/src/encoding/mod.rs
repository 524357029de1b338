//! Typed keys and values over bytes.
//!
//! The engine knows bytes only, and orders keys bytewise, for ever. A [`Key`] is
//! an encoding whose bytes compare as the values do; a [`Value`] is any encoding.
//! Both are named by the type that a caller works with: `u64`, `&'static str`,
//! `(&'static str, u64)`. What a call takes (`Given`) and what it gives back
//! (`Read`) may borrow, so that bytes and text are never copied on the way.
//!
//! | type | bytes |
//! |---|---|
//! | `u8` … `u128` | big-endian |
//! | `i8` … `i128` | big-endian, the sign bit flipped |
//! | `bool` | 0 or 1 |
//! | `&[u8]`, `&str`, `[u8; N]` | as they are |
//! | tuples of two or three | their parts, one after the other |
//!
//! Within a tuple, a part of a fixed length stands as it is; in bytes and text
//! each 0x00 becomes 0x00 0xFF, and 0x00 0x01 follows as the end. So the end of
//! one part is below anything that could go on there, and parts are compared
//! one after the other.

mod buffer;
mod key;
mod tuple;
mod value;

pub use buffer::EncodeBuffer;
pub use key::{Key, KeyPart, KeyPrefix};
pub use value::Value;

#[cfg(test)]
mod tests;
