//! The key by which a machine is known.

mod file;

use std::{
    fmt, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use ferry_proto::{Fingerprint, escape};
use rcgen::{CertificateParams, DistinguishedName, DnType, PublicKeyData};
use rustix::io::Errno;
use rustls::{
    crypto::aws_lc_rs::sign::any_eddsa_type,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
    sign::CertifiedKey,
};
use zeroize::Zeroizing;

use self::file::Place;

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

/// In PKCS#8 version 1, which every tool reads.
fn new_key() -> Zeroizing<Vec<u8>> {
    let document = Ed25519KeyPair::generate()
        .and_then(|key| key.to_pkcs8v1())
        .expect("making a key takes only random bytes, and aws-lc aborts when it gets none");
    Zeroizing::new(document.as_ref().to_vec())
}

fn shown(path: &Path) -> String {
    escape::bytes(path.as_os_str().as_bytes()).to_string()
}

#[cfg(test)]
mod tests;
