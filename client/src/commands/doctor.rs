//! `ferry doctor`: why a server is not found or not reached, and what to do about it.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, ErrorKind},
    net::{IpAddr, SocketAddr},
    time::{Duration, SystemTime},
};

use ferry_proto::{Code, GrantView, announcement::Prefix, escape};
use ferry_session::greet;
use if_addrs::Interface;
use serde_json::{Map, Value};
use tokio::{
    net::{TcpStream, lookup_host},
    time::{Instant, timeout},
};

use super::connections::{Signals, block_on};
use crate::{
    config::Doctor,
    dial::{CANDIDATES, DialError, Dialer, Missed, Session},
    discovery::{Browse, Found},
    exit::{Exit, Failure},
    multicast,
    output::{to_stdout, unwritable},
    place::Server,
    remotes::{Remote, Remotes},
};

/// How long an address may take to answer, where nobody says it: what does not answer in this time is told to try again.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long announcements are listened to.
const LISTENING: Duration = Duration::from_secs(3);

/// 2025-01-01: ferry is younger than that.
const YOUNGER: Duration = Duration::from_secs(1_735_689_600);

/// How a server gets known here.
const PAIRING: &str = "`ferryd invite` on the server prints a link for `ferry pair` here";

/// How well something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Ok,
    /// Nothing is amiss, and somebody may want to know.
    Note,
    Warn,
    Fail,
}

impl Health {
    fn word(self) -> &'static str {
        match self {
            Health::Ok => "ok",
            Health::Note => "note",
            Health::Warn => "warn",
            Health::Fail => "fail",
        }
    }
}

pub(super) fn run(config: Doctor) -> Result<Exit, Failure> {
    let remotes = Remotes::load(&config.home.config)?;
    let patients: Vec<(String, Remote)> = match &config.remote {
        None => remotes.all().map(|(name, remote)| (name.to_owned(), remote.clone())).collect(),
        Some(name) => {
            let remote = remotes.find(name).ok_or_else(|| {
                let sentence = format!("no server is known as `{}` here: {PAIRING}", escape::text(name));
                Failure::usage(sentence)
            })?;
            vec![(name.clone(), remote.clone())]
        }
    };
    let visit = Visit { config: &config, remotes: &remotes };
    block_on(async {
        let signals = Signals::new()?;
        tokio::select! {
            biased;
            () = signals.wait() => Err(Failure::new(Exit::Interrupted, "interrupted")),
            done = visit.all(&patients) => done.map_err(|error| unwritable(&error)),
        }
    })
}

/// What is looked at.
struct Visit<'a> {
    config: &'a Doctor,
    remotes: &'a Remotes,
}

/// A look at one address of a server.
struct Look {
    name: String,
    address: String,
    dialer: Dialer,
    patience: Duration,
    is_known: bool,
}

/// What came of it.
struct Looked {
    findings: Vec<Finding>,
    end: End,
}

struct Finding {
    check: &'static str,
    health: Health,
    sentence: String,
    advice: &'static str,
}

impl Finding {
    /// What is amiss with an address costs a run nothing if it comes to the server before.
    fn only_note(&mut self) {
        if self.health != Health::Ok {
            self.health = Health::Note;
            self.advice = "it is not needed: the server answers at an address that is tried before it";
        }
    }
}

/// How a run would end there.
enum End {
    Well,
    Away,
    /// Whoever answers does not prove that it is the server.
    Stranger,
    Refused(Exit),
}

