//! Who is in: sessions of clients that are known.

use std::sync::{Arc, Mutex};

use ferry_proto::limits;
use ferry_store::lock;
use tokio::sync::watch;

use crate::{
    catalogue::ClientId,
    config::Settings,
    shares::{Share, Shares},
};

/// Sessions of one client at a time: as many as `ferry send --jobs` makes, so that one client leaves room for others.
const PER_CLIENT: usize = 64;

/// Offers without a final answer, all sessions together: each costs some KiB of memory here. A session gets a part of
/// what is left, so that few sessions have full windows and many have small ones.
const OFFERS: usize = 16 * limits::OFFERS;

/// The part, and the smallest window: a session with that still sends thousands of files a second over a short path.
const PART: usize = 8;
const LEAST: usize = 64;

/// See the module.
pub(crate) struct Seats {
    settings: watch::Receiver<Settings>,
    shares: Arc<Shares>,
    /// Those of all sessions.
    offers: Mutex<usize>,
}

/// A session's seat. It is free again when this is dropped.
pub(crate) struct Seat {
    seats: Arc<Seats>,
    _share: Share,
    /// Offers without a final answer that it may have.
    pub(crate) offers: usize,
}

impl Seats {
    /// As many as the settings say.
    pub(crate) fn new(settings: watch::Receiver<Settings>) -> Arc<Self> {
        Arc::new(Seats { settings, shares: Shares::new(PER_CLIENT), offers: Mutex::default() })
    }

    /// How many are taken.
    pub(crate) fn taken(&self) -> usize {
        self.shares.taken()
    }

    /// `None` if there is none left, for this client or at all.
    pub(crate) fn take(self: &Arc<Self>, client: ClientId) -> Option<Seat> {
        let share = self.shares.take(client, self.settings.borrow().max_connections)?;
        let mut taken = lock(&self.offers);
        let offers = (OFFERS.saturating_sub(*taken) / PART).clamp(LEAST, limits::OFFERS);
        *taken += offers;
        Some(Seat { seats: self.clone(), _share: share, offers })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        *lock(&self.seats.offers) -= self.offers;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_10_one_client_leaves_seats_and_offers_to_others() {
        let seats = Seats::new(watch::channel(Settings::default()).1);
        let (one, other) = (ClientId::for_tests(1), ClientId::for_tests(2));
        let mut taken: Vec<_> =
            (0..PER_CLIENT).map(|_| seats.take(one).expect("a seat of its own")).collect();
        assert!(seats.take(one).is_none());
        assert_eq!(seats.taken(), PER_CLIENT);
        taken.push(seats.take(other).expect("a seat of another client"));
        assert_eq!(taken[0].offers, limits::OFFERS, "the first has a full window");
        let all: usize = taken.iter().map(|seat| seat.offers).sum();
        assert!(all <= OFFERS + LEAST * taken.len(), "{all} offers");
        assert!(taken.iter().all(|seat| seat.offers >= LEAST));
        taken.clear();
        assert_eq!(seats.take(one).map(|seat| seat.offers), Some(limits::OFFERS), "all of it is free again");
    }
}
