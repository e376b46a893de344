//! What all of the house shares: sessions, browsers and whoever else works for clients.

use std::{collections::HashMap, sync::Arc};

use ferry_proto::Put;
use ferry_session::{Buffers, Room};
use ferry_store::{Cut, LocalStore, Terms, Uploads, source::Shelf};
use tokio::{runtime::Handle, sync::watch};

use crate::{
    catalogue::{Catalogue, Client, ClientId, Standing},
    config::Settings,
    giving::Givings,
    health::Counts,
    seats::Seats,
    shares::Shares,
};

/// See the module.
pub(crate) struct House {
    pub(crate) uploads: Uploads<LocalStore>,
    pub(crate) catalogue: Arc<Catalogue>,
    /// Threads that look clients up.
    pub(crate) door: Handle,
    pub(crate) room: Room,
    pub(crate) buffers: Buffers,
    pub(crate) name: String,
    pub(crate) settings: watch::Receiver<Settings>,
    pub(crate) seats: Arc<Seats>,
    /// The inbox, for those who read.
    pub(crate) shelf: Shelf,
    pub(crate) readers: Arc<Shares>,
    pub(crate) givings: Givings,
    /// What every client may do; it changes while the server runs, and is half a second old.
    pub(crate) standings: watch::Receiver<HashMap<ClientId, Standing>>,
    pub(crate) counts: Arc<Counts>,
}

impl House {
    /// Under which conditions a client puts files.
    pub(crate) fn terms(&self, client: &Client, put: Put, cut: Cut) -> Terms {
        Terms {
            client: client.name.clone(),
            folder: client.grant.folder.clone(),
            overwrite: client.grant.overwrite,
            conflict: put.on_conflict,
            dry_run: put.dry_run,
            digest: put.digest,
            upload: None,
            asks_ahead: true,
            max_file: self.settings.borrow().max_file,
            quota: client.grant.quota,
            cut,
            meter: Arc::default(),
        }
    }
}
