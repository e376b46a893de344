//! A small file system, which can be full.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use crate::support::{Server, Setup, Visitor, bare, left_out, run};

/// Mounts `$2` with the options `$1`, says so, and keeps the namespace until its standard input ends.
const MOUNT: &str = r#"mount -t tmpfs -o "$1" tmpfs "$2" && echo mounted && exec cat"#;

/// See the module. It exists for the programs that are started in it, and nowhere else.
pub(crate) struct Disk {
    holder: Child,
    folder: TempDir,
    enter: &'static [&'static str],
}

impl Disk {
    /// With these options of tmpfs. `None` where a user may not mount anything; in CI that is a failure.
    pub(crate) fn mounted(options: &str) -> Option<Self> {
        // Root itself may be in a container that allows one of the two.
        let ways = [(&["-Urm"][..], &["-U", "-m", "--preserve-credentials"][..]), (&["-m"], &["-m"])];
        let mut problems = String::new();
        for (unshare, enter) in ways {
            match Disk::mounted_by(options, unshare, enter) {
                Ok(disk) => return Some(disk),
                Err(problem) => problems += &problem,
            }
        }
        left_out(&format!("no file system can be mounted here: {problems}"));
        None
    }

    fn mounted_by(options: &str, unshare: &[&str], enter: &[&'static str]) -> Result<Self, String> {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let mut command = Command::new("unshare");
        command.args(unshare).args(["sh", "-c", MOUNT, "sh", options]).arg(folder.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut holder = command.spawn().map_err(|error| format!("unshare: {error}"))?;
        let mut line = String::new();
        let stdout = holder.stdout.take().expect("standard output is piped");
        BufReader::new(stdout).read_line(&mut line).expect("a pipe can be read");
        if line != "mounted\n" {
            let mut problem = String::new();
            let _ = holder.stderr.take().expect("standard error is piped").read_to_string(&mut problem);
            let _ = holder.wait();
            return Err(problem);
        }
        let mut words = vec!["nsenter".to_owned(), "-t".to_owned(), holder.id().to_string()];
        words.extend(enter.iter().map(|&word| word.to_owned()));
        words.push("--".to_owned());
        // The words are needed as long as the test runs.
        let words = words.into_iter().map(|word| &*word.leak());
        Ok(Disk { holder, folder, enter: words.collect::<Vec<_>>().leak() })
    }

    /// A server that saves on it.
    pub(crate) fn setup(&self, setup: Setup) -> Setup {
        setup.root(self.folder.path().join("inbox")).wrapped(self.enter)
    }

    /// A server that saves elsewhere, and keeps its state on it.
    pub(crate) fn state_of(&self, setup: Setup) -> Setup {
        setup.args(["--state".as_ref(), self.folder.path().as_os_str()]).wrapped(self.enter)
    }

    /// What a program is started with that sees it.
    pub(crate) fn enter(&self) -> &'static [&'static str] {
        self.enter
    }

    /// The folder that the programs in it know it by.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The inbox of that server, from outside.
    pub(crate) fn inbox(&self) -> PathBuf {
        self.seen().join("inbox")
    }

    /// The file system, from outside.
    pub(crate) fn seen(&self) -> PathBuf {
        let below = self.folder.path().strip_prefix("/").expect("the path of a temporary folder is absolute");
        Path::new("/proc").join(self.holder.id().to_string()).join("root").join(below)
    }

    /// A link to the server that saves on it.
    pub(crate) fn invite(&self) -> String {
        let inbox = self.folder.path().join("inbox");
        self.invite_by(&["--root".as_ref(), inbox.as_os_str()])
    }

    /// A browser that is signed in there.
    pub(crate) fn visitor(&self, server: &Server) -> Visitor {
        let inbox = self.folder.path().join("inbox");
        let link = self.invite_by(&["--web".as_ref(), "--root".as_ref(), inbox.as_os_str()]);
        Visitor::by_link(server, &link)
    }

    /// A link to the server of which these arguments speak.
    pub(crate) fn invite_by(&self, arguments: &[&OsStr]) -> String {
        let mut command = bare(self.enter, "ferryd");
        command.arg("invite").args(arguments);
        run(command).code(0).stdout().trim_end().to_owned()
    }

    /// Gives it other options.
    pub(crate) fn remount(&self, options: &str) {
        let mut command = Command::new(self.enter[0]);
        // With its source named, `mount` adds no options of its own that an ordinary user may not give.
        command.args(&self.enter[1..]).args(["mount", "-o", &format!("remount,{options}"), "tmpfs"]);
        run_to_success(command.arg(self.folder.path()));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn run_to_success(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
