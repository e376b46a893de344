//! SIGHUP: the configuration file is read again, and what may change while ferryd runs does. It widens nothing: the
//! process stays confined to what it was at the start.

use std::{
    io::{ErrorKind, IsTerminal, stderr, stdin, stdout},
    net::SocketAddr,
    sync::Arc,
};

use anyhow::Context;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

use crate::{
    Config,
    catalogue::Catalogue,
    config::{self, Settings},
    http::Certificate,
    serve, systemd,
};

/// What may be behind a file that could be read at the start and cannot be now.
const REPLACED: &str = "; a confined ferryd may read the file that was there when it started, and none that has taken \
                        its name since: restart it";

/// See the module.
pub(crate) struct Reload {
    started: Config,
    settings: watch::Sender<Settings>,
    /// Where browsers are served, and what they see there.
    site: Option<(SocketAddr, Arc<Certificate>)>,
    asked: Signal,
    /// Which of standard input, output and error were terminals at the start.
    terminals: [bool; 3],
}

impl Reload {
    /// From here on, SIGHUP no longer ends the process.
    pub(crate) fn of(
        started: Config,
        settings: watch::Sender<Settings>,
        site: Option<(SocketAddr, Arc<Certificate>)>,
    ) -> anyhow::Result<Self> {
        let asked = signal(SignalKind::hangup()).context("cannot wait for SIGHUP")?;
        Ok(Reload { started, settings, site, asked, terminals: terminals() })
    }

    /// Reloads each time that somebody asks. Ends where nobody has: the terminal that this was started in is closed.
    pub(crate) async fn run(mut self, catalogue: &Catalogue) {
        while self.asked.recv().await.is_some() {
            if self.terminals != terminals() {
                break;
            }
            systemd::reloading();
            let read = tokio::task::spawn_blocking(config::again).await;
            match read.unwrap_or_else(|panic| Err(panic.into())) {
                Ok(now) => self.take(now),
                Err(error) => {
                    let hint = if is_denied(&error) && !self.started.no_confine { REPLACED } else { "" };
                    tracing::error!("nothing is reloaded: {error:#}{hint}");
                }
            }
            // Whatever became of the rest.
            self.renew(catalogue);
            systemd::ready();
        }
    }

    fn take(&self, now: Config) {
        let started = &self.started;
        for (setting, is_same) in [
            ("root", now.root == started.root),
            ("state", now.state == started.state),
            ("no-confine", now.no_confine == started.no_confine),
            ("no-announce", now.no_announce == started.no_announce),
            ("listen", now.listen == started.listen),
            ("web", now.web == started.web),
            ("web-certificate", now.web_files == started.web_files),
            ("metrics", now.metrics == started.metrics),
            ("log-format", now.log_format == started.log_format),
        ] {
            if !is_same {
                tracing::warn!(setting, "changed, which takes a restart");
            }
        }
        let settings = serve::fitting(now.settings);
        let Settings { retain_staging, max_connections, max_file } = settings;
        tracing::info!(?retain_staging, max_connections, max_file, "reloaded");
        self.settings.send_replace(settings);
    }

    /// Reads the certificate again, whose name is that of links for browsers.
    fn renew(&self, catalogue: &Catalogue) {
        let Some((address, certificate)) = &self.site else { return };
        certificate.reload();
        if let Err(error) = catalogue.set_site(Some(&certificate.at(*address))) {
            tracing::error!(%error, "links for browsers may have another name than the certificate");
        }
    }
}

fn terminals() -> [bool; 3] {
    [stdin().is_terminal(), stdout().is_terminal(), stderr().is_terminal()]
}

fn is_denied(error: &anyhow::Error) -> bool {
    let denied = error.downcast_ref::<std::io::Error>();
    denied.is_some_and(|error| error.kind() == ErrorKind::PermissionDenied)
}
