//! Who is next: things that wait for one thread, by client. A client that hands in much waits for its own turn, and
//! never makes the others wait for more than that.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Condvar, Mutex},
};

use ferry_proto::RelPath;

use crate::lock::lock;

/// See the module.
pub(super) struct Line<T> {
    waiting: Mutex<Waiting<T>>,
    changed: Condvar,
}

struct Waiting<T> {
    by_client: HashMap<String, VecDeque<(RelPath, T)>>,
    /// Those that have something waiting, in the order of their turns.
    turns: VecDeque<String>,
    is_nudged: bool,
    is_closed: bool,
}

impl<T> Line<T> {
    pub(super) fn new() -> Self {
        let waiting =
            Waiting { by_client: HashMap::new(), turns: VecDeque::new(), is_nudged: false, is_closed: false };
        Line { waiting: Mutex::new(waiting), changed: Condvar::new() }
    }

    /// Puts a client's thing, which is about a name, behind its others; gives it back where the line is closed. It never
    /// waits: see [`Line::length`].
    pub(super) fn join(&self, client: &str, name: RelPath, thing: T) -> Result<(), T> {
        let mut waiting = lock(&self.waiting);
        if waiting.is_closed {
            return Err(thing);
        }
        match waiting.by_client.get_mut(client) {
            Some(own) => own.push_back((name, thing)),
            None => {
                waiting.by_client.insert(client.to_owned(), VecDeque::from([(name, thing)]));
                waiting.turns.push_back(client.to_owned());
            }
        }
        drop(waiting);
        self.changed.notify_one();
        Ok(())
    }

    /// How many things of a client wait.
    pub(super) fn length(&self, client: &str) -> usize {
        lock(&self.waiting).by_client.get(client).map_or(0, VecDeque::len)
    }

    /// How many things wait, of all clients together.
    pub(super) fn whole_length(&self) -> usize {
        lock(&self.waiting).by_client.values().map(VecDeque::len).sum()
    }

    /// Lets [`Line::next`] return soon, even if nothing waits.
    pub(super) fn nudge(&self) {
        lock(&self.waiting).is_nudged = true;
        self.changed.notify_one();
    }

    /// Nothing joins any more.
    pub(super) fn close(&self) {
        lock(&self.waiting).is_closed = true;
        self.changed.notify_one();
    }

    /// Waits for something, and takes up to `most` things, one of each client in turn. No two are about one name, so
    /// that the later one sees the earlier one done: the client whose turn that would be waits for the next time. None at
    /// all after a nudge; `None` when the line is closed and empty.
    pub(super) fn next(&self, most: usize) -> Option<Vec<T>> {
        let mut waiting = lock(&self.waiting);
        loop {
            let is_nudged = std::mem::take(&mut waiting.is_nudged);
            if is_nudged || !waiting.turns.is_empty() {
                return Some(waiting.take(most));
            }
            if waiting.is_closed {
                return None;
            }
            waiting = self.changed.wait(waiting).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }

    /// The same, but waits for nothing.
    pub(super) fn next_if_any(&self, most: usize) -> Vec<T> {
        lock(&self.waiting).take(most)
    }
}

impl<T> Waiting<T> {
    fn take(&mut self, most: usize) -> Vec<T> {
        let (mut names, mut taken, mut set_aside) = (HashSet::new(), Vec::new(), Vec::new());
        while taken.len() < most
            && let Some(client) = self.turns.pop_front()
        {
            let Some(own) = self.by_client.get_mut(&client) else { continue };
            if own.front().is_some_and(|(name, _)| names.contains(name)) {
                set_aside.push(client);
                continue;
            }
            if let Some((name, thing)) = own.pop_front() {
                names.insert(name);
                taken.push(thing);
            }
            if own.is_empty() {
                self.by_client.remove(&client);
            } else {
                self.turns.push_back(client);
            }
        }
        set_aside.into_iter().rev().for_each(|client| self.turns.push_front(client));
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(things: &[(&str, &str)]) -> Line<usize> {
        let line = Line::new();
        for (number, (client, name)) in things.iter().enumerate() {
            line.join(client, RelPath::new(*name).unwrap(), number).unwrap();
        }
        line
    }

    #[test]
    fn hostile_10_a_client_with_much_to_do_waits_for_its_own_turn() {
        let line =
            line(&[("a", "1"), ("a", "2"), ("a", "3"), ("a", "4"), ("b", "5"), ("c", "6"), ("c", "7")]);
        assert_eq!((line.length("a"), line.length("b"), line.length("d")), (4, 1, 0));
        assert_eq!(line.whole_length(), 7);
        assert_eq!(line.next(4), Some(vec![0, 4, 5, 1]));
        line.join("b", RelPath::new("8").unwrap(), 7).unwrap();
        assert_eq!(line.next(9), Some(vec![6, 2, 7, 3]));
        assert_eq!((line.length("a"), line.length("b")), (0, 0));
    }

    #[test]
    fn the_same_name_twice_waits_for_the_first_to_be_done() {
        let line = line(&[("a", "x"), ("a", "y"), ("b", "x"), ("b", "z")]);
        assert_eq!(line.next(9), Some(vec![0, 1]));
        assert_eq!(line.next(9), Some(vec![2, 3]));
    }

    #[test]
    fn hostile_10_a_client_that_names_one_thing_all_the_time_waits_alone() {
        let line = line(&[("a", "x"), ("a", "x"), ("a", "x"), ("b", "1"), ("b", "2"), ("b", "3")]);
        assert_eq!(line.next(9), Some(vec![0, 3, 4, 5]));
        assert_eq!((line.next(9), line.next(9)), (Some(vec![1]), Some(vec![2])));
    }

    #[test]
    fn a_nudge_is_felt_once_and_a_closed_line_is_emptied() {
        let line = line(&[("a", "x")]);
        line.next(1);
        line.nudge();
        assert_eq!(line.next(1), Some(vec![]));
        line.join("a", RelPath::new("y").unwrap(), 1).unwrap();
        line.close();
        assert_eq!(line.join("a", RelPath::new("z").unwrap(), 2), Err(2));
        assert_eq!((line.next(1), line.next(1)), (Some(vec![1]), None));
    }
}
