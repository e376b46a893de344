//! Servers that are found by themselves, on networks that the tests make: what is announced, by whom, and what it counts for.

use std::{fs, net::UdpSocket, path::Path};

use serde_json::json;

use crate::support::{
    Avahi, Client, Ferry, Network, Outcome, Server, Setup, assert_same_file, eventually, noise, write,
};

/// A server on the first machine.
fn on(network: &Network, listen: &str) -> Setup {
    Server::setup().wrapped(&network.here()).listen(listen.parse().unwrap())
}

/// Pairs with a server and sends it a file, on its own machine.
fn serves(network: &Network, server: &Server, host: &str) {
    let client = Client::new();
    let host = format!("{host}:{}", server.address().port());
    let link = server.invite_with(&["--host", &host]);
    client.wrapped(&network.here(), "pair").args([&link, "--as", "box"]).run().code(0);
    let file = write(client.home().join("file"), "content");
    client.wrapped(&network.here(), "send").arg(file).arg("box:").run().code(0);
}

/// What an announcement says of a server beside where it is.
fn told_of(server: &Server) -> String {
    let fingerprint = server.fingerprint().to_string();
    format!("\"fp={}\" \"v=1\"", &fingerprint[..16])
}

#[test]
fn avahi_sees_a_server_with_its_port_and_key_by_ipv4_and_ipv6_until_it_stops() {
    let Some(network) = Network::new() else { return };
    let Some(avahi) = Avahi::there(&network) else { return };
    // Beside the machine's own responder, if that is there.
    let mut server = on(&network, "[::]:0").start();
    let (port, told) = (format!(";{};", server.address().port()), told_of(&server));
    avahi.sees(&["cable;IPv4", "10.77.0.1", &port, &told]);
    avahi.sees(&["cable;IPv6", &port, &told]);
    server.logged(&["INFO", "announced", "cable"]);
    // Its records are good for more than an hour, unless it takes them back.
    assert!(server.stop().success());
    avahi.sees_none();
}

#[test]
fn only_what_is_served_is_announced() {
    let Some(network) = Network::new() else { return };
    let Some(avahi) = Avahi::there(&network) else { return };
    network.ip_here("addr add 10.77.0.7/24 dev cable");
    let mut server = on(&network, "10.77.0.7:0").start();
    let port = format!(";10.77.0.7;{};", server.address().port());
    avahi.sees(&[&port]);
    assert!(avahi.resolved().iter().all(|line| line.contains(&port)), "{:?}", avahi.resolved());
    server.restart_at("[fd77::1]:0".parse().unwrap());
    let port = format!(";fd77::1;{};", server.address().port());
    avahi.sees(&[&port]);
    assert!(avahi.resolved().iter().all(|line| !line.contains("10.77.0.1;")), "{:?}", avahi.resolved());
}

#[test]
fn a_server_that_nobody_else_reaches_or_whose_owner_does_not_want_it_announces_nothing() {
    let Some(network) = Network::new() else { return };
    let Some(avahi) = Avahi::there(&network) else { return };
    let loopback = on(&network, "127.0.0.1:0").start();
    loopback.logged(&["not announced: it listens on loopback alone"]);
    let config = loopback.beside().join("ferryd.toml");
    write(&config, "no-announce = true");
    let unwanted = [
        on(&network, "[::]:0").args(["--no-announce"]).start(),
        on(&network, "[::]:0").env("FERRYD_NO_ANNOUNCE", "1").start(),
        on(&network, "[::]:0").args([Path::new("--config"), &config]).start(),
    ];
    // What came later is seen, and so would be what came before.
    let announced = on(&network, "[::]:0").start();
    avahi.sees(&[&told_of(&announced)]);
    avahi.sees(&["IPv6", &told_of(&announced)]);
    for line in avahi.resolved() {
        assert!(line.contains(&told_of(&announced)), "{line}");
    }
    for server in &unwanted {
        assert!(!server.log().contains("announced"), "{}", server.log());
    }
    fs::remove_file(config).unwrap();
}

#[test]
fn two_servers_of_one_name_are_both_announced() {
    let Some(network) = Network::new() else { return };
    let Some(avahi) = Avahi::there(&network) else { return };
    let (first, second) = (on(&network, "[::]:0").start(), on(&network, "[::]:0").start());
    for server in [&first, &second] {
        avahi.sees(&["IPv4", &format!(";{};", server.address().port()), &told_of(server)]);
    }
}

