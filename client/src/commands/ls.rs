//! `ferry ls`: what a server has.

use std::{
    collections::BTreeMap,
    io::{self, ErrorKind, Write},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use ferry_proto::{Code, Header, Kind, Mode, RelPath, Timestamp, escape, units};
use ferry_store::lock;
use serde_json::{Map, Value};

use super::connections::Connections;
use crate::{
    config::{Form, Ls, Output},
    dial::Dialer,
    exit::{Exit, Failure},
    listing::{Listing, Look, Question, Wish},
    output::{self, Direction, Narrator},
    place,
    remotes::Remotes,
};

pub(super) fn run(config: Ls) -> Result<Exit, Failure> {
    let mut remotes = Remotes::load(&config.home.config)?;
    let (server, path) = place::one(&config.place, &remotes)?;
    let (dialer, invite) = Dialer::to(server, &config.home, config.timeout)?;
    let output = Output { form: Form::Silent, quiet: true, verbose: false, each_sent: false };
    let narrator = Arc::new(Narrator::new(output, Direction::Get, false, None));
    let question = Question {
        paths: path.iter().cloned().collect(),
        digest: config.digest,
        recursive: config.recursive,
        reread: false,
    };
    let shown = Arc::new(Shown { path, config, lines: Mutex::default(), failed: AtomicBool::new(false) });
    let work = Listing::new(question, shown.clone());
    let (retry, timeout) = (Some(0), shown.config.timeout);
    let connections = Connections { dialer, work: work.clone(), narrator, retry, timeout };
    connections.run(1, &mut remotes, invite, "interrupted")?;
    match shown.print() {
        Ok(()) => {}
        // Whoever reads has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        Err(error) => return Err(output::unwritable(&error)),
    }
    Ok(if shown.failed.load(Ordering::Relaxed) { Exit::SomeFailed } else { Exit::Well })
}

/// What is shown of each entry.
struct Shown {
    path: Option<RelPath>,
    config: Ls,
    /// By name, until all of them are here.
    lines: Mutex<BTreeMap<Vec<u8>, String>>,
    failed: AtomicBool,
}

impl Look for Shown {
    fn entry(&self, header: &Header) -> Wish {
        // A folder that was asked for stands for what is in it.
        let name = match &self.path {
            Some(path) if *path == header.path && header.kind == Kind::Folder => return Wish::Nothing,
            Some(path) if *path == header.path => path.name(),
            Some(path) => match header.path.as_bytes().strip_prefix(path.as_bytes()) {
                Some(below) if below.starts_with(b"/") => &below[1..],
                // It was not asked for.
                _ => return Wish::Nothing,
            },
            None => header.path.as_bytes(),
        };
        let line = if self.config.json { object(name, header) } else { self.line(name, header) };
        // Where the digest comes later, or never because the file is damaged, this is what is known until then.
        lock(&self.lines).insert(name.to_vec(), line);
        match self.config.digests && header.has_body() && header.digest.is_none() {
            true => Wish::Digest,
            false => Wish::Nothing,
        }
    }

    fn missing(&self, path: Option<&RelPath>, code: Code, detail: &str) {
        self.failed.store(true, Ordering::Relaxed);
        let name = path.map_or("the whole of it".to_owned(), RelPath::to_string);
        let text = code.explained(detail);
        output::to_stderr(&format!("ferry: {name}: {}", escape::text(text)));
    }
}

impl Shown {
    fn line(&self, name: &[u8], header: &Header) -> String {
        let mut line = String::new();
        if self.config.digests {
            let digest = header.digest.map_or("-".to_owned(), |digest| digest.to_string());
            line += &format!("{digest:<71}  ");
        }
        if self.config.long {
            let size = header.size.map_or(String::new(), |size| match self.config.bytes {
                true => size.to_string(),
                false => units::told(size),
            });
            let modified = header.modified.map_or("-".to_owned(), moment);
            line += &format!("{} {size:>12}  {modified:<16}  ", mode(&header.kind, header.mode));
        }
        line += &escape::bytes(name).to_string();
        match &header.kind {
            Kind::Folder => line.push('/'),
            Kind::Symlink(target) if self.config.long => line += &format!(" -> {}", escape::bytes(target)),
            _ => {}
        }
        line
    }

    fn print(&self) -> io::Result<()> {
        let lines = std::mem::take(&mut *lock(&self.lines));
        let mut stdout = io::BufWriter::new(io::stdout().lock());
        for (_, line) in lines {
            writeln!(stdout, "{line}")?;
        }
        stdout.flush()
    }
}

fn object(name: &[u8], header: &Header) -> String {
    let mut object = Map::new();
    let kind = match &header.kind {
        Kind::File => "file",
        Kind::Folder => "folder",
        Kind::Symlink(_) => "symlink",
    };
    object.insert("kind".into(), kind.into());
    output::insert_bytes(&mut object, "name", name);
    if let Some(size) = header.size {
        object.insert("bytes".into(), size.into());
    }
    if let Some(modified) = header.modified {
        object.insert("modified".into(), format!("{}.{:09}", modified.seconds(), modified.nanos()).into());
    }
    if let Some(mode) = header.mode {
        object.insert("mode".into(), format!("{:04o}", mode.bits()).into());
    }
    if let Some(digest) = header.digest {
        object.insert("digest".into(), digest.to_string().into());
    }
    if let Kind::Symlink(target) = &header.kind {
        output::insert_bytes(&mut object, "target", target);
    }
    escape::json(&Value::Object(object).to_string())
}

/// As `ls -l` writes it.
fn mode(kind: &Kind, mode: Option<Mode>) -> String {
    let first = match kind {
        Kind::File => '-',
        Kind::Folder => 'd',
        Kind::Symlink(_) => 'l',
    };
    let bits = mode.map_or(0o777, |mode| mode.bits());
    let mut text: Vec<char> = vec![first];
    for shift in [6, 3, 0] {
        for (bit, letter) in [(4, 'r'), (2, 'w'), (1, 'x')] {
            text.push(if bits >> shift & bit != 0 { letter } else { '-' });
        }
    }
    for (bit, place, with, without) in [(0o4000, 3, 's', 'S'), (0o2000, 6, 's', 'S'), (0o1000, 9, 't', 'T')] {
        if bits & bit != 0 {
            text[place] = if text[place] == 'x' { with } else { without };
        }
    }
    text.into_iter().collect()
}

/// To the minute, in the time of this place.
fn moment(modified: Timestamp) -> String {
    let moment = jiff::Timestamp::new(modified.seconds(), modified.nanos() as i32);
    moment.map_or("-".to_owned(), |moment| {
        moment.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_written_as_ls_does() {
        let file = |bits| mode(&Kind::File, Some(Mode::from_bits(bits)));
        assert_eq!(file(0o644), "-rw-r--r--");
        assert_eq!(file(0o4755), "-rwsr-xr-x");
        assert_eq!(file(0o6644), "-rwSr-Sr--");
        assert_eq!(mode(&Kind::Folder, Some(Mode::from_bits(0o1777))), "drwxrwxrwt");
        assert_eq!(mode(&Kind::Symlink(vec![b'x']), None), "lrwxrwxrwx");
    }
}
