//! `ferry send`: puts the run together, keeps it going over lost connections, and tells how it ended.

use std::{sync::Arc, time::Duration};

use ferry_proto::Invite;
use ferry_session::{
    SessionError,
    identity::Identity,
    send::{self, Options},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    config::{Form, Send},
    dial::{self, DialError, Dialer, Session},
    digests::Digests,
    exit::{Exit, Failure},
    output::Narrator,
    pace::Pace,
    place::{self, Place, Server, SourceArg},
    queue::Queue,
    receipts::Receipts,
    remotes::Remotes,
    stdin,
};

/// The pause after the first lost connection; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// How often a connection that is not there looks whether it is still needed.
const LOOK: Duration = Duration::from_millis(100);

/// A run without a terminal counts what there is to do only if it lasts: its first line comes later than this.
const BEFORE_COUNTING: Duration = Duration::from_secs(5);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What every connection of a run shares.
#[derive(Clone)]
struct Run {
    dialer: Dialer,
    queue: Arc<Queue>,
    pace: Arc<Pace>,
    narrator: Arc<Narrator>,
    options: Options,
    retry: Option<u32>,
    timeout: Option<Duration>,
}

pub(super) fn run(config: Send) -> Result<Exit, Failure> {
    let mut remotes = Remotes::load(&config.home.config)?;
    let (words, Place { server, folder }) = place::split(
        config.words,
        config.to.as_deref(),
        config.usual_place.as_deref(),
        config.dir,
        &remotes,
    )?;
    let sources = place::name_sources(&words, folder.as_ref(), config.name.as_ref())?;
    if sources.iter().any(|source| matches!(source, SourceArg::Stdin(_))) {
        stdin::check()?;
    }
    let identity =
        Identity::load_or_create(&config.home.identity).map_err(|error| Failure::local(error.to_string()))?;
    let digests = Digests::open(&config.home.state)?;
    let receipts = config.receipts.as_deref().map(Receipts::create).transpose()?;
    let narrator = Arc::new(Narrator::new(config.output, config.dry_run, receipts));
    let (addresses, fingerprint, invite) = match server {
        Server::Remote(remote) => (remote.addresses, remote.fingerprint, None),
        Server::Invite(invite) => (invite.addresses.clone(), invite.fingerprint, Some(invite)),
    };
    let secret = invite.as_ref().map(|invite| invite.secret.clone());
    let run = Run {
        dialer: Dialer::new(&identity, addresses, fingerprint, secret, config.timeout)?,
        queue: Queue::new(digests, narrator.clone()),
        pace: Arc::new(Pace::new(config.limit_rate)),
        narrator,
        options: Options {
            on_conflict: config.on_conflict,
            dry_run: config.dry_run,
            links: config.links,
            digest: config.digest,
            checksum: config.checksum,
            has_company: config.jobs > 1,
        },
        retry: config.retry,
        timeout: config.timeout,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::local(format!("cannot start the runtime: {error}")))?;
    let looks_ahead = match config.output.form {
        Form::Bars => Some(Duration::ZERO),
        Form::Lines => Some(BEFORE_COUNTING),
        Form::Json | Form::Silent => None,
    };
    let result = runtime.block_on(run.clone().go(sources, config.jobs, &mut remotes, invite, looks_ahead));
    // A look-up of a name may hang for long; nobody waits for it any more.
    runtime.shutdown_background();
    run.queue.stop();
    if let Err(error) = run.queue.save() {
        let sentence = format!("the digest cache cannot be used, so unchanged files are read again: {error}");
        run.narrator.say(&sentence);
    }
    match result {
        Err(failure) => {
            run.narrator.finish(failure.code);
            Err(failure)
        }
        Ok(()) if run.queue.has_failures() => Ok(run.narrator.finish(Exit::SomeFailed)),
        Ok(()) if run.queue.is_finished() => Ok(run.narrator.finish(Exit::Well)),
        Ok(()) => Ok(run.narrator.finish(Exit::Unreachable)),
    }
}

