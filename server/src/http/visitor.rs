//! Who is behind a request: a browser that has spent an invite and keeps a cookie, or whoever has a token. What may be done
//! is decided by the grant of a client, as everywhere.
//!
//! A browser's invite stands in the fragment of its link, which browsers never send; the page spends it, with a
//! number of its own. Both together make the cookie, so that to present them again, where the answer was lost, gives the same
//! one. Before that it asks, by the secret alone, whether the invite names this browser, which spends nothing.
//! A token is the secret of an invite that is presented with each request; the first one spends it.

use std::time::SystemTime;

use data_encoding::HEXLOWER_PERMISSIVE;
use ferry_proto::{Algorithm, Code, Fingerprint, Secret, limits};
use ferry_store::Ledger;
use hyper::{HeaderMap, Method, Response, StatusCode, header};
use serde::Deserialize;
use serde_json::json;

use super::{
    Web,
    answer::{self, Answer, Body, Refusal},
};
use crate::{
    catalogue::{Client, EnrolError, Enrolled, Peer, PeerKind, ShutOut, Spent},
    clients::{self, rfc3339},
    log,
};

/// The prefix has browsers take it from this host alone, over TLS alone, for all of its paths.
const COOKIE: &str = "__Host-ferry";

/// How long a browser keeps it: the longest that browsers allow. The grant may end it earlier.
const KEPT: u32 = 400 * 24 * 60 * 60;

/// What a client is called that comes by a token and whose invite names nobody.
const NAMELESS: &str = "http";

/// Somebody who is known.
pub(super) struct Visitor {
    pub(super) client: Client,
    peer: Peer,
}

/// What a browser's cookie holds: as good as a key, so only its digest is kept here.
struct Cookie([u8; 32]);

impl Cookie {
    fn new(invite: &Secret, nonce: &[u8; 32]) -> Self {
        Cookie(digest(&[b"ferry browser", invite.bytes(), nonce]))
    }

    /// That of a request, if it has one.
    fn of(headers: &HeaderMap) -> Option<Self> {
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs = cookies.flat_map(|value| value.split(';')).map(str::trim);
        let value = pairs.find_map(|pair| pair.strip_prefix(COOKIE)?.strip_prefix('='))?;
        HEXLOWER_PERMISSIVE.decode(value.as_bytes()).ok()?.try_into().ok().map(Cookie)
    }

    fn peer(&self) -> Peer {
        let fingerprint = Fingerprint::from_bytes(digest(&[b"ferry cookie", &self.0]));
        Peer { kind: PeerKind::Browser, fingerprint }
    }

    fn to_header(&self) -> String {
        let value = HEXLOWER_PERMISSIVE.encode(&self.0);
        format!("{COOKIE}={value}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age={KEPT}")
    }
}

/// The cookie that takes the place of the one that was.
fn no_cookie() -> String {
    format!("{COOKIE}=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0")
}

/// Of parts with known lengths, the first of which says what it is for.
fn digest(parts: &[&[u8]]) -> [u8; 32] {
    *Algorithm::Sha256.digest(&parts.concat()).bytes()
}

fn peer_of_token(token: &Secret) -> Peer {
    let fingerprint = Fingerprint::from_bytes(digest(&[b"ferry token", token.bytes()]));
    Peer { kind: PeerKind::Token, fingerprint }
}

impl Visitor {
    /// Who is behind a request; an error if that is nobody who may be here.
    pub(super) async fn of(web: &Web, method: &Method, headers: &HeaderMap) -> Result<Self, Refusal> {
        if let Some(token) = bearer(headers)? {
            return by_token(web, token).await;
        }
        let Some(cookie) = Cookie::of(headers) else {
            let advice = "this takes an invite: ask the owner of the server for one";
            return Err(Refusal::new(Code::UnknownClient, advice));
        };
        // Browsers send a cookie whoever has made them send the request.
        if *method != Method::GET && *method != Method::HEAD {
            refuse_of_others(headers)?;
        }
        let peer = cookie.peer();
        let catalogue = web.house.catalogue.clone();
        match web.house.door.spawn_blocking(move || catalogue.client_of(peer)).await {
            Ok(Ok(Some(client))) => known(client, peer),
            Ok(Ok(None)) => {
                Err(Refusal::new(Code::UnknownClient, "this browser is not signed in here any more"))
            }
            Ok(Err(error)) => Err(cannot_look_up(&error)),
            Err(_) => Err(Refusal::internal()),
        }
    }
}

/// Whether a request has anything that could tell who is behind it.
pub(super) fn says_who(headers: &HeaderMap) -> bool {
    headers.contains_key(header::AUTHORIZATION) || Cookie::of(headers).is_some()
}

fn known(client: Client, peer: Peer) -> Result<Visitor, Refusal> {
    match client.shut_out(SystemTime::now()) {
        None => Ok(Visitor { client, peer }),
        Some(shut_out) => Err(of_shut_out(shut_out)),
    }
}

