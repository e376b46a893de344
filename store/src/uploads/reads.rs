//! Reads that take long: of whole files that somebody touched, and of what there is of a body. Each holds a thread, so
//! they are kept from holding all of them.

use std::{collections::HashMap, sync::Mutex};

use crate::lock::lock;

/// Long reads at a time, all connections together: enough for a disk, and half of the threads that a server has.
const AT_A_TIME: usize = 4;

/// Of one client, so that others can read too.
const OF_ONE_CLIENT: usize = 2;

/// Bytes that are read in about the time that a sync takes.
const SHORT: u64 = 16 * 1024 * 1024;

/// How many there are, by client.
#[derive(Default)]
pub(super) struct LongReads(Mutex<HashMap<String, usize>>);

/// One of them, until it is dropped; `None` is a short one.
pub(super) struct Reading<'a>(Option<(&'a LongReads, String)>);

impl LongReads {
    /// Begins to read this many bytes; `None` while too many others do.
    pub(super) fn begin(&self, client: &str, bytes: u64) -> Option<Reading<'_>> {
        if bytes <= SHORT {
            return Some(Reading(None));
        }
        let mut reads = lock(&self.0);
        let (all, own) = (reads.values().sum::<usize>(), reads.get(client).copied().unwrap_or(0));
        if all >= AT_A_TIME || own >= OF_ONE_CLIENT {
            return None;
        }
        reads.insert(client.to_owned(), own + 1);
        Some(Reading(Some((self, client.to_owned()))))
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        if let Some((reads, client)) = &self.0 {
            let mut reads = lock(&reads.0);
            if let Some(own) = reads.get_mut(client) {
                *own -= 1;
                if *own == 0 {
                    reads.remove(client);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_reads_are_few_and_short_ones_are_free() {
        let reads = LongReads::default();
        let long = |client: &str| reads.begin(client, SHORT + 1);
        let mut going_on: Vec<_> = ["one", "one", "two", "three"].map(|client| long(client).unwrap()).into();
        assert!(long("four").is_none(), "there are as many as there may be");
        let _short: Vec<_> =
            (0..100).map(|_| reads.begin("one", SHORT).expect("a short one never waits")).collect();
        going_on.pop();
        assert!(long("one").is_none(), "it has its part");
        assert!(long("two").is_some(), "one has ended");
    }
}
