//! Runs that are interrupted, and the same commands again.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::mpsc,
    time::Duration,
};

use ferry_proto::{Algorithm, Answer, Done, Message, Receipt, Verdict};
use rustix::process::Signal;

use crate::support::{
    Client, FakeServer, GIVE_UP, Outcome, Plan, Proxy, Running, Server, Wire, assert_same_file, eventually,
    make_fifo, may_trace, noise, set_modified, write,
};

const MIB: usize = 1024 * 1024;

/// The distance of checkpoints.
const CHECKPOINT: u64 = 32 * MIB as u64;

/// Runs what follows under strace, which writes down what is read, and stays out of the way.
const READS: &[&str] =
    &["sh", "-c", "exec strace -D -f -y -s 0 -o \"$TRACE\" -e trace=read,pread64,readv \"$@\"", "sh"];

/// A run that stands still in the middle of a large body, with two of its checkpoints on the server.
struct Halfway {
    server: Server,
    client: Client,
    proxy: Proxy,
    source: PathBuf,
    running: Option<Running>,
}

const LENGTH: usize = 100 * MIB;

/// A file that was touched more shortly before it is read is not known by its times.
const TOO_FRESH: Duration = Duration::from_secs(2);

impl Halfway {
    fn start(flags: &[&str]) -> Self {
        Self::with(Server::start(), flags, |_| {})
    }

    /// When something has been done about the source.
    fn with(server: Server, flags: &[&str], prepare: impl FnOnce(&Path)) -> Self {
        let proxy = Proxy::to(server.address());
        let client = Client::new();
        client.pair(&server.invite_at(proxy.address()));
        let source = write(server.beside().join("large"), noise(LENGTH, 1));
        prepare(&source);
        proxy.set(Plan::SilentAfter(70 * MIB as u64));
        let running = client.send(&source).args(flags).start();
        proxy.falls_silent();
        eventually("the second checkpoint", || (server.checkpoints() == [2 * CHECKPOINT]).then_some(()));
        Halfway { server, client, proxy, source, running: Some(running) }
    }

    /// Ends the run, and lets the network work again.
    fn end(&mut self, end: impl FnOnce(&Running)) -> Outcome {
        let running = self.running.take().unwrap();
        end(&running);
        let outcome = running.wait();
        // What is on its way would reach the next checkpoint.
        self.proxy.cut();
        outcome
    }

    /// The same command again.
    fn again(&self) -> Outcome {
        let outcome = self.client.send(&self.source).arg("--json").run().code(0);
        assert_same_file(&self.source, &self.server.inbox().join("large"));
        assert_eq!(self.server.names(), ["large"]);
        assert_eq!((self.server.staged(), self.server.checkpoints()), (vec![], vec![]));
        outcome
    }
}

#[test]
fn promise_3_ctrl_c_leaves_what_the_same_command_goes_on_with() {
    for signal in [Signal::INT, Signal::TERM] {
        let mut halfway = Halfway::start(&[]);
        let outcome = halfway.end(|running| running.signal(signal));
        outcome.code(5).says("run the same command again to go on");
        assert_eq!(halfway.server.names(), [""; 0]);
        let again = halfway.again();
        assert_eq!(again.total("bytes"), LENGTH as u64 - 2 * CHECKPOINT, "nothing is sent twice");
    }
}

#[test]
fn promise_3_a_killed_client_goes_on_where_it_was() {
    let mut halfway = Halfway::start(&["--json"]);
    halfway.end(|running| running.signal(Signal::KILL));
    let again = halfway.again();
    assert_eq!(again.total("bytes"), LENGTH as u64 - 2 * CHECKPOINT);
}

#[test]
fn promise_3_neither_side_reads_again_what_it_has_hashed() {
    if !may_trace() {
        return;
    }
    for algorithm in ["sha256", "blake3"] {
        let folder = tempfile::tempdir().unwrap();
        let (ours, theirs) = (folder.path().join("client"), folder.path().join("server"));
        let server = Server::setup().wrapped(READS).env("TRACE", &theirs).start();
        let mut halfway = Halfway::with(server, &["--json", "--digest", algorithm], |source| {
            // Nothing is kept of a file that was touched so shortly before that its times may hide another touch.
            let modified = fs::metadata(source).unwrap().modified().unwrap();
            let is_old = || modified.elapsed().is_ok_and(|age| age > TOO_FRESH);
            eventually("it is old enough", || is_old().then_some(()));
        });
        halfway.end(|running| running.signal(Signal::KILL));
        let Halfway { server, client, source, .. } = &halfway;
        let so_far = fs::read_to_string(&theirs).unwrap().len();
        let again = client.wrapped(READS, "send").env("TRACE", &ours).arg(source);
        let again = again.args(["--to", "box", "--json", "--digest", algorithm]).run().code(0);
        assert_eq!(again.total("bytes"), LENGTH as u64 - 2 * CHECKPOINT);
        assert_same_file(source, &server.inbox().join("large"));
        let read = |trace: &str, of: &str| -> u64 {
            let lines = trace.lines().filter(|line| line.contains(of));
            lines.filter_map(|line| line.rsplit_once(" = ")?.1.parse::<u64>().ok()).sum()
        };
        let by_client = read(&fs::read_to_string(&ours).unwrap(), "/large>");
        assert_eq!(by_client, LENGTH as u64 - 2 * CHECKPOINT, "{algorithm}: bytes that the client read");
        let by_server = read(&fs::read_to_string(&theirs).unwrap()[so_far..], "/.ferry/staging/");
        assert_eq!(by_server, 0, "{algorithm}: bytes that the server read");
    }
}

