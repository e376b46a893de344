//! Why a server is not found or not reached, as `ferry doctor` tells it.

use std::fs;

use serde_json::Value;

use crate::support::{Avahi, Client, Network, Outcome, Server, Setup, set_modified};

/// A server on the first machine, and a client on the second one that knows it as `box`.
struct Pair {
    server: Server,
    client: Client,
    network: Network,
}

impl Pair {
    fn new() -> Option<Self> {
        Pair::with(Server::setup(), &[])
    }

    fn with(setup: Setup, terms: &[&str]) -> Option<Self> {
        let network = Network::new()?;
        let server = setup.wrapped(&network.here()).listen("[::]:0".parse().unwrap()).start();
        let client = Client::new();
        let host = format!("10.77.0.1:{}", server.address().port());
        let link = server.invite_with(&[&["--host", &host], terms].concat());
        client.wrapped(&network.there(), "pair").args([&link, "--as", "box"]).run().code(0);
        Some(Pair { server, client, network })
    }

    fn doctor(&self, words: &[&str]) -> Outcome {
        self.client.wrapped(&self.network.there(), "doctor").args(words).run()
    }

    /// Another server where this one was.
    fn impostor(&mut self) -> Server {
        let address = self.server.address();
        self.server.kill();
        Server::setup().wrapped(&self.network.here()).listen(address).args(["--no-announce"]).start()
    }
}

/// The health of each finding of a check, in order, with its words.
fn findings(outcome: &Outcome, check: &str) -> Vec<(String, String)> {
    let text = |object: &Value, key: &str| object[key].as_str().unwrap_or_default().to_owned();
    let objects = outcome.objects().into_iter().filter(|object| object["check"] == check);
    objects.map(|o| (text(&o, "health"), text(&o, "sentence") + ": " + &text(&o, "advice"))).collect()
}

#[track_caller]
fn assert_finding(outcome: &Outcome, check: &str, health: &str, words: &str) {
    let found = findings(outcome, check);
    assert!(
        found.iter().any(|(is, says)| is == health && says.contains(words)),
        "{check}: {found:?}, {outcome:?}"
    );
}

#[test]
fn of_a_server_that_can_be_used_everything_is_well() {
    let Some(pair) = Pair::new() else { return };
    pair.server.logged(&["announced"]);
    let told = pair.doctor(&["box", "--json"]).code(0);
    let port = pair.server.address().port();
    assert_finding(&told, "clock", "ok", "");
    assert_finding(&told, "interface", "ok", "cable is up and has 10.77.0.2, ");
    assert_finding(&told, "multicast", "ok", "cable carries multicast by IPv4");
    assert_finding(&told, "multicast", "ok", "cable carries multicast by IPv6");
    assert_finding(&told, "announced", "ok", "looks like box");
    assert_finding(&told, "port", "ok", &format!("10.77.0.1:{port} takes connections"));
    assert_finding(&told, "key", "ok", &format!("10.77.0.1:{port} proves that it is box"));
    assert_finding(&told, "grant", "ok", "may put, get, list, and replace what is there");
    assert!(told.objects().iter().all(|object| object["health"] == "ok"), "{told:?}");
    // The same for people, a line each, for all servers.
    let lines = pair.doctor(&[]).code(0).stdout();
    assert_eq!(lines.lines().count(), told.objects().len(), "{lines}");
    assert!(lines.lines().all(|line| line.starts_with("ok    ")), "{lines}");
}

#[test]
fn a_server_that_is_gone_is_told_from_one_whose_machine_is_gone_and_from_one_without_a_way() {
    let Some(mut pair) = Pair::new() else { return };
    pair.server.stop();
    let told = pair.doctor(&["box", "--json"]).code(3);
    assert_finding(&told, "port", "warn", "nothing listens at this port: see that ferryd runs there");
    assert_finding(&told, "announced", "warn", "no server announces itself");
    assert_finding(&told, "reached", "fail", "box is reached nowhere, and nobody announces it");
    pair.network.ip_here("link set cable down");
    let told = pair.doctor(&["box", "--json", "--timeout", "1s"]).code(3);
    assert_finding(&told, "port", "warn", "the machine is off");
    assert_finding(&told, "reached", "fail", "box is reached nowhere, and nobody announces it");
    pair.network.ip_there("link set cable down");
    let told = pair.doctor(&["box", "--json"]).code(3);
    assert_finding(&told, "interface", "fail", "no interface is up");
    assert_finding(&told, "port", "warn", "there is no way to its network");
}

#[test]
fn a_server_at_another_address_is_found_where_it_is_announced() {
    let Some(mut pair) = Pair::new() else { return };
    pair.server.restart_at("[::]:0".parse().unwrap());
    pair.server.logged(&["announced"]);
    let told = pair.doctor(&["box", "--json"]).code(0);
    let now = format!("10.77.0.1:{}", pair.server.address().port());
    assert_finding(&told, "port", "warn", "nothing listens at this port");
    assert_finding(&told, "key", "ok", &format!("{now} proves that it is box"));
    assert_finding(&told, "address", "ok", "is not known yet");
    // It only looks.
    assert!(!fs::read_to_string(pair.client.home().join("config.toml")).unwrap().contains(&now));
}

