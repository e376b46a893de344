//! The text of an invite link: what is taken is the same after it was written and read again, and holds nothing that
//! acts on a terminal.

use ferry_proto::{Invite, limits};

/// See the module.
pub fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Ok(invite) = text.parse::<Invite>() else { return };
    let link = invite.to_link();
    assert_eq!(link.parse::<Invite>().as_ref(), Ok(&invite), "{link:?}");
    assert_eq!(link, text.trim(), "a link is written in another way than it was read");
    assert!((1..=limits::ADDRESSES).contains(&invite.addresses.len()));
    assert!(link.bytes().all(|byte| byte.is_ascii_graphic()), "{link:?}");
    assert_eq!(invite.fingerprint.to_string().parse(), Ok(invite.fingerprint));
}
