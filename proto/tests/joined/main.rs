//! A sender and a receiver joined in memory, with real frames: whatever the pieces, the pace of either side, the
//! failures and the cuts, every file ends whole or absent and has exactly one final answer, and nothing deadlocks.

mod inbox;
mod receiving;
mod sending;
mod tree;
mod wire;

use std::collections::BTreeMap;

use ferry_proto::*;
use inbox::{Inbox, Plan};
use proptest::{collection::vec, option, prelude::*, sample::select};
use sending::Outcome;
use tree::{Ahead, Content, Item, Trouble, bytes};
use wire::{Deadlock, Joined, Setting, Step};

const CHECKPOINT: usize = 32;

#[test]
fn every_kind_of_offer_gets_its_one_answer() {
    let (items, inbox) = one_of_each();
    let mut joined = Joined::new(&items, inbox.clone(), &Setting::default());
    joined.run(&[]).expect("no deadlock");

    use Outcome::*;
    for (path, outcome) in [
        ("small", Receipt),
        ("large", Receipt),
        ("empty", Receipt),
        ("stream", Receipt),
        ("folder", Receipt),
        ("folder/link", Receipt),
        ("held", Held),
        ("held-large", Held),
        ("held-folder", Held),
        ("same-size", Receipt),
        ("refused", Failed(Code::Exists)),
        ("refused-folder", Failed(Code::Exists)),
        ("fails-midway", Failed(Code::StorageFull)),
        ("fails-at-commit", Failed(Code::StorageFailed)),
        ("folder-fails", Failed(Code::StorageFailed)),
        ("vanished", Aborted(Code::SourceVanished)),
        ("unreadable", Aborted(Code::SourceUnreadable)),
        ("changed", Aborted(Code::SourceChanged)),
    ] {
        let path = RelPath::new(path).unwrap();
        assert_eq!(joined.sending.outcomes.get(&path), Some(&outcome), "{path}");
    }
    assert!(matches!(
        joined.sending.outcomes[&RelPath::new("fails-after-verdict").unwrap()],
        Receipt | Failed(Code::TakenOver)
    ));
    assert_all_is_as_promised(&items, &inbox, &joined, false);
}

#[test]
fn a_dry_run_answers_everything_and_takes_nothing() {
    let (items, inbox) = one_of_each();
    let setting = Setting { dry_run: true, ..Setting::default() };
    let mut joined = Joined::new(&items, inbox.clone(), &setting);
    joined.run(&[]).expect("no deadlock");
    assert_eq!(joined.receiving.inbox.begun, [], "no body crosses the wire");
    let outcome = |path: &str| joined.sending.outcomes[&RelPath::new(path).unwrap()];
    assert_eq!(outcome("small"), Outcome::WouldSend);
    assert_eq!(outcome("folder"), Outcome::WouldSend);
    assert_eq!(outcome("held-large"), Outcome::Held);
    assert_eq!(outcome("refused"), Outcome::Failed(Code::Exists));
    assert_all_is_as_promised(&items, &inbox, &joined, true);
}