#[test]
fn a_network_without_multicast_is_a_warning_and_the_server_serves() {
    let Some(network) = Network::new() else { return };
    network.ip_here("link set cable down");
    let server = on(&network, "[::]:0").start();
    server.logged(&["WARN", "no multicast", "no interface is up"]);
    serves(&network, &server, "127.0.0.1");
    // By IPv4 there always is a way to a group as long as an interface is up.
    network.ip_here("addr flush dev cable");
    network.ip_here("addr add fd77::9/64 dev cable nodad");
    network.ip_here("link set cable up");
    network.ip_here("-6 route del multicast ff00::/8 dev cable table local");
    let server = on(&network, "[::]:0").start();
    server.logged(&["WARN", "no multicast", "cable: Network is unreachable"]);
    serves(&network, &server, "[fd77::9]");
}

/// An unasked answer of 50 records that nobody wants, and that are to be kept for ever.
fn junk(number: u32) -> Vec<u8> {
    let mut packet = vec![0, 0, 0x84, 0, 0, 0, 0, 50, 0, 0, 0, 0];
    for record in 0..50 {
        let name = format!("{number}-{record}");
        packet.push(name.len() as u8);
        packet.extend(name.as_bytes());
        // In the local domain; a text, for 68 years, which is empty.
        packet.extend(b"\x05local\0\0\x10\0\x01\x7f\xff\xff\xff\0\x01\0");
    }
    packet
}

#[test]
fn hostile_10_whoever_fills_the_network_with_announcements_does_not_fill_the_server() {
    let Some(network) = Network::new() else { return };
    let server = on(&network, "[::]:0").start();
    server.logged(&["announced"]);
    let before = server.most_memory();
    network.on_there(|| {
        let socket = UdpSocket::bind("10.77.0.2:0").unwrap();
        rustix::net::sockopt::set_ip_multicast_if(&socket, &"10.77.0.2".parse().unwrap()).unwrap();
        let mut number = 0;
        eventually("the server's limit", || {
            socket.send_to(&junk(number), "224.0.0.251:5353").unwrap();
            number += 1;
            server.log().contains("announces too much").then_some(())
        });
    });
    let grown = server.most_memory() - before;
    assert!(grown < 64 << 20, "it has grown by {grown} bytes");
    serves(&network, &server, "127.0.0.1");
}

/// Looks for servers from the second machine, until a look has found all these words.
fn discovered(client: &Client, network: &Network, flags: &[&str], words: &[&str]) -> Outcome {
    eventually(&format!("{words:?} among the servers"), || {
        let outcome = client.wrapped(&network.there(), "discover").args(flags).run().code(0);
        let found = outcome.stdout();
        words.iter().all(|word| found.contains(word)).then_some(outcome)
    })
}

#[test]
fn discover_lists_servers_with_all_their_addresses_and_which_are_paired() {
    let Some(network) = Network::new() else { return };
    let Some(avahi) = Avahi::there(&network) else { return };
    let (paired, other) = (on(&network, "[::]:0").start(), on(&network, "10.77.0.1:0").start());
    let client = Client::new();
    pair(&client, &network, &paired);
    // A stranger, whose name is to move the cursor and to look like more.
    let _stranger =
        avahi.publish(&["evil\x1b[2J  looks like box", "_ferry._tcp", "7", "v=9", "fp=no prefix"]);
    let (port, other_port) = (paired.address().port(), other.address().port());
    let addresses =
        [format!("10.77.0.1:{port}"), format!("[fd77::1]:{port}"), format!("10.77.0.1:{other_port}")];
    let [four, six, other_four] = addresses.each_ref().map(String::as_str);
    let listed = discovered(&client, &network, &["--json"], &[four, six, other_four, "evil"]);
    assert_eq!(listed.objects().len(), 3, "{listed:?}");
    let of = |port: u16| {
        let suffix = format!(":{port}");
        let has_port = |address: &serde_json::Value| address.as_str().unwrap().ends_with(&suffix);
        let objects = listed.objects();
        objects.into_iter().find(|o| o["addresses"].as_array().unwrap().iter().any(has_port)).unwrap()
    };
    let object = of(port);
    let of_it = object["addresses"].as_array().unwrap();
    assert!(of_it.contains(&json!(four)) && of_it.contains(&json!(six)), "{object}");
    assert_eq!((&object["version"], &object["looks_like"]), (&json!(1), &json!("box")), "{object}");
    assert_eq!(object["fingerprint_prefix"], json!(&paired.fingerprint().to_string()[..16]));
    let object = of(other_port);
    assert_eq!(object["addresses"], json!([other_four]));
    assert_eq!(object["looks_like"], json!(null), "{object}");
    let object = of(7);
    assert_eq!((&object["version"], &object["fingerprint_prefix"]), (&json!(9), &json!(null)), "{object}");
    assert!(object["name"].as_str().unwrap().starts_with("evil\x1b[2J"), "{object}");

    let lines = discovered(&client, &network, &[], &[four, other_four, "evil"]).stdout();
    assert!(!lines.contains('\x1b'), "{lines}");
    let line = |words: &str| lines.lines().find(|line| line.contains(words)).unwrap().to_owned();
    assert!(line(four).contains("  looks like box  "), "{lines}");
    assert!(line("evil\\x1b[2J").contains("-                 not paired"), "{lines}");
}

