//! Who is behind a request: cookies, tokens, and what ends them.

use std::fs;

use serde_json::json;

use crate::support::{Line, Server, Visitor, eventually, web};

fn server() -> Server {
    Server::setup().web().start()
}

#[test]
fn hostile_15_an_invite_becomes_a_cookie_that_no_script_and_no_other_site_has() {
    let server = server();
    let secret = web::secret(&server, &["--name", "phone"]);
    let mut visitor = Visitor::nobody(&server);
    visitor.get("/session").status(204);
    let reply = visitor.presents(&secret, [1; 32]).status(200);
    let cookie = reply.header("set-cookie").unwrap().to_owned();
    let mut parts: Vec<_> = cookie.split("; ").collect();
    let value = parts.remove(0).strip_prefix("__Host-ferry=").unwrap();
    assert!(value.len() == 64 && value.bytes().all(|b| b.is_ascii_hexdigit()), "{cookie}");
    for flag in ["Secure", "HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(parts.contains(&flag), "{cookie}");
    }
    assert!(!cookie.contains("Domain"), "{cookie}");
    assert_eq!(reply.json()["client"], "phone");
    assert!(!String::from_utf8_lossy(&reply.body).contains(value));

    // An answer that was lost is asked for again; anybody else who has seen the link comes too late.
    let again = visitor.presents(&secret, [1; 32]).status(200).has("set-cookie", &cookie);
    visitor.presents(&secret, [2; 32]).refuses(403, "invalid-invite");
    Visitor::nobody(&server).presents(&secret, [3; 32]).refuses(403, "invalid-invite");
    visitor.takes_cookie(&again, secret.clone());
    visitor.get("/session").status(200);
    assert_eq!(visitor.get("/session").json(), reply.json());
    // Nor is a used one good as a token.
    let token = format!("Bearer {secret}");
    let ask = Visitor::nobody(&server);
    ask.ask("GET", "/session").header("Authorization", token).send().refuses(403, "invalid-invite");
    assert_eq!(
        server.ferryd(&["clients"]).code(0).stdout().lines().filter(|l| l.contains("phone")).count(),
        1
    );
}

#[test]
fn hostile_15_invites_that_are_expired_unknown_or_none_let_nobody_in() {
    let server = server();
    let visitor = Visitor::nobody(&server);
    let expired = web::secret(&server, &["--expires", "1s"]);
    eventually("the end of an invite", || (visitor.presents(&expired, [1; 32]).status == 403).then_some(()));
    visitor.presents(&expired, [9; 32]).refuses(403, "invalid-invite");
    visitor.presents("AAAAAAAAAAAAAAAAAAAAAA", [1; 32]).refuses(403, "invalid-invite");
    let closed = web::secret(&server, &[]);
    let link = format!("https://nas:7118/#invite={closed}");
    server.ferryd(&["revoke", &link]).code(0);
    visitor.presents(&closed, [1; 32]).refuses(403, "invalid-invite");
    let origin = visitor.origin();
    for body in
        ["", "{}", "[]", "null", "{\"invite\":\"x\",\"nonce\":\"y\"}", "{\"invite\":1}", &"[".repeat(4_000)]
    {
        let reply = visitor.ask("POST", "/session").header("Origin", &origin).body(body).send();
        reply.refuses(400, "protocol");
    }
    let long = format!("{{\"invite\":\"{}\"}}", "A".repeat(5_000));
    visitor.ask("POST", "/session").header("Origin", &origin).body(long).send().refuses(413, "too-large");
    for token in ["", "x", "Basic eDp5", "Bearer", "Bearer x", "Bearer AAAAAAAAAAAAAAAAAAAAAA x"] {
        visitor.ask("GET", "/files/a").header("Authorization", token).send().refuses(401, "unknown-client");
    }
    let unknown = "Bearer AAAAAAAAAAAAAAAAAAAAAA";
    visitor.ask("GET", "/files/a").header("Authorization", unknown).send().refuses(403, "invalid-invite");
    for cookie in ["__Host-ferry=", "__Host-ferry=00", &format!("__Host-ferry={}", "0".repeat(64)), "x=y"] {
        visitor.ask("GET", "/files/a").header("Cookie", cookie).send().refuses(401, "unknown-client");
    }
    visitor.get("/files/a").refuses(401, "unknown-client").has("www-authenticate", "Bearer");
    for (method, target) in
        [("PUT", "/files/a"), ("POST", "/uploads"), ("POST", "/known"), ("DELETE", "/session"), ("GET", "/x")]
    {
        visitor.ask(method, target).send().refuses(401, "unknown-client");
    }
    assert_eq!(server.names(), [""; 0]);
    assert!(!server.log().contains(&expired) && !server.log().contains(&closed));
}

