//! `cargo demo`: the main job of ferry, for real, on this machine alone.
//!
//! It builds both programs, starts a server in a temporary folder, pairs with it, sends pictures, interrupts a
//! large file in the middle, goes on with it, and verifies everything that arrived.

use std::{
    env, fs,
    io::{BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use ferry_proto::{Algorithm, Hasher, limits};
use rustix::process::{Pid, Signal, kill_process};

/// The large file: several checkpoints long.
const LARGE: u64 = 256 * 1024 * 1024;

/// It is interrupted when this much of it has arrived.
const INTERRUPT_AT: u64 = 4 * limits::CHECKPOINT;

/// So that the interruption finds it on its way, however fast the machine is.
const RATE_BEFORE: &str = "150MB";

fn main() -> anyhow::Result<()> {
    let programs = build()?;
    let place = env::temp_dir().join(format!("ferry-demo-{}", std::process::id()));
    fs::create_dir(&place).with_context(|| format!("cannot make {}", place.display()))?;
    let demo = Demo { programs, inbox: place.join("inbox"), place };

    title("A server, saving into a folder");
    let mut server = demo.start_server()?;

    title("Pairing: a one-time link, made on the server, used on the client");
    demo.pair()?;

    title("Sending a folder of pictures and odd names");
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata").canonicalize()?;
    let receipts = demo.place.join("pictures.sha256");
    demo.send(&testdata, &receipts)?;

    title("Sending it again: nothing has changed, so nothing is sent");
    demo.send(&testdata, &receipts)?;

    title("Sending 256 MiB, and stopping it in the middle");
    let large = demo.place.join("large.bin");
    make_large(&large)?;
    demo.interrupt(&large)?;

    title("The same command again: it goes on where it stopped");
    let large_receipts = demo.place.join("large.sha256");
    demo.send(&large, &large_receipts)?;

    title("What has arrived, read again and compared with the receipts");
    let verified = demo.verify(&receipts)? + demo.verify(&large_receipts)?;
    println!("{verified} files are there, each with the digest of its source.");
    stop(&mut server)?;
    println!("They lie in {}; remove {} when you have looked.", demo.inbox.display(), demo.place.display());
    Ok(())
}

struct Programs {
    ferry: PathBuf,
    ferryd: PathBuf,
}

struct Demo {
    programs: Programs,
    place: PathBuf,
    inbox: PathBuf,
}

impl Demo {
    fn start_server(&self) -> anyhow::Result<Child> {
        let mut server = Command::new(&self.programs.ferryd)
            .args(["--listen", "127.0.0.1:0", "--root"])
            .arg(&self.inbox)
            .env("FERRYD_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start ferryd")?;
        let output = server.stdout.take().context("ferryd has no output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        ensure!(line.starts_with("listening on "), "ferryd did not start");
        println!("$ ferryd --root {}\n{}", self.inbox.display(), line.trim_end());
        Ok(server)
    }

    fn pair(&self) -> anyhow::Result<()> {
        let invite =
            Command::new(&self.programs.ferryd).args(["invite", "--root"]).arg(&self.inbox).output()?;
        ensure!(invite.status.success(), "ferryd invite failed: {}", String::from_utf8_lossy(&invite.stderr));
        let link = String::from_utf8(invite.stdout)?;
        println!("$ ferryd invite\n{}\n$ ferry pair --as nas", link.trim_end());
        let mut pair = self.ferry().args(["pair", "-", "--as", "nas"]).stdin(Stdio::piped()).spawn()?;
        pair.stdin.take().context("ferry has no input")?.write_all(link.as_bytes())?;
        succeeded(pair.wait()?, "ferry pair")
    }

    fn send(&self, source: &Path, receipts: &Path) -> anyhow::Result<()> {
        println!("$ ferry send {} nas:", source.display());
        let status =
            self.ferry().arg("send").arg(source).arg("nas:").arg("--receipts").arg(receipts).status()?;
        succeeded(status, "ferry send")
    }

    fn interrupt(&self, source: &Path) -> anyhow::Result<()> {
        println!("$ ferry send {} nas:      (and Ctrl-C)", source.display());
        let mut send =
            self.ferry().arg("send").arg(source).args(["nas:", "--limit-rate", RATE_BEFORE]).spawn()?;
        while self.staged() < INTERRUPT_AT {
            if let Some(status) = send.try_wait()? {
                bail!("ferry send ended before it could be interrupted: {status}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        interrupt(&send)?;
        let status = send.wait()?;
        ensure!(status.code() == Some(5), "an interrupted send ends with 5, not with {status}");
        Ok(())
    }

    /// Bytes of the body that is on its way.
    fn staged(&self) -> u64 {
        let Ok(entries) = fs::read_dir(self.inbox.join(".ferry/staging")) else { return 0 };
        entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
    }

    /// Reads every file of a list of receipts in the inbox, and compares.
    fn verify(&self, receipts: &Path) -> anyhow::Result<usize> {
        let list = fs::read_to_string(receipts).context("the receipts are not UTF-8")?;
        for line in list.lines() {
            let (is_escaped, line) = match line.strip_prefix('\\') {
                Some(rest) => (true, rest),
                None => (false, line),
            };
            let (digest, name) = line.split_once("  ").context("not a line of receipts")?;
            let name = if is_escaped { unescape(name) } else { name.to_owned() };
            let mut hasher = Algorithm::Sha256.hasher();
            std::io::copy(&mut fs::File::open(self.inbox.join(&name))?, &mut Sink(&mut hasher))?;
            ensure!(hasher.finish().hex() == digest, "{name} is not what was sent");
            println!("{}…  {}", &digest[..16], ferry_proto::escape::text(&name));
        }
        Ok(list.lines().count())
    }

    fn ferry(&self) -> Command {
        let mut ferry = Command::new(&self.programs.ferry);
        ferry.env("FERRY_HOME", self.place.join("home")).stdin(Stdio::null());
        ferry
    }
}

/// Builds both programs with the cargo that runs this, into the same folder as this.
fn build() -> anyhow::Result<Programs> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args([
            "build",
            "--quiet",
            "--locked",
            "--bins",
            "--package",
            "ferry-client",
            "--package",
            "ferry-server",
        ])
        .arg("--manifest-path")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml"))
        .stdin(Stdio::null())
        .status()
        .context("cannot run cargo")?;
    succeeded(status, "cargo build")?;
    let this = env::current_exe()?;
    let folder = this.parent().and_then(Path::parent).context("this program lies nowhere")?;
    Ok(Programs { ferry: folder.join("ferry"), ferryd: folder.join("ferryd") })
}

/// Bytes that look random and are the same every time.
fn make_large(path: &Path) -> anyhow::Result<()> {
    let mut file = BufWriter::with_capacity(1 << 20, fs::File::create(path)?);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..LARGE / 8 {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        file.write_all(&state.to_le_bytes())?;
    }
    file.flush()?;
    Ok(())
}

fn stop(server: &mut Child) -> anyhow::Result<()> {
    kill(server, Signal::TERM)?;
    succeeded(server.wait()?, "ferryd")
}

fn interrupt(child: &Child) -> anyhow::Result<()> {
    kill(child, Signal::INT)
}

fn kill(child: &Child, signal: Signal) -> anyhow::Result<()> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("no process id")?;
    Ok(kill_process(pid, signal)?)
}

fn succeeded(status: ExitStatus, what: &str) -> anyhow::Result<()> {
    ensure!(status.success(), "{what} failed: {status}");
    Ok(())
}

fn unescape(name: &str) -> String {
    let mut plain = String::new();
    let mut chars = name.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => plain.extend(chars.next().map(|c| match c {
                'n' => '\n',
                'r' => '\r',
                other => other,
            })),
            c => plain.push(c),
        }
    }
    plain
}

fn title(text: &str) {
    println!("\n== {text}");
}

struct Sink<'a>(&'a mut Hasher);

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
