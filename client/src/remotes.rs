//! The servers that are known here, in `config.toml`.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use ferry_proto::{Fingerprint, Invite, announcement::Prefix, limits};
use serde::{Deserialize, Serialize};

use crate::exit::Failure;

/// A server as the client knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Remote {
    pub(crate) addresses: Vec<String>,
    #[serde(with = "as_text")]
    pub(crate) fingerprint: Fingerprint,
}

/// All of them, and the file that they are in.
#[derive(Debug)]
pub(crate) struct Remotes {
    path: PathBuf,
    file: File,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct File {
    #[serde(default)]
    remotes: BTreeMap<String, Remote>,
    /// What other versions keep here stays.
    #[serde(flatten)]
    others: BTreeMap<String, toml::Value>,
}

impl Remotes {
    /// Reads them; none if there is no file.
    pub(crate) fn load(path: &Path) -> Result<Self, Failure> {
        let text = match fs::read_to_string(path) {
            Ok(text) => {
                refuse_within_reach(path)?;
                text
            }
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(Failure::local(format!("cannot read {}: {error}", path.display()))),
        };
        let file = toml::from_str(&text)
            .map_err(|error| Failure::local(format!("{} is damaged: {error}", path.display())))?;
        Ok(Remotes { path: path.to_owned(), file })
    }

    /// The one with this name.
    pub(crate) fn find(&self, name: &str) -> Option<&Remote> {
        self.file.remotes.get(name)
    }

    /// The one with this key, and its name.
    pub(crate) fn with_key(&self, fingerprint: Fingerprint) -> Option<(&str, &Remote)> {
        let mut all = self.all();
        all.find(|(_, remote)| remote.fingerprint == fingerprint)
    }

    /// The name of one that an announcement with this prefix may be of: a hint, because anybody can announce it.
    pub(crate) fn that_may_be(&self, prefix: Option<&Prefix>) -> Option<&str> {
        let prefix = prefix?;
        self.all().find(|(_, remote)| prefix.fits(remote.fingerprint)).map(|(name, _)| name)
    }

    /// All of them by name.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &Remote)> {
        self.file.remotes.iter().map(|(name, remote)| (name.as_str(), remote))
    }

    /// Keeps the server of an invite, under the name that was asked for or one like what the server calls itself.
    /// Returns the name.
    pub(crate) fn add(
        &mut self,
        invite: &Invite,
        asked: Option<&str>,
        suggested: &str,
    ) -> Result<String, Failure> {
        let remote = Remote { addresses: invite.addresses.clone(), fingerprint: invite.fingerprint };
        let known = self.with_key(invite.fingerprint).map(|(name, _)| name.to_owned());
        if let Some(asked) =
            asked.filter(|asked| self.find(asked).is_some_and(|r| r.fingerprint != invite.fingerprint))
        {
            return Err(Failure::usage(format!(
                "`{asked}` is another server here: choose another name, or `ferry remotes remove {asked}` first"
            )));
        }
        let name = match (asked, known) {
            (Some(asked), known) => {
                if let Some(known) = known.filter(|known| known != asked) {
                    self.file.remotes.remove(&known);
                }
                asked.to_owned()
            }
            (None, Some(known)) => known,
            (None, None) => self.free_name(suggested),
        };
        self.file.remotes.insert(name.clone(), remote);
        self.save()?;
        Ok(name)
    }

    /// Keeps another address of the server with this key, as the best one. Returns its name; none if it is not known.
    pub(crate) fn has_moved(
        &mut self,
        fingerprint: Fingerprint,
        address: &str,
    ) -> Result<Option<String>, Failure> {
        let mut all = self.file.remotes.iter_mut();
        let Some((name, remote)) = all.find(|(_, remote)| remote.fingerprint == fingerprint) else {
            return Ok(None);
        };
        let name = name.clone();
        remote.addresses.retain(|known| known != address);
        remote.addresses.insert(0, address.to_owned());
        remote.addresses.truncate(limits::ADDRESSES);
        self.save()?;
        Ok(Some(name))
    }

    /// Forgets one; false if it was not known.
    pub(crate) fn remove(&mut self, name: &str) -> Result<bool, Failure> {
        let was_known = self.file.remotes.remove(name).is_some();
        if was_known {
            self.save()?;
        }
        Ok(was_known)
    }

    fn free_name(&self, suggested: &str) -> String {
        let clean: String = suggested.chars().filter(|&c| is_name_char(c)).take(64).collect();
        let clean = clean.trim_start_matches('-').to_owned();
        let clean = if clean.is_empty() { "server".to_owned() } else { clean };
        let numbered = (2..).map(|number| format!("{clean}-{number}"));
        let mut names = std::iter::once(clean.clone()).chain(numbered);
        names.find(|name| !self.file.remotes.contains_key(name)).unwrap_or(clean)
    }

    fn save(&self) -> Result<(), Failure> {
        let failed = |error: &dyn std::fmt::Display| {
            Failure::local(format!("cannot write {}: {error}", self.path.display()))
        };
        let text = toml::to_string_pretty(&self.file).map_err(|error| failed(&error))?;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| failed(&error))?;
        let staged = self.path.with_extension(format!("toml.{}", std::process::id()));
        let write = || -> std::io::Result<()> {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&staged)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&staged, &self.path)
        };
        write().map_err(|error| failed(&error))
    }
}

/// Whoever can write the file, or give another one its name, says which servers are trusted.
fn refuse_within_reach(file: &Path) -> Result<(), Failure> {
    for path in file.parent().into_iter().chain([file]) {
        let mode = fs::metadata(path).map(|metadata| metadata.permissions().mode());
        if mode.is_ok_and(|mode| mode & 0o022 != 0) {
            return Err(Failure::local(format!(
                "others can write {}, which says which servers are trusted: take that from them (`chmod go-w`), and \
                 look into it",
                path.display()
            )));
        }
    }
    Ok(())
}

/// Whether a text can be the name of a remote.
pub(crate) fn is_name(text: &str) -> bool {
    // A dash would begin an option.
    !text.is_empty() && !text.starts_with('-') && text.chars().all(is_name_char)
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

mod as_text {
    use ferry_proto::Fingerprint;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(
        fingerprint: &Fingerprint,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(fingerprint)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Fingerprint, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