#[test]
fn where_nobody_is_found_discover_says_what_to_try() {
    let Some(network) = Network::new() else { return };
    let client = Client::new();
    let looked = client.wrapped(&network.there(), "discover").args(["--timeout", "1s"]).run().code(0);
    assert_eq!(looked.says("`ferry doctor`").stdout(), "");
    network.ip_there("link set cable down");
    client.wrapped(&network.there(), "discover").args(["--timeout", "1s", "--json"]).run().code(0);
    let running = client.wrapped(&network.there(), "discover").args(["--timeout", "1h"]).start();
    // Signals are waited for before anything else is done; it has a thread for this when it looks.
    eventually("a look at the network", || (running.threads() > 3).then_some(()));
    running.signal(rustix::process::Signal::INT);
    running.wait().code(5);
}

/// A client on the second machine gets to know a server as `box`, by its first address.
fn pair(client: &Client, network: &Network, server: &Server) {
    let link = server.invite_with(&["--host", &format!("10.77.0.1:{}", server.address().port())]);
    client.wrapped(&network.there(), "pair").args([&link, "--as", "box"]).run().code(0);
}

fn send(client: &Client, network: &Network, file: &Path) -> Ferry {
    client.wrapped(&network.there(), "send").arg(file).arg("box:")
}

/// The machine gets other addresses.
fn renumber(network: &Network, number: u8) {
    network.ip_here("addr flush dev cable scope global");
    network.ip_here(&format!("addr add 10.77.0.{number}/24 dev cable"));
}

#[test]
fn a_server_whose_address_has_changed_is_found_again_and_its_address_kept() {
    let Some(network) = Network::new() else { return };
    let mut server = on(&network, "[::]:0").start();
    let client = Client::new();
    pair(&client, &network, &server);
    server.kill();
    renumber(&network, 5);
    server.restart_at("[::]:0".parse().unwrap());
    let file = write(client.home().join("file"), "content");
    let first = send(&client, &network, &file).args(["--retry", "forever"]).run().code(0);
    let now = format!("10.77.0.5:{}", server.address().port());
    first.says(format!("`box` was found again by its key, at {now}, which is its address from now on"));
    assert_same_file(&file, &server.inbox().join("file"));
    let config = fs::read_to_string(client.home().join("config.toml")).unwrap();
    let (new, old) = (config.find(&now).unwrap(), config.find("10.77.0.1").unwrap());
    assert!(new < old, "{config}");
    // What is known now needs no search.
    let second = send(&client, &network, &file).run().code(0);
    assert!(!second.stderr().contains("found again"), "{second:?}");
}

#[test]
fn a_run_and_a_watch_go_on_where_the_server_is_now() {
    let Some(network) = Network::new() else { return };
    let mut server = on(&network, "[::]:0").start();
    let client = Client::new();
    pair(&client, &network, &server);
    let folder = client.home().join("watched");
    write(folder.join("first"), "content");
    let watch =
        client.wrapped(&network.there(), "watch").arg(&folder).args(["box:", "--settle", "1s"]).start();
    eventually("the first file", || server.names().contains(&"watched/first".to_owned()).then_some(()));
    let large = write(client.home().join("large"), noise(80 << 20, 1));
    let run = send(&client, &network, &large)
        .args(["--limit-rate", "40MB", "--timeout", "2s", "--retry", "forever"])
        .start();
    eventually("a checkpoint", || (!server.checkpoints().is_empty()).then_some(()));
    server.kill();
    renumber(&network, 6);
    server.restart_at("[::]:0".parse().unwrap());
    run.wait().code(0).says("found again by its key, at 10.77.0.6:");
    assert_same_file(&large, &server.inbox().join("large"));
    write(folder.join("second"), "more");
    eventually("the second file", || server.names().contains(&"watched/second".to_owned()).then_some(()));
    drop(watch);
}