pub(super) fn of_shut_out(shut_out: ShutOut) -> Refusal {
    match shut_out {
        ShutOut::Revoked => Refusal::new(
            Code::Revoked,
            "this access was revoked by the server's owner: only a new invite lets in again",
        ),
        ShutOut::Expired => Refusal::new(
            Code::Expired,
            format!(
                "the time of this access is over, as it is {} on the server: ask its owner for a new invite",
                rfc3339(SystemTime::now())
            ),
        ),
    }
}

fn cannot_look_up(error: &dyn std::fmt::Display) -> Refusal {
    tracing::error!(%error, "clients cannot be looked up");
    Refusal::internal()
}

fn bearer(headers: &HeaderMap) -> Result<Option<Secret>, Refusal> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let token = value.to_str().ok().and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().parse().ok())?
    });
    let bad = || Refusal::new(Code::UnknownClient, "the authorization is no token of `ferryd invite --web`");
    token.map(Some).ok_or_else(bad)
}

async fn by_token(web: &Web, token: Secret) -> Result<Visitor, Refusal> {
    let peer = peer_of_token(&token);
    let catalogue = web.house.catalogue.clone();
    let looked_up = web.house.door.spawn_blocking(move || match catalogue.client_of(peer)? {
        Some(client) => Ok(Enrolled::known(client)),
        None => catalogue.enrol(&token, peer, NAMELESS, SystemTime::now()),
    });
    match looked_up.await {
        Ok(enrolled) => known(enrolled_or_not(enrolled)?, peer),
        Err(_) => Err(Refusal::internal()),
    }
}

fn enrolled_or_not(enrolled: Result<Enrolled, EnrolError>) -> Result<Client, Refusal> {
    let Enrolled { client, spent } = enrolled.map_err(not_enrolled)?;
    if spent == Spent::Enrolled {
        let grant = clients::told(&client.grant);
        tracing::info!(client = %client.name, %grant, "enrolled by an invite on the web");
    }
    Ok(client)
}

fn not_enrolled(error: EnrolError) -> Refusal {
    match error {
        EnrolError::Invalid => {
            log::STRANGERS.line(|| tracing::warn!("an invite was refused on the web"));
            Refusal::new(
                Code::InvalidInvite,
                "the invite is not valid: it was used already, has expired, or is not this server's; ask for a new one",
            )
        }
        EnrolError::ShutOut(shut_out) => of_shut_out(shut_out),
        EnrolError::Catalogue(error) => cannot_look_up(&error),
    }
}

/// Nothing is changed for a page that is not this server's own.
fn refuse_of_others(headers: &HeaderMap) -> Result<(), Refusal> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let is_own = match (text(header::ORIGIN), text(header::HOST)) {
        (Some(origin), Some(host)) => origin.strip_prefix("https://") == Some(host),
        _ => false,
    };
    if is_own {
        return Ok(());
    }
    Err(Refusal::new(Code::NotAllowed, "this request was made by a page of somebody else"))
}

/// What a page asks about that has an invite.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    invite: String,
}

/// `POST /invite`: what an invite calls the browser that presents it, so that nobody is asked for a name that does not count.
/// Only who has the secret hears it, and could have it by spending the invite.
pub(super) async fn name_by_invite(web: &Web, headers: &HeaderMap, body: &[u8]) -> Answer {
    refuse_of_others(headers)?;
    let Asked { invite } = serde_json::from_slice(body).map_err(|_| no_invite())?;
    let (invite, catalogue) = (secret(&invite)?, web.house.catalogue.clone());
    let named = web.house.door.spawn_blocking(move || catalogue.name_by(&invite, SystemTime::now())).await;
    let name = named.map_err(|_| Refusal::internal())?.map_err(not_enrolled)?;
    Ok(answer::object(&json!({ "name": name })))
}

fn no_invite() -> Refusal {
    Refusal::bad_request("what was presented is no invite")
}

fn secret(text: &str) -> Result<Secret, Refusal> {
    text.parse().map_err(|_| no_invite())
}

/// What a page presents that has an invite.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Presented {
    invite: String,
    nonce: String,
    #[serde(default)]
    name: String,
}

/// `POST /session`: an invite becomes a cookie.
pub(super) async fn sign_in(web: &Web, headers: &HeaderMap, body: &[u8]) -> Answer {
    refuse_of_others(headers)?;
    let Presented { invite, nonce, name } = serde_json::from_slice(body).map_err(|_| no_invite())?;
    let invite = secret(&invite)?;
    let nonce = HEXLOWER_PERMISSIVE.decode(nonce.as_bytes()).ok().and_then(|nonce| nonce.try_into().ok());
    let cookie = Cookie::new(&invite, &nonce.ok_or_else(no_invite)?);
    let (peer, catalogue) = (cookie.peer(), web.house.catalogue.clone());
    let enrolled = web
        .house
        .door
        .spawn_blocking(move || catalogue.enrol(&invite, peer, &name, SystemTime::now()))
        .await
        .map_err(|_| Refusal::internal())?;
    let visitor = known(enrolled_or_not(enrolled)?, peer)?;
    let mut response = told(web, &visitor).await?;
    answer::put(&mut response, header::SET_COOKIE, &cookie.to_header());
    Ok(response)
}