#[test]
fn a_request_without_an_offer_is_finished_at_once() {
    let mut joined = Joined::new(&[], empty_inbox(), &Setting::default());
    joined.run(&[]).expect("no deadlock");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5000))]

    #[test]
    fn any_tree_arrives_in_any_pieces_at_any_pace((items, inbox) in tree(), setting in setting(), schedule in schedule()) {
        let setting = Setting { capacity: 4096, ..setting };
        let mut joined = Joined::new(&items, inbox.clone(), &setting);
        prop_assert_eq!(joined.run(&schedule), Ok(()));
        assert_all_is_as_promised(&items, &inbox, &joined, setting.dry_run);
    }

    /// Pipes of a few bytes: both sides wait for each other all the time.
    #[test]
    fn no_pace_of_a_slow_writer_and_a_slow_reader_deadlocks(
        (items, inbox) in tree(),
        setting in setting(),
        capacity in 1..24usize,
        schedule in schedule(),
    ) {
        let setting = Setting { capacity, ..setting };
        let mut joined = Joined::new(&items, inbox.clone(), &setting);
        prop_assert_eq!(joined.run(&schedule), Ok(()));
        assert_all_is_as_promised(&items, &inbox, &joined, setting.dry_run);
    }

    #[test]
    fn promise_3_cuts_anywhere_and_again_are_survived(
        (items, mut inbox) in tree(),
        settings in vec((setting(), option::of(0..4000usize), option::of(0..1500usize), schedule()), 1..4),
        last in setting(),
        schedule in schedule(),
    ) {
        // With failures that last, what arrives depends on the cut; the other tests have them.
        inbox.plans.clear();
        let items: Vec<Item> = items.into_iter().map(|item| item.with_trouble(Trouble::None)).collect();
        let before = inbox.clone();
        for (setting, there, back, schedule) in settings {
            let setting = Setting { dry_run: false, cut: (there, back), ..setting };
            inbox = restarted(run_and_cut(&items, inbox, &setting, &schedule));
        }
        let staged: BTreeMap<RelPath, u64> = items
            .iter()
            .map(|item| {
                let is_asked_for_digest = matches!(inbox.held.get(&item.path),
                    Some(Content::File(held)) if held.len() == item.bytes().len() && item.ahead == Ahead::Size);
                (item.path.clone(), inbox.staged(&item.header(is_asked_for_digest)))
            })
            .collect();
        let setting = Setting { dry_run: false, ..last };
        let mut joined = Joined::new(&items, inbox, &setting);
        prop_assert_eq!(joined.run(&schedule), Ok(()));
        for (path, offset) in &joined.receiving.inbox.begun {
            prop_assert_eq!(offset, &staged[path], "{} begins elsewhere than at the last checkpoint", path);
        }
        assert_held_is_complete(&items, &before, &joined);
    }
}

#[test]
fn promise_3_a_cut_at_any_byte_to_the_receiver_is_survived() {
    let items = a_few_files();
    let whole = whole_run(&items);
    let mut resumed = 0;
    for cut in 0..whole.there.passed {
        let setting = Setting { cut: (Some(cut), None), ..Setting::default() };
        resumed += cut_and_resume(&items, &items, &setting);
    }
    assert!(resumed > 300, "only {resumed} of {} cuts led to a resumed body", whole.there.passed);
}

#[test]
fn promise_3_a_cut_at_any_byte_to_the_sender_is_survived() {
    let items = a_few_files();
    let whole = whole_run(&items);
    for cut in 0..whole.back.passed {
        cut_and_resume(&items, &items, &Setting { cut: (None, Some(cut)), ..Setting::default() });
    }
}

#[test]
fn promise_3_bytes_of_two_sources_are_never_joined() {
    let items = a_few_files();
    let whole = whole_run(&items);
    // The first byte, the last before a checkpoint, the first after one, the last.
    for changed_at in [0, CHECKPOINT - 1, CHECKPOINT, 2 * CHECKPOINT + 1, 199] {
        let changed: Vec<Item> = items.iter().map(|item| with_other_byte(item, changed_at)).collect();
        let mut resumed = 0;
        for cut in 0..whole.there.passed {
            let setting = Setting { cut: (Some(cut), None), ..Setting::default() };
            resumed += cut_and_resume(&items, &changed, &setting);
        }
        let none_is_possible = changed_at < CHECKPOINT;
        assert_eq!(resumed == 0, none_is_possible, "changed at {changed_at}: {resumed} bodies were resumed");
    }
}

/// The pipes and schedules of these tests do find a deadlock where there is one.
#[test]
fn a_side_that_waits_to_write_without_reading_would_deadlock() {
    let (items, inbox) = one_of_each();
    let setting = Setting { capacity: 8, stubborn: true, ..Setting::default() };
    assert_eq!(Joined::new(&items, inbox.clone(), &setting).run(&[]), Err(Deadlock));
    let setting = Setting { stubborn: false, ..setting };
    assert_eq!(Joined::new(&items, inbox, &setting).run(&[]), Ok(()));
}

