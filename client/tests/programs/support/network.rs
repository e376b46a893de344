//! Two machines on one cable that are none: network namespaces. And avahi on one of them, a peer that nobody here wrote.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::TempDir;

use super::{
    Outcome, Running, eventually,
    process::{is_root, left_out, run, start},
};

/// The two, called `here` and `there`. Both have an interface `cable` with 10.77.0.1 and fd77::1, or 10.77.0.2 and fd77::2.
/// What runs in them has ended when this is dropped, or is lost.
pub(crate) struct Network {
    here: String,
    there: String,
}

impl Network {
    /// None where this machine cannot make one; that is said.
    pub(crate) fn new() -> Option<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        if !is_root() {
            left_out("only root can make network namespaces");
            return None;
        }
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = |side| format!("ferry-{}-{number}-{side}", std::process::id());
        let network = Network { here: name("here"), there: name("there") };
        let (here, there) = (network.here.as_str(), network.there.as_str());
        let made = ip(&["netns", "add", here])
            && ip(&["netns", "add", there])
            && ip(&["link", "add", "cable", "netns", here, "type", "veth", "peer", "cable", "netns", there]);
        if !made {
            left_out("this machine cannot make network namespaces, or cables between them");
            return None;
        }
        for (side, number) in [(here, 1), (there, 2)] {
            for words in [
                // Without asking whether somebody else has it, which takes a second.
                vec!["addr", "add", &format!("fd77::{number}/64"), "dev", "cable", "nodad"],
                vec!["addr", "add", &format!("10.77.0.{number}/24"), "dev", "cable"],
                vec!["link", "set", "lo", "up"],
                vec!["link", "set", "cable", "up"],
            ] {
                assert!(ip(&[&["-n", side], &words[..]].concat()), "{words:?}");
            }
        }
        for side in [here, there] {
            // The system says so a little later than the cable is plugged in.
            let state = ["-n", side, "link", "show", "cable", "up"];
            eventually("the cable", || {
                let shown = Command::new("ip").args(state).output().ok()?;
                String::from_utf8_lossy(&shown.stdout).contains("state UP").then_some(())
            });
        }
        Some(network)
    }

    /// The words that run a program on the first machine.
    pub(crate) fn here(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.here]
    }

    /// The words that run a program on the second machine.
    pub(crate) fn there(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.there]
    }

    /// Does something on the second machine, in a thread of its own.
    pub(crate) fn on_there<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let there = File::open(Path::new("/run/netns").join(&self.there)).expect("there is a namespace");
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let entered = move_into_link_name_space(there.as_fd(), Some(LinkNameSpaceType::Network));
                entered.expect("root can enter a namespace");
                work()
            });
            thread.join().expect("what is done there does not panic")
        })
    }

    /// Changes something of the first machine's network.
    #[track_caller]
    pub(crate) fn ip_here(&self, words: &str) {
        let words: Vec<&str> = words.split(' ').collect();
        assert!(ip(&[&["-n", &self.here], &words[..]].concat()), "{words:?}");
    }

    /// Changes something of the second machine's network.
    #[track_caller]
    pub(crate) fn ip_there(&self, words: &str) {
        let words: Vec<&str> = words.split(' ').collect();
        assert!(ip(&[&["-n", &self.there], &words[..]].concat()), "{words:?}");
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in [&self.here, &self.there] {
            let _ = Command::new("ip").args(["netns", "del", name]).stderr(Stdio::null()).status();
        }
    }
}

fn ip(words: &[&str]) -> bool {
    let status = Command::new("ip").args(words).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Speaks to the clients of avahi, and to nobody else.
const BUS: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=BUS</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"#;

/// An avahi-daemon on the second machine of a network, with a bus of its own.
pub(crate) struct Avahi {
    folder: TempDir,
    wrapper: Vec<String>,
    bus: Child,
    daemon: Option<Running>,
}

impl Avahi {
    /// None where it is not installed; that is said.
    pub(crate) fn there(network: &Network) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let bus = folder.path().join("bus");
        let config = folder.path().join("bus.conf");
        fs::write(&config, BUS.replace("BUS", bus.to_str().expect("it is text"))).expect("it can be written");
        let daemon = Command::new("dbus-daemon")
            .arg("--config-file")
            .arg(config)
            .args(["--nofork", "--print-address"])
            .stdout(Stdio::piped())
            .spawn();
        let installed = Command::new("avahi-browse").arg("--version").output().is_ok();
        let Some(mut bus) = daemon.ok().filter(|_| installed) else {
            left_out("dbus-daemon, avahi-daemon or avahi-browse are not installed");
            return None;
        };
        // It says so when it listens.
        let stdout = bus.stdout.take().expect("standard output is piped");
        BufReader::new(stdout).read_line(&mut String::new()).expect("the bus tells its address");
        let wrapper = network.there().map(str::to_owned).to_vec();
        let mut avahi = Avahi { folder, wrapper, bus, daemon: None };
        let config = avahi.folder.path().join("avahi.conf");
        fs::write(&config, "[server]\nhost-name=stranger\n").expect("it can be written");
        // It keeps its process id in a fixed place.
        let script =
            "mount -t tmpfs none /run && exec avahi-daemon --no-drop-root --no-chroot --no-rlimits -f \"$0\"";
        let mut command = avahi.command("unshare");
        command.args(["-m", "sh", "-c", script]).arg(config);
        let daemon = start(command, Vec::new());
        daemon.has_told("Server startup complete");
        avahi.daemon = Some(daemon);
        Some(avahi)
    }

    /// What it knows of servers of ferry: the lines of those that it has resolved.
    pub(crate) fn resolved(&self) -> Vec<String> {
        let browsed = self.browse();
        browsed.stdout().lines().filter(|line| line.starts_with('=')).map(str::to_owned).collect()
    }

    /// Waits until it has resolved a server, in a line with all these words.
    pub(crate) fn sees(&self, words: &[&str]) -> String {
        eventually(&format!("{words:?} in what avahi sees"), || {
            self.resolved().into_iter().find(|line| words.iter().all(|word| line.contains(word)))
        })
    }

    /// Waits until it knows of no server.
    pub(crate) fn sees_none(&self) {
        eventually("avahi to see no server", || self.browse().stdout().is_empty().then_some(()));
    }

    fn browse(&self) -> Outcome {
        let mut browse = self.command("avahi-browse");
        browse.args(["-rpt", "_ferry._tcp"]);
        run(browse).code(0)
    }

    /// Announces something for as long as this runs: a server's name, port and texts.
    pub(crate) fn publish(&self, words: &[&str]) -> Running {
        let mut publish = self.command("avahi-publish");
        publish.arg("-s").args(words);
        let publishing = start(publish, Vec::new());
        publishing.has_told("Established under name");
        publishing
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(&self.wrapper[0]);
        command.args(&self.wrapper[1..]).arg(program);
        let bus: PathBuf = self.folder.path().join("bus");
        command.env("DBUS_SYSTEM_BUS_ADDRESS", format!("unix:path={}", bus.display()));
        command
    }
}

impl Drop for Avahi {
    fn drop(&mut self) {
        drop(self.daemon.take());
        let _ = self.bus.kill();
        let _ = self.bus.wait();
    }
}
