//! `POST /known`: which of these files may be here already, so that a page digests those before it sends anything.

use std::sync::Arc;

use ferry_proto::{Algorithm, Conflict, Header, Kind, Put, RelPath};
use ferry_store::{Begin, Cut, Lease, Outcome, Reply, Terms};
use serde::Deserialize;
use serde_json::json;
use tokio::{sync::mpsc, task::spawn_blocking};

use super::{
    Web,
    answer::{self, Answer, Refusal},
};
use crate::catalogue::Client;

/// Files that one request names. A look at each takes some microseconds.
const FILES: usize = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    files: Vec<File>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    size: u64,
}

/// The same decision as for an offer, in a dry run: where it would ask for the digest, the file may be here.
pub(super) async fn known(web: &Web, client: &Client, body: &[u8], cut: Cut) -> Answer {
    let asked: Asked = serde_json::from_slice(body)
        .map_err(|_| Refusal::bad_request("this is no list of files with names and sizes"))?;
    if asked.files.len() > FILES {
        return Err(Refusal::bad_request(format!("one request names {FILES} files at the most")));
    }
    let put = Put { on_conflict: Conflict::KeepBoth, dry_run: true, digest: Algorithm::Sha256 };
    let terms: Arc<Terms> = Arc::new(web.house.terms(client, put, cut));
    let uploads = web.house.uploads.clone();
    let looked = spawn_blocking(move || {
        let lease = Lease::new(|| 1);
        let (tell, mut told) = mpsc::unbounded_channel();
        let may_be_here = |File { name, size }: File| {
            // What has no name that can be is told when it is sent.
            let Ok(path) = RelPath::new(name) else { return false };
            let tell = tell.clone();
            let reply = Reply::new(move |outcome| drop(tell.send(outcome)));
            let header = Header { size: Some(size), ..Header::new(path, Kind::File) };
            match uploads.begin(&terms, &lease, header, reply) {
                Begin::Answered => matches!(told.try_recv(), Ok(Outcome::NeedDigest)),
                Begin::Send(_, reply) | Begin::Busy(_, reply) => {
                    reply.withdraw();
                    false
                }
            }
        };
        asked.files.into_iter().map(may_be_here).collect::<Vec<_>>()
    });
    let may_be_here = looked.await.map_err(|_| Refusal::internal())?;
    Ok(answer::object(&json!({ "may_be_here": may_be_here })))
}
