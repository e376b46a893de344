//! `ferryd scrub`: whether what was received is still there, as it was.

mod pace;
mod report;

use std::{
    fs::{File, OpenOptions, TryLockError},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use ferry_proto::RelPath;
use ferry_store::{
    Amiss, Finding,
    scrub::{self, Companion, Position, ScrubError, Told},
    source::Shelf,
};
use tokio::signal::unix::{SignalKind, signal};

use self::{pace::Pace, report::Report};
use crate::{
    Config,
    catalogue::{ADOPTED, Catalogue, CatalogueError, Pass},
    config::ScrubTerms,
    state::{self, State},
};

/// How often, in time and in bytes, it is written down how far a pass has come: what a run that is killed has to do again.
/// Each costs a small sync of the catalogue's disk.
const NOTE: Duration = Duration::from_secs(1);
const NOTE_BYTES: u64 = 1 << 30;

/// How long a pause lasts before it is looked whether the run is still wanted.
const LOOK: Duration = Duration::from_millis(50);

/// Compares what is held with what was received. Returns the exit code: 0 if nothing differs, 1 if something does, 5 if
/// it was interrupted.
pub fn scrub(config: &Config, terms: &ScrubTerms) -> anyhow::Result<u8> {
    let State { catalogue, .. } = state::open_existing(config)?;
    let _lock = lock(&config.state)?;
    if catalogue.has_files()? && state::is_empty(&config.root)? {
        bail!("{} is empty, and was not: is its disk mounted?", config.root.display());
    }
    let shelf = Shelf::open(&config.root)
        .with_context(|| format!("cannot open the folder {}", config.root.display()))?;
    let stop = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot wait for signals")?;
    let (terms, stopping) = (terms.clone(), stop.clone());
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
        let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
        let mut going =
            tokio::task::spawn_blocking(move || go_through(&catalogue, &shelf, &terms, &stopping));
        let ended = tokio::select! {
            ended = &mut going => ended,
            _ = interrupt.recv() => end(&stop, going).await,
            _ = terminate.recv() => end(&stop, going).await,
        };
        ended.context("the scrub ended in a panic")?
    })
}

async fn end<T>(stop: &AtomicBool, going: tokio::task::JoinHandle<T>) -> Result<T, tokio::task::JoinError> {
    stop.store(true, Ordering::Relaxed);
    going.await
}

/// One at a time: two would write each other's position.
fn lock(state: &Path) -> anyhow::Result<File> {
    let path = state.join("scrub.lock");
    let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = opened.with_context(|| format!("cannot open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!("another ferryd scrub is at it"),
        Err(TryLockError::Error(error)) => Err(error).context(format!("cannot lock {}", path.display())),
    }
}

fn go_through(
    catalogue: &Catalogue,
    shelf: &Shelf,
    terms: &ScrubTerms,
    stop: &AtomicBool,
) -> anyhow::Result<u8> {
    let began = Instant::now();
    let below = terms.below.as_ref();
    let pass = catalogue.begin_pass(below, terms.adopt)?;
    let mut report = Report::new(terms.json);
    catalogue.found_by(pass.id, |name, finding| -> Result<(), CatalogueError> {
        if !is_found_again(&name, &finding, &pass.position) {
            report.found(path_of(&name), &finding, true);
        }
        Ok(())
    })?;
    report.flush();
    let pace = Pace::new(terms.limit_rate);
    let what = scrub::Terms {
        below: terms.below.clone(),
        adopt: terms.adopt.then(|| ADOPTED.to_owned()),
        pass: pass.id,
        at_once: pace.at_once(),
    };
    let from = pass.position.clone();
    let mut going = Going { catalogue, noted: pass.clone(), pass, pace, stop, report, read: 0, at: began };
    let over = match scrub::run(shelf, catalogue, &what, from, &mut going) {
        Ok(()) => {
            catalogue.end_pass(&going.pass, below)?;
            true
        }
        Err(ScrubError::Stopped) => false,
        Err(error) => return Err(error).context("cannot go on, and will from here when it is run again"),
    };
    if let Some(below) = below.filter(|_| over && going.pass.names == 0) {
        bail!("there is nothing called {below}, and there never was");
    }
    // What was done after the last note is done again.
    let pass = if over { &going.pass } else { &going.noted };
    Ok(going.report.summary(pass, going.read, began.elapsed(), over))
}

/// Whether a pass that goes on from here comes by something that an earlier run has found. Strangers are always looked for
/// from the beginning.
fn is_found_again(name: &RelPath, finding: &Finding, from: &Position) -> bool {
    finding.what == Amiss::Unreceipted
        || match from {
            Position::Rows(after) => after.as_ref().is_none_or(|after| name > after),
            Position::Disk => false,
        }
}

/// Goes along with a pass.
struct Going<'a> {
    catalogue: &'a Catalogue,
    pass: Pass,
    /// As it was last written down, and when.
    noted: Pass,
    at: Instant,
    pace: Pace,
    stop: &'a AtomicBool,
    report: Report,
    /// Bytes that this run has read.
    read: u64,
}

impl Companion for Going<'_> {
    fn read(&mut self, bytes: usize) -> Result<(), ScrubError> {
        self.read += bytes as u64;
        self.pass.bytes += bytes as u64;
        let next = self.pace.next(bytes, Instant::now());
        loop {
            self.check()?;
            let Some(pause) = next.and_then(|next| next.checked_duration_since(Instant::now())) else {
                return Ok(());
            };
            if pause.is_zero() {
                return Ok(());
            }
            std::thread::sleep(pause.min(LOOK));
        }
    }

    fn check(&mut self) -> Result<(), ScrubError> {
        if self.stop.load(Ordering::Relaxed) { Err(ScrubError::Stopped) } else { Ok(()) }
    }

    fn told(&mut self, name: &Path, told: Told<'_>) -> Result<(), ScrubError> {
        self.pass.names += 1;
        match told {
            Told::Well => {}
            Told::Amiss(finding) => self.report.found(name, finding, false),
            Told::Adopted(finding) => {
                self.pass.adopted += 1;
                self.report.adopted(name, finding);
            }
            Told::Renewed => self.pass.renewed += 1,
            Told::Moving => self.report.moving(name),
        }
        Ok(())
    }

    fn wants_to_note(&self) -> bool {
        self.pass.bytes - self.noted.bytes >= NOTE_BYTES || self.at.elapsed() >= NOTE
    }

    fn note(&mut self, position: &Position) -> Result<(), ScrubError> {
        self.pass.position = position.clone();
        self.catalogue.note_pass(&self.pass).map_err(|error| ScrubError::Other(Box::new(error)))?;
        (self.noted, self.at) = (self.pass.clone(), Instant::now());
        self.report.flush();
        Ok(())
    }
}

fn path_of(name: &RelPath) -> &Path {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(name.as_bytes()))
}
