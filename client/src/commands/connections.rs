//! The connections of a run: as many as were asked for, made again when they are lost, until the work is done.

use std::{pin::pin, sync::Arc, time::Duration};

use ferry_proto::Invite;
use ferry_session::SessionError;
use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::{
    dial::{self, DialError, Dialer, Session},
    exit::{Exit, Failure},
    output::Narrator,
    remotes::Remotes,
};

/// The pause after the first lost connection; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How often a connection that is not there looks whether it is still needed.
const LOOK: Duration = Duration::from_millis(100);

/// How long a connection that has nothing to do has for parting.
const PARTING: Duration = Duration::from_secs(1);

/// What the connections are for.
pub(crate) trait Work: Send + Sync + 'static {
    /// The first connection stands: from here on there is somebody to work for.
    fn start(&self) {}

    /// Does all that can be done on one connection.
    fn on(&self, session: Session) -> impl Future<Output = Result<(), SessionError>> + Send;

    /// Whether nothing is left to do.
    fn is_finished(&self) -> bool;

    /// Grows whenever the run comes nearer to its end; doing again what was lost does not count.
    fn progress(&self) -> u64;

    /// Changes with anything that moves.
    fn motion(&self) -> [u64; 2];

    /// Whether the same command would go on from what was done so far, and not begin anew.
    fn goes_on(&self) -> bool {
        false
    }

    /// Ends the run: what is dropped from here on has not failed.
    fn stop(&self);
}

/// Work that comes and goes: it is finished whenever there is nothing to do for the moment.
pub(crate) trait Standby: Work {
    /// Waits until there is something to do, or it is over.
    fn wanted(&self) -> impl Future<Output = ()> + Send;

    /// Nothing more is to come of it.
    fn wind_up(&self);

    /// Whether it was wound up.
    fn is_over(&self) -> bool;
}

/// See the module.
pub(super) struct Connections<W> {
    pub(super) dialer: Dialer,
    pub(super) work: Arc<W>,
    pub(super) narrator: Arc<Narrator>,
    /// Tries after a lost connection since the last progress; `None` is for ever.
    pub(super) retry: Option<u32>,
    /// How long without progress.
    pub(super) timeout: Option<Duration>,
}

impl<W> Clone for Connections<W> {
    fn clone(&self) -> Self {
        let Connections { dialer, work, narrator, retry, timeout } = self;
        let (dialer, work, narrator) = (dialer.clone(), work.clone(), narrator.clone());
        Connections { dialer, work, narrator, retry: *retry, timeout: *timeout }
    }
}

impl<W: Work> Connections<W> {
    /// Works until everything is done, or somebody interrupts it, who is told how to go on.
    pub(super) fn run(
        self,
        jobs: usize,
        remotes: &mut Remotes,
        invite: Option<Invite>,
        interrupted: &str,
    ) -> Result<(), Failure> {
        block_on(self.heard().go(jobs, remotes, invite, interrupted))
    }

    /// Works whenever there is something to do, on one connection that is made for it, until somebody ends it, or
    /// `broken` tells why it cannot go on.
    pub(super) fn stand_by(
        self,
        remotes: &mut Remotes,
        invite: Option<Invite>,
        broken: impl Future<Output = Failure>,
    ) -> Result<(), Failure>
    where
        W: Standby,
    {
        block_on(async {
            let signals = Signals::new()?;
            let work = self.work.clone();
            let mut working = pin!(self.heard().work_when_wanted(remotes, invite));
            let result = tokio::select! {
                biased;
                () = signals.wait() => {
                    // A connection that has done everything parts from the server in order.
                    if work.is_finished() {
                        work.wind_up();
                        let _ = timeout(PARTING, &mut working).await;
                    }
                    Ok(())
                }
                failure = broken => Err(failure),
                result = &mut working => result,
            };
            work.stop();
            result
        })
    }

    /// What takes its time is told as everything else is.
    fn heard(mut self) -> Self {
        let narrator = self.narrator.clone();
        self.dialer = self.dialer.telling(move |what| narrator.say(what));
        self
    }

    async fn go(
        self,
        jobs: usize,
        remotes: &mut Remotes,
        invite: Option<Invite>,
        interrupted: &str,
    ) -> Result<(), Failure> {
        let signals = Signals::new()?;
        tokio::select! {
            biased;
            () = signals.wait() => {
                self.work.stop();
                Err(Failure::new(Exit::Interrupted, interrupted))
            }
            result = self.clone().connect_and_work(jobs, remotes, invite) => result,
        }
    }

    async fn work_when_wanted(mut self, remotes: &mut Remotes, invite: Option<Invite>) -> Result<(), Failure>
    where
        W: Standby,
    {
        self.work.wanted().await;
        let mut session = Some(self.first_session(remotes, invite).await?);
        // By then this client is known, and an invite ends some day.
        self.dialer.forget_invite();
        while !self.work.is_over() {
            self.clone().keep_working(session.take()).await?;
            self.work.wanted().await;
        }
        Ok(())
    }

    /// The first connection decides whether anything is done at all.
    async fn first_session(&self, remotes: &mut Remotes, invite: Option<Invite>) -> Result<Session, Failure> {
        let mut patience = Patience::new(self.retry);
        let first = loop {
            match self.dialer.dial().await {
                Ok(mut session) => {
                    self.tell(&mut session);
                    break session;
                }
                Err(DialError::Final(failure)) => return Err(failure),
                Err(DialError::Later(sentence)) => patience.pause(sentence, self).await?,
            }
        };
        patience.has_ended(&self.narrator);
        if let Some(invite) = &invite {
            let name = remotes.add(&self.dialer.as_it_is_now(invite), None, &first.welcome.name)?;
            self.narrator.say(&format!("paired: the server is known as `{name}` here"));
        }
        Ok(first)
    }