#[test]
fn hostile_15_an_invite_tells_its_name_to_whoever_has_its_secret_and_is_not_spent_by_that() {
    let server = server();
    let visitor = Visitor::nobody(&server);
    let (named, nameless) = (web::secret(&server, &["--name", "phone"]), web::secret(&server, &[]));
    for _ in 0..2 {
        assert_eq!(visitor.asks_name(&named).status(200).json(), json!({ "name": "phone" }));
        assert_eq!(visitor.asks_name(&nameless).status(200).json(), json!({ "name": null }));
    }
    assert_eq!(visitor.presents(&named, [1; 32]).status(200).json()["client"], "phone");
    // The name that it will be, for two clients never share one.
    let second = web::secret(&server, &["--name", "phone"]);
    assert_eq!(visitor.asks_name(&second).json()["name"], "phone-2");
    assert_eq!(visitor.presents(&second, [2; 32]).json()["client"], "phone-2");
    for worthless in [&named, &second, "AAAAAAAAAAAAAAAAAAAAAA"] {
        visitor.asks_name(worthless).refuses(403, "invalid-invite");
    }
    let ask =
        |origin: &str, body: &str| visitor.ask("POST", "/invite").header("Origin", origin).body(body).send();
    let held = format!("{{\"invite\":\"{nameless}\"}}");
    ask("https://evil.example", &held).refuses(403, "not-allowed");
    for body in ["", "{}", "null", "{\"invite\":\"x\"}", "{\"invite\":1}", &held.replace('}', ",\"x\":1}")] {
        ask(&visitor.origin(), body).refuses(400, "protocol");
    }
    visitor.get("/invite").refuses(401, "unknown-client");
    assert!([&named, &nameless, &second].iter().all(|secret| !server.log().contains(secret.as_str())));
}

