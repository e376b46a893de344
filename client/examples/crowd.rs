//! Many peers at once, in one process, for `bench/crowd`: clients that send, peers that say nothing or next to nothing,
//! and peers that send nonsense. Phases begin with a line on standard input, and end with one on standard output.

use std::{
    env,
    io::{BufRead, Write},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use ferry_proto::{
    Algorithm, Answer, Body, Conflict, Done, End, FrameHeader, Header, Hello, Invite, Kind, Message, Offer,
    Put, RelPath, Request, Seq, Verb, Verdict, Versions,
};
use ferry_session::{Incoming, Outbox, greet, identity::Identity, tls};
use tokio::{io::AsyncWriteExt, net::TcpStream, task::JoinSet, time::sleep};

/// Connections that are made at the same moment: more would only wait for the same processors.
const AT_ONCE: usize = 64;

/// Files of each client.
const FILES: u64 = 20;

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = env::args().skip(1).collect();
    let [mode, link, count] = &words[..] else { bail!("crowd clients|slow|garbage|frames LINK COUNT") };
    let invite: Arc<Invite> = Arc::new(link.parse().context("no link")?);
    let count: usize = count.parse()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match mode.as_str() {
            "clients" => clients(invite, count).await,
            "slow" => slow(&invite, count).await,
            "garbage" => garbage(&invite, count).await,
            "frames" => frames(invite, count).await,
            _ => bail!("no such mode: {mode}"),
        }
    })
}

/// Waits for a line.
fn wait() {
    let _ = std::io::stdin().lock().read_line(&mut String::new());
}

fn say(line: &str) {
    println!("{line}");
    let _ = std::io::stdout().flush();
}

async fn dial(invite: &Invite) -> anyhow::Result<TcpStream> {
    let address = invite.addresses.first().context("a link has an address")?;
    Ok(TcpStream::connect(address).await?)
}

async fn session(invite: &Invite) -> anyhow::Result<(Incoming, Outbox)> {
    let config = tls::client_config(&Identity::generate(), invite.fingerprint)?;
    let (mut incoming, outbox) = ferry_session::open(tls::connect(dial(invite).await?, config).await?);
    let hello = Hello {
        versions: Versions::ours(),
        run: [0; 16],
        agent: "crowd".to_owned(),
        name: "crowd".to_owned(),
        features: Vec::new(),
        invite: Some(invite.secret.clone()),
    };
    greet::introduce(&mut incoming, &outbox, hello).await?;
    Ok((incoming, outbox))
}

/// Connects them all, waits, and lets all of them send at once.
async fn clients(invite: Arc<Invite>, count: usize) -> anyhow::Result<()> {
    let slots = Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
    let (go, _) = tokio::sync::watch::channel(false);
    let (ready, mut readies) = tokio::sync::mpsc::unbounded_channel();
    let mut running = JoinSet::new();
    for number in 0..count {
        let (invite, slots, mut go, ready) = (invite.clone(), slots.clone(), go.subscribe(), ready.clone());
        running.spawn(async move {
            let permit = slots.acquire().await?;
            let (mut incoming, outbox) = session(&invite).await?;
            drop(permit);
            let _ = ready.send(());
            // Reading goes on, because a server asks for signs of life.
            tokio::select! {
                _ = go.wait_for(|go| *go) => {}
                said = incoming.message() => bail!("{said:?} before anything was asked for"),
            }
            send(&mut incoming, &outbox, number).await?;
            greet::farewell(incoming, outbox, ferry_proto::Code::Bye, "").await;
            Ok(())
        });
    }
    drop(ready);
    let mut connected = 0;
    while connected < count && readies.recv().await.is_some() {
        connected += 1;
    }
    say(&format!("connected {connected}"));
    tokio::task::block_in_place(wait);
    let _ = go.send(true);
    let mut problems = Vec::new();
    while let Some(ended) = running.join_next().await {
        problems.extend(ended?.err());
    }
    if let Some(problem) = problems.first() {
        eprintln!("{} failed, the first with: {problem:#}", problems.len());
    }
    say(&format!("whole {}", count - problems.len()));
    Ok(())
}