impl Visit<'_> {
    /// This machine first, then the network, then each server. Returns how a run with them would end, the worst of them.
    async fn all(&self, patients: &[(String, Remote)]) -> io::Result<Exit> {
        self.clock()?;
        self.interfaces().await?;
        let announced = self.announced().await?;
        if patients.is_empty() {
            self.tell(None, "pairing", Health::Fail, "no server is paired", PAIRING)?;
            // As a run that does not know where to.
            return Ok(Exit::Usage);
        }
        if announced.iter().any(|found| self.looks_like(found).is_none()) {
            let sentence = "a server is announced that is not paired here";
            self.tell(None, "pairing", Health::Note, sentence, PAIRING)?;
        }
        let mut worst = Exit::Well;
        for (name, remote) in patients {
            let exit = self.server(name, remote, &announced).await?;
            if exit as u8 > worst as u8 {
                worst = exit;
            }
        }
        Ok(worst)
    }

    /// The protocol does not tell the server's clock, so this one is held to what it must at least be.
    fn clock(&self) -> io::Result<()> {
        let now = SystemTime::now();
        let key = fs::metadata(&self.config.home.identity).and_then(|metadata| metadata.modified()).ok();
        let least = SystemTime::UNIX_EPOCH + YOUNGER;
        let advice = "set it: times of files, and what is sent by --newer-than, depend on it";
        match key {
            _ if now < least => {
                self.tell(None, "clock", Health::Warn, "this machine's clock is years behind", advice)
            }
            Some(key) if now < key => self.tell(
                None,
                "clock",
                Health::Warn,
                "this machine's clock is behind the time when its own key was made",
                advice,
            ),
            _ => self.tell(None, "clock", Health::Ok, "this machine's clock can be right", ""),
        }
    }

    /// Interfaces, and whether they carry multicast.
    async fn interfaces(&self) -> io::Result<()> {
        let addresses = match multicast::addresses() {
            Ok(addresses) => addresses,
            Err(error) => {
                let sentence = format!("this machine's addresses cannot be listed: {error}");
                return self.tell(None, "interface", Health::Fail, &sentence, "");
            }
        };
        if addresses.is_empty() {
            let advice = "connect this machine to a network";
            return self.tell(
                None,
                "interface",
                Health::Fail,
                "no interface is up and has an address",
                advice,
            );
        }
        let mut interfaces: BTreeMap<&str, Vec<&Interface>> = BTreeMap::new();
        for address in &addresses {
            interfaces.entry(&address.name).or_default().push(address);
        }
        for (name, addresses) in &interfaces {
            let list: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
            let sentence = format!("{name} is up and has {}", list.join(", "));
            self.tell(None, "interface", Health::Ok, &sentence, "")?;
        }
        for (name, addresses) in interfaces {
            for (kind, is_kind) in
                [("IPv4", IpAddr::is_ipv4 as fn(&IpAddr) -> bool), ("IPv6", IpAddr::is_ipv6)]
            {
                let Some(address) = addresses.iter().find(|address| is_kind(&address.ip())) else { continue };
                let address = (*address).clone();
                let tried = tokio::task::spawn_blocking(move || multicast::comes_back(&address)).await;
                match tried.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
                    Ok(()) => {
                        let sentence = format!("{name} carries multicast by {kind}");
                        self.tell(None, "multicast", Health::Ok, &sentence, "")?;
                    }
                    Err(error) => self.tell(
                        None,
                        "multicast",
                        Health::Warn,
                        &format!("{name} carries no multicast by {kind}: {error}"),
                        "servers are not found there by themselves, but are reached by their addresses; look at the \
                         interface (`ip link`) and at a firewall for UDP port 5353",
                    )?,
                }
            }
        }
        Ok(())
    }

    /// What is announced.
    async fn announced(&self) -> io::Result<Vec<Found>> {
        let mut all = Vec::new();
        let is_paired = |prefix: &Prefix| self.remotes.that_may_be(Some(prefix)).is_some();
        let mut browse = match Browse::start(&is_paired) {
            Ok(browse) => browse,
            Err(deaf) => {
                self.tell(None, "announced", Health::Warn, &deaf.to_string(), "")?;
                return Ok(all);
            }
        };
        let until = Instant::now() + LISTENING;
        while let Some(found) = browse.next(until).await {
            // What says more than before takes the place of that.
            all.retain(|before: &Found| before.name != found.name);
            all.push(found);
        }
        for found in &all {
            let hint =
                self.looks_like(found).map_or("not paired".to_owned(), |name| format!("looks like {name}"));
            let sentence = format!("at {}, {hint}, as {}", list(&found.addresses), escape::text(&found.name));
            self.tell(None, "announced", Health::Ok, &sentence, "")?;
        }
        if browse.is_flooded() {
            self.tell(
                None,
                "announced",
                Health::Warn,
                "somebody on this network announces too many servers",
                "find out who it is; a server that is not found for this reason is reached by its address (`ferryd invite \
                 --host`, `ferry pair`)",
            )?;
        } else if all.is_empty() {
            self.tell(
                None,
                "announced",
                Health::Warn,
                "no server announces itself where this machine hears it",
                "it may be off, in another network, behind a switch or access point that keeps multicast back, or \
                 told not to (--no-announce); its address works without",
            )?;
        }
        Ok(all)
    }

    /// The server here that what is announced may be.
    fn looks_like(&self, found: &Found) -> Option<&str> {
        self.remotes.that_may_be(found.prefix.as_ref())
    }

    /// One server, at all addresses that are known or announced.
    async fn server(&self, name: &str, remote: &Remote, announced: &[Found]) -> io::Result<Exit> {
        let server = Server::Remote(remote.clone());
        let patience = self.config.timeout.unwrap_or(PATIENCE);
        let (dialer, _) = match Dialer::to(server, &self.config.home, Some(patience)) {
            Ok(dialer) => dialer,
            Err(failure) => {
                self.tell(Some(name), "key", Health::Fail, &failure.sentence, "")?;
                return Ok(failure.code);
            }
        };
        let look = |address: &str, is_known| Look {
            name: name.to_owned(),
            address: address.to_owned(),
            dialer: dialer.clone(),
            patience,
            is_known,
        };
        let (mut usable, mut stranger) = (Exit::Unreachable, None);
        for address in &remote.addresses {
            let mut looked = look(address, true).look().await;
            if usable == Exit::Well && matches!(looked.end, End::Away) {
                looked.findings.iter_mut().for_each(Finding::only_note);
            }
            self.tell_all(name, &looked.findings)?;
            match looked.end {
                End::Well => usable = Exit::Well,
                End::Away => {}
                // A run goes on to the next address, and ends with this if none leads to the server.
                End::Stranger => stranger = Some(Exit::NotTrusted),
                End::Refused(exit) => return Ok(exit),
            }
        }
        if let Some(exit) = stranger.filter(|_| usable != Exit::Well) {
            return Ok(exit);
        }
        let is_it =
            |found: &&Found| found.prefix.as_ref().is_some_and(|prefix| prefix.fits(remote.fingerprint));
        let mut elsewhere: Vec<String> = Vec::new();
        let is_announced = announced.iter().any(|found| is_it(&found));
        for address in announced.iter().filter(is_it).flat_map(|found| &found.addresses) {
            let text = address.to_string();
            if !remote.addresses.contains(&text) && !elsewhere.contains(&text) {
                elsewhere.push(text);
            }
        }
        if usable != Exit::Well {
            usable = self.elsewhere(name, &elsewhere, |address| look(address, false)).await?;
        }
        if usable != Exit::Well {
            let sentence = match is_announced {
                true => format!("{name} is reached nowhere, though somebody announces it"),
                false => format!("{name} is reached nowhere, and nobody announces it"),
            };
            let advice = "see that ferryd runs there, and that both machines are in one network or that a router leads \
                          to it; an address that has changed is found by itself, or comes with a new link (`ferryd \
                          invite`, `ferry pair`)";
            self.tell(Some(name), "reached", Health::Fail, &sentence, advice)?;
        }
        Ok(usable)
    }

    /// Addresses at which a server is announced, which are looked at side by side, because those of a liar may take their
    /// time; told are those up to the first that is the server.
    async fn elsewhere(
        &self,
        name: &str,
        addresses: &[String],
        look: impl Fn(&str) -> Look,
    ) -> io::Result<Exit> {
        let looks: Vec<_> =
            addresses.iter().take(CANDIDATES).map(|address| tokio::spawn(look(address).look())).collect();
        let mut usable = Exit::Unreachable;
        for looking in looks {
            let Ok(looked) = looking.await else { continue };
            self.tell_all(name, &looked.findings)?;
            match looked.end {
                End::Well => return Ok(Exit::Well),
                End::Refused(exit) => usable = exit,
                End::Away | End::Stranger => {}
            }
        }
        if let Some(more) = addresses.len().checked_sub(CANDIDATES).filter(|more| *more > 0) {
            let sentence = format!(
                "{name} is announced at {} addresses, of which {more} were not tried",
                addresses.len()
            );
            let advice =
                "no server has so many, and runs do not try them either: somebody on this network lies";
            self.tell(Some(name), "announced", Health::Warn, &sentence, advice)?;
        }
        Ok(usable)
    }

    fn tell_all(&self, remote: &str, findings: &[Finding]) -> io::Result<()> {
        findings.iter().try_for_each(|Finding { check, health, sentence, advice }| {
            self.tell(Some(remote), check, *health, sentence, advice)
        })
    }

    fn tell(
        &self,
        remote: Option<&str>,
        check: &str,
        health: Health,
        sentence: &str,
        advice: &str,
    ) -> io::Result<()> {
        let line = if self.config.json {
            let mut object = Map::new();
            object.insert("check".into(), check.into());
            object.insert("health".into(), health.word().into());
            if let Some(remote) = remote {
                object.insert("remote".into(), remote.into());
            }
            object.insert("sentence".into(), sentence.into());
            if !advice.is_empty() {
                object.insert("advice".into(), advice.into());
            }
            escape::json(&Value::Object(object).to_string())
        } else {
            let advice = if advice.is_empty() { String::new() } else { format!(": {advice}") };
            format!("{:<4}  {check:<9}  {sentence}{advice}", health.word())
        };
        match to_stdout(&line) {
            // Whoever reads has seen enough; the exit code is still to be told.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            told => told,
        }
    }
}

