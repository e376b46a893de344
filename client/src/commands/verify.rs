//! `ferry verify`: whether the server has what is here, without moving any of it.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::{self, Metadata},
    io::{self, ErrorKind, Read},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use ferry_proto::{Algorithm, Code, Digest, Header, Kind, RelPath, escape};
use ferry_store::{
    lock,
    source::{Change, Found, Identity as Version, Links, Location, Source, SourceError},
};
use serde_json::{Map, Value, json};

use super::{connections::Connections, picking::Picking};
use crate::{
    choosing::{Chooser, Rules},
    config::{Form, Output, Verify},
    dial::Dialer,
    digests::Digests,
    exit::{Exit, Failure},
    listing::{Listing, Look, Question, Wish},
    names::Names,
    output::{self, Direction, Narrator},
    place::{self, SourceArg},
    remotes::Remotes,
};

/// Bytes of a file that are read at a time.
const READ: usize = 256 * 1024;

/// A file that changes while it is read is tried this often.
const ATTEMPTS: usize = 3;

pub(super) fn run(config: Verify) -> Result<Exit, Failure> {
    let mut remotes = Remotes::load(&config.home.config)?;
    let reads_stdin = config.choice.from_file.as_deref() == Some(Path::new("-"));
    let picking = Picking { reads_stdin, quiet: config.quiet };
    let (server, sources) = place::send(config.sources, &remotes, |remotes| picking.pick(remotes))?;
    let rules = Rules::new(config.choice)?;
    rules.check(sources.len())?;
    let sources = trees(sources, &rules)?;
    let (dialer, invite) = Dialer::to(server, &config.home, config.timeout)?;
    let digests = Arc::new(Digests::open(&config.home.state)?);
    let output = Output { form: Form::Silent, quiet: config.quiet, verbose: false, each_sent: false };
    let narrator = Arc::new(Narrator::new(output, Direction::Send, false, None));
    // Each once, and none that is part of another.
    let bases: Option<BTreeSet<RelPath>> = sources.iter().map(|source| source.base.clone()).collect();
    let bases = bases.unwrap_or_default();
    let is_part = |base: &RelPath| bases.iter().any(|other| base.is_below(other));
    let question = Question {
        paths: bases.iter().filter(|base| !is_part(base)).cloned().collect(),
        digest: config.digest,
        recursive: true,
        reread: config.reread,
    };
    let comparing = Arc::new(Comparing {
        sources,
        rules,
        algorithm: config.digest,
        checksum: config.checksum,
        digests: digests.clone(),
        seen: Names::default(),
        told: Told { as_json: config.json, quiet: config.quiet, ..Told::default() },
    });
    let here = thread::spawn({
        let comparing = comparing.clone();
        move || comparing.look_here()
    });
    let work = Listing::new(question, comparing.clone());
    let connections =
        Connections { dialer, work, narrator: narrator.clone(), retry: Some(0), timeout: config.timeout };
    let result = connections.run(1, &mut remotes, invite, "interrupted");
    if result.is_ok() {
        let here = here.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        comparing.look_for_missing(here);
    }
    digests.save_or_tell(&narrator);
    result?;
    comparing.told.summary()
}

/// Something here, and where it should be there.
struct Tree {
    root: PathBuf,
    base: Option<RelPath>,
    chooser: Mutex<Chooser>,
    /// Where the entry before was, and whether that is behind a link: the next one is likely to be there too.
    folder: Mutex<(PathBuf, bool)>,
}

fn trees(sources: Vec<SourceArg>, rules: &Arc<Rules>) -> Result<Vec<Tree>, Failure> {
    let tree = |source| match source {
        SourceArg::Tree { root, base } => {
            let chooser = Mutex::new(rules.at(&root));
            Ok(Tree { root, base, chooser, folder: Mutex::default() })
        }
        SourceArg::Stream(..) => Err(Failure::usage("standard input cannot be verified: it is nowhere here")),
    };
    sources.into_iter().map(tree).collect()
}

impl Tree {
    /// Where an entry of the server's should be here, if it belongs to this one. What lies behind a link is not sent.
    fn locate(&self, path: &RelPath) -> Option<PathBuf> {
        let below = match &self.base {
            None => path.as_bytes(),
            Some(base) if base == path => return Some(self.root.clone()),
            Some(base) => path.as_bytes().strip_prefix(base.as_bytes())?.strip_prefix(b"/")?,
        };
        let below = Path::new(OsStr::from_bytes(below));
        (!self.is_behind_a_link(below)).then(|| self.root.join(below))
    }

