//! The key by which a machine is known, and the file that keeps it.

use std::{
    fmt,
    fs::{DirBuilder, File},
    io::{self, Read, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use data_encoding::BASE64;
use ferry_proto::{Fingerprint, escape};
use rcgen::{CertificateParams, DistinguishedName, DnType, PublicKeyData};
use rustix::{
    fs::{AtFlags, Mode, OFlags},
    io::Errno,
};
use rustls::{
    crypto::aws_lc_rs::sign::any_eddsa_type,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
    sign::CertifiedKey,
};
use zeroize::Zeroizing;

/// An Ed25519 key, in a certificate that TLS can carry.
///
/// The certificate is made anew at every start: a peer looks at its key and at nothing else.
pub struct Identity {
    fingerprint: Fingerprint,
    certified: Arc<CertifiedKey>,
}

/// Why a machine's own key cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The system refused an operation.
    #[error("cannot {operation} {}: {error}", shown(.path))]
    Io {
        /// What was tried: a verb.
        operation: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The path has no last component, so it cannot be that of a file.
    #[error("{} does not name a file for the key", shown(.path))]
    NoName {
        /// The path.
        path: PathBuf,
    },
    /// Group or others have rights on the key file.
    #[error(
        "other users have access to the key file {} (mode {mode:04o}): run `chmod 600` on it, or remove it \
         to get a new key if they may have read this one",
        shown(.path)
    )]
    ExposedKey {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Group or others can write in the key's folder, so they could put another key in its place.
    #[error(
        "other users can write in the key's folder {} (mode {mode:04o}): run `chmod 700` on it",
        shown(.path)
    )]
    ExposedFolder {
        /// The folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The key file is a symlink.
    #[error("the key file {} is a symlink: put the file itself in its place", shown(.path))]
    Symlink {
        /// The key file.
        path: PathBuf,
    },
    /// The key file holds something else, or is no file at all.
    #[error(
        "{} is not a file with an unencrypted Ed25519 key in PEM (PKCS#8): restore it, or remove it to get a \
         new key, which has to be introduced to every peer again",
        shown(.path)
    )]
    NotAKey {
        /// The key file.
        path: PathBuf,
    },
}

impl Identity {
    /// A new key that no file keeps.
    pub fn generate() -> Self {
        Identity::from_pkcs8(&new_key()).expect("aws-lc reads what it has just written")
    }

    /// The key in the file at `path`; if there is no such file, a new key, which is put there.
    ///
    /// Processes that do this at once agree on one key. The file is made with mode 0600; folders that are
    /// missing are made with mode 0700.
    ///
    /// # Errors
    /// A key that other users can read or write, or could replace by another, is refused, as is a symlink.
    pub fn load_or_create(path: &Path) -> Result<Self, IdentityError> {
        let place = Place::open(path)?;
        if let Some(identity) = place.load()? {
            return Ok(identity);
        }
        place.create()?;
        // What another process put there first counts, so even a key made here is taken from the file.
        place.load()?.ok_or_else(|| place.error("read", Errno::NOENT.into()))
    }

    /// How peers know this key.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    pub(crate) fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }

    fn from_pkcs8(pkcs8: &[u8]) -> Option<Self> {
        let signing = any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8)).ok()?;
        let key = CertificateKey(Ed25519KeyPair::from_pkcs8(pkcs8).ok()?);
        let fingerprint = Fingerprint::of_key(&key.subject_public_key_info());
        let certified = Arc::new(CertifiedKey::new(vec![certificate(&key)], signing));
        Some(Identity { fingerprint, certified })
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.fingerprint)
    }
}

/// Where a key file is or will be. Everything happens in the folder that was checked, even if its path leads
/// elsewhere a moment later.
struct Place<'a> {
    path: &'a Path,
    folder: File,
    name: &'a std::ffi::OsStr,
}

