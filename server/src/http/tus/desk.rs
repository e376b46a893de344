//! The uploads that are remembered: those that are under way, and those that have ended not long ago.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use ferry_store::lock;
use tokio::sync::watch;

use super::State;
use crate::catalogue::{Client, ClientId, GrantId};

/// Uploads of one client that are remembered. A body that is open costs an open file, any other one some hundred bytes.
const REMEMBERED: usize = 1024;

/// Of all clients together.
const IN_ALL: usize = 8 * REMEMBERED;

/// How long a body stays open that nobody sends anything of: then only what has a checkpoint is kept.
const IDLE: Duration = Duration::from_secs(10 * 60);

/// See the module.
#[derive(Default)]
pub(in super::super) struct Desk {
    slots: Mutex<HashMap<(ClientId, String), Arc<Slot>>>,
}

/// One upload.
pub(super) struct Slot {
    pub(super) state: tokio::sync::Mutex<State>,
    /// Under which grant it was begun.
    grant: Mutex<Option<GrantId>>,
    /// The number of the newest request about it.
    newest: watch::Sender<u64>,
    touched: Mutex<Instant>,
}

impl Desk {
    /// Where an upload is remembered. Of the others, so many have a body that is open and stands still.
    pub(super) fn slot(&self, client: &Client, id: &str, most_open: usize) -> Arc<Slot> {
        let mut slots = lock(&self.slots);
        let key = (client.id, id.to_owned());
        if let Some(slot) = slots.get(&key) {
            *lock(&slot.touched) = Instant::now();
            return slot.clone();
        }
        let own = slots.keys().filter(|(owner, _)| *owner == client.id).count();
        let crowd = match (own >= REMEMBERED, slots.len() >= IN_ALL) {
            (true, _) => Some(Some(client.id)),
            (false, true) => Some(None),
            (false, false) => None,
        };
        if let Some(of) = crowd {
            forget_the_oldest(&mut slots, of);
        }
        close_one_beyond(&slots, most_open);
        let slot = Arc::new(Slot {
            state: tokio::sync::Mutex::default(),
            grant: Mutex::default(),
            newest: watch::Sender::new(0),
            touched: Mutex::new(Instant::now()),
        });
        slots.insert(key, slot.clone());
        slot
    }

    /// Lets go of bodies that nobody sends anything of. To be called now and then.
    pub(in super::super) fn let_go_of_idle(&self) {
        let idle = |slot: &Arc<Slot>| lock(&slot.touched).elapsed() >= IDLE && Arc::strong_count(slot) == 1;
        lock(&self.slots).retain(|_, slot| !idle(slot));
    }
}

/// That nobody uses now. What it leaves open is let go of when it is dropped.
fn forget_the_oldest(slots: &mut HashMap<(ClientId, String), Arc<Slot>>, of: Option<ClientId>) {
    let unused = slots.iter().filter(|((owner, _), slot)| {
        of.is_none_or(|client| *owner == client) && Arc::strong_count(slot) == 1
    });
    let oldest = unused.min_by_key(|(_, slot)| *lock(&slot.touched)).map(|(key, _)| key.clone());
    if let Some(key) = oldest {
        slots.remove(&key);
    }
}

/// Of whoever has most of them open, that which has stood still the longest. It goes on from its last checkpoint.
fn close_one_beyond(slots: &HashMap<(ClientId, String), Arc<Slot>>, most: usize) {
    let unused = slots.iter().filter(|(_, slot)| Arc::strong_count(slot) == 1);
    let open = unused.filter_map(|((owner, _), slot)| {
        let state = slot.state.try_lock().ok().filter(|state| matches!(**state, State::Open(..)))?;
        Some((*owner, *lock(&slot.touched), state))
    });
    let open: Vec<_> = open.collect();
    if open.len() < most {
        return;
    }
    let mut shares: HashMap<_, usize> = HashMap::new();
    open.iter().for_each(|(owner, ..)| *shares.entry(*owner).or_default() += 1);
    let one = open.into_iter().max_by_key(|(owner, touched, _)| (shares[owner], touched.elapsed()));
    if let Some((.., mut state)) = one {
        *state = State::default();
    }
}

impl Slot {
    /// Asks whoever has it to let go. Returns the number of this request, and by what a newer one is known.
    pub(super) fn ask(&self) -> (u64, watch::Receiver<u64>) {
        let mut own = 0;
        self.newest.send_modify(|newest| {
            *newest += 1;
            own = *newest;
        });
        (own, self.newest.subscribe())
    }

    /// Makes it this client's as it is now: what was begun under another grant is let go of.
    pub(super) fn is_of(&self, client: &Client, state: &mut State) {
        let before = lock(&self.grant).replace(client.grant_id);
        if before.is_some_and(|before| before != client.grant_id) {
            *state = State::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Grant;

    const MANY: usize = usize::MAX;

    fn client(number: i64, grant: i64) -> Client {
        Client {
            id: ClientId::for_tests(number),
            name: number.to_string(),
            grant: Grant::whole(),
            grant_id: GrantId::for_tests(grant),
            revoked: None,
        }
    }

    #[test]
    fn hostile_10_a_client_that_creates_without_end_forgets_its_own() {
        let desk = Desk::default();
        let (one, other) = (client(1, 1), client(2, 2));
        let kept = desk.slot(&other, "other", MANY);
        let held = desk.slot(&one, "held", MANY);
        for number in 0..2 * REMEMBERED {
            desk.slot(&one, &number.to_string(), MANY);
        }
        assert_eq!(lock(&desk.slots).len(), REMEMBERED + 1);
        assert!(Arc::ptr_eq(&desk.slot(&one, "held", MANY), &held), "what is in use stays");
        assert!(Arc::ptr_eq(&desk.slot(&other, "other", MANY), &kept));
    }

    #[test]
    fn hostile_15_another_grant_begins_anew() {
        let desk = Desk::default();
        let slot = desk.slot(&client(1, 1), "a", MANY);
        let mut state = State::Gone;
        slot.is_of(&client(1, 1), &mut state);
        assert!(matches!(state, State::Gone));
        slot.is_of(&client(1, 2), &mut state);
        assert!(matches!(state, State::Unknown));
    }

    #[tokio::test]
    async fn the_newest_request_has_it() {
        let desk = Desk::default();
        let slot = desk.slot(&client(1, 1), "a", MANY);
        let (own, mut newer) = slot.ask();
        assert_eq!(*newer.borrow_and_update(), own);
        let (next, _) = slot.ask();
        assert_eq!(*newer.wait_for(|newest| *newest != own).await.unwrap(), next);
    }
}