/// Sends some small files, and waits for the receipt of each.
async fn send(incoming: &mut Incoming, outbox: &Outbox, number: usize) -> anyhow::Result<()> {
    let put = Put { on_conflict: Conflict::Replace, dry_run: false, digest: Algorithm::Sha256 };
    outbox.say(Request { id: 1, verb: Verb::Put(put) })?;
    let bytes = |seq: u64| format!("file {seq} of {number} ").repeat(100).into_bytes();
    let mut sent = 0;
    for seq in 0..FILES {
        let path = RelPath::new(format!("crowd/{number}/{seq}"))?;
        let (bytes, digest) = (bytes(seq), Algorithm::Sha256.digest(&bytes(seq)));
        sent += bytes.len() as u64;
        let header =
            Header { size: Some(bytes.len() as u64), digest: Some(digest), ..Header::new(path, Kind::File) };
        outbox.say(Offer { seq: Seq(seq), header })?;
    }
    let mut receipts = 0;
    while receipts < FILES {
        match incoming.message().await? {
            Message::Verdict(Verdict { seq, answer: Answer::Send { offset: 0, .. } }) => {
                let bytes = bytes(seq.0);
                outbox.say(Body { seq, offset: 0 })?;
                let mut frame = FrameHeader::chunk(bytes.len()).to_bytes().to_vec();
                frame.extend_from_slice(&bytes);
                outbox.push(frame)?;
                outbox.say(End { digest: Algorithm::Sha256.digest(&bytes) })?;
            }
            Message::Receipt(_) => receipts += 1,
            other => bail!("{other:?}"),
        }
    }
    outbox.say(Done { entries: FILES, bytes: sent })?;
    ensure!(matches!(incoming.message().await?, Message::Done(_)), "no last word");
    Ok(())
}

/// Half of them say nothing, the others one byte a second. Whoever is thrown out comes again.
async fn slow(invite: &Invite, count: usize) -> anyhow::Result<()> {
    let mut peers = Vec::new();
    for _ in 0..count {
        peers.push(dial(invite).await?);
    }
    say(&format!("connected {count}"));
    let stop = tokio::task::spawn_blocking(wait);
    let mut comes_again = 0_u64;
    while !stop.is_finished() {
        for (number, peer) in peers.iter_mut().enumerate() {
            let is_gone = match number % 2 {
                0 => peer.try_read(&mut [0]).is_ok(),
                _ => peer.write_all(&[22]).await.is_err(),
            };
            if is_gone {
                *peer = dial(invite).await?;
                comes_again += 1;
            }
        }
        sleep(Duration::from_secs(1)).await;
    }
    say(&format!("came again {comes_again}"));
    Ok(())
}

/// Connections of random bytes.
async fn garbage(invite: &Invite, count: usize) -> anyhow::Result<()> {
    for _ in 0..count {
        let mut peer = dial(invite).await?;
        let mut bytes = vec![0; fastrand::usize(1..600)];
        fastrand::fill(&mut bytes);
        let _ = peer.write_all(&bytes).await;
    }
    say(&format!("garbage {count}"));
    Ok(())
}

/// Random frames of enrolled clients, a thousand of a session, until the session is ended for it.
async fn frames(invite: Arc<Invite>, count: usize) -> anyhow::Result<()> {
    const EACH: usize = 1000;
    for _ in 0..count.div_ceil(EACH) {
        let (incoming, outbox) = session(&invite).await?;
        for number in 0..EACH {
            let mut payload = vec![0; fastrand::usize(0..40)];
            fastrand::fill(&mut payload);
            // Most are of kinds that are passed over, so that the session lasts; the last ones are of any kind.
            let kind = if number + 20 < EACH { fastrand::u8(128..) } else { fastrand::u8(..) };
            let mut frame = vec![kind];
            frame.extend_from_slice(&(payload.len() as u32).to_le_bytes());
            frame.extend_from_slice(&payload);
            if outbox.push(frame).is_err() {
                break;
            }
        }
        let drained = tokio::time::timeout(Duration::from_secs(5), outbox.drained_to(0));
        let _ = drained.await;
        drop((incoming, outbox));
    }
    say(&format!("frames {count}"));
    Ok(())
}