    fn is_behind_a_link(&self, below: &Path) -> bool {
        let Some(folder) = below.parent().filter(|folder| !folder.as_os_str().is_empty()) else {
            return false;
        };
        let mut last = lock(&self.folder);
        if last.0 != folder {
            let folders = folder.ancestors().filter(|folder| !folder.as_os_str().is_empty());
            let is_behind = folders.map(|folder| self.root.join(folder)).any(|folder| folder.is_symlink());
            *last = (folder.to_owned(), is_behind);
        }
        last.1
    }

    /// Whether it is not among what was chosen: by what is here, or else by what the server says of it.
    fn leaves_out(&self, header: &Header, path: &Path, here: Option<&Metadata>) -> bool {
        let mut chooser = lock(&self.chooser);
        let below = path.strip_prefix(&self.root).unwrap_or(Path::new("")).as_os_str().as_bytes();
        let is_folder = here.map_or(header.kind == Kind::Folder, Metadata::is_dir);
        let by_name = chooser.by_whole_name(below, is_folder);
        let out = by_name.or_else(|| match here {
            None => chooser.by_header(header),
            Some(here) if chooser.is_beyond(here.dev()) => Some(String::new()),
            Some(here) if here.is_file() => {
                let version = Version::of(here);
                chooser.by_file(&Location::of_path(path.to_owned()), version.size, version.modified)
            }
            Some(_) => None,
        });
        out.is_some()
    }
}

/// Compares what the server has with what is here.
struct Comparing {
    sources: Vec<Tree>,
    rules: Arc<Rules>,
    algorithm: Algorithm,
    checksum: bool,
    digests: Arc<Digests>,
    /// What the server has spoken of.
    seen: Names,
    told: Told,
}

impl Look for Comparing {
    fn entry(&self, header: &Header) -> Wish {
        // Several sources may be merged there, and what one of them has under this name, another one may have otherwise.
        let mut found = Ok(Compared::Absent);
        let mut is_left_out = false;
        for source in &self.sources {
            let Some(path) = source.locate(&header.path) else { continue };
            let here = fs::symlink_metadata(&path);
            if source.leaves_out(header, &path, here.as_ref().ok()) {
                is_left_out = true;
                continue;
            }
            let compared = self.compare(header, &path, here);
            if weight(&compared) > weight(&found) {
                found = compared;
            }
        }
        match found {
            Ok(Compared::Unknown) => return Wish::Digest,
            Ok(Compared::Same) => self.told.same(),
            Ok(Compared::Different(why)) => self.told.differs("different", header.path.as_bytes(), why),
            Ok(Compared::Absent) if is_left_out => {}
            Ok(Compared::Absent) => self.told.differs("extra", header.path.as_bytes(), ""),
            Err(error) => self.told.differs("unreadable", header.path.as_bytes(), &error.to_string()),
        }
        self.seen.insert(header.path.as_bytes());
        Wish::Nothing
    }

    fn missing(&self, path: Option<&RelPath>, code: Code, detail: &str) {
        // What is not there is found out by looking for what is here.
        if code != Code::SourceVanished {
            let text = code.explained(detail);
            let name = path.map_or(&b"."[..], |path| path.as_bytes());
            match code {
                Code::DigestMismatch => self.told.differs("different", name, "it is damaged on the server"),
                _ => self.told.differs("unreadable", name, text),
            }
            self.seen.insert(name);
        }
    }
}

/// What is here: the hashes of its names, and what cannot be read.
#[derive(Default)]
struct Here {
    names: Vec<u64>,
    problems: Vec<(PathBuf, SourceError)>,
}

/// What came of a comparison.
enum Compared {
    Same,
    Different(&'static str),
    /// There is nothing here that would be sent under this name.
    Absent,
    /// The server has not told its digest.
    Unknown,
}

/// Which of several comparisons tells more.
fn weight(compared: &Result<Compared, SourceError>) -> u8 {
    match compared {
        Ok(Compared::Absent) => 0,
        Ok(Compared::Same) => 1,
        Ok(Compared::Unknown) => 2,
        Ok(Compared::Different(_)) => 3,
        Err(_) => 4,
    }
}

impl Comparing {
    fn compare(
        &self,
        header: &Header,
        path: &Path,
        here: io::Result<Metadata>,
    ) -> Result<Compared, SourceError> {
        let metadata = match here {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(Compared::Absent);
            }
            here => here?,
        };
        let same = |same: bool, why| Ok(if same { Compared::Same } else { Compared::Different(why) });
        match &header.kind {
            Kind::Folder => same(metadata.is_dir(), "it is no folder here"),
            Kind::Symlink(target) if metadata.is_symlink() => {
                same(fs::read_link(path)?.as_os_str().as_bytes() == target, "it leads elsewhere")
            }
            Kind::Symlink(_) => Ok(Compared::Different("it is no link here")),
            Kind::File if !metadata.is_file() => Ok(Compared::Different("it is no file here")),
            Kind::File if header.size != Some(metadata.len()) => {
                Ok(Compared::Different("its size is another one"))
            }
            Kind::File => match header.digest {
                None => Ok(Compared::Unknown),
                Some(theirs) => {
                    let ours = match self.known(&Version::of(&metadata)) {
                        Some(known) => known,
                        None => self.digest(path)?,
                    };
                    same(ours == theirs, "its content is another one")
                }
            },
        }
    }

