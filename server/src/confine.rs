//! What this process may still touch once it serves: a fault that lets somebody in gives away the inbox at most.
//!
//! The rules hold for the thread that sets them and for what it starts, so they are set while there is one thread.
//! They bind paths that are opened from then on; links and names are looked up by the kernel, not here.
//!
//! What needs no rule: asking for a file's metadata or a disk's space, random bytes (`getrandom`), this machine's
//! addresses (netlink), the time of log lines (UTC), and whatever is open already. What fails, and may: the numbers of
//! lines in the backtrace of a panic.

use std::{fmt, fs, path::Path};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, PathBeneath, PathFd,
    PathFdError, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, make_bitflags,
};

use crate::Config;

/// The newest ABI that this was tried with. What later ones can forbid is left alone until somebody has tried that.
const TRIED: ABI = ABI::V7;

/// What the inbox and the state need: all but to execute, and to make devices, sockets and pipes.
const SAVE: BitFlags<AccessFs> = make_bitflags!(AccessFs::{
    ReadFile | WriteFile | Truncate | ReadDir | MakeReg | MakeDir | MakeSym | RemoveFile | RemoveDir | Refer
});

/// SQLite takes the salts of its log from here, and the clock where it cannot.
const RANDOM: &str = "/dev/urandom";

/// Whether this process is confined.
#[derive(Debug)]
pub(crate) enum Confinement {
    /// It is, by the rules of this ABI.
    Confined(ABI),
    /// Its owner does not want it to be.
    Unwanted,
    /// The kernel was built without Landlock, or something between hides it.
    NotThere,
    /// The kernel has it, and was told at boot not to use it.
    NotEnabled,
    /// The kernel can confine, but then refuses every rename from one folder to another, as out of staging.
    TooOld(ABI),
}

/// The rules cannot be made or set.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfineError {
    #[error(transparent)]
    Rules(#[from] RulesetError),
    #[error(transparent)]
    Path(#[from] PathFdError),
}

/// Confines the calling thread and all that it starts to the places of this configuration, which must exist.
pub(crate) fn apply(config: &Config) -> Result<Confinement, ConfineError> {
    if config.no_confine {
        return Ok(Confinement::Unwanted);
    }
    let mut rules = Ruleset::default()
        // Without it nothing is restricted, and the status tells why.
        .set_compatibility(CompatLevel::SoftRequirement)
        .handle_access(AccessFs::Refer)?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(TRIED))?
        // Clients connect; this program never does.
        .handle_access(AccessNet::ConnectTcp)?
        .scope(Scope::from_all(TRIED))?
        .create()?
        .add_rule(PathBeneath::new(PathFd::new(&config.root)?, SAVE))?
        .add_rule(PathBeneath::new(PathFd::new(&config.state)?, SAVE))?;
    for file in config.web_files.iter().flat_map(|files| [&files.certificate, &files.key]) {
        // Whoever renews a certificate puts another file in its place; or, where it is a link, beside what that leads to.
        let real = fs::canonicalize(file).unwrap_or_default();
        for folder in [file, &real].into_iter().filter_map(|file| file.parent()) {
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            rules = rules.add_rule(PathBeneath::new(PathFd::new(folder)?, AccessFs::ReadFile))?;
        }
    }
    for file in config.file.as_deref().into_iter().chain([Path::new(RANDOM)]) {
        // What was not there, or went after it was read, needs no rule.
        if let Ok(file) = PathFd::new(file) {
            rules = rules.add_rule(PathBeneath::new(file, AccessFs::ReadFile))?;
        }
    }
    let status = rules.restrict_self()?;
    Ok(match status.landlock {
        LandlockStatus::NotImplemented => Confinement::NotThere,
        LandlockStatus::NotEnabled => Confinement::NotEnabled,
        LandlockStatus::Available { effective_abi, .. } if status.ruleset == RulesetStatus::NotEnforced => {
            Confinement::TooOld(effective_abi)
        }
        LandlockStatus::Available { effective_abi, .. } => Confinement::Confined(effective_abi.min(TRIED)),
    })
}

/// Tells the log, in one line.
pub(crate) fn tell(confinement: &Result<Confinement, ConfineError>) {
    match confinement {
        Ok(confined @ Confinement::Confined(_)) => tracing::info!("{confined}"),
        Ok(unwanted @ Confinement::Unwanted) => tracing::info!("{unwanted}"),
        Ok(not) => tracing::warn!("{not}"),
        Err(error) => tracing::warn!("not confined: {error}"),
    }
}

impl fmt::Display for Confinement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Confinement::Confined(abi) => {
                write!(
                    f,
                    "confined to the root, the state folder and the configuration file (Landlock ABI {abi})"
                )
            }
            Confinement::Unwanted => write!(f, "not confined: switched off by no-confine"),
            Confinement::NotThere => write!(f, "not confined: this kernel has no Landlock"),
            Confinement::NotEnabled => write!(f, "not confined: Landlock is not enabled on this system"),
            Confinement::TooOld(abi) => {
                write!(f, "not confined: this kernel has Landlock ABI {abi}, and saving files takes ABI 2")
            }
        }
    }
}
