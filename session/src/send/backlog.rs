//! What is still to be sent: filled by a walk, worked on by every connection of a run.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{Fate, Next, Origin, Task, hard_links::HardLinks};

/// How far the walk runs ahead of the connections.
const AHEAD: usize = 4096;

/// Who has waited for something to do takes it when there is this much of it, or after this time: waking for each entry
/// costs more than to look at it.
const ENOUGH: usize = 64;
const GATHERING: Duration = Duration::from_micros(500);

/// Tasks in their order, of which a folder comes when nothing under it is outstanding.
#[derive(Default)]
pub struct Backlog {
    state: Mutex<State>,
    /// Present where names of one file are to stay that.
    hard_links: Option<HardLinks>,
    /// There is something to take, or never will be.
    changed: Condvar,
    /// The walk may go on.
    has_room: Condvar,
}

#[derive(Default)]
struct State {
    ready: VecDeque<Next>,
    outstanding: usize,
    has_all: bool,
    stopped: bool,
}

impl Backlog {
    /// An empty one. With `hard_links` it hands the names of a file out one after the other, so that each later one can be
    /// said to be the same as an earlier one, and remembers at most so many files and names; those beyond go as files of
    /// their own.
    pub fn new(hard_links: Option<usize>) -> Self {
        Backlog { hard_links: hard_links.map(HardLinks::new), ..Backlog::default() }
    }

    /// Adds something. Waits while there is much; false when the run is over.
    pub fn add(&self, next: Next) -> bool {
        let state = self.lock();
        let is_full = |state: &mut State| state.ready.len() >= AHEAD && !state.stopped;
        let mut state = self.has_room.wait_while(state, is_full).unwrap_or_else(PoisonError::into_inner);
        if state.stopped {
            return false;
        }
        state.ready.push_back(next);
        self.tell_of_one_more(&state);
        true
    }

    /// Nothing more will be added.
    pub fn has_all(&self) {
        self.lock().has_all = true;
        self.changed.notify_all();
    }

    /// More will be added after all. Who has been told that there is nothing more takes none of it.
    pub fn has_more(&self) {
        self.lock().has_all = false;
    }

    /// Whether there is nothing to do now, whatever may still be added.
    pub fn is_idle(&self) -> bool {
        let state = self.lock();
        state.ready.is_empty() && state.outstanding == 0
    }

