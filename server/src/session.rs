//! One session: who is it, what may it do, and what does it want?

use std::{collections::HashMap, sync::Arc, time::SystemTime};

use ferry_proto::{
    Algorithm, Code, Features, Fingerprint, Get, GrantView, Hello, Limits, List, Message, Put, Receiver,
    Rejected, Request, RunId, VERSION, Verb, Violation, Welcome, escape, limits,
};
use ferry_session::{
    Arrived, Incoming, Outbox, SessionError, greet,
    receive::{self, Destination, OpenGate},
    send::{self, Options, Unlimited},
};
use ferry_store::{Cut, Lease, LocalStore, Store, source::Links};
use tokio::sync::watch;

use crate::{
    catalogue::{Client, ClientId, EnrolError, Enrolled, ShutOut, Spent, Standing},
    clients,
    giving::Wish,
    health::End,
    house::House,
    listen::{Guest, Handler},
    log::{self, Journal},
    seats::Seat,
};

/// Names this program to its peers.
pub(crate) const AGENT: &str = concat!("ferryd/", env!("CARGO_PKG_VERSION"));

/// Requests for files that are answered at a time; further ones wait. Each takes two threads and some 10 MiB here, for as
/// long as its client takes its time.
const READERS: usize = 64;

/// Those of one client: more than a disk is any faster by.
pub(crate) const READERS_PER_CLIENT: usize = 16;

/// Why a peer is not let in, in words for it.
struct Refusal(Code, String);

/// Why there is no session.
enum NotIn {
    /// The peer did not say who it is.
    Lost(SessionError),
    /// It did.
    Refused(Refusal),
}

impl From<ShutOut> for Refusal {
    fn from(shut_out: ShutOut) -> Self {
        match shut_out {
            ShutOut::Revoked => Refusal(
                Code::Revoked,
                "this client was revoked by the server's owner: ask for a new invite and run `ferry pair` again".to_owned(),
            ),
            // If that is a surprise, it may be this clock that is wrong.
            ShutOut::Expired => Refusal(
                Code::Expired,
                format!(
                    "the time of this client's grant is over, as it is {} on the server: ask its owner for a new invite and run \
                     `ferry pair` again",
                    clients::rfc3339(SystemTime::now())
                ),
            ),
        }
    }
}

impl Handler for House {
    async fn handle(
        &self,
        mut incoming: Incoming,
        outbox: Outbox,
        key: Fingerprint,
        Guest { address, place }: Guest,
        mut stop: watch::Receiver<bool>,
    ) {
        let introduced = tokio::select! {
            biased;
            introduced = self.introduce(&mut incoming, key) => introduced,
            () = place.must_go() => Err(NotIn::Refused(Refusal(
                Code::Busy,
                "too many peers are waiting to be let in: try again a little later".to_owned(),
            ))),
        };
        // Known or not, it waits no more.
        drop(place);
        let (hello, client, seat) = match introduced {
            Ok(introduced) => introduced,
            Err(NotIn::Lost(error)) => {
                log::STRANGERS.line(|| tracing::info!(%address, %error, "no hello"));
                return greet::part(incoming, outbox, &error).await;
            }
            Err(NotIn::Refused(Refusal(code, sentence))) => {
                self.counts.refusals.one(code);
                log::STRANGERS.line(|| tracing::warn!(%address, %key, %code, "refused"));
                return greet::farewell(incoming, outbox, code, sentence).await;
            }
        };
        self.counts.sessions.one();
        let agent = escape::text(&hello.agent);
        tracing::info!(client = %client.name, %address, %agent, "connected");
        let mut standings = self.standings.clone();
        let changed = |now: &HashMap<ClientId, Standing>| {
            // Each grant of a client has a greater number than the one before, and this session's may be newer than the look.
            now.get(&client.id).copied().filter(|now| now.shut_out.is_some() || now.grant > client.grant_id)
        };
        let cut = Cut::default();
        let ended = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => {
                Err(Refusal(Code::Stopping, "the server is stopping".to_owned()))
            }
            Ok(now) = standings.wait_for(|now| changed(now).is_some()) => {
                Err(match changed(&now).and_then(|now| now.shut_out) {
                    Some(shut_out) => {
                        cut.cut();
                        shut_out.into()
                    }
                    // Whoever hears this comes again.
                    None => Refusal(Code::Stopping, "this client has another grant now: connect again".to_owned()),
                })
            }
            result = self.serve(&mut incoming, &outbox, &client, &hello, seat.offers, &cut) => Ok(result),
        };
        let result = match ended {
            Ok(result) => result,
            Err(Refusal(code, sentence)) => {
                self.counts.end(End::Cut);
                self.counts.refusals.one(code);
                tracing::info!(client = %client.name, %address, %code, "cut");
                return greet::farewell(incoming, outbox, code, sentence).await;
            }
        };
        match result {
            Ok(()) => {
                self.counts.end(End::Finished);
                tracing::info!(client = %client.name, %address, "finished");
            }
            Err(error) if error.is_lost_connection() => {
                self.counts.end(End::Lost);
                tracing::info!(client = %client.name, %address, %error, "connection lost");
                greet::part(incoming, outbox, &error).await;
            }
            Err(error) => {
                self.counts.end(End::Fault);
                tracing::warn!(client = %client.name, %address, %error, "session ended");
                greet::part(incoming, outbox, &error).await;
            }
        }
    }
}

