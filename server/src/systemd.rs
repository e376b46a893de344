//! What a service manager hears from this program, and the listeners that it hands over: the interface of systemd,
//! which others speak too. Without one, none of this does anything.

use std::{io, net::TcpListener, time::Duration};

use anyhow::{Context, bail};
use ferry_store::{LocalStore, Uploads};
use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;
use sd_notify::NotifyState;

/// Between two looks for a sign of life. It is short beside any useful watchdog's time, and nobody waits for it.
const LOOK: Duration = Duration::from_millis(50);

/// Takes the listeners that were passed to this process. To be called once, before there is another thread and
/// before any file is opened: they are known by their numbers alone, and the environment forgets them.
pub(crate) fn listeners() -> anyhow::Result<Vec<TcpListener>> {
    // Without it they may be meant for a process that has started this one.
    if std::env::var_os("LISTEN_PID").is_none() {
        return Ok(Vec::new());
    }
    let mut passed = ListenFd::from_env();
    let mut listeners = Vec::new();
    for index in 0..passed.len() {
        // They are not passed on from here: taking one marks it as to be closed on exec.
        let taken = passed.take_tcp_listener(index).context("a passed descriptor is no TCP listener")?;
        let Some(listener) = taken else { break };
        if !socket_acceptconn(&listener).context("cannot look at a passed descriptor")? {
            bail!("a passed descriptor is no TCP listener: the socket does not listen");
        }
        listener.set_nonblocking(true).context("cannot use a passed listener")?;
        listeners.push(listener);
    }
    Ok(listeners)
}

/// The configuration is being read again; `ready` ends it.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "the clock cannot be read"),
    }
}

/// Everything that connects from now on is served.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The end was asked for.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Shows the watchdog that this server is alive, for as long as it is: that the runtime gives a task its turn, and
/// that the committer, which every file passes, answers.
pub(crate) async fn watched(uploads: Uploads<LocalStore>) {
    let Some(patience) = sd_notify::watchdog_enabled().filter(|patience| !patience.is_zero()) else { return };
    // As its manual asks: one sign may be late by as much again.
    let mut signs = tokio::time::interval(patience / 2);
    loop {
        signs.tick().await;
        let before = uploads.pulse();
        while uploads.pulse() == before {
            tokio::time::sleep(LOOK.min(patience / 4)).await;
        }
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(states: &[NotifyState<'_>]) {
    let told: io::Result<()> = sd_notify::notify(states);
    if let Err(error) = told {
        tracing::warn!(%error, "the service manager cannot be told anything");
    }
}
