//! `ferryd` as a process, on a folder and a port of its own.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStrExt, fs::MetadataExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, OnceLock, PoisonError, mpsc},
};

use ferry_proto::{Fingerprint, Invite};
use rusqlite::{Connection, OpenFlags};
use rustix::process::Signal;
use tempfile::TempDir;

use super::{
    GIVE_UP, Outcome, eventually,
    process::{Running, bare, ended, run, send_signal, start, start_as_it_is},
    tree::{names, set_modified},
};

const FREE_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Passes standard input on as the first descriptor of a service manager.
const PASSING: &[&str] =
    &["sh", "-c", "export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$@\" 3<&0 </dev/null", "sh"];

/// How a server will be started.
pub(crate) struct Setup {
    folder: TempDir,
    root: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    wrapper: Vec<String>,
    listen: SocketAddr,
    /// Where browsers are served, if they are.
    web: Option<SocketAddr>,
    passed: Option<OwnedFd>,
}

impl Setup {
    /// Saves into this folder instead of a new one.
    pub(crate) fn root(mut self, root: impl Into<PathBuf>) -> Self {
        self.root = root.into();
        self
    }

    /// The folder that it will save into; it does not exist unless somebody made it.
    pub(crate) fn inbox(&self) -> &Path {
        &self.root
    }