impl<'a> Place<'a> {
    fn open(path: &'a Path) -> Result<Self, IdentityError> {
        let (Some(name), Some(parent)) = (path.file_name(), path.parent()) else {
            return Err(IdentityError::NoName { path: path.to_owned() });
        };
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        let error = |operation, error| IdentityError::Io { operation, path: parent.to_owned(), error };

        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)
            .map_err(|e| error("make the folder", e))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(parent, flags, Mode::empty())
            .map_err(|e| error("open the folder", e.into()))
            .map(File::from)?;
        let mode = permissions(&folder).map_err(|e| error("look at the folder", e))?;
        if mode & 0o022 != 0 {
            return Err(IdentityError::ExposedFolder { path: parent.to_owned(), mode });
        }
        Ok(Place { path, folder, name })
    }

    /// The key, if the file is there.
    fn load(&self) -> Result<Option<Identity>, IdentityError> {
        let path = || self.path.to_owned();
        // Without NONBLOCK, opening a pipe would wait for someone to write into it.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&self.folder, self.name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(IdentityError::Symlink { path: path() }),
            Err(e) => return Err(self.error("open", e.into())),
        };
        if !file.metadata().map_err(|e| self.error("look at", e))?.is_file() {
            return Err(IdentityError::NotAKey { path: path() });
        }
        let mode = permissions(&file).map_err(|e| self.error("look at", e))?;
        if mode & 0o077 != 0 {
            return Err(IdentityError::ExposedKey { path: path(), mode });
        }

        // The buffer never grows, since growing would leave a copy of the key behind.
        let mut pem = Zeroizing::new(Vec::with_capacity(LONGEST_FILE + 1));
        file.take(LONGEST_FILE as u64 + 1).read_to_end(&mut pem).map_err(|e| self.error("read", e))?;
        let key = if pem.len() > LONGEST_FILE { None } else { from_pem(&pem) };
        let identity = key.and_then(|pkcs8| Identity::from_pkcs8(&pkcs8));
        identity.map(Some).ok_or_else(|| IdentityError::NotAKey { path: path() })
    }

    /// Puts a new key there, complete and on the disk before it has its name. A key that is there stays.
    fn create(&self) -> Result<(), IdentityError> {
        let temporary = format!(".ferry-key-{:016x}", fastrand::u64(..));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = rustix::fs::openat(&self.folder, &temporary, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|e| self.error("create", e.into()))
            .map(File::from)?;

        let written = file.write_all(to_pem(&new_key()).as_bytes()).and_then(|()| file.sync_all());
        let named = written.and_then(|()| self.name_unless_taken(&temporary));
        let removed = rustix::fs::unlinkat(&self.folder, &temporary, AtFlags::empty());
        named.map_err(|e| self.error("create", e))?;
        removed.map_err(|e| self.error("remove the temporary file beside", e.into()))?;
        self.folder.sync_all().map_err(|e| self.error("sync the folder of", e))
    }

    /// A link, because a rename would replace the key of a process that was faster.
    fn name_unless_taken(&self, temporary: &str) -> io::Result<()> {
        match rustix::fs::linkat(&self.folder, temporary, &self.folder, self.name, AtFlags::empty()) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    fn error(&self, operation: &'static str, error: io::Error) -> IdentityError {
        IdentityError::Io { operation, path: self.path.to_owned(), error }
    }
}

/// Lets rcgen sign with a key of which it has no copy.
struct CertificateKey(Ed25519KeyPair);

impl PublicKeyData for CertificateKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ED25519
    }
}

impl rcgen::SigningKey for CertificateKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.0.sign(message).as_ref().to_vec())
    }
}

/// The name is the same for all, so that a certificate tells nothing about the machine that shows it.
fn certificate(key: &CertificateKey) -> CertificateDer<'static> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "ferry");
    let certificate = params.self_signed(key).expect("nothing but the key varies, and any key can sign");
    certificate.der().clone()
}

/// More than any key file has: one of OpenSSL with a comment stays below 1 KiB.
const LONGEST_FILE: usize = 4096;

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";

/// In PKCS#8 version 1, which every tool reads.
fn new_key() -> Zeroizing<Vec<u8>> {
    let document = Ed25519KeyPair::generate()
        .and_then(|key| key.to_pkcs8v1())
        .expect("making a key takes only random bytes, and aws-lc aborts when it gets none");
    Zeroizing::new(document.as_ref().to_vec())
}

