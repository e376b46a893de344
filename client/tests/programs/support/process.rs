//! The programs as processes: built once, started with a clean environment, waited for, and never left behind.

use std::{
    fmt,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    thread::JoinHandle,
};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use serde_json::Value;

use super::{eventually, schema};

/// `ferry`, which cargo has built with these tests.
const FERRY: &str = env!("CARGO_BIN_EXE_ferry");

/// `ferryd`, built into the same folder and in the same profile.
fn ferryd() -> &'static Path {
    static FERRYD: OnceLock<PathBuf> = OnceLock::new();
    // With the features of both, as they are built for use, the demo's.
    let packages = escargot::CargoBuild::new().package("ferry-client").package("ferry-server");
    FERRYD.get_or_init(|| built(packages.bin("ferryd")))
}

/// One of the client's examples, too.
pub(crate) fn example(name: &str) -> PathBuf {
    built(escargot::CargoBuild::new().package("ferry-client").example(name))
}

fn built(build: escargot::CargoBuild) -> PathBuf {
    let folder = Path::new(FERRY).parent().expect("a program is in a folder");
    let target = folder.parent().expect("the folder of a profile is in the target folder");
    let build = build.target_dir(target);
    let build = if folder.ends_with("release") { build.release() } else { build };
    build.run().unwrap_or_else(|error| panic!("it cannot be built: {error}")).path().to_owned()
}

/// A program with nothing of this process's settings, behind the words of a wrapper like `setpriv`.
pub(crate) fn bare(wrapper: &[&str], program: &str) -> Command {
    let path = match program {
        "ferry" => Path::new(FERRY),
        "ferryd" => ferryd(),
        other => panic!("{other} is none of the programs"),
    };
    let mut command = match wrapper.split_first() {
        None => Command::new(path),
        Some((first, rest)) => {
            let mut command = Command::new(first);
            command.args(rest).arg(path);
            command
        }
    };
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("FERRY") {
            command.env_remove(name);
        }
    }
    command
}

/// The words that take root's right to read and write everything from a program; none for an ordinary user, who
/// has no such right.
pub(crate) fn without_privileges() -> &'static [&'static str] {
    if is_root() { &["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner"] } else { &[] }
}

/// Whether this is root, who can make everything that is to come back.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Says that something is not tested here, and why, where it is seen: what a test prints is shown only if it fails. With
/// `CI=true` everything is to be tested, and this is a failure.
pub(crate) fn left_out(why: &str) {
    assert!(!std::env::var("CI").is_ok_and(|value| value == "true"), "{why}");
    let test = std::thread::current().name().unwrap_or("some test").to_owned();
    // Nobody need listen.
    let _ = writeln!(std::io::stderr(), "left out of {test}: {why}");
}

