//! That the double forgets what it may and keeps what it must.

use std::collections::BTreeSet;

use ferry_proto::{Mode, RelPath, Timestamp, limits};

use super::*;
use crate::{
    BodyKey, Checkpoint, EntryKind, Filed, Ledger, Meta, Row, RowKind, StageId, Staged, Stamp, Store,
    StoreError, conformance,
};

const SEEDS: u64 = 500;

fn machine(seed: u64) -> Machine {
    Machine::new(seed, limits::CHECKPOINT)
}

fn key(name: &str) -> RelPath {
    RelPath::new(name).unwrap()
}

fn seal(store: &ForgetfulStore, staged: &mut ForgetfulStaged) {
    let meta =
        Meta { modified: Timestamp::new(7, 7).ok(), mode: Some(Mode::from_bits(0o640)), ..Meta::default() };
    store.seal(vec![(staged, meta)]).remove(0).unwrap();
}

fn publish(store: &ForgetfulStore, name: &str, bytes: &[u8]) -> Stamp {
    let mut staged = store.stage(StageId(1), false).unwrap();
    staged.append(bytes).unwrap();
    seal(store, &mut staged);
    store.publish(&mut staged, &key(name), true).unwrap()
}

fn read(store: &ForgetfulStore, name: &str) -> Option<Vec<u8>> {
    let mut found = Vec::new();
    let mut sink = |bytes: &[u8]| {
        found.extend_from_slice(bytes);
        true
    };
    store.read(&key(name), 0, &mut sink).ok()?;
    Some(found)
}

/// What is found after cuts, of many machines to which the same was done.
fn found<T: Ord>(deed: impl Fn(&Machine), look: impl Fn(&ForgetfulStore) -> T) -> BTreeSet<T> {
    let machines = (0..SEEDS).map(machine);
    machines
        .map(|machine| {
            deed(&machine);
            look(&machine.after_cut().store())
        })
        .collect()
}

#[test]
fn keeps_the_contract_of_every_store() {
    conformance::check(|| machine(1).store());
}

#[test]
fn what_is_settled_is_found_whatever_is_forgotten() {
    let deed = |machine: &Machine| {
        let store = machine.store();
        store.make_folder(&key("a/b")).unwrap();
        let (file, link) = (publish(&store, "a/b/file", b"whole"), key("link"));
        let link_stamp = store.make_link(&link, b"target", Meta::default(), false).unwrap();
        let settled = store.settle(&[(&key("a/b/file"), &file), (&link, &link_stamp)]);
        assert!(settled.iter().all(Result::is_ok));
    };
    let look = |store: &ForgetfulStore| {
        let entry = store.stat(&key("a/b/file")).unwrap().unwrap();
        assert_eq!(Some(entry.modified), Timestamp::new(7, 7).ok());
        assert_eq!(entry.mode, Mode::from_bits(0o640));
        let link = store.stat(&key("link")).unwrap().map(|entry| entry.kind);
        assert_eq!(link, Some(EntryKind::Symlink(b"target".to_vec())));
        read(store, "a/b/file")
    };
    assert_eq!(found(deed, look), [Some(b"whole".to_vec())].into());
}

#[test]
fn a_name_that_is_not_settled_is_found_old_or_new_and_a_body_in_staging_whatever_became_of_it() {
    let deed = |machine: &Machine| {
        let store = machine.store();
        let stamp = publish(&store, "name", b"old");
        store.settle(&[(&key("name"), &stamp)]).remove(0).unwrap();
        publish(&store, "name", b"new");
    };
    let look = |store: &ForgetfulStore| (read(store, "name").unwrap(), store.staged().unwrap().len());
    let [old, new] = [b"old", b"new"].map(|bytes| bytes.to_vec());
    assert_eq!(found(deed, look), [(old.clone(), 0), (old, 1), (new.clone(), 0), (new, 1)].into());
}

#[test]
fn bytes_that_are_not_synced_are_found_in_part() {
    let deed = |machine: &Machine| {
        let mut staged = machine.store().stage(StageId(1), false).unwrap();
        staged.append(&[1; 4000]).unwrap();
        staged.sync().unwrap();
        staged.append(&[2; 4000]).unwrap();
    };
    let look = |store: &ForgetfulStore| {
        let mut bytes = Vec::new();
        let mut sink = |found: &[u8]| {
            bytes.extend_from_slice(found);
            true
        };
        // The name in staging was never synced.
        store.reopen(StageId(1), 4000).ok()?.replay(&mut sink).unwrap();
        assert_eq!(bytes, [1; 4000]);
        Some(())
    };
    assert_eq!(found(deed, look), [None, Some(())].into());
}

#[test]
fn a_hole_that_is_not_synced_is_found_in_part_and_holds_nothing() {
    let deed = |machine: &Machine| {
        let store = machine.store();
        let mut staged = store.stage(StageId(1), false).unwrap();
        staged.append(&[1; 700]).unwrap();
        seal(&store, &mut staged);
        let stamp = store.publish(&mut staged, &key("name"), false).unwrap();
        store.settle(&[(&key("name"), &stamp)]).remove(0).unwrap();
        staged.append_hole(4000).unwrap();
    };
    let look = |store: &ForgetfulStore| {
        let bytes = read(store, "name").unwrap();
        assert!(bytes[..700] == [1; 700] && bytes[700..].iter().all(|byte| *byte == 0));
        [700, 4700].map(|length| bytes.len().cmp(&length))
    };
    use std::cmp::Ordering::{Equal, Greater, Less};
    assert_eq!(found(deed, look), [[Equal, Less], [Greater, Less], [Greater, Equal]].into());
}

