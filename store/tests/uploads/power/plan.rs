//! What clients want to have in the inbox: files small and large, some with holes or several names, folders and links, some
//! of them under one name.

use std::{collections::BTreeSet, sync::Arc};

use fastrand::Rng;
use ferry_proto::{Conflict, Header, Mode, RelPath};

use crate::inbox::{Client, file, folder, key, link, time};

/// Bytes between two checkpoints: so few that small files have some.
pub(super) const DISTANCE: usize = 4096;

/// Random bytes that no two contents begin with.
const OWN: usize = 16;

/// A large enough one for whatever is offered.
const QUOTA: u64 = 1 << 30;

const FILES: [&str; 9] =
    ["a", "a (2)", "both", "dir/a", "dir/b", "dir/sub/c", "new/x/y/deep", "new/x/y/deeper", "other/z"];
const LINKS: [&str; 3] = ["both", "dir/link", "links/only"];
const FOLDERS: [&str; 5] = ["dir", "dir/sub", "new/x", "empty", "empty/too"];

/// See the module.
pub(super) struct Plan {
    pub(super) clients: Vec<Client>,
    pub(super) tasks: Vec<Task>,
    /// Whether one of the clients has one: then rows are written under a lock that offers take, too.
    pub(super) has_quota: bool,
}

/// Something that a client wants to have in the inbox.
pub(super) struct Task {
    /// Which one.
    pub(super) client: usize,
    /// With a digest.
    pub(super) header: Header,
    /// Whether the digest is offered.
    pub(super) is_digested: bool,
    pub(super) content: Content,
}

/// What a plan is made of: not much, so that names are offered again, and files replaced by others as long as they are.
struct Choice {
    files: Vec<&'static str>,
    links: Vec<&'static str>,
    folders: Vec<&'static str>,
    lengths: Vec<usize>,
}

impl Choice {
    fn random(rng: &mut Rng) -> Self {
        let mut some = |names: &[&'static str]| {
            let count = rng.usize(1..=names.len());
            rng.choose_multiple(names.iter().copied(), count)
        };
        let (files, links, folders) = (some(&FILES), some(&LINKS), some(&FOLDERS));
        let lengths = (0..rng.usize(1..6)).map(|_| random_length(rng)).collect();
        Choice { files, links, folders, lengths }
    }

    fn names(&self, content: &Content) -> &[&'static str] {
        match content {
            Content::File(_) => &self.files,
            Content::Folder => &self.folders,
            Content::Link(_) => &self.links,
        }
    }
}

/// What a name can hold.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Content {
    File(Arc<[u8]>),
    Folder,
    Link(Vec<u8>),
}

impl Plan {
    pub(super) fn random(rng: &mut Rng) -> Self {
        let has_quota = rng.u8(..4) == 0;
        let keep_both = Client::on_conflict(Conflict::KeepBoth);
        let anna = Client::new();
        let clients = vec![
            anna.again(),
            anna,
            keep_both.with(|terms| terms.client = "ben".into()),
            Client::without_overwrite(Conflict::KeepBoth).with(|terms| {
                terms.client = "cleo".into();
                terms.quota = has_quota.then_some(QUOTA);
            }),
            Client::without_overwrite(Conflict::Skip).with(|terms| terms.client = "dora".into()),
        ];
        let mut plan = Plan { clients, tasks: Vec::new(), has_quota };
        let choice = Choice::random(rng);
        for number in 0..rng.usize(4..=28) {
            let task = plan.random_task(rng, number, &choice);
            plan.tasks.push(task);
        }
        plan
    }

    fn random_task(&self, rng: &mut Rng, number: usize, choice: &Choice) -> Task {
        // Anna's turn comes more often: what she sends can be replaced, and gone on with by her other connection.
        let client = one_of(rng, &[0, 0, 0, 1, 2, 3, 4]);
        let is_digested = rng.bool();
        // Now and then what was offered already: by the same client or by another, under its name or another.
        if !self.tasks.is_empty() && rng.u8(..5) < 2 {
            let Task { mut header, content, .. } = one_of(rng, &self.tasks);
            let name = key(one_of(rng, choice.names(&content)));
            if rng.bool() && name != header.path {
                let before = std::mem::replace(&mut header.path, name);
                // As the same file: no other content is like it, so time and mode are those of all its names.
                let is_link =
                    matches!(&content, Content::File(bytes) if bytes.len() >= OWN) && rng.u8(..4) > 0;
                header.same_as = is_link.then_some(before);
            }
            let is_digested = is_digested || header.same_as.is_some();
            return Task { client, header, is_digested, content };
        }
        let content = match rng.u8(..20) {
            0..4 => Content::Folder,
            4..7 => Content::Link(format!("target {number}").into()),
            _ => {
                let length = one_of(rng, &choice.lengths);
                Content::File(random_bytes(rng, length))
            }
        };
        let name = one_of(rng, choice.names(&content));
        let mut header = match &content {
            Content::File(bytes) => file(name, bytes),
            Content::Folder => folder(name),
            Content::Link(target) => link(name, std::str::from_utf8(target).unwrap()),
        };
        // No two contents have one time, so that what agrees in all else is one source.
        header.modified = time(1_500_000_000 + number as i64);
        header.mode = Some(Mode::from_bits(one_of(rng, &[0o600, 0o644, 0o755])));
        if matches!(content, Content::File(_)) && rng.u8(..12) == 0 {
            // A stream, whose size is told by its end.
            header.size = None;
        }
        Task { client, header, is_digested, content }
    }