impl Run {
    async fn go(
        self,
        sources: Vec<SourceArg>,
        jobs: usize,
        remotes: &mut Remotes,
        invite: Option<Invite>,
        looks_ahead: Option<Duration>,
    ) -> Result<(), Failure> {
        let signals = Signals::new()?;
        let interrupted = match sources.iter().any(|source| matches!(source, SourceArg::Stdin(_))) {
            true => "interrupted: what comes from standard input has to be sent from its beginning",
            false => "interrupted: run the same command again to go on",
        };
        tokio::select! {
            biased;
            () = signals.wait() => {
                // What is dropped from here on has not failed.
                self.queue.stop();
                Err(Failure::new(Exit::Interrupted, interrupted))
            }
            result = self.clone().connect_and_send(sources, jobs, remotes, invite, looks_ahead) => result,
        }
    }

    /// The first connection decides whether anything is done at all; then the walk starts.
    async fn connect_and_send(
        self,
        sources: Vec<SourceArg>,
        jobs: usize,
        remotes: &mut Remotes,
        invite: Option<Invite>,
        looks_ahead: Option<Duration>,
    ) -> Result<(), Failure> {
        let mut patience = Patience::new(self.retry);
        let first = loop {
            match self.dialer.dial().await {
                Ok(session) => break session,
                Err(DialError::Final(failure)) => return Err(failure),
                Err(DialError::Later(sentence)) => patience.pause(0, sentence, &self.narrator).await?,
            }
        };
        if let Some(invite) = &invite {
            let name = remotes.add(invite, None, &first.welcome.name)?;
            self.narrator.say(&format!("paired: the server is known as `{name}` here"));
        }
        self.start_walking(sources, looks_ahead);
        let mut connections = JoinSet::new();
        let mut first = Some(first);
        for _ in 0..jobs {
            connections.spawn(self.clone().keep_sending(first.take()));
        }
        let mut given_up = None;
        while let Some(ended) = connections.join_next().await {
            match ended {
                Ok(Ok(())) => {}
                // The others may still reach the server, and do the work of this one.
                Ok(Err(failure)) if failure.code == Exit::Unreachable && !self.queue.is_finished() => {
                    given_up = Some(failure);
                }
                Ok(Err(failure)) => return Err(failure),
                Err(_) => {
                    let sentence = "internal error: a connection ended in a panic";
                    return Err(Failure::new(Exit::SomeFailed, sentence));
                }
            }
        }
        match given_up {
            Some(failure) if !self.queue.is_finished() => Err(failure),
            _ => Ok(()),
        }
    }

    fn start_walking(&self, sources: Vec<SourceArg>, looks_ahead: Option<Duration>) {
        if let Some(delay) = looks_ahead {
            let (narrator, sources, links) = (self.narrator.clone(), sources.clone(), self.options.links);
            std::thread::spawn(move || {
                std::thread::sleep(delay);
                look_ahead(&sources, links, &narrator);
            });
        }
        let (queue, links) = (self.queue.clone(), self.options.links);
        std::thread::spawn(move || queue.walk(sources, links));
    }

    /// One connection after the other until everything is settled.
    async fn keep_sending(self, mut session: Option<Session>) -> Result<(), Failure> {
        let mut patience = Patience::new(self.retry);
        loop {
            let dialled = match session.take() {
                Some(session) => Ok(session),
                None => tokio::select! {
                    biased;
                    () = self.until_finished() => return Ok(()),
                    dialled = self.dialer.dial() => dialled,
                },
            };
            let problem = match dialled {
                Ok(session) => match self.send_on(session).await {
                    Ok(()) => return Ok(()),
                    // Everything has its receipt; that the server was lost then takes nothing away.
                    Err(error) if error.is_lost_connection() && self.queue.is_finished() => return Ok(()),
                    Err(error) => dial::refused(&error, self.dialer.address()),
                },
                Err(problem) => problem,
            };
            match problem {
                DialError::Final(failure) => return Err(failure),
                DialError::Later(sentence) => tokio::select! {
                    biased;
                    () = self.until_finished() => return Ok(()),
                    paused = patience.pause(self.queue.progress(), sentence, &self.narrator) => paused?,
                },
            }
        }
    }

