//! What was asked for, and where it goes: a server offers nothing else, and nothing goes anywhere else.

use std::{
    collections::HashMap,
    ffi::OsStr,
    hash::{BuildHasher, RandomState},
    os::unix::ffi::OsStrExt,
    sync::{Arc, Mutex},
};

use ferry_proto::{Attributes, Code, Header, Kind, Missing, Mode, RelPath, Violation, Wants};
use ferry_session::{
    SessionError,
    receive::{Admitted, Gate},
};
use ferry_store::{Accounts, lock};

use crate::choosing::Rules;

/// Something that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// On the server; nothing is everything.
    pub(crate) path: Option<RelPath>,
    /// What it is called here; without a name what is in it goes to the top level.
    pub(crate) name: Option<RelPath>,
    /// Only what is in it was named.
    pub(crate) is_contents: bool,
}

/// Is told what does not come, by its name on the server, and why.
pub(crate) trait Doorman: Send + Sync + 'static {
    /// It cannot come.
    fn missing(&self, path: Option<&RelPath>, code: Code, detail: &str);

    /// It was not chosen.
    fn left_out(&self, header: &Header, why: String);

    /// It is offered, under this name here: something has to become of it.
    fn offered(&self, name: &RelPath);

    /// Nothing will become of it any more.
    fn withdrawn(&self, name: &RelPath);
}

/// All of it, at the gate of one folder.
pub(crate) struct List {
    wanted: Vec<Wanted>,
    /// Which of them the server has spoken of.
    answered: Mutex<Vec<bool>>,
    /// Which of them files here came from, by a hash of their names, where they may meet.
    origins: Option<Mutex<HashMap<u64, usize>>>,
    hashing: RandomState,
    rules: Arc<Rules>,
    /// What files get back beside content, times and modes.
    wants: Wants,
    /// Who is who here, where owners are given back.
    accounts: Accounts,
    doorman: Arc<dyn Doorman>,
}

impl List {
    pub(crate) fn new(
        wanted: Vec<Wanted>,
        rules: Arc<Rules>,
        wants: Wants,
        doorman: Arc<dyn Doorman>,
    ) -> Self {
        let may_meet = wanted.len() > 1 && wanted.iter().any(|wanted| wanted.name.is_none());
        List {
            answered: Mutex::new(vec![false; wanted.len()]),
            origins: may_meet.then(Mutex::default),
            hashing: RandomState::new(),
            wants,
            accounts: if wants.owner { Accounts::of_this_machine() } else { Accounts::default() },
            wanted,
            rules,
            doorman,
        }
    }

    /// As it is said to the server.
    pub(crate) fn paths(&self) -> Vec<RelPath> {
        let paths: Vec<_> = self.wanted.iter().filter_map(|wanted| wanted.path.clone()).collect();
        if paths.len() == self.wanted.len() { paths } else { Vec::new() }
    }

    /// What the server has not said a word about.
    pub(crate) fn unanswered(&self) -> Vec<RelPath> {
        let answered = lock(&self.answered);
        let silent = self.wanted.iter().zip(&*answered).filter(|(_, answered)| !**answered);
        silent.filter_map(|(wanted, _)| wanted.path.clone()).collect()
    }

    fn find(&self, path: &RelPath) -> Option<(usize, &Wanted)> {
        let (number, wanted) = self.wanted.iter().enumerate().find(|(_, wanted)| wanted.holds(path))?;
        if wanted.path.as_ref() == Some(path) {
            lock(&self.answered)[number] = true;
        }
        Some((number, wanted))
    }

    /// What another name of the same file is called here.
    fn name_of(&self, other: &RelPath) -> Result<Option<RelPath>, SessionError> {
        let wanted = self.wanted.iter().find(|wanted| wanted.holds(other));
        let wanted = wanted.ok_or(Violation("another name of what was not asked for"))?;
        Ok(wanted.name_here(other).ok().flatten())
    }

    /// As far as they were, whatever the server says; the owner as who he is here.
    fn asked_for(&self, attributes: Attributes) -> Attributes {
        let Attributes { owner, xattrs } = attributes.only(self.wants);
        Attributes { owner: owner.map(|owner| self.accounts.here(owner)), xattrs }
    }

