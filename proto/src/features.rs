//! What came after version 1, by the numbers under which `Hello` and `Welcome` name it.

/// Holes of sparse files are sent as such.
const HOLES: u16 = 1;

/// What a side understands, or both sides of a session do. Numbers that are not known are passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Features {
    /// [`Hole`](crate::Hole) among the pieces of a body.
    pub holes: bool,
}

impl Features {
    /// What this crate understands.
    pub const OURS: Features = Features { holes: true };

    /// Those that these numbers name.
    pub fn named_by(numbers: &[u16]) -> Self {
        Features { holes: numbers.contains(&HOLES) }
    }

    /// As they are named.
    pub fn numbers(self) -> Vec<u16> {
        [(self.holes, HOLES)]
            .into_iter()
            .filter_map(|(is_there, number)| is_there.then_some(number))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_passed_over() {
        let shared = Features::named_by(&[7, 1, 65535]);
        assert_eq!(shared, Features::OURS);
        assert_eq!(shared.numbers(), [1]);
        assert_eq!(Features::named_by(&[0, 2]), Features::default());
    }
}
