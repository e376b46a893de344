//! The folders of the server, and what lives in its state: the identity and the catalogue.

use std::{
    fs::DirBuilder,
    io::ErrorKind,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::Path,
};

use anyhow::{Context, bail};
use ferry_session::identity::Identity;
use ferry_store::{LocalStore, StoreError};

use crate::{Config, catalogue::Catalogue};

/// The identity, in the state folder.
const KEY: &str = "identity.key";

/// What lives in the state folder.
pub(crate) struct State {
    pub(crate) identity: Identity,
    pub(crate) catalogue: Catalogue,
    /// The key is new, and there are clients who know another one.
    pub(crate) has_lost_its_key: bool,
}

/// What comes of a key that is new where there are clients.
pub(crate) const LOST_KEY: &str = "the server's key was gone, so it has a new one: none of its clients will trust it before it is paired anew";

/// Makes the root and the state folder where they are missing.
pub(crate) fn make_folders(config: &Config) -> anyhow::Result<()> {
    make_root(&config.root)?;
    make_private(&config.state)?;
    refuse_of_others(&config.state)?;
    refuse_within_reach(config)
}

/// Makes the folders, and opens what is in that of the state. It takes no lock, so that it works beside a running
/// server.
pub(crate) fn open(config: &Config) -> anyhow::Result<State> {
    make_folders(config)?;
    let had_key = has_key(config);
    let identity = Identity::load_or_create(&config.state.join(KEY))?;
    let catalogue = Catalogue::open(&config.state.join("catalogue.db"))?;
    let has_lost_its_key = !had_key && catalogue.has_clients()?;
    Ok(State { identity, catalogue, has_lost_its_key })
}

/// The same, where there is a server already. What only looks must not make one by mistake: it would answer for it.
pub(crate) fn open_existing(config: &Config) -> anyhow::Result<State> {
    if !has_key(config) {
        bail!(
            "there is no server that keeps its state in {}: give --root and --state (or --config) as ferryd has them",
            config.state.display()
        );
    }
    open(config)
}

/// A server that is being made must not be another one of a root that has one.
pub(crate) fn refuse_beside_another(config: &Config) -> anyhow::Result<()> {
    let is_served = || matches!(LocalStore::open(&config.root), Err(StoreError::InUse));
    if !has_key(config) && config.root.is_dir() && is_served() {
        bail!(
            "a ferryd runs that saves into {}, and it does not keep its state in {}: give --state (or --config) as that one \
             has it",
            config.root.display(),
            config.state.display()
        );
    }
    Ok(())
}

fn has_key(config: &Config) -> bool {
    config.state.join(KEY).symlink_metadata().is_ok()
}

/// What one user makes in another's folder, the other cannot use; and what the other can change, is not this one's.
fn refuse_of_others(state: &Path) -> anyhow::Result<()> {
    let owner = state.metadata().with_context(|| format!("cannot look at {}", state.display()))?.uid();
    let this = rustix::process::geteuid().as_raw();
    if owner != this {
        bail!(
            "{} belongs to the user with the number {owner}, and not to this one, {this}: run this as that user \
             (`sudo -u '#{owner}' ferryd …`)",
            state.display()
        );
    }
    Ok(())
}

/// A state folder in the inbox, elsewhere than in `.ferry`, could be overwritten by any client.
fn refuse_within_reach(config: &Config) -> anyhow::Result<()> {
    let real =
        |path: &Path| path.canonicalize().with_context(|| format!("cannot resolve {}", path.display()));
    let (root, state) = (real(&config.root)?, real(&config.state)?);
    if state.starts_with(&root) && !state.starts_with(root.join(".ferry")) {
        bail!("{} is in the inbox, where clients write: choose a --state elsewhere", config.state.display());
    }
    Ok(())
}

fn make_root(root: &Path) -> anyhow::Result<()> {
    match std::fs::create_dir(root) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists && root.is_dir() => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => bail!("{} is not a folder", root.display()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let parent =
                root.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            bail!(
                "{} cannot be made because {} does not exist: make that first, or choose another --root",
                root.display(),
                parent.display()
            )
        }
        Err(error) => Err(error).with_context(|| format!("cannot make {}", root.display())),
    }
}

/// Whether a root holds nothing but what is the server's own.
pub(crate) fn is_empty(root: &Path) -> anyhow::Result<bool> {
    let mut names = root.read_dir().with_context(|| format!("cannot look into {}", root.display()))?;
    Ok(names.all(|entry| entry.is_ok_and(|entry| entry.file_name() == ".ferry")))
}

fn make_private(folder: &Path) -> anyhow::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(|| {
        let folder = folder.display();
        format!("cannot make {folder}: is it writable for this user? (--state puts it elsewhere)")
    })
}