#[test]
fn hostile_15_what_another_page_has_a_browser_send_changes_nothing() {
    let server = server();
    let visitor = Visitor::signed_in(&server);
    let own = visitor.origin();
    let upload = visitor.created("upload", 3);
    let port = server.web().port();
    let others = [
        None,
        Some("null".to_owned()),
        Some("https://evil.example".to_owned()),
        Some(own.replace("https", "http")),
        Some(format!("{own}.evil.example")),
        Some(format!("https://127.0.0.1:{}", port ^ 1)),
        Some(format!("https://evil.example@127.0.0.1:{port}")),
        Some(format!("{own}/")),
        Some(String::new()),
    ];
    for other in &others {
        let ask = |method: &str, target: &str| -> web::Ask<'_> {
            let ask = visitor.ask(method, target).without("Origin");
            match other {
                Some(origin) => ask.header("Origin", origin),
                None => ask,
            }
        };
        let said = |reply: crate::support::Reply| drop(reply.refuses(403, "not-allowed"));
        said(ask("PUT", "/files/csrf").body("x").send());
        said(ask("DELETE", "/session").send());
        said(ask("POST", "/known").body("{\"files\":[]}").send());
        let tus = |method: &str, target: &str| ask(method, target).header("Tus-Resumable", "1.0.0");
        said(tus("POST", "/uploads").header("Upload-Length", "0").send());
        let part = |method: &str| {
            let ask = tus(method, &upload).header("Content-Type", "application/offset+octet-stream");
            ask.header("Upload-Offset", "0").body("abc")
        };
        said(part("PATCH").send());
        said(part("POST").header("X-HTTP-Method-Override", "PATCH").send());
        said(tus("DELETE", &upload).send());
        said(tus("POST", &upload).header("X-HTTP-Method-Override", "DELETE").send());
        // An invite that somebody else's page presents would make this browser send to somebody else's account.
        let secret = web::secret(&server, &[]);
        let presented = format!("{{\"invite\":\"{secret}\",\"nonce\":\"{}\"}}", "0".repeat(64));
        said(ask("POST", "/session").body(presented).send());
    }
    // A second Origin beside the right one says nothing.
    let reply = visitor.ask("PUT", "/files/csrf").without("Origin").header("Origin", "https://evil.example");
    let reply = reply.header("Origin", &own).body("x").send();
    assert_eq!(reply.status, 403, "{reply:?}");
    assert_eq!(server.names(), [""; 0]);
    assert_eq!(visitor.offset(&upload), 0);
    visitor.get("/session").status(200);
    // A program with a token has no browser that could be made to use it.
    Visitor::with_token(&server, &[]).put("token", "x").status(201);
}

#[test]
fn hostile_15_nobody_chooses_a_session_for_somebody_else() {
    let server = server();
    let secret = web::secret(&server, &[]);
    let planted = format!("__Host-ferry={}", "ab".repeat(32));
    let visitor = Visitor::nobody(&server);
    let body = format!("{{\"invite\":\"{secret}\",\"nonce\":\"{}\"}}", "1".repeat(64));
    let ask = visitor.ask("POST", "/session").header("Origin", visitor.origin()).header("Cookie", &planted);
    let reply = ask.body(body).send().status(200);
    let cookie = reply.header("set-cookie").unwrap();
    assert!(!cookie.contains(&planted), "what was planted is not taken over");
    visitor.ask("GET", "/session").header("Cookie", &planted).send().refuses(401, "unknown-client");
}

#[test]
fn hostile_15_who_signs_out_is_nobody_and_others_stay() {
    let mut server = server();
    let (secret, mut visitor) = (web::secret(&server, &["--uses", "2"]), Visitor::nobody(&server));
    let reply = visitor.presents(&secret, [1; 32]).status(200);
    visitor.takes_cookie(&reply, secret.clone());
    let mut other = Visitor::nobody(&server);
    let reply = other.presents(&secret, [2; 32]).status(200);
    other.takes_cookie(&reply, secret.clone());
    let upload = visitor.created("file", 10);
    visitor.part(&upload, 0, "abc").send().status(204);

    server.restart();
    visitor.get("/session").status(200);
    let reply = visitor.ask("DELETE", "/session").send().status(204);
    let cookie = reply.header("set-cookie").unwrap();
    assert!(cookie.starts_with("__Host-ferry=;") && cookie.contains("Max-Age=0"), "{cookie}");
    for _ in 0..2 {
        visitor.get("/session").refuses(401, "unknown-client");
        visitor.put("file", "x").refuses(401, "unknown-client");
        visitor.tus("HEAD", &upload).send().status(401);
        server.restart();
    }
    other.get("/session").status(200);
    // The use is spent, whoever knows secret and nonce.
    Visitor::nobody(&server).presents(&secret, [1; 32]).refuses(403, "invalid-invite");
    let token = Visitor::with_token(&server, &[]);
    token.ask("DELETE", "/session").send().refuses(403, "not-allowed");
    token.get("/session").status(200);
}