impl Look {
    /// One address: its name, a connection, the key, and what the server says to this client.
    async fn look(self) -> Looked {
        let mut findings = Vec::new();
        let end = self.find(&mut findings).await;
        Looked { findings, end }
    }

    async fn find(&self, findings: &mut Vec<Finding>) -> End {
        let Look { name, address, dialer, patience, is_known } = self;
        let (patience, is_known) = (*patience, *is_known);
        let mut tell = |check, health, sentence: &str, advice| {
            findings.push(Finding { check, health, sentence: sentence.to_owned(), advice });
        };
        // Where one address fails, another may do.
        let bad = if is_known { Health::Fail } else { Health::Warn };
        let resolved: Vec<SocketAddr> = match timeout(patience, lookup_host(address.as_str())).await {
            Ok(Ok(resolved)) => resolved.collect(),
            Ok(Err(error)) => {
                let sentence = format!("{address}: the name leads nowhere: {error}");
                tell("name", bad, &sentence, "look at its spelling, and at DNS");
                return End::Away;
            }
            Err(_) => {
                let sentence = format!("{address}: nobody answers what the name leads to");
                tell("name", bad, &sentence, "look at DNS");
                return End::Away;
            }
        };
        if address.parse::<SocketAddr>().is_err() {
            let sentence = format!("{address} is {}", list(&resolved));
            tell("name", Health::Ok, &sentence, "");
        }
        let connected = timeout(patience, TcpStream::connect(&resolved[..])).await;
        let problem = match connected {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(unreachable(&error)),
            Err(_) => Some((
                "nobody answers in time".to_owned(),
                "the machine is off, in another network, or a firewall swallows what comes to this port",
            )),
        };
        if let Some((problem, advice)) = problem {
            tell("port", Health::Warn, &format!("{address}: {problem}"), advice);
            return End::Away;
        }
        tell("port", Health::Ok, &format!("{address} takes connections"), "");
        match dialer.try_at(address).await {
            Ok(session) => {
                tell("key", Health::Ok, &format!("{address} proves that it is {name}"), "");
                if !is_known {
                    let sentence = format!("{address} is not known yet: the next run finds it, and keeps it");
                    tell("address", Health::Ok, &sentence, "");
                }
                let Session { incoming, outbox, welcome, notes: _ } = session;
                greet::farewell(incoming, outbox, Code::Bye, "").await;
                findings.push(granted(&welcome.grant));
                End::Well
            }
            Err(Missed::Stranger(failure)) if is_known => {
                let advice = "nothing is sent to it; ask the server's owner before pairing anew";
                tell("key", Health::Fail, &failure.sentence, advice);
                End::Stranger
            }
            Err(Missed::Stranger(_)) => {
                let sentence = format!("{address} is announced as {name}, and does not prove it");
                let advice =
                    "runs pass it over; somebody on this network lies, or has copied a server's settings";
                tell("key", Health::Warn, &sentence, advice);
                End::Stranger
            }
            Err(Missed::Failed(DialError::Final(failure))) => {
                let advice = match failure.code {
                    Exit::NotTrusted => {
                        "`ferryd clients` on the server tells what it knows of this client, and `ferryd invite` prints a \
                         new link. If a grant has ended too early, look at the server's clock"
                    }
                    _ => "the server's log tells why",
                };
                tell("welcome", Health::Fail, &failure.sentence, advice);
                End::Refused(failure.code)
            }
            Err(Missed::Away(problem) | Missed::Failed(DialError::Later(problem))) => {
                let advice = "something takes connections there and does not speak to ferry, or the network is very slow";
                tell("key", bad, &problem, advice);
                End::Away
            }
        }
    }
}