    pub(crate) fn args<I: IntoIterator<Item: Into<OsString>>>(mut self, arguments: I) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    pub(crate) fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Starts it behind these words, which must `exec` what follows them.
    pub(crate) fn wrapped(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Listens here instead of on a free port.
    pub(crate) fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// Serves browsers, too, on a free port.
    pub(crate) fn web(mut self) -> Self {
        self.web = Some(FREE_PORT);
        self
    }

    /// Passes this descriptor on to it, the way that a service manager does, and gives it no address to listen on.
    pub(crate) fn passed(mut self, listener: impl Into<OwnedFd>) -> Self {
        self.passed = Some(listener.into());
        self.wrapped(PASSING)
    }

    /// Starts it; panics if it does not come to listen.
    pub(crate) fn start(self) -> Server {
        let (log, listen) = (self.folder.path().join("ferryd.log"), self.listen);
        let mut server = Server {
            setup: self,
            log,
            address: listen,
            web: None,
            child: None,
            fingerprint: OnceLock::new(),
            told: Arc::default(),
        };
        server.launch(listen);
        server
    }

    /// Runs it where it cannot start.
    pub(crate) fn refused(&self) -> Outcome {
        let mut command = self.command();
        self.give_listener(&mut command, self.listen);
        start_as_it_is(command).wait()
    }

    fn give_listener(&self, command: &mut Command, listen: SocketAddr) {
        match &self.passed {
            Some(passed) => command.stdin(passed.try_clone().expect("a descriptor can be cloned")),
            None => command.args(["--listen", &listen.to_string()]).stdin(Stdio::null()),
        };
    }

    fn command(&self) -> Command {
        let wrapper: Vec<&str> = self.wrapper.iter().map(String::as_str).collect();
        let mut command = bare(&wrapper, "ferryd");
        command.args(["serve", "--root"]).arg(&self.root).args(&self.arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// A running server, or one that was stopped and can be started again on what it has left. It is killed when this
/// is dropped.
pub(crate) struct Server {
    setup: Setup,
    log: PathBuf,
    address: SocketAddr,
    /// Where it has served browsers, once it has.
    web: Option<SocketAddr>,
    child: Option<Child>,
    fingerprint: OnceLock<Fingerprint>,
    /// Lines of standard output since its last start.
    told: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// With a new folder, on a free port.
    pub(crate) fn start() -> Self {
        Server::setup().start()
    }

    /// With more to be said about it first.
    pub(crate) fn setup() -> Setup {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let root = folder.path().join("inbox");
        Setup {
            folder,
            root,
            arguments: Vec::new(),
            environment: Vec::new(),
            wrapper: Vec::new(),
            listen: FREE_PORT,
            web: None,
            passed: None,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has told on standard output.
    pub(crate) fn told(&self) -> Vec<String> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where it tells how it is.
    pub(crate) fn metrics(&self) -> SocketAddr {
        let address =
            |line: &String| line.strip_prefix("listening on http://")?.strip_suffix("/metrics")?.parse().ok();
        eventually("a line that tells where the metrics are", || self.told().iter().find_map(address))
    }

    /// Where it serves browsers.
    pub(crate) fn web(&self) -> SocketAddr {
        self.web.expect("the server was set up to serve browsers")
    }

    /// The folder that it saves into.
    pub(crate) fn inbox(&self) -> &Path {
        &self.setup.root
    }

    /// A folder beside the inbox, on the same file system.
    pub(crate) fn beside(&self) -> &Path {
        self.setup.folder.path()
    }

    /// Every name in the inbox that a user sees, at every level, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        names(self.inbox())
    }

    /// The bodies in staging, with their lengths.
    pub(crate) fn staged(&self) -> Vec<(String, u64)> {
        let staging = fs::read_dir(self.inbox().join(".ferry/staging")).expect("there is a staging folder");
        let mut staged = Vec::new();
        for entry in staging {
            let entry = entry.expect("staging can be read");
            // One may become a file, or go, between the two.
            let Ok(metadata) = entry.metadata() else { continue };
            staged.push((entry.file_name().to_string_lossy().into_owned(), metadata.len()));
        }
        staged
    }

    /// Everything it has logged, earlier processes included.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).expect("there is a log")).into_owned()
    }

    /// Where that stands.
    pub(crate) fn log_file(&self) -> &Path {
        &self.log
    }

    /// Waits for a line of the log with all of these words, and returns it.
    pub(crate) fn logged(&self, words: &[&str]) -> String {
        let has_all = |line: &&str| words.iter().all(|word| line.contains(word));
        eventually(&format!("a log line with {words:?}"), || {
            self.log().lines().find(has_all).map(str::to_owned)
        })
    }

    /// Files that it has open, connections and all.
    pub(crate) fn open_files(&self) -> usize {
        fs::read_dir(self.process("fd")).expect("a running process has a folder").count()
    }

    /// Whether it has this file open.
    pub(crate) fn has_open(&self, file: &Path) -> bool {
        let open = fs::read_dir(self.process("fd")).expect("a running process has a folder");
        open.filter_map(Result::ok).any(|entry| fs::read_link(entry.path()).is_ok_and(|open| open == file))
    }

    /// The most memory that it has had at any time, in bytes.
    pub(crate) fn most_memory(&self) -> u64 {
        let status = fs::read_to_string(self.process("status")).expect("a running process has a status");
        let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        most.and_then(|most| most.parse::<u64>().ok()).expect("the system tells it in kB") * 1024
    }

    /// What the system tells about it.
    pub(crate) fn process(&self, name: &str) -> PathBuf {
        let id = self.child.as_ref().expect("the server runs").id();
        Path::new("/proc").join(id.to_string()).join(name)
    }

    /// Where it listens, by its own words to other commands.
    pub(crate) fn listeners(&self) -> Vec<SocketAddr> {
        let query = "SELECT value FROM settings WHERE key = 'listen'";
        let told: String = self.catalogue().query_row(query, [], |row| row.get(0)).expect("it listens");
        told.split_whitespace().map(|address| address.parse().expect("they are addresses")).collect()
    }

    /// Its database, to look at.
    pub(crate) fn catalogue(&self) -> Connection {
        let path = self.inbox().join(".ferry/catalogue.db");
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("there is a catalogue")
    }

    /// What it knows to be amiss: names, and what is.
    pub(crate) fn findings(&self) -> Vec<(String, String)> {
        let catalogue = self.catalogue();
        let mut query =
            catalogue.prepare("SELECT path, what FROM findings ORDER BY path").expect("a good query");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let rows = query.query_map([], |row| Ok((text(row.get(0)?), row.get(1)?)));
        rows.expect("findings can be read").map(|row| row.expect("each is a name and a word")).collect()
    }

    /// How far bodies under way are durable.
    pub(crate) fn checkpoints(&self) -> Vec<u64> {
        let catalogue = self.catalogue();
        let mut query = catalogue.prepare("SELECT offset FROM bodies ORDER BY offset").expect("a good query");
        let offsets = query.query_map([], |row| row.get::<_, i64>(0)).expect("offsets can be read");
        offsets.map(|offset| offset.expect("an offset is a number") as u64).collect()
    }

    /// A link for one client.
    pub(crate) fn invite(&self) -> String {
        self.invite_with(&[])
    }

    /// The key that it has.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        *self
            .fingerprint
            .get_or_init(|| self.invite().parse::<Invite>().expect("the server makes good links").fingerprint)
    }

    /// A link for one client, which leads to another address: a proxy's.
    pub(crate) fn invite_at(&self, address: SocketAddr) -> String {
        self.invite_with(&["--host", &address.to_string()])
    }

    /// A link, with more flags.
    pub(crate) fn invite_with(&self, flags: &[&str]) -> String {
        let invite = [&["invite"], flags].concat();
        self.ferryd(&invite).code(0).stdout().trim_end().to_owned()
    }

    /// A link whose time is over.
    pub(crate) fn expired_invite(&self) -> String {
        let link = self.invite();
        let catalogue =
            Connection::open(self.inbox().join(".ferry/catalogue.db")).expect("there is a catalogue");
        let newest = "UPDATE invites SET expires = 1 WHERE rowid = (SELECT max(rowid) FROM invites)";
        assert_eq!(catalogue.execute(newest, []), Ok(1));
        link
    }

    /// Runs another command of ferryd beside it.
    pub(crate) fn ferryd(&self, words: &[&str]) -> Outcome {
        let mut command = bare(&[], "ferryd");
        command.args(words).arg("--root").arg(self.inbox());
        run(command)
    }

    /// Starts another command of ferryd beside it.
    pub(crate) fn start_ferryd(&self, words: &[&str]) -> Running {
        let mut command = bare(&[], "ferryd");
        command.args(words).arg("--root").arg(self.inbox());
        start(command, Vec::new())
    }

    /// Changes a byte of a file, as a failing disk would: nobody seems to have touched it. A program cannot leave the time of
    /// a file's last change as it was, so the catalogue is made to believe that the file has always had the one it has now.
    pub(crate) fn rot(&self, file: impl AsRef<Path>) {
        let file = file.as_ref();
        let before = fs::metadata(file).expect("there is a file");
        let mut bytes = fs::read(file).expect("it can be read");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(file, &bytes).expect("it can be written");
        set_modified(file, before.mtime(), before.mtime_nsec());
        let now = fs::metadata(file).expect("there is a file");
        let times = [now.mtime(), now.mtime_nsec(), now.ctime(), now.ctime_nsec()].map(|part| part as u64);
        let parts = [&[now.dev(), now.ino(), now.size()], &times[..]].concat();
        let stamp: Vec<u8> = parts.iter().flat_map(|part| part.to_le_bytes()).collect();
        let name = file.strip_prefix(self.inbox()).expect("it is in the inbox").as_os_str().as_bytes();
        let catalogue = Connection::open(self.inbox().join(".ferry/catalogue.db")).expect("there is one");
        catalogue.busy_timeout(GIVE_UP).expect("it can wait");
        let changed = "UPDATE files SET stamp = ?1 WHERE path = ?2 AND until IS NULL";
        assert_eq!(catalogue.execute(changed, rusqlite::params![stamp, name]), Ok(1));
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send_signal(self.child.as_ref().expect("the server runs"), signal);
    }

    /// Pulls the plug. What it has left stays.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let child = self.child.as_mut().expect("the server runs");
        let status = eventually("the server's end", || ended(child));
        self.child = None;
        status
    }

    /// Kills it if it runs, and starts it on the same folder and the same port.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.launch(self.address);
    }

    /// Kills it if it runs, and starts it on the same folder and another port.
    pub(crate) fn restart_elsewhere(&mut self) {
        self.kill();
        self.launch(FREE_PORT);
    }

    /// Kills it if it runs, and starts it on the same folder and this address.
    pub(crate) fn restart_at(&mut self, address: SocketAddr) {
        self.kill();
        self.launch(address);
    }

    /// With other arguments from the next start on.
    pub(crate) fn set_args<I: IntoIterator<Item: Into<OsString>>>(&mut self, arguments: I) {
        self.setup.arguments = arguments.into_iter().map(Into::into).collect();
    }

    fn launch(&mut self, listen: SocketAddr) {
        self.fingerprint = OnceLock::new();
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log: File = log.expect("the log can be written");
        let mut command = self.setup.command();
        self.setup.give_listener(&mut command, listen);
        let wanted = self.setup.web.map(|web| self.web.unwrap_or(web));
        command.args(wanted.map(|web| format!("--web={web}")));
        command.stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout = child.stdout.take().expect("standard output is piped");
        self.child = Some(child);
        let lines = Arc::<Mutex<Vec<String>>>::default();
        self.told = lines.clone();
        let (told, addresses) = mpsc::channel();
        std::thread::spawn(move || {
            // Read to its end, so that the server never writes into a closed pipe.
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some(address) = line.strip_prefix("listening on ") {
                    let _ = told.send(address.to_owned());
                }
                lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        let told = || match addresses.recv_timeout(GIVE_UP) {
            Ok(address) => address,
            Err(error) => panic!("the server does not listen ({error}):\n{}", self.log()),
        };
        let address = told().parse().expect("it is an address");
        // That of the side for browsers comes after all others.
        let urls = || told().strip_prefix("https://").map(str::to_owned);
        let url = wanted.and_then(|_| std::iter::repeat_with(urls).find_map(|url| url));
        self.address = address;
        self.web = url.map(|address| address.parse().expect("it is an address"));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
