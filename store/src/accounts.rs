//! What this machine calls its users and groups: by its own files, so that nobody else is asked while files wait.

use std::{collections::HashMap, fs, io::ErrorKind, path::Path};

use ferry_proto::Owner;

/// See the module. A user whom only a directory service knows has a number, and no name.
#[derive(Debug, Default)]
pub struct Accounts {
    users: Names,
    groups: Names,
}

#[derive(Debug, Default)]
struct Names {
    by_number: HashMap<u32, Vec<u8>>,
    by_name: HashMap<Vec<u8>, u32>,
}

impl Accounts {
    /// As they are now.
    pub fn of_this_machine() -> Self {
        Accounts { users: Names::of(Path::new("/etc/passwd")), groups: Names::of(Path::new("/etc/group")) }
    }

    /// An owner by number, with the names that are known here.
    pub(crate) fn owner(&self, uid: u32, gid: u32) -> Option<Owner> {
        let name = |names: &Names, number| names.by_number.get(&number).cloned();
        let (user, group) = (name(&self.users, uid), name(&self.groups, gid));
        Owner::new(uid, gid, user, group).or_else(|_| Owner::new(uid, gid, None, None)).ok()
    }

    /// The same people here: by their names if there are such, else by their numbers, which is all that is said of them then.
    pub fn here(&self, owner: Owner) -> Owner {
        let number = |names: &Names, name: Option<Vec<u8>>| names.by_name.get(&name?).copied();
        Owner {
            uid: number(&self.users, owner.user).unwrap_or(owner.uid),
            gid: number(&self.groups, owner.group).unwrap_or(owner.gid),
            user: None,
            group: None,
        }
    }
}

impl Names {
    fn of(file: &Path) -> Self {
        match fs::read(file) {
            Ok(text) => Names::parse(&text),
            Err(error) => {
                if error.kind() != ErrorKind::NotFound {
                    tracing::warn!(file = %file.display(), %error, "owners have no names");
                }
                Names::default()
            }
        }
    }

    /// `name:anything:number:…`, a line for each. Of several the first counts, as it does for the system.
    fn parse(text: &[u8]) -> Self {
        let mut names = Names::default();
        for line in text.split(|&byte| byte == b'\n') {
            let mut fields = line.split(|&byte| byte == b':');
            let (Some(name), Some(number)) = (fields.next(), fields.nth(1)) else { continue };
            let number = std::str::from_utf8(number).ok().and_then(|number| number.parse().ok());
            let Some(number) = number.filter(|&number: &u32| number != u32::MAX && !name.is_empty()) else {
                continue;
            };
            names.by_number.entry(number).or_insert_with(|| name.to_vec());
            names.by_name.entry(name.to_vec()).or_insert(number);
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_known_by_their_names_and_else_by_their_numbers() {
        let accounts = Accounts {
            users: Names::parse(b"root:x:0:0:root:/root:/bin/sh\nmia:x:1001:1001::/home/mia:\ntoor:x:0:0\n\n:x:7\nodd:x:minus\n"),
            groups: Names::parse(b"root:x:0:\nstaff:x:50:mia,ben\n"),
        };
        let owner = |uid, gid, user: Option<&str>, group: Option<&str>| {
            Owner::new(uid, gid, user.map(Into::into), group.map(Into::into)).unwrap()
        };
        assert_eq!(accounts.owner(0, 50).unwrap(), owner(0, 50, Some("root"), Some("staff")));
        assert_eq!(accounts.owner(7, 7).unwrap(), owner(7, 7, None, None));
        assert_eq!(accounts.owner(u32::MAX, 0), None);
        let here = |uid, gid, user, group| {
            let here = accounts.here(owner(uid, gid, user, group));
            (here.uid, here.gid)
        };
        assert_eq!(here(500, 20, Some("mia"), Some("staff")), (1001, 50));
        assert_eq!(here(500, 20, Some("ben"), None), (500, 20));
        assert_eq!(here(1, 1, Some("toor"), None), (0, 1));
    }
}