#[test]
fn hostile_15_a_token_is_spent_by_the_first_of_many_requests_at_once() {
    let server = server();
    let token = Visitor::with_token(&server, &["--name", "script"]);
    let statuses: Vec<u16> = std::thread::scope(|threads| {
        let put = |number: usize| token.put(format!("file-{number}"), number.to_string()).status;
        let puts: Vec<_> = (0..20).map(|number| threads.spawn(move || put(number))).collect();
        puts.into_iter().map(|put| put.join().unwrap()).collect()
    });
    assert_eq!(statuses, [201; 20]);
    assert_eq!(server.names().len(), 20);
    // One secret is one client, whichever way it comes.
    let secret = token.secrets()[0].clone();
    Visitor::nobody(&server).presents(&secret, [1; 32]).refuses(403, "invalid-invite");
    server.ferryd(&["revoke", "script"]).code(0);
    token.get("/session").refuses(401, "revoked");
}

/// Each of what can be under way for long ends, and what was on its way is not committed.
#[test]
fn hostile_15_a_revoked_client_loses_what_is_under_way() {
    shut_out(&[], |server| drop(server.ferryd(&["revoke", "phone"]).code(0)), "revoked");
}

#[test]
fn hostile_15_a_client_whose_time_is_over_loses_what_is_under_way() {
    shut_out(&["--grant-expires", "3s"], |_| {}, "expired");
}

fn shut_out(flags: &[&str], end: impl FnOnce(&Server), code: &str) {
    let server = server();
    let visitor = Visitor::granted(&server, &[&["--name", "phone"], flags].concat());
    let other = Visitor::signed_in(&server);
    // More than what lies between two programs can hold.
    fs::File::create(server.inbox().join("large")).unwrap().set_len(1 << 30).unwrap();
    let mut put = visitor.ask("PUT", "/files/put").length(10).body("abc").begin();
    let upload = visitor.created("upload", 10);
    let mut part = visitor.part(&upload, 0, "abc").length(10).begin();
    let mut get = visitor.ask("GET", "/files/large").begin();
    assert_eq!(get.head().unwrap().status, 200);
    end(&server);
    for line in [&mut put, &mut part] {
        let reply = line.reply().unwrap().refuses(401, code);
        assert!(reply.body.len() < 1000);
        let _ = line.say("defghij");
    }
    assert!(get.take(1 << 30).is_err(), "a file is given to the end to somebody who may not have it");
    for reply in [visitor.get("/session"), visitor.put("late", "x"), visitor.get("/files/large")] {
        reply.refuses(401, code);
    }
    other.put("other", "x").status(201);
    assert_eq!(server.names(), ["large", "other"]);
}

#[test]
fn hostile_17_no_secret_is_ever_in_the_log() {
    for flags in [&["--log-format", "text"], &["--log-format", "json"]] {
        let server = Server::setup().web().args(flags).env("FERRYD_LOG", "trace").start();
        // That none is there, each of them looks when it goes.
        let (browser, token) = (Visitor::signed_in(&server), Visitor::with_token(&server, &[]));
        for visitor in [&browser, &token] {
            visitor.put("a b", "content");
            visitor.get("/files/a%20b").status(200);
            visitor.get("/files/%zz").status(400);
            let upload = visitor.created("upload", 4);
            visitor.part(&upload, 1, "a").send().status(409);
            visitor.part(&upload, 0, "abcd").send().status(204);
            let credential = visitor.credential().to_owned();
            // Where it should not be.
            visitor.get(&format!("/files/{}", visitor.secrets()[0])).status(404);
            visitor.ask("GET", "/session").header("X", credential).send().status(200);
            let mut line = Line::to(server.web());
            let _ = line.say(format!("GET / HTTP/1.1\r\nCookie: {}\r\nbroken\r\n\r\n", visitor.credential()));
            let _ = line.reply();
        }
        browser.presents(&browser.secrets()[0], [9; 32]).status(403);
        assert!(server.log().contains("stored") || server.log().contains("a b"), "{}", server.log());
        server.signal(rustix::process::Signal::HUP);
        server.logged(&["reloaded"]);
    }
}