/// Cuts the connection, then sends `later` on a new one. Returns how many bodies went on from a checkpoint.
fn cut_and_resume(items: &[Item], later: &[Item], setting: &Setting) -> usize {
    let joined = run_and_cut(items, empty_inbox(), setting, &[]);
    assert!(!joined.sending.finished, "a cut was taken for the end");
    let inbox = restarted(joined);
    let staged = |item: &Item| {
        let staged = inbox.staged(&item.header(false));
        let is_a_prefix = items.iter().find(|earlier| earlier.path == item.path).is_some_and(|earlier| {
            earlier.bytes().get(..staged as usize) == item.bytes().get(..staged as usize)
        });
        if is_a_prefix { staged } else { 0 }
    };
    let expected: BTreeMap<RelPath, u64> =
        later.iter().map(|item| (item.path.clone(), staged(item))).collect();

    let mut joined = Joined::new(later, inbox, &Setting::default());
    joined.run(&[]).expect("no deadlock");
    let begun = &joined.receiving.inbox.begun;
    for (path, offset) in begun {
        assert_eq!(offset, &expected[path], "{path} begins elsewhere than at the last checkpoint");
    }
    assert_held_is_complete(later, &empty_inbox(), &joined);
    begun.iter().filter(|(_, offset)| *offset > 0).count()
}

/// Runs until the cut: what is there then is whole, and what has a receipt is there.
fn run_and_cut(items: &[Item], inbox: Inbox, setting: &Setting, schedule: &[Step]) -> Joined {
    let before = inbox.clone();
    let mut joined = Joined::new(items, inbox, setting);
    joined.run_to_the_cut(schedule);
    let held = &joined.receiving.inbox.held;
    for item in items {
        let now = held.get(&item.path);
        let is_whole = now == Some(&item.content) || now == before.held.get(&item.path);
        assert!(is_whole, "{} is neither what it was nor what was sent", item.path);
        let has_receipt = joined.sending.outcomes.get(&item.path) == Some(&Outcome::Receipt);
        assert!(!has_receipt || now == Some(&item.content), "{} has a receipt and is not there", item.path);
    }
    joined
}

/// The inbox as the receiver finds it when it is started again.
fn restarted(joined: Joined) -> Inbox {
    let mut inbox = joined.receiving.inbox;
    inbox.cut();
    inbox.begun.clear();
    inbox
}

/// After a run without lasting failures: everything that can arrive is there and its sender knows it.
fn assert_held_is_complete(items: &[Item], before: &Inbox, joined: &Joined) {
    let mut expected = before.held.clone();
    for item in items {
        let outcome = joined.sending.outcomes.get(&item.path);
        if item.ahead == Ahead::StaleDigest && matches!(item.content, Content::File(_)) {
            assert_eq!(outcome, Some(&Outcome::Aborted(Code::SourceChanged)), "{}", item.path);
            continue;
        }
        assert!(matches!(outcome, Some(Outcome::Receipt | Outcome::Held)), "{}: {outcome:?}", item.path);
        expected.insert(item.path.clone(), item.content.clone());
    }
    assert_eq!(joined.receiving.inbox.held, expected);
}

/// After a run that was not cut: each file has the one outcome that its plan and trouble allow, and the inbox
/// holds exactly what has a receipt, and what it held before.
fn assert_all_is_as_promised(items: &[Item], before: &Inbox, joined: &Joined, dry_run: bool) {
    let outcomes = &joined.sending.outcomes;
    let mut expected = before.held.clone();
    for item in items {
        let outcome =
            *outcomes.get(&item.path).unwrap_or_else(|| panic!("{} has no final answer", item.path));
        let possible = possible_outcomes(item, before, dry_run);
        assert!(possible.contains(&outcome), "{:?} ended as {outcome:?}, not as {possible:?}", item);
        if outcome == Outcome::Receipt {
            expected.insert(item.path.clone(), item.content.clone());
        }
    }
    assert_eq!(outcomes.len(), items.len());
    assert_eq!(joined.receiving.inbox.held, expected);
}