#[test]
fn promise_3_a_run_outlives_its_server() {
    let mut halfway = Halfway::start(&["--json"]);
    halfway.server.kill();
    assert_eq!(halfway.server.names(), [""; 0]);
    halfway.server.restart();
    // What the proxy holds back is for a server that is no more.
    halfway.proxy.set(Plan::Forward);
    let outcome = halfway.running.take().unwrap().wait().code(0).says("trying again");
    assert_same_file(&halfway.source, &halfway.server.inbox().join("large"));
    let sent = outcome.total("bytes");
    assert!(sent < 2 * LENGTH as u64 - 2 * CHECKPOINT, "{sent} bytes: nothing was gone on with");
}

#[test]
fn promise_3_bytes_of_two_sources_are_never_joined() {
    let modified = |source: &PathBuf| {
        use std::os::unix::fs::MetadataExt;
        let metadata = fs::metadata(source).unwrap();
        (metadata.mtime(), metadata.mtime_nsec())
    };
    let mut halfway = Halfway::start(&[]);
    halfway.end(|running| running.signal(Signal::INT)).code(5);
    // Other bytes in front of the checkpoint, and the same name, size and time.
    let (seconds, nanos) = modified(&halfway.source);
    let mut bytes = fs::read(&halfway.source).unwrap();
    bytes[5] ^= 1;
    fs::write(&halfway.source, bytes).unwrap();
    set_modified(&halfway.source, seconds, nanos);
    let again = halfway.again();
    assert_eq!(again.total("bytes"), LENGTH as u64, "all of it is new");
}

#[test]
fn promise_3_another_file_of_that_name_begins_anew() {
    let mut halfway = Halfway::start(&[]);
    halfway.end(|running| running.signal(Signal::INT)).code(5);
    write(&halfway.source, noise(40 * MIB, 2));
    let again = halfway.again();
    assert_eq!(again.total("bytes"), 40 * MIB as u64);
}

#[test]
fn a_connection_that_is_cut_is_made_again() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let client = Client::new();
    client.pair(&server.invite_at(proxy.address()));
    let source = server.beside().join("source");
    for number in 0..200 {
        write(source.join(number.to_string()), noise(20_000, number));
    }
    let connections = proxy.connections();
    proxy.set(Plan::CutAfter(1_500_000));
    client.send(&source).args(["--json", "--retry", "1"]).run().code(0).says("trying again");
    assert_eq!(proxy.connections(), connections + 2);
    crate::support::assert_same_tree(&source, &server.inbox().join("source"));
    assert_eq!(server.staged(), []);

    // Standard input cannot be read twice.
    proxy.set(Plan::CutAfter(1_500_000));
    let send = client.send("-").args(["--name", "stream"]).stdin(noise(3_000_000, 1));
    send.run().code(1).says("stream: ").says("cannot be read twice");
    assert!(!server.inbox().join("stream").exists());
    // The server finds out by itself that nobody goes on with it.
    eventually("an end of what was staged", || server.staged().is_empty().then_some(()));
}

#[test]
fn standard_input_that_was_not_read_is_sent_on_the_next_connection() {
    let bytes = noise(3_000_000, 1);
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    make_fifo(&fifo);
    let (offered_again, wait_for_offer) = mpsc::channel();
    let ask =
        |wire: &mut Wire, seq| wire.say(Verdict { seq, answer: Answer::Send { offset: 0, prefix: None } });
    let server = FakeServer::start(vec![
        // Lost before the body was asked for.
        Box::new(|wire| {
            wire.let_in();
            wire.offered();
        }),
        // Lost while the client waits for whoever writes its standard input.
        Box::new(move |wire| {
            wire.let_in();
            let seq = wire.offered().seq;
            ask(wire, seq);
            while !matches!(wire.message(), Message::Body(_)) {}
        }),
        Box::new(move |wire| {
            wire.let_in();
            let seq = wire.offered().seq;
            offered_again.send(()).unwrap();
            ask(wire, seq);
            let (_, bytes, digest) = wire.take_body();
            assert_eq!(Algorithm::Sha256.digest(&bytes), digest);
            wire.say(Receipt { seq, digest: Some(digest), path: None });
            while !matches!(wire.message(), Message::Done(_)) {}
            wire.say(Done { entries: 1, bytes: bytes.len() as u64 });
            wire.last_words();
        }),
    ]);
    let client = Client::new();
    let from_fifo = format!("exec \"$@\" <'{}'", fifo.display());
    let send = client.wrapped(&["sh", "-c", &from_fifo, "sh"], "send");
    let running = send.args(["-", "--name", "stream", "--to", &server.invite(), "--json"]).start();
    let mut input = fs::OpenOptions::new().write(true).open(&fifo).unwrap();
    wait_for_offer.recv_timeout(GIVE_UP).unwrap();
    input.write_all(&bytes).unwrap();
    drop(input);
    let outcome = running.wait().code(0);
    assert_eq!(outcome.statuses(), [("stream".to_owned(), "sent".to_owned())]);
    server.finish();
}

#[test]
fn promise_8_a_connection_that_is_not_needed_any_more_is_not_waited_for() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let client = Client::new();
    client.pair(&server.invite_at(proxy.address()));
    let source = write(server.beside().join("file"), noise(2_000_000, 1));
    for retry in ["0", "forever"] {
        proxy.set(Plan::Only(proxy.connections() + 1));
        client.send(&source).args(["--jobs", "3", "--retry", retry]).run().code(0);
    }
    assert_same_file(&source, &server.inbox().join("file"));
}
