//! SIGKILL, at any instant, of either side or both, while files come back.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::{MIB, Told, chance, is_full, receipts, remains::visible, source::Source};
use crate::support::{Client, GIVE_UP, Proxy, Running, Server, assert_given_back};

/// A kill costs no more bytes than this: a checkpoint's distance for a body, what is between network and disk, and small
/// files that wait for their sync.
const LOST_AT_MOST: u64 = 70 * MIB;

/// What a run may need besides the bytes of files: offers of every entry in every pass, frames and encryption.
const OVERHEAD: u64 = 2 * MIB;

/// Between two looks.
const LOOK: Duration = Duration::from_micros(200);

#[test]
fn hostile_21_a_get_is_whole_or_absent_whatever_is_killed_and_whenever() {
    let mut rng = chance("kill sweep of get");
    let source = Source::make(&mut rng);
    let (kills, mut done, mut rounds) = (if is_full() { 120 } else { 15 }, 0, 0);
    let mut hit = [0; 3];
    while done < kills {
        rounds += 1;
        assert!(rounds <= 3 * kills, "hardly any run could be killed before it had ended");
        let most = rng.usize(1..=4).min(kills - done);
        done += Round::begin(&source, &mut rng).run(most, &mut hit, &mut rng);
    }
    println!("{done} kills in {rounds} rounds: client {}, server {}, both {}", hit[0], hit[1], hit[2]);
}

/// What is waited for.
#[derive(Debug, Clone, Copy)]
enum Moment {
    After(Duration),
    /// So many bytes have come.
    Passed(u64),
    /// A body in staging is so long.
    Staged(u64),
    /// So many more names are visible.
    Visible(usize),
}

/// Until the whole tree is here.
struct Round<'a> {
    source: &'a Source,
    server: Server,
    proxy: Proxy,
    client: Client,
    to: PathBuf,
    jobs: u32,
    running: Option<Running>,
    told: Told,
    came_before: u64,
}

impl<'a> Round<'a> {
    fn begin(source: &'a Source, rng: &mut fastrand::Rng) -> Self {
        let server = Server::start();
        let proxy = Proxy::to(server.address());
        let client = Client::new();
        client.pair(&server.invite_at(proxy.address()));
        client.send(source.tree()).run().code(0);
        let (to, jobs) = (server.beside().join("back"), if rng.u8(..4) == 0 { 3 } else { 1 });
        fs::create_dir(&to).expect("a folder can be made");
        let (running, told, came_before) = (None, Told::new(), proxy.to_client());
        let mut round = Round { source, server, proxy, client, to, jobs, running, told, came_before };
        round.get();
        round
    }

    fn get(&mut self) {
        let get = self.client.ferry("get").arg("box:tree").arg(&self.to);
        let jobs = self.jobs.to_string();
        self.running = Some(get.args(["--json", "--retry", "forever", "--jobs", &jobs]).start());
    }

    /// Returns how many kills there were before everything was here.
    fn run(mut self, most: usize, hit: &mut [usize; 3], rng: &mut fastrand::Rng) -> usize {
        let mut kills = 0;
        while kills < most {
            let instant = match rng.u8(..4) {
                0 => Moment::After(Duration::from_micros(rng.u64(0..1_500_000))),
                1 => Moment::Passed(rng.u64(0..self.source.bytes())),
                2 => Moment::Staged(rng.u64(1..96 * MIB)),
                _ => Moment::Visible(rng.usize(1..=self.source.files())),
            };
            if !self.wait_for(instant) {
                break;
            }
            let victim = rng.usize(..3);
            self.kill(victim);
            hit[victim] += 1;
            kills += 1;
        }
        let outcome = self.running.take().expect("the client runs").wait().code(0);
        self.told.extend(receipts(&outcome.stdout));
        self.check();
        assert_given_back(&self.source.tree(), &self.to.join("tree"));
        assert!(!self.to.join(".ferry").exists(), "something of its own is left");
        let came = self.proxy.to_client() - self.came_before;
        let lost = LOST_AT_MOST * kills as u64 * u64::from(self.jobs);
        let passes = OVERHEAD * (kills as u64 + 1);
        assert!(came <= self.source.bytes() + lost + passes, "{came} bytes came, with {kills} kills");
        kills
    }

    /// Whether that came before the end of the run.
    fn wait_for(&mut self, instant: Moment) -> bool {
        let (start, came) = (Instant::now(), self.proxy.to_client());
        let seen = visible(&self.to).len();
        loop {
            let has_come = match instant {
                Moment::After(time) => start.elapsed() >= time,
                Moment::Passed(bytes) => self.proxy.to_client() - came >= bytes,
                Moment::Staged(length) => longest(&self.to.join(".ferry")) >= length,
                Moment::Visible(names) => visible(&self.to).len() >= seen + names,
            };
            let running = self.running.as_mut().expect("the client runs");
            if running.has_ended() {
                return false;
            }
            if has_come {
                return true;
            }
            assert!(start.elapsed() < GIVE_UP, "{instant:?} does not come");
            sleep(LOOK);
        }
    }

    /// The client, the server, or both.
    fn kill(&mut self, victim: usize) {
        if victim != 0 {
            self.server.kill();
        }
        if victim != 1 {
            let running = self.running.take().expect("the client runs");
            running.signal(Signal::KILL);
            self.told.extend(receipts(&running.wait().stdout));
            self.check();
        }
        if victim != 0 {
            self.server.restart_elsewhere();
            self.proxy.lead_to(self.server.address());
        }
        if self.running.is_none() {
            self.get();
        }
    }

    /// Every name that can be seen is a whole file, and what was told is among them.
    fn check(&self) {
        let names = visible(&self.to);
        for name in &names {
            let content = self.source.content(name).unwrap_or_else(|| panic!("{name} was not asked for"));
            let file = self.to.join(name);
            assert_eq!(file.metadata().expect("it is there").len(), content.size, "{name} is not whole");
            let file = File::open(file).expect("it can be read");
            let digest = super::source::prefix(file, content.size);
            assert_eq!(digest, content.digest, "{name} is not what it was");
        }
        for (name, digest) in &self.told {
            assert!(names.contains(name), "{name} was told, and is not here");
            let content = self.source.content(name).expect("it was asked for");
            assert_eq!(digest, &content.digest.to_string(), "{name}");
        }
    }
}

/// Of the bodies that are under way.
fn longest(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let lengths = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => longest(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    lengths.max().unwrap_or(0)
}
