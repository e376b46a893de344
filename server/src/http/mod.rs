//! The side of ferryd for browsers and for curl: HTTPS, off unless it is asked for.
//!
//! A request comes over a connection (`listen`) that is TLS (`certificate`), is somebody's (`visitor`), and is about the page,
//! a file, or an upload. What is sent goes the same way as everything else: `put` and `tus` offer it to
//! [`Uploads`](ferry_store::Uploads), and `intake` carries the body there. Only HTTP/1.1 is spoken: the six connections of a
//! browser do on a local network, and what can be flooded in HTTP/2 is not there.

mod answer;
mod certificate;
mod gallery;
mod get;
mod headers;
mod intake;
mod known;
mod listen;
mod media;
mod page;
mod patience;
mod put;
mod reading;
mod tus;
mod url;
mod visitor;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use ferry_proto::{Code, RelPath};
use ferry_store::{Cut, lock};
use http_body_util::{BodyExt, Limited};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, header, http::request::Parts};
use tokio::{task::AbortHandle, time::timeout};

use self::{
    answer::{Answer, Body, Refusal},
    listen::Connection,
    visitor::Visitor,
};
pub(crate) use self::{certificate::Certificate, listen::run};
use crate::{
    catalogue::{Client, ClientId, Grant, GrantId, Standing},
    gallery::Gallery,
    house::House,
    inbox,
    log::{self, Few, Journal},
    shares::{Share, Shares},
};

/// Connections of one client at a time: a browser makes 6, and a program that sends hundreds of files at once one for each.
const CONNECTIONS: usize = 256;

/// Files of one client that are read at a time, and pictures that it looks at.
const READS: usize = 32;

/// Folders of one client that are listed at a time.
const LISTINGS: usize = 4;

/// How long a request waits for others that are as many as there may be.
const WAIT: Duration = Duration::from_secs(20);

/// Bytes of a request of somebody who is not known yet.
const INTRODUCTION: usize = 4 * 1024;

/// Bytes of a body of JSON: enough for a thousand names of usual length.
const OBJECT: usize = 1024 * 1024;

/// How long such a request takes to come whole, at 100 kB/s.
const OBJECT_TIME: Duration = Duration::from_secs(10);

/// How often uploads are let go of that nobody goes on with.
const TIDY: Duration = Duration::from_secs(60);

/// Of so many times, one is for small pictures, too.
const PICTURES: u64 = 60;

/// What every request uses.
pub(crate) struct Web {
    house: Arc<House>,
    /// Connections.
    seats: Arc<Shares>,
    readers: Arc<Shares>,
    viewers: Arc<Shares>,
    listers: Arc<Shares>,
    uploads: tus::Desk,
    gallery: Arc<Gallery>,
    failures: Arc<Few>,
    /// Ends what was begun under a grant, by whichever request.
    cuts: Mutex<HashMap<GrantId, Cut>>,
}

impl Web {
    pub(crate) fn new(house: Arc<House>, gallery: Arc<Gallery>) -> Arc<Self> {
        let (seats, readers) = (Shares::new(CONNECTIONS), Shares::new(READS));
        let (viewers, listers) = (Shares::new(READS), Shares::new(LISTINGS));
        let (uploads, failures, cuts) = (tus::Desk::default(), log::failures(), Mutex::default());
        let web = Arc::new(Web { house, seats, readers, viewers, listers, uploads, gallery, failures, cuts });
        tokio::spawn(tidy(Arc::downgrade(&web)));
        web
    }

