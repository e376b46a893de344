//! What else a header may say of an entry: whose it is, and its extended attributes. On the wire they are extensions.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{DecodeError, Extension, codec, limits};

/// The tag of [`Owner`].
const OWNER: u16 = 1;

/// The tag of [`Xattrs`].
const XATTRS: u16 = 2;

/// Attributes that are kept only where that is asked for. None says nothing about one, not that there is none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attributes {
    /// Whose it is.
    pub owner: Option<Owner>,
    /// Its extended attributes, all that its sender keeps.
    pub xattrs: Option<Xattrs>,
}

/// Which of them are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Wants {
    /// Owners.
    pub owner: bool,
    /// Extended attributes.
    pub xattrs: bool,
    /// Which names are of one file.
    pub hard_links: bool,
}

impl Wants {
    /// Whether any attributes are.
    pub fn attributes(self) -> bool {
        self.owner || self.xattrs
    }
}

/// The user and the group that an entry belongs to. Names are bytes, and say more than numbers: another machine may know
/// the same people by other numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The user's number on the machine that the entry is from.
    pub uid: u32,
    /// The group's.
    pub gid: u32,
    /// What that machine calls the user, if it has a name for it.
    pub user: Option<Vec<u8>>,
    /// And the group.
    pub group: Option<Vec<u8>>,
}

/// Extended attributes: names with values, in the order of the names, each once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Xattrs(Vec<(Vec<u8>, Vec<u8>)>);

/// Attributes that no header can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AttributeError {
    /// The number that means nobody, or a name that is empty, too long or has a NUL in it.
    #[error("a user or group that cannot be")]
    Owner,
    /// A name that is empty, too long, has a NUL in it or stands twice.
    #[error("an extended attribute's name that cannot be")]
    Name,
    /// More than [`limits::XATTRS`], or more bytes than the extensions of a header may have.
    #[error(
        "it has more than 256 extended attributes, or more than 48 KiB of them, which is more than can be sent"
    )]
    TooMany,
}

impl Attributes {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        *self == Attributes::default()
    }

    /// Those that are asked for.
    pub fn only(self, wants: Wants) -> Self {
        Attributes { owner: self.owner.filter(|_| wants.owner), xattrs: self.xattrs.filter(|_| wants.xattrs) }
    }

    /// These, and where they say nothing, what others say.
    pub fn or(self, others: Self) -> Self {
        Attributes { owner: self.owner.or(others.owner), xattrs: self.xattrs.or(others.xattrs) }
    }

    /// Whether others say the same where these say anything.
    pub fn are_in(&self, others: &Self) -> bool {
        (self.owner.is_none() || self.owner == others.owner)
            && (self.xattrs.is_none() || self.xattrs == others.xattrs)
    }

    /// Whether they fit into a header, whatever else it says.
    pub fn check_size(&self) -> Result<(), AttributeError> {
        let bytes: usize = self.extensions().iter().map(Extension::cost).sum();
        if bytes > limits::EXTENSION_BYTES { Err(AttributeError::TooMany) } else { Ok(()) }
    }

    pub(crate) fn extensions(&self) -> Vec<Extension> {
        let owner = self.owner.as_ref().map(|owner| Extension::of(OWNER, owner));
        let xattrs = self.xattrs.as_ref().map(|xattrs| Extension::of(XATTRS, xattrs));
        owner.into_iter().chain(xattrs).collect()
    }

    /// Takes an extension that speaks of them; gives back one that does not. Of several the first counts.
    pub(crate) fn take(&mut self, extension: Extension) -> Result<Option<Extension>, DecodeError> {
        match extension.tag {
            OWNER => {
                let owner = codec::decode(&extension.value)?;
                self.owner.get_or_insert(owner);
            }
            XATTRS => {
                let xattrs = codec::decode(&extension.value)?;
                self.xattrs.get_or_insert(xattrs);
            }
            _ => return Ok(Some(extension)),
        }
        Ok(None)
    }
}

impl Owner {
    /// Checks numbers and names.
    pub fn new(
        uid: u32,
        gid: u32,
        user: Option<Vec<u8>>,
        group: Option<Vec<u8>>,
    ) -> Result<Self, AttributeError> {
        let is_name = |name: &Vec<u8>| is_name(name, limits::ACCOUNT);
        // To the kernel this is nobody: "leave it as it is".
        let are_numbers = uid != u32::MAX && gid != u32::MAX;
        match are_numbers && user.iter().chain(&group).all(is_name) {
            true => Ok(Owner { uid, gid, user, group }),
            false => Err(AttributeError::Owner),
        }
    }
}