/// What the server lets this client do.
fn granted(grant: &GrantView) -> Finding {
    let verbs = [("put", grant.put), ("get", grant.get), ("list", grant.list)];
    let may: Vec<&str> = verbs.into_iter().filter_map(|(verb, may)| may.then_some(verb)).collect();
    let overwriting = match (grant.put, grant.overwrite) {
        (true, true) => ", and replace what is there",
        (true, false) => ", and never replace what is there",
        (false, _) => "",
    };
    let client = escape::text(&grant.client);
    let (health, sentence, advice) = match may.is_empty() {
        false => {
            let sentence = format!("as `{client}` this client may {}{overwriting}", may.join(", "));
            (Health::Ok, sentence, "")
        }
        true => (
            Health::Warn,
            format!("as `{client}` this client may do nothing"),
            "a new link (`ferryd invite`, `ferry pair`) changes its grant",
        ),
    };
    Finding { check: "grant", health, sentence, advice }
}

fn list(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ")
}

/// What a connection that is not made means, and what to do.
fn unreachable(error: &io::Error) -> (String, &'static str) {
    match error.kind() {
        ErrorKind::ConnectionRefused => (
            "the machine is there, and nothing listens at this port".to_owned(),
            "see that ferryd runs there, and which port it says",
        ),
        ErrorKind::NetworkUnreachable => (
            "there is no way to its network".to_owned(),
            "connect this machine to that network, or pair by an address that is reached from here",
        ),
        ErrorKind::HostUnreachable => (
            "nobody has this address".to_owned(),
            "the machine is off, has another address, or is in another network",
        ),
        _ => (error.to_string(), "look at the network, and at firewalls between"),
    }
}
