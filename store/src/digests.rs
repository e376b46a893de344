//! The digests of one content.

use ferry_proto::{Algorithm, Digest, Hasher};

/// What is known of one content: a digest by each algorithm that somebody has asked for, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digests {
    sha256: Option<[u8; 32]>,
    blake3: Option<[u8; 32]>,
}

impl Digests {
    /// These, which are all of the same content; `None` without any.
    pub fn of(digests: impl IntoIterator<Item = Digest>) -> Option<Self> {
        let mut digests = digests.into_iter().map(Digests::from);
        let first = digests.next()?;
        Some(digests.fold(first, |all, next| all.with(&next)))
    }

    /// The one by this algorithm.
    pub fn by(&self, algorithm: Algorithm) -> Option<Digest> {
        let bytes = match algorithm {
            Algorithm::Sha256 => self.sha256,
            Algorithm::Blake3 => self.blake3,
        };
        bytes.map(|bytes| Digest::new(algorithm, bytes))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = Digest> {
        Algorithm::ALL.into_iter().filter_map(|algorithm| self.by(algorithm))
    }

    /// Whether both are of the same content, as far as can be told: some algorithm made both, and none tells them apart.
    pub fn agree_with(&self, other: &Digests) -> bool {
        let mut common =
            self.iter().filter_map(|digest| Some((digest, other.by(digest.algorithm())?))).peekable();
        common.peek().is_some() && common.all(|(ours, theirs)| ours == theirs)
    }

    /// These and others of the same content.
    pub fn with(self, others: &Digests) -> Self {
        Digests { sha256: self.sha256.or(others.sha256), blake3: self.blake3.or(others.blake3) }
    }
}

/// Digests one content by several algorithms at once, by each once.
#[derive(Debug)]
pub struct Hashers {
    /// By the algorithm that counts.
    pub first: Hasher,
    others: Vec<Hasher>,
}

impl Hashers {
    /// By one algorithm, and by others.
    pub fn by(first: Algorithm, others: impl IntoIterator<Item = Algorithm>) -> Self {
        let mut algorithms = vec![first];
        for other in others {
            if !algorithms.contains(&other) {
                algorithms.push(other);
            }
        }
        let others = algorithms[1..].iter().map(|algorithm| algorithm.hasher()).collect();
        Hashers { first: first.hasher(), others }
    }

    /// Whether there is only one.
    pub fn is_alone(&self) -> bool {
        self.others.is_empty()
    }

    /// More of the content.
    pub fn update(&mut self, bytes: &[u8]) {
        self.first.update(bytes);
        self.others.iter_mut().for_each(|other| other.update(bytes));
    }

    /// The digests of all of it.
    pub fn finish(self) -> Digests {
        let others = self.others.into_iter().map(|other| Digests::from(other.finish()));
        others.fold(self.first.finish().into(), |all: Digests, other| all.with(&other))
    }
}

impl From<Digest> for Digests {
    fn from(digest: Digest) -> Self {
        let none = Digests { sha256: None, blake3: None };
        match digest.algorithm() {
            Algorithm::Sha256 => Digests { sha256: Some(*digest.bytes()), ..none },
            Algorithm::Blake3 => Digests { blake3: Some(*digest.bytes()), ..none },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_is_digested_once_by_each_algorithm_that_is_named() {
        let mut hashers =
            Hashers::by(Algorithm::Sha256, [Algorithm::Sha256, Algorithm::Blake3, Algorithm::Blake3]);
        assert_eq!((hashers.is_alone(), hashers.others.len()), (false, 1));
        hashers.update(b"ab");
        hashers.update(b"c");
        let found = hashers.finish();
        for algorithm in Algorithm::ALL {
            assert_eq!(found.by(algorithm), Some(algorithm.digest(b"abc")));
        }
        assert!(Hashers::by(Algorithm::Blake3, [Algorithm::Blake3]).is_alone());
    }

    #[test]
    fn digests_agree_by_what_both_know() {
        let digest = |algorithm: Algorithm, content: &[u8]| Digests::from(algorithm.digest(content));
        let both =
            |content: &[u8]| digest(Algorithm::Sha256, content).with(&digest(Algorithm::Blake3, content));
        for algorithm in Algorithm::ALL {
            assert!(digest(algorithm, b"a").agree_with(&both(b"a")));
            assert!(both(b"a").agree_with(&digest(algorithm, b"a")));
            assert!(!digest(algorithm, b"a").agree_with(&both(b"b")));
        }
        assert!(both(b"a").agree_with(&both(b"a")));
        assert!(
            !digest(Algorithm::Sha256, b"a").agree_with(&digest(Algorithm::Blake3, b"a")),
            "nobody knows"
        );
        let mixed = digest(Algorithm::Sha256, b"a").with(&digest(Algorithm::Blake3, b"b"));
        assert!(!mixed.agree_with(&both(b"a")), "one of them tells them apart");
    }
}