    /// Answers one request. It is done to its end even where the connection ends first: what has come of a body stays.
    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        connection: Arc<Connection>,
    ) -> Response<Body> {
        let (parts, mut body) = request.into_parts();
        let is_read = parts.method == Method::GET || parts.method == Method::HEAD;
        let answered = tokio::spawn(async move {
            let answered = self.of_anybody(&parts, &mut body, &connection).await;
            let mut response = answered.unwrap_or_else(|refusal| {
                if !refusal.is_of_file {
                    self.house.counts.refusals.one(refusal.code());
                }
                refusal.into_response()
            });
            if parts.uri.path().starts_with(tus::AT) {
                response = tus::with_version(response);
            }
            let status = response.status();
            if status.is_client_error() || status.is_server_error() {
                let (address, method) = (connection.address, &parts.method);
                tracing::debug!(%address, %method, %status, "a web request was refused");
            }
            // Who waits for leave to send is not given it.
            if !parts.headers.contains_key(header::EXPECT) {
                intake::drain(&mut body).await;
            }
            response
        });
        // What is only read for somebody who has gone is not.
        let _ended = is_read.then(|| Aborted(answered.abort_handle()));
        answer::seal(answered.await.unwrap_or_else(|error| {
            tracing::error!(%error, "a web request ended in a panic");
            Refusal::internal().into_response()
        }))
    }

    /// What anybody may ask for, whom nobody knows.
    async fn of_anybody(&self, parts: &Parts, body: &mut Incoming, connection: &Connection) -> Answer {
        let headers = &parts.headers;
        let is_read = parts.method == Method::GET || parts.method == Method::HEAD;
        match parts.uri.path() {
            "/" if is_read => page::part("index.html", headers),
            "/uploads" | "/uploads/" if parts.method == Method::OPTIONS => Ok(tus::options(self)),
            // No fault, and browsers would tell their owners of one.
            "/session" if parts.method == Method::GET && !visitor::says_who(headers) => {
                Ok(answer::nothing(StatusCode::NO_CONTENT))
            }
            "/session" if parts.method == Method::POST => {
                visitor::sign_in(self, headers, &object(body, INTRODUCTION).await?).await
            }
            "/invite" if parts.method == Method::POST => {
                visitor::name_by_invite(self, headers, &object(body, INTRODUCTION).await?).await
            }
            path => match path.strip_prefix("/page/") {
                Some(name) if is_read => page::part(name, headers),
                _ => self.of_somebody(parts, body, connection).await,
            },
        }
    }

    /// What takes somebody who is known, and may be here until the end.
    async fn of_somebody(&self, parts: &Parts, body: &mut Incoming, connection: &Connection) -> Answer {
        let visitor = Visitor::of(self, &parts.method, &parts.headers).await?;
        if !connection.is_of(visitor.client.id, self) {
            return Err(Refusal::busy(
                "there are as many connections as there may be: try again a little later",
            ));
        }
        let changed = changed(&visitor.client);
        let mut standings = self.house.standings.clone();
        let cut = lock(&self.cuts).entry(visitor.client.grant_id).or_default().clone();
        tokio::select! {
            biased;
            Ok(now) = standings.wait_for(|now| changed(now).is_some()) => {
                cut.cut();
                Err(match changed(&now).and_then(|now| now.shut_out) {
                    Some(shut_out) => visitor::of_shut_out(shut_out),
                    None => Refusal::busy("this client has another grant now: try again"),
                })
            }
            answered = self.route(parts, body, &visitor, &cut) => answered,
        }
    }

    /// What becomes of a client's files is written there.
    fn journal(&self, client: &Client) -> Journal {
        Journal::among(&client.name, &self.house.counts, &self.failures)
    }

    /// Forgets how to end what was begun under grants that nobody has any more; newer ones may not be known yet.
    fn forget_cuts(&self) {
        let standings = self.house.standings.borrow();
        let known: HashSet<_> = standings.values().map(|now| now.grant).collect();
        let newest = known.iter().max();
        lock(&self.cuts).retain(|grant, _| known.contains(grant) || Some(grant) > newest);
    }

    /// Whether a client may go on with what its grant allowed when it began.
    fn stays(&self, client: &Client) -> impl Fn() -> bool + Send + use<> {
        let (standings, changed) = (self.house.standings.clone(), changed(client));
        move || changed(&standings.borrow()).is_none()
    }

    async fn route(&self, parts: &Parts, body: &mut Incoming, visitor: &Visitor, cut: &Cut) -> Answer {
        let (method, headers, client) = (&parts.method, &parts.headers, &visitor.client);
        let path = parts.uri.path();
        // `*` and what `CONNECT` names have none.
        let path = path.strip_prefix('/').ok_or_else(Refusal::not_found)?;
        let (first, rest) = path.split_at(path.find('/').unwrap_or(path.len()));
        refuse_without_grant(first, method, &client.grant)?;
        match first {
            "session" if rest.is_empty() => match *method {
                Method::GET => visitor::told(self, visitor).await,
                Method::DELETE => visitor::sign_out(self, visitor).await,
                _ => Err(Refusal::method("GET, POST, DELETE")),
            },
            "known" if rest.is_empty() => match *method {
                Method::POST => known::known(self, client, &object(body, OBJECT).await?, cut.clone()).await,
                _ => Err(Refusal::method("POST")),
            },
            "files" => {
                let path = path_of(rest)?.ok_or_else(Refusal::not_found)?;
                match *method {
                    Method::GET | Method::HEAD => {
                        get::get(self, client, path, headers, parts.uri.query()).await
                    }
                    Method::PUT => put::put(self, client, path, headers, body, cut.clone()).await,
                    _ => Err(Refusal::method("GET, HEAD, PUT")),
                }
            }
            "list" => match *method {
                Method::GET => gallery::list(self, client, path_of(rest)?).await,
                _ => Err(Refusal::method("GET")),
            },
            "thumbs" | "facts" => {
                let path = path_of(rest)?.ok_or_else(Refusal::not_found)?;
                match *method {
                    Method::GET if first == "facts" => gallery::facts(self, client, path).await,
                    Method::GET => gallery::thumbnail(self, client, path, headers, parts.uri.query()).await,
                    _ => Err(Refusal::method("GET")),
                }
            }
            "uploads" => tus::uploads(self, client, parts, rest, body, cut.clone()).await,
            _ => Err(Refusal::not_found()),
        }
    }
}

