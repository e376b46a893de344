//! The folders of the server, and what lives in its state: the identity and the catalogue.

use std::{fs::DirBuilder, io::ErrorKind, os::unix::fs::DirBuilderExt, path::Path};

use anyhow::{Context, bail};
use ferry_session::identity::Identity;

use crate::{Config, catalogue::Catalogue};

/// What lives in the state folder.
pub(crate) struct State {
    pub(crate) identity: Identity,
    pub(crate) catalogue: Catalogue,
}

/// Makes the root and the state folder where they are missing.
pub(crate) fn make_folders(config: &Config) -> anyhow::Result<()> {
    make_root(&config.root)?;
    make_private(&config.state)?;
    refuse_within_reach(config)
}

/// Makes the folders, and opens what is in that of the state. It takes no lock, so that it works beside a running
/// server.
pub(crate) fn open(config: &Config) -> anyhow::Result<State> {
    make_folders(config)?;
    let identity = Identity::load_or_create(&config.state.join("identity.key"))?;
    let catalogue = Catalogue::open(&config.state.join("catalogue.db"))?;
    Ok(State { identity, catalogue })
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

fn make_private(folder: &Path) -> anyhow::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(|| {
        let folder = folder.display();
        format!("cannot make {folder}: is it writable for this user? (--state puts it elsewhere)")
    })
}