#[test]
fn another_name_of_a_file_is_found_or_not_and_the_file_in_any_case() {
    let deed = |machine: &Machine| {
        let store = machine.store();
        let stamp = publish(&store, "first", b"whole");
        store.settle(&[(&key("first"), &stamp)]).remove(0).unwrap();
        let other = store.stage_same(StageId(2), &key("first"), &Stamp(vec![1]));
        assert!(matches!(other.map(drop), Err(StoreError::Moved)));
        let mut staged = store.stage_same(StageId(2), &key("first"), &stamp).unwrap();
        seal(&store, &mut staged);
        store.publish(&mut staged, &key("second"), false).unwrap();
    };
    let look = |store: &ForgetfulStore| {
        let stamp = |name| store.stat(&key(name)).unwrap().map(|entry| entry.stamp);
        assert_eq!(read(store, "first"), Some(b"whole".to_vec()));
        assert!(stamp("second").is_none_or(|second| Some(second) == stamp("first")), "it is another file");
        // Nobody may write to it, or cut it back.
        assert!(matches!(store.reopen(StageId(2), 1).map(drop), Err(StoreError::NotFound)));
        let is_staged = store.staged().unwrap().iter().any(|(id, _)| *id == StageId(2));
        (stamp("second").is_some(), is_staged)
    };
    let every_way = [(false, false), (false, true), (true, false), (true, true)];
    assert_eq!(found(deed, look), every_way.into());
}

#[test]
fn a_file_in_a_folder_is_found_only_with_the_folders_above_it() {
    let deed = |machine: &Machine| {
        let store = machine.store();
        store.make_folder(&key("a/b")).unwrap();
        publish(&store, "a/b/file", b"whole");
    };
    let look =
        |store: &ForgetfulStore| ["a", "a/b", "a/b/file"].map(|it| store.stat(&key(it)).unwrap().is_some());
    let expected = [[false; 3], [true, false, false], [true, true, false], [true; 3]];
    assert_eq!(found(deed, look), expected.into());
}

#[test]
fn a_call_at_which_the_power_goes_is_done_or_not_and_later_ones_fail() {
    let filed = Filed {
        path: key("name"),
        row: Row {
            kind: RowKind::Folder,
            modified: None,
            mode: None,
            attributes: ferry_proto::Attributes::default(),
            stamp: Stamp(vec![1]),
            is_damaged: false,
        },
        client: "anna".into(),
        staged: None,
        before: None,
    };
    let (mut recorded, mut sealed) = (BTreeSet::new(), BTreeSet::new());
    for machine in (0..SEEDS).map(machine) {
        let (store, ledger) = (machine.store(), machine.ledger());
        let mut bodies: Vec<_> = (0..2).map(|id| store.stage(StageId(id), false).unwrap()).collect();
        bodies.iter_mut().for_each(|body| body.append(b"x").unwrap());
        machine.cut_at(Some(PowerCut { passes: 0, call: Some("make_durable") }));
        let failed = store.seal(bodies.iter_mut().map(|body| (body, Meta::default())).collect());
        assert!(failed.iter().all(Result::is_err) && failed.len() == 2);
        assert!(store.stat(&key("name")).is_err() && ledger.find(&key("name")).is_err());
        assert_eq!((machine.is_off(), machine.cut_in()), (true, Some("make_durable")));

        let machine = machine.after_cut();
        let (store, ledger) = (machine.store(), machine.ledger());
        sealed.insert([0, 1].map(|id| store.reopen(StageId(id), 1).is_ok()));
        machine.cut_at(Some(PowerCut { passes: 1, call: Some("record") }));
        ledger.record(&[]).unwrap();
        assert!(ledger.record(std::slice::from_ref(&filed)).is_err());
        recorded.insert(machine.after_cut().ledger().find(&key("name")).unwrap().is_some());
    }
    assert_eq!((recorded.len(), sealed.len()), (2, 4));
}

#[test]
fn what_the_ledger_has_written_stays() {
    let key = BodyKey {
        client: "anna".into(),
        path: key("name"),
        size: 9,
        modified: None,
        digest: None,
        upload: None,
    };
    let checkpoint =
        Checkpoint { id: StageId(1), key, offset: 5, kept: None, at: std::time::SystemTime::now() };
    for machine in (0..SEEDS).map(machine) {
        machine.ledger().save_checkpoint(&checkpoint).unwrap();
        let machine = machine.after_cut();
        assert_eq!(machine.ledger().checkpoints().unwrap(), std::slice::from_ref(&checkpoint));
    }
}

#[test]
fn a_call_is_held_up_until_it_is_let_go_or_the_power_goes() {
    for is_cut in [false, true] {
        let machine = machine(1);
        let store = machine.store();
        machine.hold_up("stat", 1);
        std::thread::scope(|scope| {
            let held_up = scope.spawn(|| [(); 2].map(|()| store.stat(&key("name")).is_ok()));
            machine.wait_until_held_up(|| false);
            assert!(store.list(None, usize::MAX).is_ok(), "others go on");
            if is_cut {
                machine.cut_now()
            } else {
                machine.let_go()
            }
            assert_eq!(held_up.join().unwrap(), [true, !is_cut]);
        });
    }
}