fn to_pem(pkcs8: &[u8]) -> Zeroizing<String> {
    // Long enough for the line breaks too: the buffer must not grow.
    let mut pem =
        Zeroizing::new(String::with_capacity(BEGIN.len() + END.len() + 2 * BASE64.encode_len(pkcs8.len())));
    pem.push_str(BEGIN);
    // 48 bytes make the 64 characters of a PEM line.
    for line in pkcs8.chunks(48) {
        pem.push('\n');
        BASE64.encode_append(line, &mut pem);
    }
    pem.push('\n');
    pem.push_str(END);
    pem.push('\n');
    pem
}

fn from_pem(pem: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (_, rest) = std::str::from_utf8(pem).ok()?.split_once(BEGIN)?;
    let (body, _) = rest.split_once(END)?;
    let mut digits = Zeroizing::new(Vec::with_capacity(body.len()));
    digits.extend(body.bytes().filter(|b| !b.is_ascii_whitespace()));
    let mut pkcs8 = Zeroizing::new(vec![0; BASE64.decode_len(digits.len()).ok()?]);
    let length = BASE64.decode_mut(&digits, &mut pkcs8).ok()?;
    pkcs8.truncate(length);
    Some(pkcs8)
}

fn permissions(file: &File) -> io::Result<u32> {
    Ok(file.metadata()?.permissions().mode() & 0o7777)
}

