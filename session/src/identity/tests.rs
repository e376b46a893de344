//! Keys and the files that keep them.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
    sync::Barrier,
    thread,
};

use rustls::server::ParsedCertificate;

use super::{
    file::{LONGEST_FILE, from_pem, to_pem},
    *,
};

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
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
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