fn possible_outcomes(item: &Item, before: &Inbox, dry_run: bool) -> Vec<Outcome> {
    use Outcome::*;
    let plan = before.plan(&item.path);
    let held = before.held.get(&item.path);
    let is_file = matches!(item.content, Content::File(_));
    if plan == Some(Plan::Refuse) {
        return vec![Failed(Code::Exists)];
    }
    let can_tell = match item.ahead {
        Ahead::Digest | Ahead::Size => true,
        Ahead::Nothing | Ahead::StaleDigest => !is_file,
    };
    if held == Some(&item.content) && can_tell {
        return vec![Held];
    }
    if dry_run {
        return vec![WouldSend];
    }
    if !is_file {
        return vec![if plan == Some(Plan::FailAtCommit) { Failed(Code::StorageFailed) } else { Receipt }];
    }
    let length = item.bytes().len();
    let mut possible = match (item.trouble, plan) {
        (Trouble::Vanished, _) => vec![Aborted(Code::SourceVanished)],
        (Trouble::UnreadableAt(at), _) if at < length => vec![Aborted(Code::SourceUnreadable)],
        _ if item.ahead == Ahead::StaleDigest => vec![Aborted(Code::SourceChanged)],
        (_, Some(Plan::FailAtCommit)) => vec![Failed(Code::StorageFailed)],
        (_, Some(Plan::FailAfterVerdict)) => vec![Receipt],
        _ => vec![Receipt],
    };
    match plan {
        // Which comes first depends on the pace.
        Some(Plan::FailAfterVerdict) => possible.push(Failed(Code::TakenOver)),
        Some(Plan::FailAt(most)) if length > most => {
            let comes_to_it = possible == [Receipt];
            if comes_to_it {
                possible.clear();
            }
            possible.push(Failed(Code::StorageFull));
        }
        _ => {}
    }
    possible
}

fn whole_run(items: &[Item]) -> Joined {
    let mut joined = Joined::new(items, empty_inbox(), &Setting::default());
    joined.run(&[]).expect("no deadlock");
    joined
}

fn with_other_byte(item: &Item, at: usize) -> Item {
    let mut changed = item.clone();
    if let Content::File(bytes) = &mut changed.content
        && let Some(byte) = bytes.get_mut(at)
    {
        *byte ^= 1;
    }
    changed
}

fn empty_inbox() -> Inbox {
    Inbox { checkpoint: CHECKPOINT, ..Inbox::default() }
}

fn a_few_files() -> Vec<Item> {
    vec![
        Item::new("folder", Content::Folder, Ahead::Nothing),
        Item::file("folder/small", 40, Ahead::Digest),
        Item::file("folder/large", 200, Ahead::Size),
        Item::file("empty", 0, Ahead::Digest),
        Item::new("link", Content::Link(b"folder/large".to_vec()), Ahead::Nothing),
        Item::file("another", 100, Ahead::Size),
    ]
}

fn one_of_each() -> (Vec<Item>, Inbox) {
    let items = vec![
        Item::file("small", 20, Ahead::Digest),
        Item::file("large", 1000, Ahead::Size),
        Item::file("empty", 0, Ahead::Digest),
        Item::file("stream", 70, Ahead::Nothing),
        Item::new("folder", Content::Folder, Ahead::Nothing),
        Item::new("folder/link", Content::Link(b"../nowhere".to_vec()), Ahead::Nothing),
        Item::file("held", 30, Ahead::Digest),
        Item::file("held-large", 300, Ahead::Size),
        Item::new("held-folder", Content::Folder, Ahead::Nothing),
        Item::file("same-size", 90, Ahead::Size),
        Item::file("refused", 10, Ahead::Digest),
        Item::new("refused-folder", Content::Folder, Ahead::Nothing),
        Item::file("fails-midway", 500, Ahead::Size),
        Item::file("fails-after-verdict", 500, Ahead::Size),
        Item::file("fails-at-commit", 50, Ahead::Digest),
        Item::new("folder-fails", Content::Folder, Ahead::Nothing),
        Item::file("vanished", 50, Ahead::Digest).with_trouble(Trouble::Vanished),
        Item::file("unreadable", 500, Ahead::Size).with_trouble(Trouble::UnreadableAt(100)),
        Item::file("changed", 50, Ahead::StaleDigest),
    ];
    let mut inbox = empty_inbox();
    for item in &items[6..9] {
        inbox.held.insert(item.path.clone(), item.content.clone());
    }
    let path = |path: &str| RelPath::new(path).expect("a good name");
    inbox.held.insert(path("same-size"), Content::File(vec![b'!'; 90]));
    inbox.plans = BTreeMap::from([
        (path("refused"), Plan::Refuse),
        (path("refused-folder"), Plan::Refuse),
        (path("fails-midway"), Plan::FailAt(64)),
        (path("fails-after-verdict"), Plan::FailAfterVerdict),
        (path("fails-at-commit"), Plan::FailAtCommit),
        (path("folder-fails"), Plan::FailAtCommit),
    ]);
    (items, inbox)
}

