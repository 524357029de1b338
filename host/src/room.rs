//! Buffers beside the engine's planned memory: one that the system refuses is an error.
//!
//! The standard library ends the process where a vector can't grow. So what may be large
//! (pieces of values, copies of them, places to check pages in) is asked for here. What
//! stays with the standard library is small: handles, keys, lists of waiting commits.

use lightning_core::error::{Error as EngineError, Result as EngineResult};

fn reserved(bytes: usize) -> EngineResult<Vec<u8>> {
    let mut room = Vec::new();
    match room.try_reserve_exact(bytes) {
        Ok(()) => Ok(room),
        Err(_) => Err(EngineError::OutOfMemory {
            bytes: bytes as u64,
        }),
    }
}

/// So many zeros.
pub(crate) fn zeroed(bytes: usize) -> EngineResult<Vec<u8>> {
    let mut room = reserved(bytes)?;
    room.resize(bytes, 0);
    Ok(room)
}

/// A copy.
pub(crate) fn copied(bytes: &[u8]) -> EngineResult<Box<[u8]>> {
    let mut room = reserved(bytes.len())?;
    room.extend_from_slice(bytes);
    Ok(room.into_boxed_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_no_memory_for_is_an_error() {
        // More than any machine has addresses for, and less than a vector refuses by itself.
        let bytes = usize::MAX / 4;
        let refused = EngineError::OutOfMemory {
            bytes: bytes as u64,
        };
        assert_eq!(zeroed(bytes), Err(refused));
        assert_eq!(zeroed(3), Ok(vec![0; 3]));
        assert_eq!(copied(b"abc"), Ok((*b"abc").into()));
    }
}
