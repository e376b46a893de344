//! What every store has to do.
//!
//! A store passes when [`check`] returns; otherwise it panics with a sentence that says what is broken.

mod bodies;
mod names;

use ferry_proto::{RelPath, limits};

use crate::{Entry, EntryKind, Meta, StageId, Staged, Stamp, Store, StoreError};

/// Checks a store; `make` makes an empty one for each of the cases.
pub fn check<S: Store>(make: impl Fn() -> S) {
    let cases: [fn(&S); 23] = [
        bodies::a_body_is_published_whole,
        bodies::many_are_sealed_in_one_go_and_each_as_it_says,
        bodies::an_empty_body_is_a_file,
        bodies::publishing_without_replace_leaves_what_is_there,
        bodies::publishing_with_replace_takes_the_place_of_files_and_links,
        bodies::folders_are_never_replaced,
        bodies::one_of_many_publishers_wins_whole,
        bodies::a_staged_body_is_gone_on_with,
        bodies::holes_are_zeros_wherever_a_body_is_cut,
        bodies::a_body_that_is_too_short_is_not_found,
        bodies::an_id_is_staged_once,
        bodies::discarded_bodies_are_gone,
        bodies::settling_notices_what_moved,
        bodies::sealing_and_settling_go_together,
        names::folders_are_made_with_those_above,
        names::links_are_kept_verbatim,
        names::links_are_never_followed,
        names::meta_is_set_as_far_as_it_is_safe,
        names::times_out_of_range_are_no_panic,
        names::stamps_tell_versions_apart,
        names::reading_begins_and_stops_where_it_is_told,
        names::lists_and_removals_are_exact,
        names::odd_names_stay_as_they_are,
    ];
    for case in cases {
        case(&make());
    }
    let distance = make().checkpoint_distance();
    assert!(
        distance > 0 && distance.is_multiple_of(limits::CHECKPOINT),
        "the checkpoint distance is {distance}, not a multiple of {}",
        limits::CHECKPOINT
    );
}

/// The result is an error that matches, or the sentence is what is broken.
macro_rules! assert_fails {
    ($result:expr, $error:pat, $sentence:literal) => {
        match $result {
            Err($error) => {}
            other => panic!(concat!($sentence, ": {:?}"), other.map(drop)),
        }
    };
}
use assert_fails;

fn key(name: &str) -> RelPath {
    RelPath::new(name).expect("the suite uses valid names")
}

fn stage<S: Store>(store: &S, id: u128, bytes: &[u8]) -> S::Staged {
    begin(store, id, bytes, false)
}

fn begin<S: Store>(store: &S, id: u128, bytes: &[u8], fleeting: bool) -> S::Staged {
    let mut staged = store.stage(StageId(id), fleeting).expect("a body can be begun");
    staged.append(bytes).expect("appending works");
    staged
}

fn seal<S: Store>(store: &S, staged: &mut S::Staged, meta: Meta) -> Result<(), StoreError> {
    store.seal(vec![(staged, meta)]).remove(0)
}

fn put(store: &impl Store, id: u128, bytes: &[u8], name: &str, replace: bool) -> Result<Stamp, StoreError> {
    // Nobody goes on with any of them, and every other one says so.
    let mut staged = begin(store, id, bytes, id.is_multiple_of(2));
    seal(store, &mut staged, Meta::default()).expect("sealing works");
    let key = key(name);
    if let Some(parent) = key.parent() {
        store.make_folder(&parent)?;
    }
    store.publish(&mut staged, &key, replace)
}

fn settle(store: &impl Store, published: &[(&str, &Stamp)]) -> Vec<Result<(), StoreError>> {
    let keys: Vec<RelPath> = published.iter().map(|(name, _)| key(name)).collect();
    let published: Vec<_> = keys.iter().zip(published).map(|(key, (_, stamp))| (key, *stamp)).collect();
    store.settle(&published)
}

fn stat(store: &impl Store, name: &str) -> Option<Entry> {
    store.stat(&key(name)).expect("stat works")
}

fn entry(store: &impl Store, name: &str) -> Entry {
    stat(store, name).unwrap_or_else(|| panic!("{name} is not there"))
}

fn read(store: &impl Store, name: &str) -> Vec<u8> {
    read_at(store, &key(name))
}

fn read_at(store: &impl Store, path: &RelPath) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read = store.read(path, 0, &mut |piece| {
        bytes.extend_from_slice(piece);
        true
    });
    read.expect("reading works");
    bytes
}

fn replay(staged: &mut impl Staged) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut sink = |piece: &[u8]| {
        bytes.extend_from_slice(piece);
        true
    };
    staged.replay(&mut sink).expect("a replay works");
    bytes
}

fn staged_ids(store: &impl Store) -> Vec<u128> {
    let mut ids: Vec<_> =
        store.staged().expect("staged bodies are listed").iter().map(|(id, _)| id.0).collect();
    ids.sort_unstable();
    ids
}

fn listed(store: &impl Store, folder: Option<&str>) -> Vec<String> {
    let listed = store.list(folder.map(key).as_ref(), usize::MAX).expect("listing works");
    let mut names: Vec<_> =
        listed.into_iter().map(|(name, _)| String::from_utf8_lossy(&name).into_owned()).collect();
    names.sort_unstable();
    names
}