#[test]
fn hostile_18_whoever_lies_about_being_the_server_gets_nothing_and_holds_nobody_up() {
    let Some(network) = Network::new() else { return };
    let Some(avahi) = Avahi::there(&network) else { return };
    let mut server = on(&network, "[::]:0").start();
    let client = Client::new();
    let here = network.here();
    let link = server.invite_with(&["--host", &format!("10.77.0.1:{}", server.address().port())]);
    client.wrapped(&here, "pair").args([&link, "--as", "box"]).run().code(0);
    let fingerprint = server.fingerprint().to_string();
    server.kill();
    // Another server of ferry's, which says that it is the first one.
    let liar = Server::setup().wrapped(&network.there()).listen("[::]:0".parse().unwrap());
    let liar = liar.args(["--no-announce"]).env("FERRYD_LOG", "debug").start();
    let (port, fp) = (liar.address().port().to_string(), format!("fp={}", &fingerprint[..16]));
    let lie = avahi.publish(&["box", "_ferry._tcp", &port, "v=1", &fp]);
    let secret = write(client.home().join("a name that is nobody's business"), noise(100_000, 1));
    let send = |words: &[&str]| client.wrapped(&here, "send").arg(&secret).arg("box:").args(words).run();

    let outcome = send(&["--retry", "1"]).code(3);
    let outcome = outcome
        .says(format!("10.77.0.2:{port} is announced as this server, and does not prove it: passed over"))
        .says("trying again")
        .says("`ferry doctor box` looks for reasons");
    assert_eq!(outcome.stderr().matches("looking for `box` on this network\n").count(), 1, "{outcome:?}");
    let quiet = send(&["--retry", "0", "-q"]).code(3);
    assert!(!quiet.stderr().contains("looking for `box`"), "{quiet:?}");
    liar.logged(&["handshake failed"]);
    assert!(!liar.log().contains("business"), "{}", liar.log());
    assert_eq!(liar.names(), Vec::<String>::new());
    let known = fs::read_to_string(client.home().join("config.toml")).unwrap();
    assert!(!known.contains("10.77.0.2"), "{known}");

    // Beside the liar, the server itself is found.
    server.restart_at("[::]:0".parse().unwrap());
    send(&["--retry", "forever"]).code(0).says("found again by its key, at ");
    assert_same_file(&secret, &server.inbox().join("a name that is nobody's business"));
    assert_eq!(liar.names(), Vec::<String>::new());
    drop(lie);
}

#[test]
fn hostile_18_another_key_at_a_known_address_ends_it_and_nobody_is_looked_for() {
    let Some(network) = Network::new() else { return };
    let mut server = on(&network, "[::]:0").start();
    let client = Client::new();
    pair(&client, &network, &server);
    let old = server.address().port();
    server.restart_at("[::]:0".parse().unwrap());
    server.logged(&["announced"]);
    let other = on(&network, &format!("[::]:{old}")).args(["--no-announce"]).start();
    let file = write(client.home().join("file"), "content");
    let refused = send(&client, &network, &file).run().code(4).says("is not the server that was paired with");
    assert!(!refused.stderr().contains("found again"), "{refused:?}");
    assert_eq!((server.names(), other.names()), (vec![], vec![]));
}

#[test]
fn hostile_18_another_key_at_one_known_address_is_passed_over_if_another_one_leads_to_the_server() {
    let (mut server, mut other) = (Server::setup().start(), Server::setup().start());
    let (first, second) = (other.address(), server.address());
    let client = Client::new();
    let link = server.invite_with(&["--host", &first.to_string(), "--host", &second.to_string()]);
    let passed_over =
        |address| format!("{address} does not prove that it is the server that was known there");
    client.ferry("pair").args([&link, "--as", "box"]).run().code(0).says(passed_over(first));
    // It is known by both now, and they change places.
    server.kill();
    other.restart_at(second);
    server.restart_at(first);
    let file = write(client.home().join("file"), "content");
    client.ferry("send").arg(&file).arg("box:").run().code(0).says(passed_over(second));
    assert_same_file(&file, &server.inbox().join("file"));
    assert_eq!(other.names(), Vec::<String>::new());
    // Where none of them leads to it, it ends.
    server.kill();
    let ended = client.ferry("send").arg(&file).arg("box:").run().code(4);
    ended.says("is not the server that was paired with");
    assert_eq!(other.names(), Vec::<String>::new());
}