fn tree() -> impl Strategy<Value = (Vec<Item>, Inbox)> {
    let content = prop_oneof![
        8 => prop_oneof![0..40usize, 0..400usize].prop_map(|length| Content::File(bytes(1, length))),
        1 => Just(Content::Folder),
        1 => Just(Content::Link(b"target".to_vec())),
    ];
    let ahead = prop_oneof![
        4 => Just(Ahead::Digest),
        4 => Just(Ahead::Size),
        1 => Just(Ahead::Nothing),
        1 => Just(Ahead::StaleDigest),
    ];
    let trouble = prop_oneof![
        8 => Just(Trouble::None),
        1 => Just(Trouble::Vanished),
        1 => (0..300usize).prop_map(Trouble::UnreadableAt),
    ];
    let plan = prop_oneof![
        8 => Just(None),
        1 => Just(Some(Plan::Refuse)),
        2 => Just(Some(Plan::FailAfterVerdict)),
        2 => (0..300usize).prop_map(|at| Some(Plan::FailAt(at))),
        1 => Just(Some(Plan::FailAtCommit)),
    ];
    // What the inbox holds under the name: nothing, the same, another of the same size, another.
    let held = prop_oneof![6 => Just(0u8), 1 => Just(1), 1 => Just(2), 1 => Just(3)];
    vec((content, ahead, trouble, plan, held), 0..10).prop_map(|drawn| {
        let mut inbox = empty_inbox();
        let mut items = Vec::new();
        for (number, (content, ahead, trouble, plan, held)) in drawn.into_iter().enumerate() {
            let item = Item::new(&format!("item-{number}"), content, ahead).with_trouble(trouble);
            let other = match (&item.content, held) {
                (_, 1) => Some(item.content.clone()),
                (Content::File(bytes), 2) => Some(Content::File(vec![b'!'; bytes.len()])),
                (Content::File(bytes), 3) => Some(Content::File(vec![b'!'; bytes.len() + 1])),
                _ => None,
            };
            inbox.held.extend(other.map(|other| (item.path.clone(), other)));
            inbox.plans.extend(plan.map(|plan| (item.path.clone(), plan)));
            items.push(item);
        }
        (items, inbox)
    })
}

fn setting() -> impl Strategy<Value = Setting> {
    let window = prop_oneof![1..4u32, Just(100)];
    (window, 1..60u32, prop_oneof![6 => Just(false), 1 => Just(true)], 64..4096usize).prop_map(
        |(window, chunk, dry_run, capacity)| Setting {
            window,
            chunk,
            dry_run,
            capacity,
            ..Setting::default()
        },
    )
}

fn schedule() -> impl Strategy<Value = Vec<Step>> {
    let bytes = prop_oneof![1..4usize, 1..60usize, Just(4096)];
    let step = (0..6u8, bytes).prop_map(|(part, number)| match part {
        0 => Step::Source,
        1 => Step::Disk(number),
        2 => Step::SenderWrites(number),
        3 => Step::SenderReads(number),
        4 => Step::ReceiverWrites(number),
        _ => Step::ReceiverReads(number),
    });
    // Some parts are slow for long: a step is taken many times over.
    vec((step, select(vec![1usize, 1, 2, 20])), 0..120).prop_map(|steps| {
        steps.into_iter().flat_map(|(step, times)| std::iter::repeat_n(step, times)).collect()
    })
}