/// `DELETE /session`: this browser is nobody any more.
pub(super) async fn sign_out(web: &Web, visitor: &Visitor) -> Answer {
    let (peer, catalogue) = (visitor.peer, web.house.catalogue.clone());
    if peer.kind != PeerKind::Browser {
        return Err(Refusal::new(Code::NotAllowed, "a token ends when its client is revoked"));
    }
    match web.house.door.spawn_blocking(move || catalogue.forget(peer)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(cannot_look_up(&error)),
        Err(_) => return Err(Refusal::internal()),
    }
    let mut response = answer::nothing(StatusCode::NO_CONTENT);
    answer::put(&mut response, header::SET_COOKIE, &no_cookie());
    Ok(response)
}

/// `GET /session`: who this is here, and what it may do.
pub(super) async fn told(web: &Web, visitor: &Visitor) -> Result<Response<Body>, Refusal> {
    let Client { name, grant, .. } = &visitor.client;
    let (catalogue, client) = (web.house.catalogue.clone(), name.clone());
    let held = web.house.door.spawn_blocking(move || catalogue.held_by(&client)).await;
    let held = held.ok().and_then(Result::ok).map(|held| held.rows);
    let max_file = web.house.settings.borrow().max_file;
    Ok(answer::object(&json!({
        "server": web.house.name,
        "version": env!("CARGO_PKG_VERSION"),
        "client": name,
        "folder": grant.folder.as_ref().map(|folder| String::from_utf8_lossy(folder.as_bytes()).into_owned()),
        "may": { "put": grant.put, "get": grant.get, "list": grant.list, "overwrite": grant.overwrite },
        "max_file": (max_file < limits::FILE).then_some(max_file),
        "quota": grant.quota,
        "held": held,
        "expires": grant.expires.map(rfc3339),
    })))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn secret(number: u8) -> Secret {
        Secret::from_bytes([number; 16])
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|&(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_cookie_comes_back_among_others_and_is_kept_as_a_digest() {
        let cookie = Cookie::new(&secret(1), &[2; 32]);
        let header = cookie.to_header();
        let pair = header.split(';').next().unwrap();
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("a=b"));
        headers
            .append(header::COOKIE, HeaderValue::from_str(&format!("x=__Host-ferry=y; {pair} ; z")).unwrap());
        let back = Cookie::of(&headers).unwrap();
        assert_eq!(back.0, cookie.0);
        assert_ne!(back.peer().fingerprint.bytes(), &cookie.0);
        assert_ne!(Cookie::new(&secret(1), &[3; 32]).0, cookie.0);
        assert_ne!(peer_of_token(&secret(1)).fingerprint, cookie.peer().fingerprint);
        assert!(Cookie::of(&headers_of("__Host-ferry=12")).is_none());
        assert!(Cookie::of(&headers_of("not__Host-ferry=12")).is_none());
    }

    fn headers_of(cookie: &'static str) -> HeaderMap {
        headers(&[("cookie", cookie)])
    }

    #[test]
    fn hostile_15_a_token_is_the_whole_of_its_header() {
        let token = "Bearer AAAAAAAAAAAAAAAAAAAAAA";
        assert_eq!(bearer(&headers(&[("authorization", token)])).unwrap(), Some(secret(0)));
        assert_eq!(bearer(&HeaderMap::new()).unwrap(), None);
        for bad in ["Bearer", "Bearer ", "Basic AAAAAAAAAAAAAAAAAAAAAA", "Bearer AAAA", "Bearer A A"] {
            let headers = headers(&[("authorization", bad)]);
            assert_eq!(bearer(&headers).unwrap_err().status, StatusCode::UNAUTHORIZED, "{bad}");
        }
    }

    #[test]
    fn hostile_15_only_this_servers_own_page_changes_anything() {
        let own = headers(&[("origin", "https://nas:7118"), ("host", "nas:7118")]);
        assert!(refuse_of_others(&own).is_ok());
        for pairs in [
            &[("host", "nas:7118")][..],
            &[("origin", "https://evil.example"), ("host", "nas:7118")],
            &[("origin", "http://nas:7118"), ("host", "nas:7118")],
            &[("origin", "null"), ("host", "nas:7118")],
            &[("origin", "https://nas:7117"), ("host", "nas:7118")],
            &[("origin", "https://nas:7118.evil.example"), ("host", "nas:7118")],
        ] {
            assert!(refuse_of_others(&headers(pairs)).is_err(), "{pairs:?}");
        }
    }
}
