//! `ferryd serve`: puts the house together, runs it, and leaves it in order.

use std::{
    collections::HashMap,
    io::{IsTerminal, Write},
    num::NonZero,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context;
use ferry_session::{Buffers, Room, tls};
use ferry_store::{LocalStore, StoreError, Uploads};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    net::TcpListener,
    runtime::Handle,
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinHandle,
};

use crate::{
    Config,
    announce::Announcement,
    catalogue::{Catalogue, ClientId, Standing},
    config::Settings,
    confine::{self, ConfineError, Confinement},
    door::Door,
    gallery::Gallery,
    giving::Givings,
    health::{self, Counts, Health},
    house::House,
    http::{self, Certificate, Web},
    invite, listen, log,
    reload::Reload,
    seats::Seats,
    session::READERS_PER_CLIENT,
    shares::Shares,
    state::{self, State},
    systemd,
};

/// Threads that do disk work, all sessions together: enough that one which waits for a sync leaves others to write
/// and to hash. More would only wait for the same disk.
const DISK_THREADS: usize = 8;

/// Threads that look clients up, so that nobody waits at the door for others' disk work. One of them may be waiting
/// for the catalogue's disk.
const DOOR_THREADS: usize = 2;

/// Room for bytes between the network and the disk, all sessions together: two that are faster than the disk can fill
/// what each may have.
const ROOM: usize = 16 * 1024 * 1024;

/// How long the catalogue remembers what a name held before, so that it does not grow for ever: a little more than a
/// year, to be able to say what was there a year ago.
const HISTORY: Duration = Duration::from_secs(400 * 24 * 60 * 60);

/// How often revoked and expired clients are looked for: their sessions end within a second.
const LOOK: Duration = Duration::from_millis(500);

/// How often stale staging is looked for.
const SWEEP: Duration = Duration::from_secs(60 * 60);

/// Of the files that this process may have open, sessions may take one in so many, and peers that wait to be let in as
/// many again; the others are for bodies, folders and the catalogue.
const CONNECTIONS_SHARE: u64 = 4;

/// Runs the server until it is told to stop.
pub fn serve(config: Config) -> anyhow::Result<()> {
    log::start(config.log_format, config.log_level);
    let passed = systemd::listeners()?;
    state::make_folders(&config)?;
    // Later it could not be found out how many a control group leaves to this process.
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    // Before there is another thread.
    let confinement = confine::apply(&config);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(cores)
        .max_blocking_threads(DISK_THREADS)
        .build()
        .context("cannot start the runtime")?;
    let door = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(DOOR_THREADS)
        .build()
        .context("cannot start the threads that look clients up")?;
    runtime.block_on(run(config, passed, confinement, cores, door.handle().clone()))
}

