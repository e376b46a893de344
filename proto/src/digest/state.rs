//! Hashers at rest: what is kept of one, so that the bytes before need not be read again.

use sha2::{Sha256, digest::common::hazmat::SerializableState};

use super::{Algorithm, Hasher, Inner, blake3::Blake3};

/// How the states of each algorithm look now. Whoever changes that, or takes a crate that writes another state, gives it
/// the next number: what was kept under an older one is not understood any more, and the bytes are read again.
const SHA2_0_11: u8 = 1;
const TREE_OF_32_MIB: u8 = 1;

/// A [`Hasher`] after a number of bytes, to be kept beside what it has hashed. It never crosses the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HasherState {
    algorithm: Algorithm,
    length: u64,
    format: u8,
    bytes: Vec<u8>,
}

impl HasherState {
    /// As it was kept: by [`HasherState::to_bytes`], after this many bytes. `None` if it cannot be one.
    pub fn from_bytes(length: u64, kept: &[u8]) -> Option<Self> {
        let [number, format, bytes @ ..] = kept else { return None };
        let algorithm = Algorithm::from_number(*number)?;
        Some(HasherState { algorithm, length, format: *format, bytes: bytes.to_vec() })
    }

    /// To be kept, together with the number of bytes that were hashed.
    pub fn to_bytes(&self) -> Vec<u8> {
        [&[self.algorithm.number(), self.format], &self.bytes[..]].concat()
    }

    /// How the hasher digests.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Bytes that were hashed.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The hasher, if this version of the program understands the state and it is one of this algorithm.
    pub fn hasher(&self, algorithm: Algorithm) -> Option<Hasher> {
        if self.algorithm != algorithm {
            return None;
        }
        let inner = match (algorithm, self.format) {
            (Algorithm::Sha256, SHA2_0_11) => {
                let state = self.bytes.as_slice().try_into().ok()?;
                Inner::Sha256(Sha256::deserialize(state).ok()?)
            }
            (Algorithm::Blake3, TREE_OF_32_MIB) => {
                Inner::Blake3(Box::new(Blake3::restored(self.length, &self.bytes)?))
            }
            _ => return None,
        };
        Some(Hasher(inner))
    }
}

impl Hasher {
    /// What to keep of it, now that it has hashed `length` bytes; `None` except at multiples of
    /// [`CHECKPOINT`](crate::limits::CHECKPOINT).
    pub fn state(&self, length: u64) -> Option<HasherState> {
        if length == 0 || !length.is_multiple_of(crate::limits::CHECKPOINT) {
            return None;
        }
        let (format, bytes) = match &self.0 {
            Inner::Sha256(hasher) => (SHA2_0_11, hasher.serialize().to_vec()),
            Inner::Blake3(hasher) => (TREE_OF_32_MIB, hasher.state()?),
        };
        Some(HasherState { algorithm: self.algorithm(), length, format, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::CHECKPOINT;

    /// Bytes that differ from checkpoint to checkpoint.
    fn part(number: u64, length: usize) -> Vec<u8> {
        let pattern: Vec<u8> =
            (0..4099_u64).map(|index| (index * 31 + number * 17 + (index >> 8)) as u8).collect();
        let mut bytes = pattern.repeat(length / pattern.len() + 1);
        bytes.truncate(length);
        bytes
    }

    #[test]
    fn promise_3_a_hasher_goes_on_where_it_was_kept() {
        for algorithm in Algorithm::ALL {
            let (mut hasher, mut kept) = (algorithm.hasher(), Vec::new());
            for number in 1..=7 {
                hasher.update(&part(number, CHECKPOINT as usize));
                let state = hasher.state(number * CHECKPOINT).unwrap();
                kept.push((number * CHECKPOINT, state.to_bytes(), hasher.so_far()));
            }
            hasher.update(&part(8, 12345));
            for (length, bytes, so_far) in kept {
                let state = HasherState::from_bytes(length, &bytes).unwrap();
                let mut restored = state.hasher(algorithm).unwrap();
                assert_eq!(restored.so_far(), so_far, "{algorithm} at {length}");
                assert_eq!(restored.state(length).as_ref(), Some(&state), "kept again as it was");
                (length / CHECKPOINT + 1..=7).for_each(|it| restored.update(&part(it, CHECKPOINT as usize)));
                restored.update(&part(8, 12345));
                assert_eq!(restored.finish(), hasher.so_far(), "{algorithm} from {length}");
            }
        }
    }

    #[test]
    fn blake3_in_pieces_is_blake3() {
        let piece = CHECKPOINT as usize;
        for length in [0, 1, piece - 1, piece, piece + 1, 2 * piece, 3 * piece, 4 * piece + 5, 5 * piece] {
            let bytes = part(1, length);
            let expected: [u8; 32] = blake3::hash(&bytes).into();
            let mut hasher = Algorithm::Blake3.hasher();
            bytes.chunks(1_000_003).for_each(|chunk| hasher.update(chunk));
            assert_eq!(*hasher.finish().bytes(), expected, "{length}");
        }
    }

    #[test]
    fn nothing_is_kept_between_checkpoints() {
        for algorithm in Algorithm::ALL {
            let mut hasher = algorithm.hasher();
            assert_eq!(hasher.state(0), None);
            hasher.update(&[1]);
            assert_eq!(hasher.state(1), None);
        }
    }

    #[test]
    fn hostile_09_a_state_that_cannot_be_is_none() {
        let mut hasher = Algorithm::Blake3.hasher();
        hasher.update(&part(1, CHECKPOINT as usize));
        let bytes = hasher.state(CHECKPOINT).unwrap().to_bytes();
        let read = |length, bytes: &[u8]| {
            HasherState::from_bytes(length, bytes).and_then(|state| state.hasher(Algorithm::Blake3))
        };
        assert!(read(CHECKPOINT, &bytes).is_some());
        assert!(read(0, &bytes).is_none());
        assert!(read(CHECKPOINT + 1, &bytes).is_none());
        assert!(read(3 * CHECKPOINT, &bytes).is_none(), "two subtrees are missing");
        assert!(read(CHECKPOINT, &bytes[..bytes.len() - 1]).is_none());
        assert!(read(CHECKPOINT, &[]).is_none());
        assert!(read(CHECKPOINT, &[2]).is_none());
        for (place, wrong) in [(0, 1), (0, 3), (1, 2)] {
            let mut other = bytes.clone();
            other[place] = wrong;
            assert!(read(CHECKPOINT, &other).is_none(), "byte {place} is {wrong}");
        }
        let sha256 = [&[1, 1], &[0xff; 104][..]].concat();
        let state = HasherState::from_bytes(CHECKPOINT, &sha256);
        assert!(state.and_then(|state| state.hasher(Algorithm::Sha256)).is_none(), "its buffer is too full");
    }
}
