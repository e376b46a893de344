//! Places that clients share: each may have a part of them, so that one client leaves room for others.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{Arc, Mutex},
};

use ferry_store::lock;
use tokio::sync::Notify;

use crate::catalogue::ClientId;

/// See the module.
pub(crate) struct Shares {
    of_one: usize,
    by_client: Mutex<HashMap<ClientId, usize>>,
    /// A place was given back.
    freed: Notify,
}

/// A place. It is free again when this is dropped.
pub(crate) struct Share {
    shares: Arc<Shares>,
    client: ClientId,
}

impl Shares {
    /// So many for one client.
    pub(crate) fn new(of_one: usize) -> Arc<Self> {
        Arc::new(Shares { of_one, by_client: Mutex::default(), freed: Notify::new() })
    }

    /// A place, where there are this many in all; `None` if there is none left, for this client or at all.
    pub(crate) fn take(self: &Arc<Self>, client: ClientId, in_all: usize) -> Option<Share> {
        let mut by_client = lock(&self.by_client);
        let all: usize = by_client.values().sum();
        let own = by_client.get(&client).copied().unwrap_or(0);
        if all >= in_all || own >= self.of_one {
            return None;
        }
        by_client.insert(client, own + 1);
        Some(Share { shares: self.clone(), client })
    }

    /// How many are taken.
    pub(crate) fn taken(&self) -> usize {
        lock(&self.by_client).values().sum()
    }

    /// The same as [`Shares::take`], when there is a place.
    pub(crate) async fn wait(self: &Arc<Self>, client: ClientId, in_all: usize) -> Share {
        loop {
            let mut freed = pin!(self.freed.notified());
            // From here on none that is given back is missed.
            freed.as_mut().enable();
            if let Some(share) = self.take(client, in_all) {
                return share;
            }
            freed.await;
        }
    }
}

impl Share {
    /// Whose it is.
    pub(crate) fn client(&self) -> ClientId {
        self.client
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut by_client = lock(&self.shares.by_client);
        if let Some(own) = by_client.get_mut(&self.client) {
            *own -= 1;
            if *own == 0 {
                by_client.remove(&self.client);
            }
        }
        drop(by_client);
        self.shares.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IN_ALL: usize = 5;
    const OF_ONE: usize = 3;

    #[tokio::test]
    async fn hostile_10_one_client_leaves_places_to_others_and_waits_for_its_own() {
        let shares = Shares::new(OF_ONE);
        let (one, other, third) = (ClientId::for_tests(1), ClientId::for_tests(2), ClientId::for_tests(3));
        let mut places: Vec<_> = (0..OF_ONE).map(|_| shares.take(one, IN_ALL).unwrap()).collect();
        assert!(shares.take(one, IN_ALL).is_none(), "it has its part");
        places.push(shares.take(other, IN_ALL).expect("there is room for another"));
        places.push(shares.take(third, IN_ALL).expect("and for one more"));
        assert!(shares.take(third, IN_ALL).is_none(), "all of them are taken");
        let waiting = tokio::spawn({
            let shares = shares.clone();
            async move { shares.wait(one, IN_ALL).await.client() }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(places.remove(0));
        assert_eq!(waiting.await.unwrap(), one);
        places.clear();
        assert!(lock(&shares.by_client).is_empty(), "all of it is free again");
    }
}