    fn known(&self, version: &Version) -> Option<Digest> {
        self.digests.find(version, self.algorithm).filter(|_| !self.checksum)
    }

    /// The digest of a file here, which is read.
    fn digest(&self, path: &Path) -> Result<Digest, SourceError> {
        let location = Location::of_path(path.to_owned());
        for _ in 0..ATTEMPTS {
            let mut source = Source::open(&location, Links::Keep)?;
            let version: Version = source.identity();
            let mut hasher = self.algorithm.hasher();
            let mut buffer = vec![0; READ];
            loop {
                match source.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(read) => hasher.update(&buffer[..read]),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error.into()),
                }
            }
            if source.change_since(&version)? == Change::None {
                let digest = hasher.finish();
                self.digests.learn(&version, digest);
                return Ok(digest);
            }
        }
        Err(SourceError::Changed)
    }

    /// Looks at what is here and would be sent, while the server tells what it has.
    fn look_here(&self) -> Here {
        let mut here = Here::default();
        self.walk(|found| match found {
            Ok(path) => here.names.push(self.seen.hash(path.as_bytes())),
            Err(problem) => here.problems.push(problem),
        });
        here
    }

    /// Tells of what is here and was not told of by the server.
    fn look_for_missing(&self, Here { names, problems }: Here) {
        if names.iter().any(|&name| !self.seen.has(name)) {
            self.walk(|found| {
                if let Ok(path) = found
                    && self.seen.insert(path.as_bytes())
                {
                    self.told.differs("missing", path.as_bytes(), "");
                }
            });
        }
        for (path, error) in problems {
            self.told.differs("unreadable", path.as_os_str().as_bytes(), &error.to_string());
        }
        for name in self.rules.unmet() {
            self.told.differs("missing", &name, "it is in the list, and neither here nor there");
        }
    }

    fn walk(&self, mut each: impl FnMut(Result<&RelPath, (PathBuf, SourceError)>)) {
        for Tree { root, base, .. } in &self.sources {
            for found in self.rules.walk(root, base.clone(), Links::Keep) {
                match found {
                    Found::Item(item) => item.pass(|item| each(Ok(&item.path))),
                    Found::Skipped(..) | Found::LeftOut(..) => {}
                    Found::Problem(path, error) => each(Err((path, error))),
                }
            }
        }
    }
}

/// Tells of differences on standard output.
#[derive(Default)]
struct Told {
    as_json: bool,
    quiet: bool,
    same: AtomicU64,
    counts: Mutex<Map<String, Value>>,
    failed: Mutex<Option<io::Error>>,
}

impl Told {
    fn same(&self) {
        self.same.fetch_add(1, Ordering::Relaxed);
    }

    fn differs(&self, how: &'static str, name: &[u8], why: &str) {
        let mut counts = lock(&self.counts);
        let so_far = counts.get(how).and_then(Value::as_u64).unwrap_or(0);
        counts.insert(how.to_owned(), (so_far + 1).into());
        drop(counts);
        let line = if self.as_json {
            let mut object = Map::new();
            object.insert("status".into(), how.into());
            output::insert_bytes(&mut object, "name", name);
            if !why.is_empty() {
                object.insert("detail".into(), why.into());
            }
            escape::json(&Value::Object(object).to_string())
        } else {
            let why = if why.is_empty() { String::new() } else { format!(": {}", escape::text(why)) };
            format!("{how:<10} {}{why}", escape::bytes(name))
        };
        if let Err(error) = output::to_stdout(&line) {
            lock(&self.failed).get_or_insert(error);
        }
    }

    fn summary(&self) -> Result<Exit, Failure> {
        let (counts, same) = (lock(&self.counts), self.same.load(Ordering::Relaxed));
        let mut failed = lock(&self.failed).take();
        if self.as_json && failed.is_none() {
            let mut summary = counts.clone();
            summary.insert("same".into(), same.into());
            failed = output::to_stdout(&json!({ "summary": summary }).to_string()).err();
        }
        if let Some(error) = failed {
            return Err(output::unwritable(&error));
        }
        if !self.as_json && !self.quiet {
            let others: Vec<_> = counts.iter().map(|(how, number)| format!(", {how} {number}")).collect();
            output::to_stderr(&format!("same {same}{}", others.concat()));
        }
        Ok(if counts.is_empty() { Exit::Well } else { Exit::SomeFailed })
    }
}
