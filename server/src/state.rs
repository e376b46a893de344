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

/// Makes the root and the state folder where they are missing, and opens what is in the latter. It takes no lock,
/// so that it works beside a running server.
pub(crate) fn open(config: &Config) -> anyhow::Result<State> {
    make_root(&config.root)?;
    make_private(&config.state)?;
    let identity = Identity::load_or_create(&config.state.join("identity.key"))?;
    let catalogue = Catalogue::open(&config.state.join("catalogue.db"))?;
    Ok(State { identity, catalogue })
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
