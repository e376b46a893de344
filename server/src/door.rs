//! The waiting room: peers that have connected and are not known to be clients yet. Anyone can fill it, so the oldest
//! makes way for the newest: an honest peer is through within a second.

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use ferry_store::lock;
use tokio::sync::{Notify, watch};

use crate::config::Settings;

/// Of one address at a time. A household behind one router has fewer machines than this.
const PER_ADDRESS: usize = 64;

/// See the module.
pub(crate) struct Door {
    settings: watch::Receiver<Settings>,
    waiting: Mutex<VecDeque<Waiting>>,
}

struct Waiting {
    network: Network,
    must_go: Arc<Notify>,
}

/// A place in the waiting room. It is free again when this is dropped.
pub(crate) struct Place {
    door: Arc<Door>,
    must_go: Arc<Notify>,
}

/// Whoever has one address of an IPv6 network has all of them. On this machine everybody has the same address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Network {
    Here,
    V4([u8; 4]),
    V6([u16; 4]),
}

impl Door {
    /// With room for as many peers as the settings say.
    pub(crate) fn new(settings: watch::Receiver<Settings>) -> Arc<Self> {
        Arc::new(Door { settings, waiting: Mutex::default() })
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        lock(&self.waiting).len()
    }

    /// Takes a place, if need be that of the peer which has waited longest: of the same address, if that has too many,
    /// else of all. Returns whether somebody had to go.
    pub(crate) fn enter(self: &Arc<Self>, address: SocketAddr) -> (Place, bool) {
        let network = Network::of(address.ip());
        let most = self.settings.borrow().max_connections;
        let mut waiting = lock(&self.waiting);
        let is_same = |peer: &Waiting| peer.network == network;
        let too_many =
            network != Network::Here && waiting.iter().filter(|peer| is_same(peer)).count() >= PER_ADDRESS;
        let mut is_crowded = false;
        let mut make_room = |waiting: &mut VecDeque<Waiting>, place| {
            if let Some(peer) = waiting.remove(place) {
                peer.must_go.notify_one();
                is_crowded = true;
            }
        };
        if too_many && let Some(place) = waiting.iter().position(is_same) {
            make_room(&mut waiting, place);
        }
        // More than one where the settings allow fewer than before.
        while waiting.len() >= most.max(1) {
            make_room(&mut waiting, 0);
        }
        let must_go = Arc::new(Notify::new());
        waiting.push_back(Waiting { network, must_go: must_go.clone() });
        (Place { door: self.clone(), must_go }, is_crowded)
    }
}

impl Place {
    /// Waits until another peer needs the place.
    pub(crate) async fn must_go(&self) {
        self.must_go.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.door.waiting).retain(|peer| !Arc::ptr_eq(&peer.must_go, &self.must_go));
    }
}

impl Network {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            address if address.is_loopback() => Network::Here,
            IpAddr::V4(address) => Network::V4(address.octets()),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = Ipv6Addr::segments(&address);
                Network::V6([a, b, c, d])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        SocketAddr::new(text.parse().unwrap(), 1)
    }

    fn room_for(max_connections: usize) -> watch::Receiver<Settings> {
        watch::channel(Settings { max_connections, ..Settings::default() }).1
    }

    /// Whether somebody was told to go.
    fn was_told(place: &Place) -> bool {
        use std::{
            future::Future,
            pin::pin,
            task::{Context, Waker},
        };
        pin!(place.must_go()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn hostile_13_the_oldest_goes_and_the_newest_comes_in() {
        let door = Door::new(room_for(2));
        let (first, _) = door.enter(address("127.0.0.1"));
        let (second, crowded) = door.enter(address("192.0.2.1"));
        assert_eq!(door.waiting(), 2);
        assert!(!crowded && !was_told(&first));
        let (third, crowded) = door.enter(address("192.0.2.2"));
        assert!(crowded && was_told(&first) && !was_told(&second) && !was_told(&third));
        drop(second);
        let (_fourth, crowded) = door.enter(address("192.0.2.3"));
        assert!(!crowded, "whoever was let in takes no place");
        // The first one has none to give back.
        drop(first);
        let (_fifth, crowded) = door.enter(address("192.0.2.4"));
        assert!(crowded && was_told(&third));
    }

    #[test]
    fn hostile_10_one_address_takes_no_places_of_others() {
        let door = Door::new(room_for(1000));
        let (other, _) = door.enter(address("192.0.2.1"));
        let mut places: Vec<_> =
            (0..PER_ADDRESS).map(|number| door.enter(address(&format!("2001:db8::{number:x}"))).0).collect();
        assert!(places.iter().all(|place| !was_told(place)));
        let (_one_more, crowded) = door.enter(address("2001:db8::ffff:1"));
        assert!(crowded && was_told(&places.remove(0)) && !was_told(&other));
        assert!(places.iter().all(|place| !was_told(place)));
        // The same machine by IPv4 in IPv6, and everybody on this machine.
        assert_eq!(Network::of("::ffff:192.0.2.1".parse().unwrap()), Network::V4([192, 0, 2, 1]));
        let here: Vec<_> = (0..2 * PER_ADDRESS).map(|_| door.enter(address("127.0.0.1")).0).collect();
        assert!(here.iter().all(|place| !was_told(place)));
    }
}