impl House {
    /// Hears who it is, and finds it a seat.
    async fn introduce(
        &self,
        incoming: &mut Incoming,
        key: Fingerprint,
    ) -> Result<(Hello, Client, Seat), NotIn> {
        let hello = greet::await_hello(incoming).await.map_err(NotIn::Lost)?;
        let client = self.admit(&hello, key).await.map_err(NotIn::Refused)?;
        let busy = || "the server has as many sessions as it may: try again a little later".to_owned();
        let seat = self.seats.take(client.id).ok_or_else(|| NotIn::Refused(Refusal(Code::Busy, busy())))?;
        Ok((hello, client, seat))
    }

    /// Decides who it is. Nothing of the inbox is looked at before.
    async fn admit(&self, hello: &Hello, key: Fingerprint) -> Result<Client, Refusal> {
        if !hello.is_spoken_here() {
            let theirs = hello.versions;
            let sentence = format!(
                "this server speaks version {VERSION} of the protocol, the client {} to {}: update the older one",
                theirs.oldest, theirs.newest
            );
            return Err(Refusal(Code::Version, sentence));
        }
        let (catalogue, invite, name) = (self.catalogue.clone(), hello.invite.clone(), hello.name.clone());
        let looked_up = self.door.spawn_blocking(move || {
            let known = catalogue.client_of(key)?;
            let Some(secret) = invite else { return Ok(known.map(Enrolled::known)) };
            match (catalogue.enrol(&secret, key, &name, SystemTime::now()), known) {
                // It needs none.
                (Err(EnrolError::Invalid), Some(client)) if client.shut_out(SystemTime::now()).is_none() => {
                    Ok(Some(Enrolled::known(client)))
                }
                (enrolled, _) => enrolled.map(Some),
            }
        });
        let internal = || Refusal(Code::Internal, "the server cannot look up its clients".to_owned());
        match looked_up.await {
            Ok(Ok(Some(Enrolled { client, spent }))) => {
                let grant = clients::told(&client.grant);
                match spent {
                    Spent::Enrolled => tracing::info!(client = %client.name, %key, %grant, "enrolled by an invite"),
                    Spent::Regranted => tracing::info!(client = %client.name, %key, %grant, "has another grant"),
                    Spent::Nothing => {}
                }
                match client.shut_out(SystemTime::now()) {
                    None => Ok(client),
                    Some(shut_out) => Err(shut_out.into()),
                }
            }
            Ok(Ok(None)) => Err(Refusal(
                Code::UnknownClient,
                "the server does not know this client: ask its owner for an invite and run `ferry pair`".to_owned(),
            )),
            Ok(Err(EnrolError::ShutOut(shut_out))) => Err(shut_out.into()),
            Ok(Err(EnrolError::Invalid)) => Err(Refusal(
                Code::InvalidInvite,
                "the invite is not valid: it was used already, has expired, or is not this server's; ask for a new one"
                    .to_owned(),
            )),
            Ok(Err(error)) => {
                tracing::error!(%error, "clients cannot be looked up");
                Err(internal())
            }
            Err(_) => Err(internal()),
        }
    }