    async fn connect_and_work(
        self,
        jobs: usize,
        remotes: &mut Remotes,
        invite: Option<Invite>,
    ) -> Result<(), Failure> {
        let first = self.first_session(remotes, invite).await?;
        self.work.start();
        let mut connections = JoinSet::new();
        let mut first = Some(first);
        for _ in 0..jobs {
            connections.spawn(self.clone().keep_working(first.take()));
        }
        let mut given_up = None;
        while let Some(ended) = connections.join_next().await {
            match ended {
                Ok(Ok(())) => {}
                // The others may still reach the server, and do the work of this one.
                Ok(Err(failure)) if failure.code == Exit::Unreachable && !self.work.is_finished() => {
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
            Some(failure) if !self.work.is_finished() => Err(failure),
            _ => Ok(()),
        }
    }

    /// One connection after the other until everything is done.
    async fn keep_working(self, mut session: Option<Session>) -> Result<(), Failure> {
        let mut patience = Patience::new(self.retry);
        loop {
            let mut dialled = match session.take() {
                Some(session) => Ok(session),
                None => tokio::select! {
                    biased;
                    () = self.until_finished() => return Ok(()),
                    dialled = self.dialer.dial() => dialled,
                },
            };
            if let Ok(session) = &mut dialled {
                self.tell(session);
                patience.has_ended(&self.narrator);
            }
            let problem = match dialled {
                Ok(session) => match self.work_on(session).await {
                    Ok(()) => return Ok(()),
                    // Everything is done; that the server was lost then takes nothing away.
                    Err(error) if error.is_lost_connection() && self.work.is_finished() => return Ok(()),
                    Err(error) => dial::refused(&error, &self.dialer.address()),
                },
                Err(problem) => problem,
            };
            match problem {
                DialError::Final(failure) => return Err(failure),
                DialError::Later(sentence) => tokio::select! {
                    biased;
                    () = self.until_finished() => return Ok(()),
                    paused = patience.pause(sentence, &self) => paused?,
                },
            }
        }
    }

    /// What can be done where the server is not reached, and is not tried any more.
    fn way_out(&self) -> String {
        if self.work.goes_on() {
            return "; the same command goes on from here".to_owned();
        }
        self.dialer
            .name()
            .map_or_else(String::new, |name| format!("; `ferry doctor {name}` looks for reasons"))
    }

    /// How the session came to stand, if there is anything to say of that.
    fn tell(&self, session: &mut Session) {
        session.notes.drain(..).for_each(|note| self.narrator.warn(&note));
    }

    async fn work_on(&self, session: Session) -> Result<(), SessionError> {
        tokio::select! {
            result = self.work.on(session) => result,
            () = self.stalled() => Err(SessionError::Silent),
        }
    }

    /// Ends when other connections have done everything: then this one need not be.
    async fn until_finished(&self) {
        while !self.work.is_finished() {
            sleep(LOOK).await;
        }
    }

    /// Ends when nothing has moved for the time that the user gave.
    async fn stalled(&self) {
        let Some(timeout) = self.timeout else { return std::future::pending().await };
        let look = || (self.work.progress(), self.work.motion());
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

/// A runtime for one run.
pub(super) fn block_on<T>(run: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::local(format!("cannot start the runtime: {error}")))?;
    let result = runtime.block_on(run);
    // A look-up of a name may hang for long; nobody waits for it any more.
    runtime.shutdown_background();
    result
}

/// How often a lost connection is tried again, and how long before.
struct Patience {
    tries: Option<u32>,
    used: u32,
    progress: u64,
    /// Where it is tried for ever: what was told of it last.
    told: Option<String>,
}

impl Patience {
    fn new(tries: Option<u32>) -> Self {
        Patience { tries, used: 0, progress: 0, told: None }
    }

    /// Waits before the next try, longer each time; an error when the tries are used up. Progress gives them back.
    async fn pause<W: Work>(&mut self, problem: String, run: &Connections<W>) -> Result<(), Failure> {
        let (progress, narrator) = (run.work.progress(), &run.narrator);
        if progress > self.progress {
            (self.progress, self.used) = (progress, 0);
        }
        if self.tries.is_some_and(|tries| self.used >= tries) {
            return Err(Failure::new(Exit::Unreachable, problem + &run.way_out()));
        }
        let longest = FIRST_PAUSE.saturating_mul(1 << self.used.min(16)).min(LONGEST_PAUSE);
        // Clients that lost the same server do not come back all at once.
        let pause = longest.mul_f64(0.5 + fastrand::f64() / 2.0);
        self.used += 1;
        match self.tries {
            Some(_) => narrator.say(&format!("{problem}; trying again in {:.1} s", pause.as_secs_f64())),
            // A server that is away for days does not fill a log.
            None if self.told.as_ref() == Some(&problem) => {}
            None => {
                narrator.say(&format!("{problem}; trying again until it works"));
                self.told = Some(problem);
            }
        }
        sleep(pause).await;
        Ok(())
    }

    /// A connection stands again.
    fn has_ended(&mut self, narrator: &Narrator) {
        if self.told.take().is_some() {
            narrator.say("the server is there again");
        }
    }
}

/// Ctrl-C and its kin.
pub(super) struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    pub(super) fn new() -> Result<Self, Failure> {
        let open =
            |kind| signal(kind).map_err(|error| Failure::local(format!("cannot wait for signals: {error}")));
        Ok(Signals { interrupt: open(SignalKind::interrupt())?, terminate: open(SignalKind::terminate())? })
    }

    pub(super) async fn wait(mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
