//! The certificate that browsers see: one of this server's own, or files for a real name.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write},
    net::{IpAddr, SocketAddr},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use anyhow::{Context, bail};
use data_encoding::BASE64;
use jiff::{ToSpan, Zoned, civil::Date};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, PKCS_ECDSA_P256_SHA256,
};
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
    version::TLS13,
};
use webpki::EndEntityCert;

use crate::{catalogue::Site, config::WebFiles};

/// The own one, in the state folder: first the key, then the certificate, in PEM.
const OWN: &str = "web.pem";

/// How long an own one is good for: Apple's systems take none for longer than 825 days.
const DAYS: i64 = 820;

/// When another one takes its place, at a start: well before, because a server may run for months.
const RENEWED: Duration = Duration::from_secs(730 * 24 * 60 * 60);

/// The certificate as it is now. It may change while the server runs.
pub(crate) struct Certificate {
    files: Option<WebFiles>,
    current: RwLock<Arc<CertifiedKey>>,
}

impl Certificate {
    /// That of the files, or else the own one of this state folder, which is made where there is none.
    pub(crate) fn load(files: Option<WebFiles>, state: &Path) -> anyhow::Result<Arc<Self>> {
        let key = match &files {
            Some(files) => of_files(files)?,
            None => own(state)?,
        };
        Ok(Arc::new(Certificate { files, current: RwLock::new(Arc::new(key)) }))
    }

    /// Reads the files again, if it is theirs. What cannot be used leaves the one that was.
    pub(crate) fn reload(&self) {
        let Some(files) = &self.files else { return };
        match of_files(files) {
            Ok(key) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
                tracing::info!("the web certificate was read again");
            }
            Err(error) => tracing::error!("the web certificate stays what it was: {error:#}"),
        }
    }

    /// How browsers find and know a server that shows it at this address.
    pub(crate) fn at(&self, address: SocketAddr) -> Site {
        Site { address, name: self.name(), pin: self.pin() }
    }

    /// What curl calls a pinned public key. Only the own one is known by it: others have a name that can be trusted.
    fn pin(&self) -> Option<String> {
        if self.files.is_some() {
            return None;
        }
        let current = self.current();
        let public = current.key.public_key()?;
        let digest = ferry_proto::Algorithm::Sha256.digest(&public);
        Some(format!("sha256//{}", BASE64.encode(digest.bytes())))
    }

    /// The first name that the one of the files is for, if it is for a single host.
    fn name(&self) -> Option<String> {
        self.files.as_ref()?;
        let current = self.current();
        let certificate = EndEntityCert::try_from(current.cert.first()?).ok()?;
        certificate.valid_dns_names().find(|name| !name.starts_with('*')).map(str::to_owned)
    }

    /// How browsers are taken: with HTTP/1.1 inside of TLS 1.3, which all of them have spoken for years.
    pub(crate) fn config(self: &Arc<Self>) -> anyhow::Result<Arc<ServerConfig>> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .context("TLS cannot be set up")?
            .with_no_client_auth()
            .with_cert_resolver(self.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.max_early_data_size = 0;
        Ok(Arc::new(config))
    }

    fn current(&self) -> Arc<CertifiedKey> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({:?})", self.files)
    }
}

/// Never the process default, as for the other side's streams.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn of_files(WebFiles { certificate, key }: &WebFiles) -> anyhow::Result<CertifiedKey> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    of_pem(&read(certificate)?, &read(key)?).with_context(|| {
        format!("{} and {} are no certificate and its key", certificate.display(), key.display())
    })
}

fn of_pem(certificate: &[u8], key: &[u8]) -> anyhow::Result<CertifiedKey> {
    let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<Vec<_>, _>>();
    let chain = chain.context("the certificate is not in PEM")?;
    if chain.is_empty() {
        bail!("there is no certificate");
    }
    let key = PrivateKeyDer::from_pem_slice(key).context("there is no private key in PEM")?;
    CertifiedKey::from_der(chain, key, &provider()).context("they do not belong together, or cannot be used")
}