/// Finds out how a client stands now, if that is not as it was. Its grant may be newer than the last look.
fn changed(client: &Client) -> impl Fn(&HashMap<ClientId, Standing>) -> Option<Standing> + Send + use<> {
    let (id, grant) = (client.id, client.grant_id);
    move |now| now.get(&id).copied().filter(|now| now.shut_out.is_some() || now.grant > grant)
}

/// Ends a task when it is dropped.
struct Aborted(AbortHandle);

impl Drop for Aborted {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Lets go of what nobody goes on with, for as long as there is a server.
async fn tidy(web: Weak<Web>) {
    let mut times = tokio::time::interval(TIDY);
    for time in 0_u64.. {
        times.tick().await;
        let Some(web) = web.upgrade() else { return };
        web.uploads.let_go_of_idle();
        web.forget_cuts();
        if time % PICTURES == 0 {
            let gallery = web.gallery.clone();
            tokio::task::spawn_blocking(move || {
                if let Err(error) = gallery.tidy() {
                    tracing::warn!(%error, "small pictures that are too many cannot be removed");
                }
            });
        }
    }
}

/// What the grant does not allow is refused, whatever is named.
fn refuse_without_grant(first: &str, method: &Method, grant: &Grant) -> Result<(), Refusal> {
    let (may, what) = match first {
        "known" | "uploads" => (grant.put, "send"),
        "files" if *method == Method::PUT => (grant.put, "send"),
        "files" | "thumbs" | "facts" => (grant.get, "read"),
        "list" => (grant.list || grant.get, "list"),
        _ => return Ok(()),
    };
    match may {
        true => Ok(()),
        false => Err(Refusal::new(Code::NotAllowed, format!("this client may not {what} files here"))),
    }
}

/// One of so many places in all.
async fn place(shares: &Arc<Shares>, client: &Client, in_all: usize) -> Result<Share, Refusal> {
    let busy = |_| Refusal::busy("too much else is asked for just now: try again a little later");
    timeout(WAIT, shares.wait(client.id, in_all)).await.map_err(busy)
}

/// Where a client's path is in the inbox.
fn in_inbox(client: &Client, path: &RelPath) -> Result<RelPath, Refusal> {
    inbox::beneath(client.grant.folder.as_ref(), path).map_err(|_| Refusal::not_found())
}

fn path_of(rest: &str) -> Result<Option<RelPath>, Refusal> {
    url::decode(rest).map_err(|error| Refusal::new(Code::BadName, error.to_string()))
}

/// The body of a request that is an object, if it is short and comes in time.
async fn object(body: &mut Incoming, most: usize) -> Result<Vec<u8>, Refusal> {
    let whole = timeout(OBJECT_TIME, Limited::new(body, most).collect()).await;
    let too_much = |_| Refusal::new(Code::TooLarge, "the request is too long, or did not come whole");
    Ok(whole.map_err(|_| intake::cut())?.map_err(too_much)?.to_bytes().into())
}
