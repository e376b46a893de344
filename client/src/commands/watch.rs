//! `ferry watch`: puts the watch together, and tells how it ended.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use ferry_proto::{Conflict, escape};
use ferry_session::SessionError;
use ferry_store::source::AttributeReader;
use tokio::sync::oneshot;

use super::{
    connections::{Connections, Standby, Work},
    picking::Picking,
    putting::Putting,
};
use crate::{
    choosing::Rules,
    config::Watch,
    dial::{Dialer, Session},
    digests::Digests,
    examining::Examiner,
    exit::{Exit, Failure},
    layout::Filing,
    output::{Direction, Narrator},
    place::{self, SourceArg},
    queue::Queue,
    remotes::Remotes,
    watching::{Tree, Watching},
};

/// What the one connection works on.
struct Watched {
    watching: Arc<Watching>,
    putting: Putting,
}

pub(super) fn run(config: Watch) -> Result<Exit, Failure> {
    let run = config.run;
    let mut remotes = Remotes::load(&config.home.config)?;
    let picking = Picking { reads_stdin: false, quiet: run.output.quiet };
    let is_laid_out = config.layout.is_some();
    let (server, folder, sources) =
        place::send_into(config.sources, &remotes, is_laid_out, |remotes| picking.pick(remotes))?;
    let keeps_both = run.on_conflict == Conflict::KeepBoth;
    let filing = config.layout.map(|layout| Filing::new(layout, folder, keeps_both));
    let (root, base) = match <[SourceArg; 1]>::try_from(sources) {
        Ok([SourceArg::Tree { root, base }]) => (absolute(&root)?, base),
        _ => return Err(Failure::usage("watch takes one folder")),
    };
    let digests = Arc::new(Digests::open(&config.home.state)?);
    let narrator = Arc::new(Narrator::new(run.output, Direction::Send, false, None));
    let (dialer, invite) = Dialer::to(server, &config.home, run.timeout)?;
    let attributes = AttributeReader::new(run.wants, config.links);
    let examiner =
        config.check_images.then(|| Examiner::new(digests.clone(), narrator.clone(), config.links));
    let queue = Queue::new(digests.clone(), attributes, false, narrator.clone(), false, examiner);
    let (links, rules) = (config.links, Rules::new(config.choice)?);
    let (rest, cache) = (config.settle, digests.path().to_owned());
    let tree = Tree { root, base, links, rules, filing, rest, cache };
    let watching = Watching::new(tree, queue.clone(), narrator.clone(), digests.clone())?;
    let work = Arc::new(Watched {
        watching: watching.clone(),
        putting: Putting::new(&run, links, queue, narrator.clone()),
    });
    let (tell, told) = oneshot::channel();
    std::thread::spawn({
        let watching = watching.clone();
        move || {
            if let Err(failure) = watching.feed() {
                // Whoever waits for it no longer waits for anything.
                let _ = tell.send(failure);
            }
        }
    });
    let broken = async {
        // It ends by itself only with a reason.
        told.await
            .unwrap_or_else(|_| Failure::new(Exit::SomeFailed, "internal error: the watch ended in a panic"))
    };
    let (retry, timeout) = (run.retry, run.timeout);
    let connections = Connections { dialer, work, narrator: narrator.clone(), retry, timeout };
    let stopped = connections.stand_by(&mut remotes, invite, broken);
    digests.save_or_tell(&narrator);
    narrator.end(stopped.and_then(|()| how_it_ended(&watching)))
}

/// When somebody has ended it.
fn how_it_ended(watching: &Watching) -> Result<Exit, Failure> {
    if watching.has_failures() {
        Ok(Exit::SomeFailed)
    } else if watching.was_busy() {
        let sentence =
            "stopped before everything had settled and arrived: the same command goes on from here";
        Err(Failure::new(Exit::Interrupted, sentence))
    } else {
        Ok(Exit::Well)
    }
}

/// The folder by a path that means the same wherever it is compared, and with a slash at its end where what is in it is
/// meant.
fn absolute(root: &Path) -> Result<PathBuf, Failure> {
    let shown = || escape::bytes(root.as_os_str().as_encoded_bytes()).to_string();
    let mut absolute =
        std::path::absolute(root).map_err(|error| Failure::local(format!("{}: {error}", shown())))?;
    if place::own_name(root.as_os_str()).is_none() {
        absolute.push("");
    } else if absolute.is_symlink() {
        let shown = shown();
        return Err(Failure::usage(format!(
            "{shown} is a link: write {shown}/ to watch what is in the folder behind it"
        )));
    }
    Ok(absolute)
}

impl Work for Watched {
    async fn on(&self, session: Session) -> Result<(), SessionError> {
        self.putting.on(session, self.watching.outgoing()).await
    }

    fn is_finished(&self) -> bool {
        self.putting.queue.is_idle()
    }

    fn progress(&self) -> u64 {
        self.putting.progress()
    }

    fn motion(&self) -> [u64; 2] {
        self.putting.motion()
    }

    fn goes_on(&self) -> bool {
        self.putting.goes_on()
    }

    fn stop(&self) {
        self.watching.stop();
    }
}

impl Standby for Watched {
    async fn wanted(&self) {
        self.watching.wanted().await;
    }

    fn wind_up(&self) {
        self.watching.wind_up();
    }

    fn is_over(&self) -> bool {
        self.watching.is_over()
    }
}