impl Xattrs {
    /// Checks the names, and brings them into their order.
    pub fn new(mut xattrs: Vec<(Vec<u8>, Vec<u8>)>) -> Result<Self, AttributeError> {
        if xattrs.len() > limits::XATTRS {
            return Err(AttributeError::TooMany);
        }
        xattrs.sort_unstable();
        let is_twice = xattrs.windows(2).any(|pair| pair[0].0 == pair[1].0);
        match !is_twice && xattrs.iter().all(|(name, _)| is_name(name, limits::NAME)) {
            true => Ok(Xattrs(xattrs)),
            false => Err(AttributeError::Name),
        }
    }

    /// Each with its value.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(name, value)| (&name[..], &value[..]))
    }

    /// The value under a name.
    pub fn find(&self, name: &[u8]) -> Option<&[u8]> {
        self.iter().find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    /// As they are said in a header, which serves for writing them down, too.
    pub fn to_bytes(&self) -> Vec<u8> {
        Extension::of(XATTRS, self).value
    }

    /// What was written down.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode(bytes)
    }
}

fn is_name(name: &[u8], most: usize) -> bool {
    (1..=most).contains(&name.len()) && !name.contains(&0)
}

/// Bytes, at most so many.
struct Bounded<const MOST: usize>(Vec<u8>);

impl<const MOST: usize> Serialize for Bounded<MOST> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de, const MOST: usize> Deserialize<'de> for Bounded<MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        codec::byte_string(deserializer, MOST).map(Bounded)
    }
}

type Name = Option<Bounded<{ limits::ACCOUNT }>>;

impl Serialize for Owner {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let name = |name: &Option<Vec<u8>>| -> Name { name.clone().map(Bounded) };
        (self.uid, self.gid, name(&self.user), name(&self.group)).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Owner {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (uid, gid, user, group) = <(u32, u32, Name, Name)>::deserialize(deserializer)?;
        Owner::new(uid, gid, user.map(|it| it.0), group.map(|it| it.0)).map_err(D::Error::custom)
    }
}

type Xattr = (Bounded<{ limits::NAME }>, Bounded<{ limits::EXTENSION_BYTES }>);

impl Serialize for Xattrs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bounded =
            |(name, value): &(Vec<u8>, Vec<u8>)| -> Xattr { (Bounded(name.clone()), Bounded(value.clone())) };
        self.0.iter().map(bounded).collect::<Vec<_>>().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Xattrs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let xattrs: Vec<Xattr> = codec::list::<{ limits::XATTRS }, _, _>(deserializer)?;
        let xattrs = xattrs.into_iter().map(|(Bounded(name), Bounded(value))| (name, value)).collect();
        Xattrs::new(xattrs).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_not_made() {
        let name = |length: usize| Some(vec![b'n'; length]);
        assert!(Owner::new(0, 0, name(255), name(1)).is_ok());
        for bad in [
            Owner::new(u32::MAX, 0, None, None),
            Owner::new(0, u32::MAX, None, None),
            Owner::new(0, 0, name(0), None),
            Owner::new(0, 0, None, name(256)),
            Owner::new(0, 0, Some(b"a\0b".to_vec()), None),
        ] {
            assert_eq!(bad, Err(AttributeError::Owner));
        }
        let named =
            |names: &[&[u8]]| Xattrs::new(names.iter().map(|name| (name.to_vec(), Vec::new())).collect());
        assert_eq!(named(&[b"b", b"a"]), named(&[b"a", b"b"]));
        for bad in [&[&b""[..]][..], &[b"a", b"b", b"a"], &[b"a\0"], &[&[b'n'; 256]]] {
            assert_eq!(named(bad), Err(AttributeError::Name));
        }
        let many = |count: usize| {
            Xattrs::new((0..count).map(|number| (number.to_string().into_bytes(), Vec::new())).collect())
        };
        assert!(many(limits::XATTRS).is_ok());
        assert_eq!(many(limits::XATTRS + 1), Err(AttributeError::TooMany));
    }

    #[test]
    fn what_fits_no_header_is_known_before_it_is_sent() {
        let of = |length: usize| {
            let xattrs = Xattrs::new(vec![(b"user.x".to_vec(), vec![7; length])]).ok();
            Attributes { xattrs, ..Attributes::default() }
        };
        // A count, a name with its length, a length of three bytes; and what each extension costs.
        let most = limits::EXTENSION_BYTES - (1 + 7 + 3) - 8;
        assert_eq!(of(most).check_size(), Ok(()));
        assert_eq!(of(most + 1).check_size(), Err(AttributeError::TooMany));
    }
}
