//! The server as a unit of systemd: what it tells the service manager, and the listeners that it is given.

use std::{
    fs,
    io::ErrorKind,
    net::{TcpListener, TcpStream, UdpSocket},
    os::unix::net::UnixDatagram,
    time::{Duration, Instant},
};

use rusqlite::Connection;
use rustix::process::Signal;

use crate::support::{Client, GIVE_UP, Server, Setup, eventually, write};

/// The service manager's end.
struct Manager(UnixDatagram);

impl Manager {
    /// Starts to hear what the server of this setup will tell.
    fn of(setup: Setup) -> (Self, Setup) {
        let path = setup.inbox().with_file_name("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        (Manager(socket), setup.env("NOTIFY_SOCKET", path))
    }

    /// Waits for the next word.
    #[track_caller]
    fn hears(&self) -> String {
        self.hears_within(GIVE_UP).expect("the server tells something")
    }

    fn hears_within(&self, patience: Duration) -> Option<String> {
        self.0.set_read_timeout(Some(patience)).unwrap();
        let mut word = [0; 1024];
        match self.0.recv(&mut word) {
            Ok(length) => Some(String::from_utf8_lossy(&word[..length]).trim_end().to_owned()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_service_manager_hears_that_the_server_is_ready_once_it_listens_and_that_it_stops() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (manager, setup) = Manager::of(Server::setup().listen(address));
    let connected = std::thread::scope(|scope| {
        let connected = scope.spawn(|| (manager.hears(), TcpStream::connect(address).map(drop)));
        let mut server = setup.start();
        let connected = connected.join().unwrap();
        assert!(server.stop().success());
        connected
    });
    assert!(matches!(&connected, (word, Ok(())) if word == "READY=1"), "{connected:?}");
    assert_eq!(manager.hears(), "STOPPING=1");
    assert_eq!(manager.hears_within(Duration::from_millis(1)), None);
}

#[test]
fn a_service_manager_hears_when_a_reload_begins_and_ends() {
    let (manager, setup) = Manager::of(Server::setup());
    let server = setup.start();
    assert_eq!(manager.hears(), "READY=1");
    server.signal(Signal::HUP);
    let word = manager.hears();
    assert!(word.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{word}");
    assert_eq!(manager.hears(), "READY=1");
}

#[test]
fn a_server_that_cannot_listen_is_never_ready() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (manager, setup) = Manager::of(Server::setup().listen(taken.local_addr().unwrap()));
    setup.refused().code(1).says("in use");
    assert_eq!(manager.hears_within(Duration::from_millis(1)), None);
}

#[test]
fn a_service_manager_that_is_not_there_stops_nothing() {
    let server = Server::setup().env("NOTIFY_SOCKET", "/nonexistent/notify").start();
    server.logged(&["WARN", "the service manager cannot be told anything"]);
    Client::paired(&server).send(write(server.beside().join("file"), "content")).run().code(0);
}

#[test]
fn hostile_20_the_watchdog_hears_a_server_that_lives_and_not_one_that_hangs() {
    let patience = Duration::from_secs(1);
    let (manager, setup) = Manager::of(Server::setup());
    let server = setup.env("WATCHDOG_USEC", patience.as_micros().to_string()).start();
    assert_eq!(manager.hears(), "READY=1");
    let begin = Instant::now();
    for _ in 0..6 {
        assert_eq!(manager.hears(), "WATCHDOG=1");
    }
    // At once, and then every half of it.
    assert!(begin.elapsed() >= patience * 2, "{:?}", begin.elapsed());

    // The committer waits, for somebody who has locked the catalogue. Everything else is well.
    let client = Client::paired(&server);
    let source = write(server.beside().join("file"), "content");
    let catalogue = Connection::open(server.inbox().join(".ferry/catalogue.db")).unwrap();
    catalogue.execute_batch("BEGIN IMMEDIATE").unwrap();
    let sending = client.send(&source).start();
    eventually("a file that has its name and no row", || server.inbox().join("file").exists().then_some(()));
    while manager.hears_within(patience).is_some() {}
    client.send(&source).args(["--name", "other", "-n"]).run().code(0);
    assert_eq!(manager.hears_within(patience), None);
    catalogue.execute_batch("ROLLBACK").unwrap();
    assert_eq!(manager.hears(), "WATCHDOG=1");
    sending.wait().code(0);
}

#[test]
fn a_watchdog_of_another_process_is_none_of_the_servers() {
    let (manager, setup) = Manager::of(Server::setup());
    let mut server = setup.env("WATCHDOG_USEC", "1000").env("WATCHDOG_PID", "1").start();
    assert_eq!(manager.hears(), "READY=1");
    assert!(server.stop().success());
    assert_eq!(manager.hears(), "STOPPING=1");
}

#[test]
fn a_listener_that_is_passed_is_used_in_place_of_the_default_address() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut server = Server::setup().passed(listener).start();
    assert_eq!(server.address(), address);
    // Whoever asks for a link gets this address.
    assert!(server.invite().contains(&address.port().to_string()));
    Client::paired(&server).send(write(server.beside().join("file"), "content")).run().code(0);
    assert_eq!(server.listeners(), [address]);
    // It is the service manager's, and outlives the server.
    server.stop();
    drop(TcpStream::connect(address).unwrap());
    server.restart();
    Client::paired(&server);
}

#[test]
fn a_listener_that_is_passed_is_used_beside_an_address_that_is_given() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::setup().passed(listener).args(["--listen", "127.0.0.1:0"]).start();
    assert_eq!(server.address(), address);
    let [first, second] = server.listeners()[..] else { panic!("{:?}", server.listeners()) };
    assert_eq!(first, address);
    TcpStream::connect(second).unwrap();
}

#[test]
fn what_is_passed_and_is_no_listener_is_told() {
    let datagram = UdpSocket::bind("127.0.0.1:0").unwrap();
    Server::setup().passed(datagram).refused().code(1).says("no TCP listener");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    Server::setup().passed(stream).refused().code(1).says("no TCP listener");
    Server::setup().passed(fs::File::open("/dev/null").unwrap()).refused().code(1).says("no TCP listener");
}

#[test]
fn a_listener_that_is_passed_to_another_process_is_left_alone() {
    let server = Server::setup().env("LISTEN_FDS", "1").env("LISTEN_PID", "1").start();
    assert_eq!(server.listeners(), [server.address()]);
    let server = Server::setup().env("LISTEN_FDS", "1").start();
    assert_eq!(server.listeners(), [server.address()]);
}
