//! `ferry get`: puts the run together, and tells how it ended.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
};

use ferry_proto::{Conflict, RelPath};
use ferry_store::StoreError;

use super::connections::{Connections, Work};
use crate::{
    choosing::Rules,
    config::{Form, Get, Run},
    dial::Dialer,
    digests::Digests,
    exit::{Exit, Failure},
    getting::{Getting, Options, Streaming, Wanted},
    output::{Direction, Narrator},
    pace::Pace,
    place::{self, Asked},
    receipts::Receipts,
    remotes::Remotes,
    streams,
};

pub(super) fn run(config: Get) -> Result<Exit, Failure> {
    let run = config.run;
    if run.wants.owner && !rustix::process::geteuid().is_root() {
        // Nothing is done rather than half of it: who asks for owners would not notice that they are missing.
        return Err(Failure::local(
            "only root can give files back to their owners: run it as root, or without --owner",
        ));
    }
    let mut remotes = Remotes::load(&config.home.config)?;
    let Asked { server, wanted, to } = place::ask(config.words, config.name.as_ref(), &remotes)?;
    let chooses = config.choice.is_some();
    let rules = Rules::new(config.choice)?;
    rules.check(wanted.len())?;
    let fingerprint = server.fingerprint();
    let (dialer, invite) = Dialer::to(server, &config.home, run.timeout)?;
    let pace = Pace::new(run.limit_rate);
    let (retry, timeout) = (run.retry, run.timeout);
    if to.as_os_str() == "-" {
        if chooses {
            return Err(Failure::usage("what is written to standard output is one file, and no choice"));
        }
        let path = only_file(&wanted, config.name.as_ref(), &run)?;
        streams::check_stdout()?;
        let narrator = Arc::new(Narrator::new(run.output, Direction::Get, false, None));
        let work = Streaming::new(path, run.digest, pace, narrator.clone());
        let connections =
            Connections { dialer, work: work.clone(), narrator: narrator.clone(), retry, timeout };
        let interrupted = "interrupted: what was written so far is not the whole file";
        let result = connections.run(1, &mut remotes, invite, interrupted);
        return narrator.end(result.map(|()| if work.is_well() { Exit::Well } else { Exit::SomeFailed }));
    }
    // In a dry run nothing is made; where nothing is, everything would be got.
    let nowhere = match run.dry_run && !to.exists() {
        true => Some(tempfile::tempdir().map_err(|error| Failure::local(error.to_string()))?),
        false => None,
    };
    let (folder, is_made) = make_folder(nowhere.as_ref().map_or(&to, |nowhere| nowhere.path()))?;
    let digests = Arc::new(Digests::open(&config.home.state)?);
    let receipts = run.receipts.as_deref();
    let receipts = receipts.map(|file| Receipts::create(file, false)).transpose()?;
    let narrator = Arc::new(Narrator::new(run.output, Direction::Get, run.dry_run, receipts));
    let options = Options {
        rules,
        on_conflict: run.on_conflict,
        checksum: run.checksum,
        wants: run.wants,
        dry_run: run.dry_run,
        digest: run.digest,
    };
    let work = Getting::new(wanted, &folder, fingerprint, options, digests.clone(), pace, narrator.clone())
        .map_err(|error| cannot_receive(&to, &error))?;
    let connections = Connections { dialer, work: work.clone(), narrator: narrator.clone(), retry, timeout };
    let interrupted = "interrupted: run the same command again to go on";
    let result = connections.run(run.jobs, &mut remotes, invite, interrupted);
    let is_well = work.finish();
    if is_made {
        // Where nothing came, nothing is left behind.
        let _ = fs::remove_dir(&folder);
    }
    digests.save_or_tell(&narrator);
    narrator.end(result.map(|()| match is_well {
        false => Exit::SomeFailed,
        true if work.is_finished() => Exit::Well,
        true => Exit::Unreachable,
    }))
}

/// What goes to standard output.
fn only_file(wanted: &[Wanted], name: Option<&RelPath>, run: &Run) -> Result<RelPath, Failure> {
    if name.is_some() || run.jobs > 1 || run.checksum || run.on_conflict != Conflict::Replace {
        let flags = "--name, --jobs, --checksum and --on-conflict";
        return Err(Failure::usage(format!("{flags} mean nothing where a file goes to standard output")));
    }
    match wanted {
        [Wanted { path: Some(path), name: Some(_), .. }] => {
            match (run.output.form, &run.receipts, run.dry_run) {
                (Form::Json, ..) => Err(Failure::usage("the file and --json cannot share standard output")),
                (_, Some(_), _) | (_, _, true) => {
                    Err(Failure::usage("--receipts and --dry-run do not go with standard output"))
                }
                _ => Ok(path.clone()),
            }
        }
        _ => Err(Failure::usage("only one file can be written to standard output")),
    }
}

/// The folder that everything goes to, made if what is above it is there; and whether it was.
fn make_folder(to: &Path) -> Result<(PathBuf, bool), Failure> {
    let shown = to.display();
    let is_made = match fs::create_dir(to) {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
        Err(error) => return Err(Failure::local(format!("cannot make the folder {shown}: {error}"))),
    };
    let folder =
        fs::canonicalize(to).map_err(|error| Failure::local(format!("cannot use {shown}: {error}")))?;
    if !folder.is_dir() {
        let sentence =
            format!("{shown} is no folder: name the folder that it goes to, and --name for another name");
        return Err(Failure::usage(sentence));
    }
    Ok((folder, is_made))
}

fn cannot_receive(to: &Path, error: &StoreError) -> Failure {
    let to = to.display();
    Failure::local(match error {
        StoreError::InUse => format!("another ferry, or ferryd, is saving into {to} at the moment"),
        StoreError::Denied(error) => format!("{to} is not writable: {error}"),
        StoreError::Kind => format!("{to}/.ferry, or something in it, is a link or no folder: remove it"),
        error => format!("cannot save into {to}: {error}"),
    })
}