    /// Ends the run: nothing more is handed out.
    pub fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
        self.has_room.notify_all();
    }

    /// Whether the run was ended.
    pub fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    /// Whether everything is settled.
    pub fn is_finished(&self) -> bool {
        let state = self.lock();
        state.has_all && state.ready.is_empty() && state.outstanding == 0
    }

    /// See [`Manifest::next`](super::Manifest::next).
    pub fn next(&self, is_wanted: &dyn Fn() -> bool) -> Option<Next> {
        loop {
            match (self.take(is_wanted)?, &self.hard_links) {
                // One that is not handed out stays outstanding.
                (Next::Task(task), Some(hard_links)) => match hard_links.hand_out(task) {
                    Some(task) => return Some(Next::Task(task)),
                    None => continue,
                },
                (next, _) => return Some(next),
            }
        }
    }

    fn take(&self, is_wanted: &dyn Fn() -> bool) -> Option<Next> {
        let mut state = self.lock();
        let may_come =
            |state: &State| !state.stopped && (!state.has_all || state.outstanding > 0) && is_wanted();
        if state.ready.is_empty() && may_come(&state) {
            let is_empty = |state: &mut State| state.ready.is_empty() && may_come(state);
            state = self.changed.wait_while(state, is_empty).unwrap_or_else(PoisonError::into_inner);
            let is_little =
                |state: &mut State| state.ready.len() < ENOUGH && !state.has_all && may_come(state);
            let gathered = self.changed.wait_timeout_while(state, GATHERING, is_little);
            (state, _) = gathered.unwrap_or_else(PoisonError::into_inner);
        }
        if state.stopped || !is_wanted() {
            return None;
        }
        let next = state.ready.pop_front()?;
        if let Next::Task(_) = next {
            state.outstanding += 1;
        }
        // Not before there is room for many: a walk that goes on for one entry at a time costs more than its work.
        if state.ready.len() == AHEAD / 2 {
            self.has_room.notify_all();
        }
        Some(next)
    }

    /// See [`Manifest::nudge`](super::Manifest::nudge).
    pub fn nudge(&self) {
        // Under the lock, so that nobody who has just looked misses it.
        let _state = self.lock();
        self.changed.notify_all();
    }

    /// See [`Manifest::put_back`](super::Manifest::put_back).
    pub fn put_back(&self, mut task: Task) {
        let its_other_name = self.end_turn(&mut task, None);
        let mut state = self.lock();
        self.return_to(&mut state, task);
        if let Some(other) = its_other_name {
            self.return_to(&mut state, other);
        }
    }

    /// A task is finished. If it was the last one in its folder, that is next.
    pub fn settle(&self, mut task: Task, fate: &Fate) {
        let its_other_name = self.end_turn(&mut task, Some(fate));
        let mut state = self.lock();
        if let Some(other) = its_other_name {
            self.return_to(&mut state, other);
        }
        state.outstanding -= 1;
        if let Origin::Tree(item) = task.origin
            && let Some(folder) = item.settle()
        {
            state.ready.push_front(Next::Task(Task::new(Origin::Tree(folder))));
            self.tell_of_one_more(&state);
        }
        if state.outstanding == 0 {
            self.changed.notify_all();
        }
    }

    fn end_turn(&self, task: &mut Task, fate: Option<&Fate>) -> Option<Task> {
        self.hard_links.as_ref()?.end_turn(task, fate)
    }

    fn return_to(&self, state: &mut State, task: Task) {
        state.outstanding -= 1;
        state.ready.push_front(Next::Task(task));
        self.tell_of_one_more(state);
    }

    /// Where there was something before, nobody waits for it, or for more of it.
    fn tell_of_one_more(&self, state: &State) {
        if [1, ENOUGH].contains(&state.ready.len()) {
            self.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        ferry_store::lock(&self.state)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    use ferry_proto::RelPath;
    use ferry_store::source::{Found, Links, Source, Walk};

    use super::*;
    use crate::send::Stream;

    /// Two names of one file, and the first of them, which was handed out and has become another file since.
    fn replaced_in_its_turn() -> (tempfile::TempDir, Backlog, Task) {
        let folder = tempfile::tempdir().unwrap();
        let name = |name: &str| folder.path().join(name);
        std::fs::write(name("one"), "content").unwrap();
        std::fs::hard_link(name("one"), name("two")).unwrap();
        let backlog = Backlog::new(Some(usize::MAX));
        for found in Walk::new(folder.path(), None, Links::Keep) {
            let Found::Item(item) = found else { panic!("{found:?}") };
            assert!(backlog.add(Next::Task(Task::new(Origin::Tree(item)))));
        }
        let Some(Next::Task(mut task)) = backlog.next(&|| true) else { panic!("there are two") };
        assert!(backlog.lock().ready.len() == 1);
        // The other one waits for its turn, and nobody for it.
        assert!(backlog.hard_links.as_ref().unwrap().hand_out(take_ready(&backlog)).is_none());
        let Origin::Tree(item) = &mut task.origin else { panic!("it is of a tree") };
        std::fs::write(name("new"), "another content").unwrap();
        std::fs::rename(name("new"), item.source.path()).unwrap();
        item.update(&Source::open(&item.source, Links::Keep).unwrap());
        (folder, backlog, task)
    }

    fn take_ready(backlog: &Backlog) -> Task {
        let mut state = backlog.lock();
        state.outstanding += 1;
        let Some(Next::Task(task)) = state.ready.pop_front() else { panic!("there is one") };
        task
    }

    #[test]
    fn a_name_that_becomes_another_file_in_its_turn_leaves_the_turn_to_the_next() {
        let (_folder, backlog, task) = replaced_in_its_turn();
        let digest = ferry_proto::Algorithm::Sha256.digest(b"another content");
        backlog.settle(task, &Fate::Sent { digest: Some(digest), bytes: 15, path: None, grew: false });
        backlog.has_all();
        let Some(Next::Task(next)) = backlog.next(&|| true) else { panic!("the other name is left") };
        assert!(next.same.is_none(), "it is the same as nothing that was sent");

        let (_folder, backlog, task) = replaced_in_its_turn();
        backlog.put_back(task);
        backlog.has_all();
        assert!(backlog.next(&|| true).is_some() && backlog.next(&|| true).is_some());
    }

    /// It never comes to anything.
    #[derive(Debug)]
    struct Nothing;

    impl Stream for Nothing {
        fn is_ready(&self) -> std::io::Result<bool> {
            Ok(false)
        }

        fn read(&self, _: &mut [u8]) -> std::io::Result<usize> {
            Ok(0)
        }

        fn finish(&self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn hostile_10_who_waits_for_a_session_that_has_ended_waits_no_more() {
        let backlog = Arc::new(Backlog::default());
        let name = RelPath::new("outstanding").unwrap();
        assert!(backlog.add(Next::Task(Task::new(Origin::Stream(name, Arc::new(Nothing))))));
        backlog.has_all();
        let outstanding = backlog.next(&|| true);
        let is_wanted = Arc::new(AtomicBool::new(true));
        let waiting = std::thread::spawn({
            let (backlog, is_wanted) = (backlog.clone(), is_wanted.clone());
            move || backlog.next(&|| is_wanted.load(Ordering::Relaxed)).is_none()
        });
        is_wanted.store(false, Ordering::Relaxed);
        backlog.nudge();
        assert!(waiting.join().unwrap());
        assert!(outstanding.is_some() && !backlog.is_finished());
    }
}