    async fn send_on(&self, session: Session) -> Result<(), SessionError> {
        let Session { incoming, outbox, welcome } = session;
        let manifest = self.queue.clone();
        let sending = send::send(incoming, outbox, welcome.limits, self.options, manifest, self.pace.clone());
        tokio::select! {
            result = sending => result,
            () = self.stalled() => Err(SessionError::Silent),
        }
    }

    /// Ends when other connections have settled everything: then this one need not be.
    async fn until_finished(&self) {
        while !self.queue.is_finished() {
            sleep(LOOK).await;
        }
    }

    /// Ends when nothing has moved for the time that the user gave.
    async fn stalled(&self) {
        let Some(timeout) = self.timeout else { return std::future::pending().await };
        let look = || (self.narrator.bytes(), self.queue.progress(), self.queue.digested());
        let mut seen = look();
        let mut since = Instant::now();
        loop {
            sleep(timeout.min(Duration::from_secs(1))).await;
            let now = look();
            if now != seen {
                (seen, since) = (now, Instant::now());
            } else if since.elapsed() >= timeout {
                return;
            }
        }
    }
}

/// How often a lost connection is tried again, and how long before.
struct Patience {
    tries: Option<u32>,
    used: u32,
    progress: u64,
}

impl Patience {
    fn new(tries: Option<u32>) -> Self {
        Patience { tries, used: 0, progress: 0 }
    }

    /// Waits before the next try, longer each time; an error when the tries are used up. Progress gives them back.
    async fn pause(&mut self, progress: u64, problem: String, narrator: &Narrator) -> Result<(), Failure> {
        if progress > self.progress {
            (self.progress, self.used) = (progress, 0);
        }
        if self.tries.is_some_and(|tries| self.used >= tries) {
            return Err(Failure::new(
                Exit::Unreachable,
                format!("{problem}; the same command goes on from here"),
            ));
        }
        let longest = FIRST_PAUSE.saturating_mul(1 << self.used.min(16)).min(LONGEST_PAUSE);
        // Clients that lost the same server do not come back all at once.
        let pause = longest.mul_f64(0.5 + fastrand::f64() / 2.0);
        self.used += 1;
        narrator.say(&format!("{problem}; trying again in {:.1} s", pause.as_secs_f64()));
        sleep(pause).await;
        Ok(())
    }
}

/// Counts what there is, so that progress can tell how much is left.
fn look_ahead(sources: &[SourceArg], links: ferry_store::source::Links, narrator: &Narrator) {
    let (mut entries, mut bytes) = (0, 0);
    for source in sources {
        let SourceArg::Tree { root, base } = source else {
            entries += 1;
            continue;
        };
        for found in ferry_store::source::Walk::new(root, base.clone(), links) {
            let ferry_store::source::Found::Item(item) = found else { continue };
            // Nothing is done about it here, so the folders around it may come at once.
            let mut next = Some(item);
            while let Some(item) = next {
                entries += 1;
                if item.kind == ferry_proto::Kind::File {
                    bytes += item.identity.size;
                }
                if entries % 1000 == 0 {
                    narrator.expected(entries, bytes, false);
                }
                next = item.settle();
            }
        }
    }
    narrator.expected(entries, bytes, true);
}

/// Ctrl-C and its kin.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let open =
            |kind| signal(kind).map_err(|error| Failure::local(format!("cannot wait for signals: {error}")));
        Ok(Signals { interrupt: open(SignalKind::interrupt())?, terminate: open(SignalKind::terminate())? })
    }

    async fn wait(mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