#[test]
fn hostile_16_another_key_at_a_known_address_is_told() {
    let Some(mut pair) = Pair::new() else { return };
    let other = pair.impostor();
    let told = pair.doctor(&["box", "--json"]).code(4);
    assert_finding(&told, "key", "fail", "is not the server that was paired with");
    assert_eq!(findings(&told, "grant"), []);
    assert_eq!(other.names(), [""; 0]);
}

#[test]
fn hostile_18_a_liar_that_announces_the_servers_key_is_told() {
    let Some(mut pair) = Pair::new() else { return };
    let Some(avahi) = Avahi::there(&pair.network) else { return };
    let fingerprint = pair.server.fingerprint().to_string();
    pair.server.stop();
    let liar = Server::setup().wrapped(&pair.network.there()).listen("[::]:0".parse().unwrap());
    let liar = liar.args(["--no-announce"]).start();
    let (port, fp) = (liar.address().port().to_string(), format!("fp={}", &fingerprint[..16]));
    let _lie = avahi.publish(&["box", "_ferry._tcp", &port, "v=1", &fp]);
    let told = pair.doctor(&["box", "--json"]).code(3);
    assert_finding(&told, "announced", "ok", "looks like box");
    assert_finding(&told, "key", "warn", "is announced as box, and does not prove it");
    assert_finding(&told, "reached", "fail", "though somebody announces it");
}

#[test]
fn what_the_server_no_longer_allows_is_told_in_its_own_words() {
    let Some(pair) = Pair::with(Server::setup(), &["--can", "put", "--no-overwrite", "--name", "camera"])
    else {
        return;
    };
    let told = pair.doctor(&["box", "--json"]).code(0);
    assert_finding(&told, "grant", "ok", "as `camera` this client may put, and never replace what is there");
    pair.server.ferryd(&["revoke", "camera"]).code(0);
    let told = pair.doctor(&["box", "--json"]).code(4);
    assert_finding(&told, "welcome", "fail", "revoked");
    assert_finding(&told, "welcome", "fail", "`ferryd clients` on the server");
}

#[test]
fn a_network_without_multicast_and_a_clock_that_is_behind_are_warnings() {
    let Some(pair) = Pair::new() else { return };
    pair.network.ip_there("-6 route del multicast ff00::/8 dev cable table local");
    set_modified(pair.client.home().join("identity.key"), 4_000_000_000, 0);
    let told = pair.doctor(&["box", "--json"]).code(0);
    assert_finding(&told, "multicast", "ok", "by IPv4");
    assert_finding(&told, "multicast", "warn", "cable carries no multicast by IPv6: Network is unreachable");
    assert_finding(&told, "clock", "warn", "behind the time when its own key was made: set it");
}

#[test]
fn where_nothing_is_paired_the_network_is_looked_at() {
    let Some(network) = Network::new() else { return };
    let client = Client::new();
    // As a run that does not know where to.
    let told = client.wrapped(&network.there(), "doctor").arg("--json").run().code(2);
    assert_finding(&told, "pairing", "fail", "no server is paired: `ferryd invite`");
    let told = client.wrapped(&network.there(), "doctor").arg("nas").run().code(2);
    told.says("no server is known as `nas` here: `ferryd invite` on the server prints a link");
    // One that is announced changes nothing about that before it is paired with.
    let server = Server::setup().wrapped(&network.here()).listen("[::]:0".parse().unwrap()).start();
    server.logged(&["announced"]);
    let told = client.wrapped(&network.there(), "doctor").arg("--json").run().code(2);
    assert_finding(&told, "announced", "ok", &format!(":{}, not paired, as ", server.address().port()));
    // It leaves nothing behind.
    assert_eq!(fs::read_dir(client.home()).unwrap().count(), 0);
}

#[test]
fn an_address_that_no_run_comes_to_is_no_fault_and_a_server_that_is_not_paired_is_told_as_that() {
    let Some(network) = Network::new() else { return };
    let start = || Server::setup().wrapped(&network.here()).listen("[::]:0".parse().unwrap()).start();
    let (server, other) = (start(), start());
    let client = Client::new();
    let hosts = [format!("10.77.0.1:{}", server.address().port()), "10.77.0.1:1".to_owned()];
    let doctor = |first: &str, second: &str| {
        let link = server.invite_with(&["--host", first, "--host", second]);
        client.wrapped(&network.there(), "pair").args([&link, "--as", "box"]).run().code(0);
        client.wrapped(&network.there(), "doctor").arg("--json").run().code(0)
    };
    server.logged(&["announced"]);
    other.logged(&["announced"]);
    let told = doctor(&hosts[0], &hosts[1]);
    assert_finding(
        &told,
        "port",
        "note",
        "10.77.0.1:1: the machine is there, and nothing listens at this port: it is not",
    );
    assert!(told.objects().iter().all(|o| o["health"] == "ok" || o["health"] == "note"), "{told:?}");
    assert_finding(&told, "announced", "ok", &format!(":{}, not paired, as ", other.address().port()));
    assert_finding(&told, "pairing", "note", "`ferryd invite` on the server prints a link");
    // A run tries this one first.
    let told = doctor(&hosts[1], &hosts[0]);
    assert_finding(&told, "port", "warn", "10.77.0.1:1: the machine is there");
}