/// Whether strace may trace here. Where it may not, a test that needs it says so and ends.
pub(crate) fn may_trace() -> bool {
    let traced =
        Command::new("strace").args(["-f", "true"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let may = traced.is_ok_and(|status| status.success());
    if !may {
        left_out("strace is not installed, or may not trace here");
    }
    may
}

/// Runs a command to its end.
pub(crate) fn run(command: Command) -> Outcome {
    start(command, Vec::new()).wait()
}

/// Starts a command and writes `stdin` to it.
pub(crate) fn start(mut command: Command, stdin: Vec<u8>) -> Running {
    command.stdin(Stdio::piped());
    let mut running = start_as_it_is(command);
    let mut pipe = running.child.stdin.take().expect("standard input is piped");
    std::thread::spawn(move || {
        // A program that does not read its input closes it early.
        let _ = pipe.write_all(&stdin);
    });
    running
}

/// Starts a command that has its standard input already.
pub(crate) fn start_as_it_is(mut command: Command) -> Running {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stdout = Collected::start(child.stdout.take().expect("standard output is piped"));
    let stderr = Collected::start(child.stderr.take().expect("standard error is piped"));
    Running { name: format!("{command:?}"), child, stdout, stderr }
}

/// A process. It is killed when this is dropped.
pub(crate) struct Running {
    name: String,
    child: Child,
    stdout: Collected,
    stderr: Collected,
}

impl Running {
    pub(crate) fn signal(&self, signal: Signal) {
        send_signal(&self.child, signal);
    }

    /// Stops it, and waits until nothing of it goes on, before [`Signal::CONT`] comes.
    pub(crate) fn suspend(&self) {
        self.signal(Signal::STOP);
        let waited = waitpid(Some(pid_of(&self.child)), WaitOptions::UNTRACED).expect("it is our child");
        assert!(waited.is_some_and(|(_, status)| status.stopped()), "it has ended: {waited:?}");
    }

    /// Waits until it has told this.
    pub(crate) fn has_told(&self, words: &str) {
        eventually(words, || self.stderr_so_far().contains(words).then_some(()));
    }

    /// What it has written so far.
    pub(crate) fn stdout_so_far(&self) -> String {
        String::from_utf8_lossy(&self.stdout.bytes()).into_owned()
    }

    /// What it has told so far.
    pub(crate) fn stderr_so_far(&self) -> String {
        String::from_utf8_lossy(&self.stderr.bytes()).into_owned()
    }

    /// Whole lines that it has written to standard output so far.
    pub(crate) fn lines_so_far(&self) -> usize {
        self.stdout.lines()
    }

    /// How many threads it has.
    pub(crate) fn threads(&self) -> usize {
        let tasks = Path::new("/proc").join(self.child.id().to_string()).join("task");
        std::fs::read_dir(tasks).map_or(0, Iterator::count)
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        ended(&mut self.child).is_some()
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> Outcome {
        let status = eventually(&format!("the end of {}", self.name), || ended(&mut self.child));
        let (stdout, stderr) = (self.stdout.finish(), self.stderr.finish());
        Outcome { name: std::mem::take(&mut self.name), status, stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if ended(&mut self.child).is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

pub(super) fn send_signal(child: &Child, signal: Signal) {
    kill_process(pid_of(child), signal).expect("a child that was not waited for can be signalled");
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(child.id() as i32).expect("a child has a pid")
}

pub(super) fn ended(child: &mut Child) -> Option<ExitStatus> {
    child.try_wait().expect("a child can be waited for")
}

/// How a process ended, and all it wrote.
#[derive(Clone)]
pub(crate) struct Outcome {
    name: String,
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl Outcome {
    /// Checks the exit code; shows everything where it is another one.
    #[track_caller]
    pub(crate) fn code(self, expected: i32) -> Self {
        assert_eq!(self.status.code(), Some(expected), "{self:?}");
        self
    }

    /// Checks that standard error tells this.
    #[track_caller]
    pub(crate) fn says(self, words: impl AsRef<str>) -> Self {
        assert!(self.stderr().contains(words.as_ref()), "does not say {:?}: {self:?}", words.as_ref());
        self
    }

    /// Checks that standard output has this.
    #[track_caller]
    pub(crate) fn prints(self, words: impl AsRef<str>) -> Self {
        assert!(self.stdout().contains(words.as_ref()), "does not print {:?}: {self:?}", words.as_ref());
        self
    }

    pub(crate) fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// With `--json`: every object, in order; each is what `docs/output.schema.json` says.
    #[track_caller]
    pub(crate) fn objects(&self) -> Vec<Value> {
        let parse = |line: &[u8]| serde_json::from_slice(line).unwrap_or_else(|e| panic!("{e}: {self:?}"));
        let lines = self.stdout.split(|&b| b == b'\n').filter(|line| !line.is_empty());
        let objects: Vec<Value> = lines.map(parse).collect();
        for object in &objects {
            if let Some(fault) = schema::fault(&self.name, object) {
                panic!("{object} is not what the schema says: {fault}");
            }
        }
        objects
    }

    /// With `--json`: the name and status of every entry, in the order of the names.
    #[track_caller]
    pub(crate) fn statuses(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().expect("names and statuses are text").to_owned();
        let entries = self.objects().into_iter().filter(|object| object.get("status").is_some());
        let mut statuses: Vec<_> = entries.map(|e| (text(&e["name"]), text(&e["status"]))).collect();
        statuses.sort();
        statuses
    }

    /// With `--json`: a number of the summary.
    #[track_caller]
    pub(crate) fn total(&self, name: &str) -> u64 {
        self.summary()[name].as_u64().unwrap_or_else(|| panic!("no {name} in the summary: {self:?}"))
    }

    /// With `--json`: the last object, which must be the summary.
    #[track_caller]
    pub(crate) fn summary(&self) -> Value {
        let last = self.objects().pop().unwrap_or_else(|| panic!("no JSON: {self:?}"));
        last.get("summary").unwrap_or_else(|| panic!("the summary is not last: {self:?}")).clone()
    }
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { name, status, .. } = self;
        write!(f, "{name}: {status}\n--- stdout\n{}--- stderr\n{}---", self.stdout(), self.stderr())
    }
}

/// What comes out of a pipe.
struct Collected {
    bytes: Arc<Mutex<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
}

impl Collected {
    fn start(mut pipe: impl Read + Send + 'static) -> Self {
        let bytes: Arc<Mutex<Vec<u8>>> = Arc::default();
        let into = bytes.clone();
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = pipe.read(&mut buffer) {
                into.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..read]);
            }
        });
        Collected { bytes, thread: Some(thread) }
    }

    fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn lines(&self) -> usize {
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        bytes.iter().filter(|&&byte| byte == b'\n').count()
    }

    fn finish(&mut self) -> Vec<u8> {
        if let Some(thread) = self.thread.take() {
            thread.join().expect("a reader of a pipe does not panic");
        }
        self.bytes()
    }
}