async fn run(
    config: Config,
    passed: Vec<std::net::TcpListener>,
    confinement: Result<Confinement, ConfineError>,
    cores: usize,
    door: Handle,
) -> anyhow::Result<()> {
    let state = state::open(&config)?;
    if state.has_lost_its_key {
        tracing::warn!("{}", state::LOST_KEY);
    }
    let store = Arc::new(open_store(&config)?);
    if state.catalogue.has_files()? && state::is_empty(&config.root)? {
        tracing::warn!(root = %config.root.display(), "the root is empty, and was not: is its disk mounted?");
    }
    let tls = tls::server_config(&state.identity)?;
    let passed: Result<Vec<_>, _> = passed.into_iter().map(TcpListener::from_std).collect();
    let mut listeners = passed.context("cannot listen where the service manager does")?;
    // What was passed takes the place of an address that nobody has chosen.
    if listeners.is_empty() || !config.listen_is_default {
        listeners.extend(listen::bind(&config.listen, "--listen").await?);
    }
    let addresses = listen::addresses(&listeners)?;
    state.catalogue.set_listen(&addresses)?;
    let web = match config.web {
        Some(address) => listen::bind(&[address], "--web").await?.pop(),
        None => None,
    };
    let web_address = web.as_ref().map(TcpListener::local_addr).transpose()?;
    let certificate = match config.web {
        Some(_) => Some(Certificate::load(config.web_files.clone(), &config.state)?),
        None => None,
    };
    let site = web_address.zip(certificate.clone());
    state.catalogue.set_site(site.as_ref().map(|(address, shown)| shown.at(*address)).as_ref())?;
    let metrics = config.metrics.map(health::bind).transpose()?;
    let (stop_now, stop) = watch::channel(false);
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let (change, settings) = watch::channel(fitting(config.settings.clone()));
    let reload = Reload::of(config.clone(), change, site)?;
    welcome_first_client(&config, &state, &listeners)?;

    let catalogue = Arc::new(state.catalogue);
    let uploads =
        Uploads::open(store, catalogue.clone(), cores).context("cannot go on with what is in staging")?;
    let sweeper = tokio::spawn(sweep(uploads.clone(), catalogue.clone(), settings.clone()));
    let (standings, watcher) = watch_clients(catalogue.clone(), door.clone());
    let (room, seats) = (Room::new(ROOM), Seats::new(settings.clone()));
    let (counts, waiting_room) = (Arc::<Counts>::default(), Door::new(settings.clone()));
    let told_at = metrics.as_ref().map(health::page).transpose()?;
    if let Some(listener) = metrics {
        let health = Health {
            root: config.root.clone(),
            uploads: uploads.clone(),
            catalogue: catalogue.clone(),
            room: room.clone(),
            seats: seats.clone(),
            door: waiting_room.clone(),
            counts: counts.clone(),
            stop: stop.clone(),
        };
        health::start(listener, health)?;
    }
    let house = Arc::new(House {
        uploads: uploads.clone(),
        catalogue: catalogue.clone(),
        door,
        room,
        buffers: Buffers::default(),
        name: hostname(),
        seats,
        shelf: uploads.store().shelf().context("the root cannot be opened")?,
        readers: Shares::new(READERS_PER_CLIENT),
        givings: Givings::default(),
        settings,
        standings,
        counts: counts.clone(),
    });
    let browsers = match (web, certificate) {
        (Some(listener), Some(certificate)) => {
            let gallery =
                Gallery::open(uploads.clone(), house.shelf.clone(), house.catalogue.clone(), &config.state);
            let gallery = Arc::new(gallery.context("what is known of pictures cannot be kept")?);
            let (config, web) = (certificate.config()?, Web::new(house.clone(), gallery));
            Some(http::run(listener, config, web, waiting_room.clone(), stop.clone()))
        }
        _ => None,
    };
    let web_told = web_address.map(|address| format!("https://{address}"));
    for address in addresses.iter().map(ToString::to_string).chain(web_told).chain(told_at) {
        // Whoever started this may not be reading.
        let _ = writeln!(std::io::stdout().lock(), "listening on {address}");
    }
    confine::tell(&confinement);
    tracing::info!(root = %config.root.display(), identity = %state.identity.fingerprint(), "ready");
    let announcement = match config.no_announce {
        true => None,
        false => Announcement::start(&listeners, &hostname(), state.identity.fingerprint())?,
    };
    let browsers = browsers.map(tokio::spawn);
    let running = tokio::spawn(listen::run(listeners, tls, house, waiting_room, counts, stop));
    systemd::ready();
    let watched = tokio::spawn(systemd::watched(uploads.clone()));
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        () = reload.run(&catalogue) => {}
    }
    tracing::info!("stopping");
    systemd::stopping();
    if let Some(announcement) = announcement {
        announcement.withdraw().await;
    }
    sweeper.abort();
    watcher.abort();
    let _ = stop_now.send(true);
    running.await.context("the listeners ended in a panic")?;
    if let Some(browsers) = browsers {
        browsers.await.context("the web listener ended in a panic")?;
    }
    tokio::task::spawn_blocking(move || uploads.close()).await.context("the committer ended in a panic")?;
    watched.abort();
    tracing::info!("stopped");
    Ok(())
}

