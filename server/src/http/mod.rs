//! The side of ferryd for browsers and for curl: HTTPS, off unless it is asked for.
//!
//! A request comes over a connection (`listen`) that is TLS (`certificate`), is somebody's (`visitor`), and is about the page,
//! a file, or an upload. What is sent goes the same way as everything else: `put` and `tus` offer it to
//! [`Uploads`](ferry_store::Uploads), and `intake` carries the body there. Only HTTP/1.1 is spoken: the six connections of a
//! browser do on a local network, and what can be flooded in HTTP/2 is not there.

mod answer;
mod certificate;
mod get;
mod headers;
mod intake;
mod known;
mod listen;
mod media;
mod page;
mod patience;
mod put;
mod url;
mod visitor;

use std::{collections::HashMap, sync::Arc, time::Duration};

use ferry_proto::Code;
use ferry_store::Cut;
use http_body_util::{BodyExt, Limited};
use hyper::{Method, Request, Response, body::Incoming, http::request::Parts};
use tokio::time::timeout;

use self::{
    answer::{Answer, Body, Refusal},
    listen::Connection,
    visitor::Visitor,
};
pub(crate) use self::{certificate::Certificate, listen::run};
use crate::{
    catalogue::{ClientId, Standing},
    session::Sessions,
    shares::Shares,
};

/// Connections of one client at a time: a browser makes 6, and a program that sends hundreds of files at once one for each.
const CONNECTIONS: usize = 256;

/// Files of one client that are read at a time.
const READS: usize = 32;

/// Bytes of a request that is an object: a thousand names of 4 KiB would be more, and nobody has those.
const OBJECT: usize = 1024 * 1024;

/// How long such a request takes to come whole, at 100 kB/s.
const OBJECT_TIME: Duration = Duration::from_secs(10);

/// What every request uses.
pub(crate) struct Web {
    house: Arc<Sessions>,
    /// Connections.
    seats: Arc<Shares>,
    readers: Arc<Shares>,
}

impl Web {
    pub(crate) fn new(house: Arc<Sessions>) -> Arc<Self> {
        Arc::new(Web { house, seats: Shares::new(CONNECTIONS), readers: Shares::new(READS) })
    }

    /// Answers one request.
    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        connection: Arc<Connection>,
    ) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let (method, address) = (parts.method.clone(), connection.address);
        let answered = self.of_anybody(&parts, body, &connection).await;
        answer::seal(answered.unwrap_or_else(|refusal| {
            tracing::debug!(%address, %method, code = %refusal.code(), "a web request was refused");
            refusal.into_response()
        }))
    }

    /// What anybody may ask for, whom nobody knows.
    async fn of_anybody(&self, parts: &Parts, body: Incoming, connection: &Connection) -> Answer {
        let headers = &parts.headers;
        let is_read = parts.method == Method::GET || parts.method == Method::HEAD;
        match parts.uri.path() {
            "/" if is_read => page::part("index.html", headers),
            "/session" if parts.method == Method::POST => {
                visitor::sign_in(self, headers, &object(body).await?).await
            }
            path => match path.strip_prefix("/page/") {
                Some(name) if is_read => page::part(name, headers),
                _ => self.of_somebody(parts, body, connection).await,
            },
        }
    }

    /// What takes somebody who is known, and may be here until the end.
    async fn of_somebody(&self, parts: &Parts, body: Incoming, connection: &Connection) -> Answer {
        let visitor = Visitor::of(self, &parts.method, &parts.headers).await?;
        if !connection.is_of(visitor.client.id, self) {
            return Err(Refusal::busy(
                "there are as many connections as there may be: try again a little later",
            ));
        }
        let (id, grant) = (visitor.client.id, visitor.client.grant_id);
        let mut standings = self.house.standings.clone();
        let changed = |now: &HashMap<ClientId, Standing>| {
            now.get(&id).copied().filter(|now| now.shut_out.is_some() || now.grant > grant)
        };
        let cut = Cut::default();
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

    async fn route(&self, parts: &Parts, body: Incoming, visitor: &Visitor, cut: &Cut) -> Answer {
        let (method, headers, client) = (&parts.method, &parts.headers, &visitor.client);
        let path = parts.uri.path();
        let (first, rest) = path[1..].split_at(path[1..].find('/').unwrap_or(path.len() - 1));
        match first {
            "session" if rest.is_empty() => match *method {
                Method::GET => visitor::told(self, visitor).await,
                Method::DELETE => visitor::sign_out(self, visitor).await,
                _ => Err(Refusal::method("GET, POST, DELETE")),
            },
            "known" if rest.is_empty() => match *method {
                Method::POST => known::known(self, client, &object(body).await?, cut.clone()).await,
                _ => Err(Refusal::method("POST")),
            },
            "files" => {
                let path =
                    url::decode(rest).map_err(|error| Refusal::new(Code::BadName, error.to_string()))?;
                let path = path.ok_or_else(Refusal::not_found)?;
                match *method {
                    Method::GET | Method::HEAD => {
                        get::get(self, client, path, headers, parts.uri.query()).await
                    }
                    Method::PUT => put::put(self, client, path, headers, body, cut.clone()).await,
                    _ => Err(Refusal::method("GET, HEAD, PUT")),
                }
            }
            _ => Err(Refusal::not_found()),
        }
    }
}

/// The body of a request that is an object, if it is short and comes in time.
async fn object(body: Incoming) -> Result<Vec<u8>, Refusal> {
    let whole = timeout(OBJECT_TIME, Limited::new(body, OBJECT).collect()).await;
    let too_much = |_| Refusal::new(Code::TooLarge, "the request is too long, or did not come whole");
    Ok(whole.map_err(|_| intake::cut())?.map_err(too_much)?.to_bytes().into())
}
