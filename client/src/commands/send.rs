//! `ferry send`: puts the run together, and tells how it ended.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use ferry_proto::{Conflict, Kind};
use ferry_session::SessionError;
use ferry_store::source::{AttributeReader, Found, Links};

use super::{
    connections::{Connections, Work},
    picking::Picking,
    putting::Putting,
};
use crate::{
    choosing::Rules,
    config::{Form, Send},
    dial::{Dialer, Session},
    digests::Digests,
    examining::Examiner,
    exit::{Exit, Failure},
    layout::Filing,
    output::{Direction, Narrator},
    place::{self, SourceArg, StreamArg},
    queue::Queue,
    receipts::Receipts,
    remotes::Remotes,
    streams,
};

/// A run without a terminal counts what there is to do only if it lasts: its first line comes later than this.
const BEFORE_COUNTING: Duration = Duration::from_secs(5);

/// What every connection of a run shares.
struct Sending {
    /// Until the walk begins.
    sources: Mutex<Vec<SourceArg>>,
    rules: Arc<Rules>,
    filing: Option<Arc<Filing>>,
    /// Something is read that can be read once.
    has_stream: bool,
    putting: Putting,
    /// How long after the beginning what there is to do is counted, if it is.
    looks_ahead: Option<Duration>,
}

pub(super) fn run(config: Send) -> Result<Exit, Failure> {
    let run = config.run;
    let mut remotes = Remotes::load(&config.home.config)?;
    let reads_stdin = config.sources.words.iter().any(|word| word == "-")
        || config.choice.from_file.as_deref() == Some(Path::new("-"));
    let picking = Picking { reads_stdin, quiet: run.output.quiet };
    let is_laid_out = config.layout.is_some();
    let (server, folder, sources) =
        place::send_into(config.sources, &remotes, is_laid_out, |remotes| picking.pick(remotes))?;
    let keeps_both = run.on_conflict == Conflict::KeepBoth;
    let filing = config.layout.map(|layout| Arc::new(Filing::new(layout, folder, keeps_both)));
    let list_is_stdin = config.choice.from_file.as_deref() == Some(Path::new("-"));
    let rules = Rules::new(config.choice)?;
    rules.check(sources.len())?;
    let has_stream = sources.iter().any(|source| matches!(source, SourceArg::Stream(..)));
    let reads_stdin = sources.iter().any(|source| matches!(source, SourceArg::Stream(_, StreamArg::Stdin)));
    if config.moves {
        sources.iter().try_for_each(place::may_be_moved)?;
    }
    if reads_stdin && list_is_stdin {
        return Err(Failure::usage("standard input cannot be a list and a file"));
    }
    if reads_stdin {
        streams::check_stdin()?;
    }
    let digests = Arc::new(Digests::open(&config.home.state)?);
    let receipts = run.receipts.as_deref();
    let receipts = receipts.map(|file| Receipts::create(file, config.moves)).transpose()?;
    let narrator = Arc::new(Narrator::new(run.output, Direction::Send, run.dry_run, receipts));
    let (dialer, invite) = Dialer::to(server, &config.home, run.timeout)?;
    let attributes = AttributeReader::new(run.wants, config.links);
    let moves = config.moves && !run.dry_run;
    let examiner =
        config.check_images.then(|| Examiner::new(digests.clone(), narrator.clone(), config.links));
    let hard_links = run.wants.hard_links;
    let queue = Queue::new(digests.clone(), attributes, hard_links, narrator.clone(), moves, examiner);
    let work = Arc::new(Sending {
        sources: Mutex::new(sources),
        rules,
        filing,
        has_stream,
        putting: Putting::new(&run, config.links, queue.clone(), narrator.clone()),
        looks_ahead: match run.output.form {
            Form::Bars => Some(Duration::ZERO),
            Form::Lines => Some(BEFORE_COUNTING),
            Form::Json | Form::Silent => None,
        },
    });
    let (retry, timeout) = (run.retry, run.timeout);
    let connections = Connections { dialer, work, narrator: narrator.clone(), retry, timeout };
    let interrupted = match has_stream {
        true => "interrupted: what can be read once has to be sent from its beginning",
        false => "interrupted: run the same command again to go on",
    };
    let result = connections.run(run.jobs, &mut remotes, invite, interrupted);
    queue.stop();
    digests.save_or_tell(&narrator);
    narrator.end(result.map(|()| match queue.has_failures() {
        true => Exit::SomeFailed,
        false if queue.is_finished() => Exit::Well,
        false => Exit::Unreachable,
    }))
}

impl Work for Sending {
    /// The walk, and a count of what there is.
    fn start(&self) {
        let (queue, rules, links) = (self.putting.queue.clone(), self.rules.clone(), self.putting.links());
        let sources = std::mem::take(&mut *ferry_store::lock(&self.sources));
        let filing = self.filing.clone();
        if let Some(delay) = self.looks_ahead {
            let (narrator, sources, rules) = (self.putting.narrator.clone(), sources.clone(), rules.clone());
            let only_files = filing.is_some();
            std::thread::spawn(move || {
                std::thread::sleep(delay);
                look_ahead(&sources, links, &rules, only_files, &narrator);
            });
        }
        std::thread::spawn(move || queue.walk(sources, links, &rules, filing.as_deref()));
    }

    async fn on(&self, session: Session) -> Result<(), SessionError> {
        self.putting.on(session, self.putting.queue.clone()).await
    }

    fn is_finished(&self) -> bool {
        self.putting.queue.is_finished()
    }

    fn progress(&self) -> u64 {
        self.putting.progress()
    }

    fn motion(&self) -> [u64; 2] {
        self.putting.motion()
    }

    fn goes_on(&self) -> bool {
        !self.has_stream && self.putting.goes_on()
    }

    fn stop(&self) {
        self.putting.queue.stop();
    }
}

/// Counts what there is, so that progress can tell how much is left.
fn look_ahead(
    sources: &[SourceArg],
    links: Links,
    rules: &Arc<Rules>,
    only_files: bool,
    narrator: &Narrator,
) {
    let (mut entries, mut bytes) = (0, 0);
    for source in sources {
        let SourceArg::Tree { root, base } = source else {
            entries += 1;
            continue;
        };
        for found in rules.walk(root, base.clone(), links) {
            let Found::Item(item) = found else { continue };
            item.pass(|item| {
                let is_file = item.kind == Kind::File;
                if only_files && !is_file {
                    return;
                }
                entries += 1;
                if is_file {
                    bytes += item.identity.size;
                }
                if entries % 1000 == 0 {
                    narrator.expected(entries, bytes, false);
                }
            });
        }
    }
    narrator.expected(entries, bytes, true);
}