/// Takes all the open files that the system grants (the usual limit is a gentle one, for programs of older times) and
/// no more connections than fit in.
pub(crate) fn fitting(wanted: Settings) -> Settings {
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let open_files = if raised.is_ok() { limit.maximum } else { limit.current };
    let room = open_files.map_or(usize::MAX, |most| (most / CONNECTIONS_SHARE) as usize);
    if room < wanted.max_connections {
        tracing::warn!(connections = room, "too few open files are allowed for more connections at a time");
    }
    Settings { max_connections: wanted.max_connections.min(room), ..wanted }
}

fn open_store(config: &Config) -> anyhow::Result<LocalStore> {
    let root = config.root.display();
    LocalStore::open(&config.root).map_err(|error| match error {
        StoreError::InUse => anyhow::anyhow!("another ferryd is already saving into {root}"),
        StoreError::Denied(error) => anyhow::anyhow!("{root} is not writable for this user: {error}"),
        StoreError::Kind => {
            anyhow::anyhow!("{root}/.ferry, or something in it, is a link or no folder: remove it")
        }
        other => anyhow::Error::new(other).context(format!("cannot use {root}")),
    })
}

/// A server that nobody is paired with yet tells how to change that.
fn welcome_first_client(config: &Config, state: &State, listeners: &[TcpListener]) -> anyhow::Result<()> {
    if state.catalogue.has_clients()? {
        return Ok(());
    }
    let mut stderr = std::io::stderr();
    // Whoever does not listen can ask `ferryd invite`.
    let _ = if stderr.is_terminal() {
        let link = invite::first(state, &listen::addresses(listeners)?)?.to_link();
        let qr = invite::qr(&link)?;
        writeln!(
            stderr,
            "No client is paired yet. On the other machine, within 24 hours, run `ferry pair` and give it this:\n\n\
             {link}\n\n{qr}"
        )
    } else {
        let (root, state) = (config.root.display(), config.state.display());
        writeln!(
            stderr,
            "no client is paired yet: `ferryd invite --root {root} --state {state}` prints a link"
        )
    };
    Ok(())
}

/// Looks for what another process, or the time, has changed of what clients may do.
fn watch_clients(
    catalogue: Arc<Catalogue>,
    door: Handle,
) -> (watch::Receiver<HashMap<ClientId, Standing>>, JoinHandle<()>) {
    let (tell, standings) = watch::channel(HashMap::new());
    let watcher = tokio::spawn(async move {
        let mut looks = tokio::time::interval(LOOK);
        loop {
            looks.tick().await;
            let catalogue = catalogue.clone();
            match door.spawn_blocking(move || catalogue.standings(SystemTime::now())).await {
                Ok(Ok(now)) => drop(tell.send_if_modified(|known| {
                    let is_new = *known != now;
                    *known = now;
                    is_new
                })),
                Ok(Err(error)) => tracing::error!(%error, "what clients may do cannot be looked up"),
                Err(error) => tracing::error!(%error, "the look at what clients may do ended in a panic"),
            }
        }
    });
    (standings, watcher)
}

async fn sweep(uploads: Uploads<LocalStore>, catalogue: Arc<Catalogue>, settings: watch::Receiver<Settings>) {
    let mut hours = tokio::time::interval(SWEEP);
    loop {
        hours.tick().await;
        let (uploads, catalogue) = (uploads.clone(), catalogue.clone());
        let retention = settings.borrow().retain_staging;
        let swept = tokio::task::spawn_blocking(move || {
            match uploads.sweep(retention) {
                Ok(0) => {}
                Ok(swept) => tracing::info!(swept, "removed unfinished uploads that nobody went on with"),
                Err(error) => tracing::warn!(%error, "staging cannot be swept"),
            }
            if let Some(then) = SystemTime::now().checked_sub(HISTORY)
                && let Err(error) = catalogue.prune(then)
            {
                tracing::warn!(%error, "old rows of the catalogue cannot be removed");
            }
        });
        if let Err(error) = swept.await {
            tracing::error!(%error, "the sweep ended in a panic");
        }
    }
}

fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