    /// Whether something else that was asked for has become this already.
    fn is_twin(&self, number: usize, header: &Header) -> bool {
        let Some(origins) = self.origins.as_ref().filter(|_| header.kind != Kind::Folder) else {
            return false;
        };
        *lock(origins).entry(self.hashing.hash_one(header.path.as_bytes())).or_insert(number) != number
    }
}

impl Wanted {
    /// Whether one is part of the other there, or one would become the other here.
    pub(crate) fn meets(&self, other: &Wanted) -> bool {
        let holds = |outer: &Wanted, inner: &Wanted| match &inner.path {
            Some(path) => outer.holds(path),
            None => outer.path.is_none(),
        };
        holds(self, other) || holds(other, self) || (self.name.is_some() && self.name == other.name)
    }

    fn holds(&self, path: &RelPath) -> bool {
        self.path.as_ref().is_none_or(|wanted| path == wanted || path.is_below(wanted))
    }

    /// What an entry is called below it there.
    fn below<'a>(&self, path: &'a RelPath) -> &'a [u8] {
        let Some(wanted) = &self.path else { return path.as_bytes() };
        let rest = &path.as_bytes()[wanted.as_bytes().len()..];
        rest.strip_prefix(b"/").unwrap_or(rest)
    }

    /// Why an entry is not taken.
    fn leave_out(&self, header: &Header, rules: &Arc<Rules>) -> Option<String> {
        let name = self.path.as_ref().filter(|_| !self.is_contents);
        let mut chooser = rules.elsewhere(name.map(|path| OsStr::from_bytes(path.name())));
        let out = chooser.by_whole_name(self.below(&header.path), header.kind == Kind::Folder);
        out.or_else(|| chooser.by_header(header))
    }

    /// What an entry of the server's is called here; `None` for a folder that is not made itself.
    fn name_here(&self, path: &RelPath) -> Result<Option<RelPath>, ferry_proto::PathError> {
        let below = Some(self.below(path)).filter(|below| !below.is_empty());
        match (&self.name, below) {
            (Some(name), None) => Ok(Some(name.clone())),
            (Some(name), Some(below)) => name.join(below).map(Some),
            (None, Some(below)) => RelPath::new(below).map(Some),
            (None, None) => Ok(None),
        }
    }
}

impl Gate for List {
    fn admit(&self, mut header: Header) -> Result<Admitted, SessionError> {
        let (number, wanted) =
            self.find(&header.path).ok_or(Violation("an offer of what was not asked for"))?;
        if let Some(why) = wanted.leave_out(&header, &self.rules) {
            self.doorman.left_out(&header, why);
            return Ok(Admitted::Refused(Code::NotChosen, String::new()));
        }
        let asked = header.path.clone();
        let refuse = |code: Code, detail: &str| {
            self.doorman.missing(Some(&asked), code, detail);
            Ok(Admitted::Refused(code, detail.to_owned()))
        };
        *header.attributes = self.asked_for(std::mem::take(&mut *header.attributes));
        // What lets a program run as somebody else is given back only with the owner that it is for.
        if header.attributes.owner.is_none() {
            header.mode = header.mode.map(|mode| Mode::from_bits(mode.bits() & 0o777));
        }
        header.same_as = match header.same_as.take().filter(|_| self.wants.hard_links) {
            None => None,
            Some(other) => self.name_of(&other)?,
        };
        match wanted.name_here(&asked) {
            Ok(Some(name)) => {
                header.path = name;
                if self.is_twin(number, &header) {
                    let name = header.path;
                    return refuse(
                        Code::Exists,
                        &format!("something else of this run has become {name} already"),
                    );
                }
                self.doorman.offered(&header.path);
                Ok(Admitted::In(header))
            }
            Ok(None) if header.kind == Kind::Folder => Ok(Admitted::AsItIs),
            Ok(None) => refuse(Code::KindConflict, "it is no folder, so there is nothing in it"),
            Err(error) => refuse(Code::BadName, &error.to_string()),
        }
    }