fn shown(path: &Path) -> String {
    escape::bytes(path.as_os_str().as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::symlink,
        sync::Barrier,
        thread,
    };

    use rustls::server::ParsedCertificate;

    use super::*;

    /// `openssl genpkey -algorithm ED25519`, and the SHA-256 of `openssl pkey -pubout -outform DER` of it.
    const OPENSSL_KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEIFI+bkfiITXZYX8rmPXs54DFL1R9DlUSkvasCGgX4elI\n\
        -----END PRIVATE KEY-----\n";
    const OPENSSL_FINGERPRINT: &str = "kdxXpkXqRegMnEBApYVjB8LQ2-EDh0GZtIUouQvXxCg";

    #[test]
    fn a_key_is_made_once_and_then_stays() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("config/ferry/key.pem");
        let made = Identity::load_or_create(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        assert_eq!(names(path.parent().unwrap()), ["key.pem"]);
        let loaded = Identity::load_or_create(&path).unwrap();
        assert_eq!(made.fingerprint(), loaded.fingerprint());
        assert_ne!(made.fingerprint(), Identity::generate().fingerprint());
    }

    #[test]
    fn a_key_made_by_openssl_is_known_by_the_digest_openssl_would_give() {
        let home = tempfile::tempdir().unwrap();
        let path = key_file(home.path(), OPENSSL_KEY, 0o600);
        let identity = Identity::load_or_create(&path).unwrap();
        assert_eq!(identity.fingerprint(), OPENSSL_FINGERPRINT.parse().unwrap());
        let pkcs8 = from_pem(OPENSSL_KEY.as_bytes()).unwrap();
        assert_eq!(to_pem(&pkcs8).as_str(), OPENSSL_KEY);
    }

    #[test]
    fn the_certificate_holds_the_key() {
        let identity = Identity::generate();
        let certified = identity.certified_key();
        certified.keys_match().unwrap();
        let certificate = ParsedCertificate::try_from(&certified.cert[0]).unwrap();
        assert_eq!(Fingerprint::of_key(&certificate.subject_public_key_info()), identity.fingerprint());
    }

    #[test]
    fn eight_at_once_agree_on_one_key() {
        for _ in 0..50 {
            let home = tempfile::tempdir().unwrap();
            let path = home.path().join("new/key.pem");
            let start = Barrier::new(8);
            let all: Vec<Fingerprint> = thread::scope(|scope| {
                let one = || {
                    start.wait();
                    Identity::load_or_create(&path).unwrap().fingerprint()
                };
                let threads: Vec<_> = (0..8).map(|_| scope.spawn(one)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!(all, [Identity::load_or_create(&path).unwrap().fingerprint(); 8]);
            assert_eq!(names(path.parent().unwrap()), ["key.pem"]);
        }
    }

    #[test]
    fn a_key_that_others_can_reach_is_refused() {
        let home = tempfile::tempdir().unwrap();
        for exposed in [0o644, 0o640, 0o620, 0o602, 0o601] {
            let path = key_file(home.path(), OPENSSL_KEY, exposed);
            let error = Identity::load_or_create(&path).unwrap_err();
            assert!(matches!(error, IdentityError::ExposedKey { mode, .. } if mode == exposed), "{error}");
            assert!(error.to_string().contains("run `chmod 600`"), "{error}");
        }
        for private in [0o600, 0o400, 0o700] {
            Identity::load_or_create(&key_file(home.path(), OPENSSL_KEY, private)).unwrap();
        }
    }

    #[test]
    fn a_folder_in_which_others_can_write_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let path = key_file(home.path(), OPENSSL_KEY, 0o600);
        for exposed in [0o777, 0o1777, 0o770, 0o720, 0o702] {
            fs::set_permissions(home.path(), Permissions::from_mode(exposed)).unwrap();
            let error = Identity::load_or_create(&path).unwrap_err();
            assert!(matches!(error, IdentityError::ExposedFolder { mode, .. } if mode == exposed), "{error}");
            assert!(error.to_string().contains("run `chmod 700`"), "{error}");
        }
        fs::set_permissions(home.path(), Permissions::from_mode(0o755)).unwrap();
        Identity::load_or_create(&path).unwrap();
    }

    #[test]
    fn a_symlink_is_refused_wherever_it_leads() {
        let home = tempfile::tempdir().unwrap();
        let target = key_file(home.path(), OPENSSL_KEY, 0o600);
        let missing = home.path().join("missing");
        for to in [&target, &missing] {
            let link = home.path().join("link");
            symlink(to, &link).unwrap();
            let error = Identity::load_or_create(&link).unwrap_err();
            assert!(matches!(error, IdentityError::Symlink { .. }), "{error}");
            fs::remove_file(link).unwrap();
        }
        assert!(!missing.exists());
    }

    #[test]
    fn what_is_not_a_key_is_refused_and_left_alone() {
        let home = tempfile::tempdir().unwrap();
        let p256 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap().serialize_pem();
        let long = format!("{OPENSSL_KEY}{}", " ".repeat(LONGEST_FILE));
        let cut = &OPENSSL_KEY[..OPENSSL_KEY.len() / 2];
        let damaged = OPENSSL_KEY.replacen("MC4C", "MC4D", 1);
        let encrypted = OPENSSL_KEY.replace("PRIVATE", "ENCRYPTED PRIVATE");
        for text in ["", "hello", cut, &damaged, &encrypted, &long, &p256] {
            let path = key_file(home.path(), text, 0o600);
            let error = Identity::load_or_create(&path).unwrap_err();
            assert!(matches!(error, IdentityError::NotAKey { .. }), "{error}");
            assert_eq!(fs::read_to_string(path).unwrap(), text);
        }
        let error = Identity::load_or_create(home.path().parent().unwrap().join("..").as_path()).unwrap_err();
        assert!(matches!(error, IdentityError::NoName { .. }), "{error}");
    }

    #[test]
    fn a_folder_or_a_pipe_is_not_a_key() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("key.pem");
        fs::create_dir(&path).unwrap();
        assert!(matches!(Identity::load_or_create(&path), Err(IdentityError::NotAKey { .. })));
        fs::remove_dir(&path).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
        assert!(matches!(Identity::load_or_create(&path), Err(IdentityError::NotAKey { .. })));
    }

    #[test]
    fn neither_key_nor_control_characters_are_printed() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a\x1b[31m/key.pem");
        let identity = Identity::load_or_create(&path).unwrap();
        assert_eq!(format!("{identity:?}"), format!("Identity({})", identity.fingerprint()));
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let error = Identity::load_or_create(&path).unwrap_err().to_string();
        assert!(error.contains("a\\x1b[31m/key.pem"), "{error}");
    }

    fn key_file(folder: &Path, text: &str, mode: u32) -> PathBuf {
        let path = folder.join("key.pem");
        let _ = fs::remove_file(&path);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn names(folder: &Path) -> Vec<String> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}