    /// The same clients, with connections that nothing is known of.
    pub(super) fn reconnect(&mut self) {
        self.clients = self.clients.iter().map(Client::again).collect();
    }

    /// About how many calls it takes to bring everything in.
    pub(super) fn calls(&self) -> u64 {
        let of_task = |task: &Task| match &task.content {
            Content::File(bytes) => 8 + bytes.len() as u64 / 600,
            Content::Folder | Content::Link(_) => 5,
        };
        self.tasks.iter().map(of_task).sum()
    }

    pub(super) fn client(&self, task: usize) -> &Client {
        &self.clients[self.tasks[task].client]
    }

    /// Whether two tasks are about one name, or one about a folder that the other is in.
    pub(super) fn are_related(&self, one: usize, other: usize) -> bool {
        let [one, other] = [one, other].map(|task| &self.tasks[task].header.path);
        one == other || one.is_below(other) || other.is_below(one)
    }

    /// Every folder that is offered, or in which something is.
    pub(super) fn folders(&self) -> BTreeSet<RelPath> {
        let mut folders = BTreeSet::new();
        for task in &self.tasks {
            let mut next = match task.content {
                Content::Folder => Some(task.header.path.clone()),
                Content::File(_) | Content::Link(_) => task.header.path.parent(),
            };
            while let Some(path) = next {
                next = path.parent();
                folders.insert(path);
            }
        }
        folders
    }

    /// Whether a task may give a name that is taken something else to hold.
    pub(super) fn may_replace(&self, task: usize) -> bool {
        let terms = &self.client(task).terms;
        terms.overwrite && terms.conflict == Conflict::Replace
    }

    /// Whether a task may come to be held by this name.
    pub(super) fn may_land_at(&self, task: usize, path: &RelPath) -> bool {
        let offered = &self.tasks[task].header.path;
        path == offered
            || self.client(task).terms.conflict == Conflict::KeepBoth && is_numbered(path, offered)
    }
}

impl Clone for Task {
    fn clone(&self) -> Self {
        Task { header: self.header.clone(), content: self.content.clone(), ..*self }
    }
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Content::File(bytes) => {
                write!(f, "{} bytes, {}", bytes.len(), crate::inbox::digest(bytes))
            }
            Content::Folder => write!(f, "a folder"),
            Content::Link(target) => write!(f, "a link to {}", target.escape_ascii()),
        }
    }
}

/// `name (2)` is `name` with a number.
fn is_numbered(path: &RelPath, name: &RelPath) -> bool {
    let number = path.as_bytes().strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b" ("));
    number.and_then(|rest| rest.strip_suffix(b")")).is_some_and(|it| it.iter().all(u8::is_ascii_digit))
}

/// Many are small, many have checkpoints, and some end at one.
fn random_length(rng: &mut Rng) -> usize {
    match rng.u8(..10) {
        0 => 0,
        1 => DISTANCE * rng.usize(1..=3) + rng.usize(..=1),
        2..6 => rng.usize(1..900),
        _ => rng.usize(DISTANCE..5 * DISTANCE),
    }
}

/// Some have a hole.
fn random_bytes(rng: &mut Rng, length: usize) -> Arc<[u8]> {
    let mut bytes: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(length).collect();
    if length > OWN && rng.u8(..3) == 0 {
        let begin = rng.usize(OWN..length);
        bytes[begin..rng.usize(begin..=length)].fill(0);
    }
    bytes.into()
}

pub(super) fn one_of<T: Clone>(rng: &mut Rng, all: &[T]) -> T {
    all[rng.usize(..all.len())].clone()
}
