//! What else there is to say of a source: whose it is, and its extended attributes.

use std::io;

use ferry_proto::{Attributes, Kind, Wants};
use rustix::fs::{OFlags, fstat};

use super::{Identity, Item, Links, SourceError};
use crate::{
    Accounts,
    xattrs::{self, XattrError},
};

/// Reads what of that is wanted.
#[derive(Debug)]
pub struct AttributeReader {
    wants: Wants,
    /// How sources that are links are opened.
    links: Links,
    accounts: Accounts,
}

impl AttributeReader {
    /// For sources here.
    pub fn new(wants: Wants, links: Links) -> Self {
        let accounts = if wants.owner { Accounts::of_this_machine() } else { Accounts::default() };
        AttributeReader { wants, links, accounts }
    }

    /// What a source has. [`SourceError::Changed`] if it is another version than its item speaks of: then header and body
    /// would not be of the same file.
    pub fn read(&self, item: &Item) -> Result<Attributes, SourceError> {
        if !self.wants.attributes() {
            return Ok(Attributes::default());
        }
        // By a descriptor that needs no right to read, and that a link's own can be.
        let source = item.source.open_as(OFlags::PATH, self.links)?;
        let stat = fstat(&source).map_err(io::Error::from)?;
        let now = Identity::of_stat(&stat);
        let is_same = match item.kind {
            // A folder changes with what is in it.
            Kind::Folder => (now.device, now.inode) == (item.identity.device, item.identity.inode),
            Kind::File | Kind::Symlink(_) => now == item.identity,
        };
        if !is_same {
            return Err(SourceError::Changed);
        }
        let owner = if self.wants.owner { self.accounts.owner(stat.st_uid, stat.st_gid) } else { None };
        let xattrs = self.wants.xattrs.then(|| xattrs::read(&source)).transpose();
        let attributes = Attributes {
            owner,
            xattrs: xattrs.map_err(|error| match error {
                XattrError::System(errno) => SourceError::Io(errno.into()),
                XattrError::Attribute(error) => error.into(),
            })?,
        };
        attributes.check_size()?;
        Ok(attributes)
    }
}
