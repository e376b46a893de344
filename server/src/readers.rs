//! Who reads: requests for files, each of which takes threads and memory here for as long as its client takes its time.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{Arc, Mutex},
};

use ferry_store::lock;
use tokio::sync::Notify;

use crate::catalogue::ClientId;

/// Requests that are answered at a time; further ones wait. Two threads and some 10 MiB each.
const AT_ONCE: usize = 64;

/// Those of one client: more than a disk is any faster by.
const PER_CLIENT: usize = 16;

/// See the module.
#[derive(Default)]
pub(crate) struct Readers {
    by_client: Mutex<HashMap<ClientId, usize>>,
    /// One has ended.
    ended: Notify,
}

/// A place among them. It is free again when this is dropped.
pub(crate) struct Reader {
    readers: Arc<Readers>,
    client: ClientId,
}

impl Readers {
    /// Waits for a place.
    pub(crate) async fn take(self: &Arc<Self>, client: ClientId) -> Reader {
        loop {
            let mut ended = pin!(self.ended.notified());
            // From here on none that ends is missed.
            ended.as_mut().enable();
            if self.try_take(client) {
                return Reader { readers: self.clone(), client };
            }
            ended.await;
        }
    }

    fn try_take(&self, client: ClientId) -> bool {
        let mut by_client = lock(&self.by_client);
        let all: usize = by_client.values().sum();
        let own = by_client.get(&client).copied().unwrap_or(0);
        let is_free = all < AT_ONCE && own < PER_CLIENT;
        if is_free {
            by_client.insert(client, own + 1);
        }
        is_free
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut by_client = lock(&self.readers.by_client);
        if let Some(own) = by_client.get_mut(&self.client) {
            *own -= 1;
            if *own == 0 {
                by_client.remove(&self.client);
            }
        }
        drop(by_client);
        self.readers.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn hostile_10_one_client_leaves_places_to_others_and_waits_for_its_own() {
        let readers = Arc::new(Readers::default());
        let (one, other) = (ClientId::for_tests(1), ClientId::for_tests(2));
        let mut places = Vec::new();
        for _ in 0..PER_CLIENT {
            places.push(readers.take(one).await);
        }
        assert!(!readers.try_take(one));
        places.push(readers.take(other).await);
        let waiting = tokio::spawn({
            let readers = readers.clone();
            async move { readers.take(one).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(places.remove(0));
        drop(waiting.await);
        places.clear();
        assert!(lock(&readers.by_client).is_empty(), "all of it is free again");
    }
}