/// The own one. Browsers remember by the certificate that somebody has trusted it, so it is kept.
fn own(state: &Path) -> anyhow::Result<CertifiedKey> {
    let path = state.join(OWN);
    let is_good = match fs::symlink_metadata(&path) {
        Ok(there) => there.modified()?.elapsed().unwrap_or_default() < RENEWED,
        Err(error) if error.kind() == ErrorKind::NotFound => false,
        Err(error) => return Err(error).with_context(|| format!("cannot look at {}", path.display())),
    };
    if !is_good {
        make(state, &path).with_context(|| format!("cannot make {}", path.display()))?;
    }
    let pem = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    of_pem(&pem, &pem).with_context(|| format!("{} is damaged: remove it to get another one", path.display()))
}

/// Makes one, for its owner's eyes alone, whole or not at all.
fn make(state: &Path, path: &Path) -> anyhow::Result<()> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let certificate = params(&names())?.self_signed(&key)?;
    let staged = state.join(format!("{OWN}.{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&staged)?;
    file.write_all(format!("{}{}", key.serialize_pem(), certificate.pem()).as_bytes())?;
    file.sync_all()?;
    fs::rename(&staged, path)?;
    Ok(File::open(state)?.sync_all()?)
}

fn params(names: &[String]) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "ferry");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let day = |date: Date| rcgen::date_time_ymd(date.year().into(), date.month() as u8, date.day() as u8);
    // Since yesterday: clocks differ.
    let since = Zoned::now().date().checked_sub(1.day())?;
    params.not_before = day(since);
    params.not_after = day(since.checked_add(DAYS.days())?);
    Ok(params)
}

/// By which this machine may be called. A browser that is told one that is not among them warns as it does anyway of a
/// certificate that nobody has vouched for.
fn names() -> Vec<String> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mut names = vec!["localhost".to_owned(), format!("{host}.local"), host];
    let addresses = if_addrs::get_if_addrs().unwrap_or_default();
    names.extend(addresses.iter().map(|interface| interface.ip()).map(|address: IpAddr| address.to_string()));
    names.retain(|name| rcgen::string::Ia5String::try_from(name.as_str()).is_ok());
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt, time::SystemTime};

    use super::*;

    #[test]
    fn the_own_one_is_made_once_for_its_owner_alone_and_again_when_it_is_old() {
        let state = tempfile::tempdir().unwrap();
        let pin = || Certificate::load(None, state.path()).unwrap().pin().unwrap();
        let first = pin();
        let path = state.path().join(OWN);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!((pin(), fs::read_dir(state.path()).unwrap().count()), (first.clone(), 1));
        File::open(&path).unwrap().set_modified(SystemTime::now() - RENEWED).unwrap();
        assert_ne!(pin(), first);
        assert_eq!(Certificate::load(None, state.path()).unwrap().name(), None, "nobody vouches for it");
    }

    #[test]
    fn files_are_read_again_and_bad_ones_leave_what_was() {
        let folder = tempfile::tempdir().unwrap();
        let files =
            WebFiles { certificate: folder.path().join("cert.pem"), key: folder.path().join("key.pem") };
        let write = || {
            let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
            fs::write(&files.key, key.serialize_pem()).unwrap();
            let made = params(&["photos.example".to_owned()]).unwrap().self_signed(&key).unwrap();
            fs::write(&files.certificate, made.pem()).unwrap();
        };
        assert!(Certificate::load(Some(files.clone()), folder.path()).is_err());
        write();
        let loaded = Certificate::load(Some(files.clone()), folder.path()).unwrap();
        assert_eq!((loaded.pin(), loaded.name().as_deref()), (None, Some("photos.example")));
        let shown = || loaded.current().cert[0].clone();
        let first = shown();
        write();
        loaded.reload();
        let second = shown();
        assert_ne!(second, first);
        fs::write(&files.key, "nothing").unwrap();
        loaded.reload();
        assert_eq!(shown(), second);
    }
}