    async fn serve(
        &self,
        incoming: &mut Incoming,
        outbox: &Outbox,
        client: &Client,
        hello: &Hello,
        offers: usize,
        cut: &Cut,
    ) -> Result<(), SessionError> {
        let run = hello.run;
        let shared = Features::named_by(&hello.features);
        outbox.say(self.welcome(client, shared, offers))?;
        outbox.greeted();
        let mut rejected = false;
        loop {
            let tick = || if outbox.is_unread() { Err(SessionError::Flooded) } else { Ok(()) };
            let request = match incoming.next(tick).await {
                Ok(Arrived::Message(Message::Request(request), _)) => request,
                // What was under way before its sender could know that the request is rejected.
                Ok(Arrived::Chunk(length)) if rejected => {
                    incoming.skip(length).await?;
                    continue;
                }
                Ok(Arrived::Message(..)) if rejected => continue,
                Ok(_) => return Err(Violation("something else than a request").into()),
                Err(SessionError::Finished) => return Ok(()),
                Err(error) => return Err(error),
            };
            let Request { id, verb } = request;
            let (code, detail) = match verb {
                Verb::Put(put) if client.grant.put => {
                    rejected = false;
                    let asking = outbox.clone();
                    let lease = Lease::new(move || asking.ping());
                    incoming.keep_alive(lease.clone());
                    let destination = self.destination(client, put, lease, cut.clone());
                    let receiver = Receiver::new(&put, offers).sharing(shared);
                    receive::receive(incoming, outbox, receiver, &OpenGate, destination).await?;
                    continue;
                }
                Verb::Get(Get { paths, digest, wants }) if client.grant.get => {
                    rejected = false;
                    let folder = client.grant.folder.clone();
                    let wish = Wish { folder, paths, recursive: true, is_list: false, wants };
                    let options = Options { shared, ..asked(digest, false) };
                    self.give(incoming, outbox, client, (run, id), wish, options).await?;
                    continue;
                }
                Verb::List(List { paths, digest, recursive, reread, wants })
                    if client.grant.get || client.grant.list =>
                {
                    rejected = false;
                    let folder = client.grant.folder.clone();
                    let wish = Wish { folder, paths, recursive, is_list: true, wants };
                    let options = Options { checksum: reread, ..asked(digest, true) };
                    self.give(incoming, outbox, client, (run, id), wish, options).await?;
                    continue;
                }
                Verb::Put(_) => (Code::NotAllowed, "this client may not send files here"),
                Verb::Get(_) => (Code::NotAllowed, "this client may not read files here"),
                Verb::List(_) => (Code::NotAllowed, "this client may not list files here"),
                Verb::Unknown(_) => (Code::Unsupported, "this server does not know that request"),
            };
            rejected = true;
            self.counts.refusals.one(code);
            outbox.say(Rejected { id, code, detail: detail.to_owned() })?;
        }
    }

    /// Sends what the client has asked for.
    async fn give(
        &self,
        incoming: &mut Incoming,
        outbox: &Outbox,
        client: &Client,
        (run, id): (RunId, u32),
        wish: Wish,
        options: Options,
    ) -> Result<(), SessionError> {
        let tick = || if outbox.is_unread() { Err(SessionError::Flooded) } else { Ok(()) };
        let _place = incoming.meanwhile(tick, self.readers.wait(client.id, READERS)).await?;
        let (ledger, journal) = (self.catalogue.clone(), Journal::of(&client.name, &self.counts));
        let (shelf, uploads) = (self.shelf.clone(), self.uploads.clone());
        let share = self.givings.join((client.id, run, id), wish, shelf, ledger, uploads, journal);
        send::give(incoming, outbox, options, share.giving.clone()).await
    }

    fn destination(&self, client: &Client, put: Put, lease: Arc<Lease>, cut: Cut) -> Destination<LocalStore> {
        Destination {
            uploads: self.uploads.clone(),
            terms: Arc::new(self.terms(client, put, cut)),
            lease,
            room: self.room.clone(),
            buffers: self.buffers.clone(),
            pace: Arc::new(Unlimited),
            witness: Arc::new(Journal::of(&client.name, &self.counts)),
        }
    }

    fn welcome(&self, client: &Client, shared: Features, offers: usize) -> Welcome {
        Welcome {
            version: VERSION,
            agent: AGENT.to_owned(),
            name: self.name.clone(),
            features: shared.numbers(),
            limits: Limits {
                offers: offers as u32,
                chunk: limits::CHUNK as u32,
                checkpoint: self.uploads.store().checkpoint_distance(),
                file: self.settings.borrow().max_file,
            },
            grant: GrantView {
                client: client.name.clone(),
                put: client.grant.put,
                get: client.grant.get,
                list: client.grant.list,
                overwrite: client.grant.overwrite,
            },
        }
    }
}

/// How files are sent to whoever has asked for them.
fn asked(digest: Algorithm, dry_run: bool) -> Options {
    Options {
        asked: true,
        dry_run,
        shared: Features::default(),
        links: Links::Keep,
        digest,
        checksum: false,
        has_company: true,
    }
}