    fn missing(&self, Missing { path, code, detail }: Missing) -> Result<(), SessionError> {
        if let Some(path) = &path {
            let missed = Violation("something is missing that was not asked for");
            let (_, wanted) = self.find(path).ok_or(missed)?;
            if let Ok(Some(name)) = wanted.name_here(path) {
                self.doorman.withdrawn(&name);
            }
        }
        self.doorman.missing(path.as_ref(), code, &detail);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Choice;

    /// Remembers what is missing.
    #[derive(Default)]
    struct Notes(Mutex<Vec<(String, Code)>>);

    impl Doorman for Notes {
        fn missing(&self, path: Option<&RelPath>, code: Code, _: &str) {
            lock(&self.0).push((path.unwrap().to_string(), code));
        }

        fn left_out(&self, _: &Header, _: String) {}

        fn offered(&self, _: &RelPath) {}

        fn withdrawn(&self, _: &RelPath) {}
    }

    fn everything() -> Arc<Rules> {
        Rules::new(Choice::default()).unwrap()
    }

    fn path(text: &str) -> RelPath {
        RelPath::new(text).unwrap()
    }

    fn list(wanted: &[(&str, Option<&str>)]) -> List {
        let wanted = wanted.iter().map(|(asked, name)| Wanted {
            path: (!asked.is_empty()).then(|| path(asked)),
            name: name.map(path),
            is_contents: name.is_none(),
        });
        List::new(wanted.collect(), everything(), Wants::default(), Arc::new(Notes::default()))
    }

    /// Where a file, or a folder, of this name goes.
    fn goes(list: &List, name: &str, kind: Kind) -> Result<String, String> {
        match list.admit(Header::new(path(name), kind)) {
            Ok(Admitted::In(header)) => Ok(header.path.to_string()),
            Ok(Admitted::AsItIs) => Ok(".".into()),
            Ok(Admitted::Refused(code, _)) => Err(format!("{code:?}")),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn hostile_04_what_was_not_asked_for_is_not_let_in() {
        let list = list(&[("a/b", Some("b")), ("c", None)]);
        assert_eq!(goes(&list, "a/b", Kind::Folder).unwrap(), "b");
        assert_eq!(goes(&list, "a/b/x/y", Kind::File).unwrap(), "b/x/y");
        assert_eq!(goes(&list, "c/x", Kind::File).unwrap(), "x");
        assert_eq!(goes(&list, "c", Kind::Folder).unwrap(), ".");
        for other in ["a", "a/c", "a/bb", "cc", "b", "x"] {
            assert!(goes(&list, other, Kind::File).unwrap_err().contains("not asked for"), "{other}");
            let missing =
                Missing { path: Some(path(other)), code: Code::SourceVanished, detail: String::new() };
            assert!(list.missing(missing).is_err(), "{other}");
        }
    }

    #[test]
    fn hostile_03_nothing_goes_into_the_folder_that_is_ferrys_own() {
        let everything = list(&[("", None)]);
        assert_eq!(goes(&everything, "photos/1", Kind::File).unwrap(), "photos/1");
        let below = list(&[("backup", None)]);
        for name in ["backup/.ferry/lock", "backup/.FERRY", "backup/.Ferry/staging/x"] {
            assert_eq!(goes(&below, name, Kind::File).unwrap_err(), "BadName", "{name}");
        }
        assert_eq!(goes(&below, "backup/x/.ferry/lock", Kind::File).unwrap(), "x/.ferry/lock");
    }

    #[test]
    fn what_the_server_says_nothing_about_is_known() {
        let notes = Arc::new(Notes::default());
        let wanted =
            ["a", "b", "c", "d"].map(|name| Wanted { path: Some(path(name)), name: None, is_contents: true });
        let list = List::new(wanted.into(), everything(), Wants::default(), notes.clone());
        list.admit(Header::new(path("a"), Kind::Folder)).unwrap();
        list.admit(Header::new(path("b/x"), Kind::File)).unwrap();
        list.missing(Missing { path: Some(path("c")), code: Code::SourceVanished, detail: String::new() })
            .unwrap();
        assert_eq!(list.unanswered(), [path("b"), path("d")]);
        assert_eq!(*lock(&notes.0), [("c".to_owned(), Code::SourceVanished)]);
        assert_eq!(goes(&list, "d", Kind::File).unwrap_err(), "KindConflict");
    }
}
