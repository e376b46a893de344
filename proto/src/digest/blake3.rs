//! BLAKE3 as a tree of large pieces, so that what has been hashed can be kept and gone on with.
//!
//! The crate's own hasher cannot be stored. But BLAKE3 is a binary tree, and a whole subtree is known by 32 bytes: here
//! each [`PIECE`] is hashed by the crate as a subtree, and the subtrees are joined as the BLAKE3 paper (section 2.1)
//! says, every left one being the largest power of two that leaves something for the right.

use blake3::{
    Hasher,
    hazmat::{self, ChainingValue, HasherExt, Mode},
};

use crate::limits;

/// Bytes of a subtree, so that there is a state at every checkpoint.
const PIECE: u64 = limits::CHECKPOINT;

const _: () =
    assert!(PIECE.is_power_of_two() && PIECE >= 1024, "BLAKE3 halves its input down to chunks of 1 KiB");

/// A BLAKE3 digest in the making.
#[derive(Clone)]
pub(super) struct Blake3 {
    /// Whole subtrees, the leftmost first, each as large as it can be: one for each bit that is set in the number of
    /// whole pieces.
    subtrees: Vec<ChainingValue>,
    /// Whole pieces in them.
    pieces: u64,
    /// The piece under way. A whole one stays here until more follows: the last one may be the root.
    piece: Hasher,
    /// The digest of all before the piece, as long as nothing of that has come.
    before: Option<[u8; 32]>,
}

impl Default for Blake3 {
    fn default() -> Self {
        Blake3::after(Vec::new(), 0)
    }
}

impl Blake3 {
    fn after(subtrees: Vec<ChainingValue>, pieces: u64) -> Self {
        let mut piece = Hasher::new();
        piece.set_input_offset(pieces * PIECE);
        Blake3 { subtrees, pieces, piece, before: None }
    }

    pub(super) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.piece.count() == PIECE {
                self.close_piece();
            }
            let room = usize::try_from(PIECE - self.piece.count()).unwrap_or(usize::MAX);
            let (now, rest) = bytes.split_at(bytes.len().min(room));
            self.piece.update(now);
            bytes = rest;
        }
    }

    /// Makes a subtree of a piece that something follows.
    fn close_piece(&mut self) {
        let mut subtree = self.piece.finalize_non_root();
        // Two of the same size become one, as in adding one to a binary number.
        for _ in 0..self.pieces.trailing_ones() {
            let left =
                self.subtrees.pop().expect("one subtree for each bit that is set in the number of pieces");
            subtree = hazmat::merge_subtrees_non_root(&left, &subtree, Mode::Hash);
        }
        self.subtrees.push(subtree);
        *self = Blake3::after(std::mem::take(&mut self.subtrees), self.pieces + 1);
    }

    pub(super) fn digest(&self) -> [u8; 32] {
        if let (Some(before), 0) = (self.before, self.piece.count()) {
            return before;
        }
        let Some((root, others)) = self.subtrees.split_first() else { return self.piece.finalize().into() };
        let merge = |right, left| hazmat::merge_subtrees_non_root(left, &right, Mode::Hash);
        let right = others.iter().rev().fold(self.piece.finalize_non_root(), merge);
        hazmat::merge_subtrees_root(root, &right, Mode::Hash).into()
    }

    /// What [`Blake3::restored`] needs: the digest, then the subtrees. `None` except at the end of a piece.
    pub(super) fn state(&self) -> Option<Vec<u8>> {
        let digest = self.digest();
        let mut ended = self.clone();
        match (self.piece.count(), self.before) {
            (PIECE, _) => ended.close_piece(),
            (0, Some(_)) => {}
            _ => return None,
        }
        Some([&digest[..], ended.subtrees.as_flattened()].concat())
    }

    /// A hasher that has seen this many bytes, if the state can be one of so many.
    pub(super) fn restored(length: u64, state: &[u8]) -> Option<Self> {
        let (before, subtrees) = state.split_first_chunk::<32>()?;
        let (subtrees, rest) = subtrees.as_chunks::<32>();
        let pieces = length / PIECE;
        let is_whole = length.is_multiple_of(PIECE) && rest.is_empty();
        let fits = is_whole && pieces > 0 && pieces.count_ones() as usize == subtrees.len();
        fits.then(|| Blake3 { before: Some(*before), ..Blake3::after(subtrees.to_vec(), pieces) })
    }
}
