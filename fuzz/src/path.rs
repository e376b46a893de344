//! Names: two paths and a single name, each after a byte for its length. Every `RelPath`, however it was made, keeps the
//! rules that its type promises, and what was put together comes apart again.

use ferry_proto::{PathError, RelPath, limits};

/// See the module.
pub fn check(mut data: &[u8]) {
    let [base, below, name] = std::array::from_fn(|_| part(&mut data));
    // The last one takes what is left, so that there are long ones, too.
    let base = if data.is_empty() { base.to_vec() } else { [base, data].concat() };
    let path = made(RelPath::new(&base));
    let other = made(RelPath::new(below));
    let Some(path) = path else { return };
    assert_eq!(path.as_bytes(), base);

    if let Some(parent) = path.parent() {
        keeps_the_rules(&parent);
        assert_eq!(parent.join(path.name()), Ok(path.clone()));
        comes_apart(&path, &parent);
    }
    assert_eq!(path.with_name(path.name()), Ok(path.clone()));
    if let Some(renamed) = made(path.with_name(name)) {
        assert_eq!((renamed.parent(), renamed.name()), (path.parent(), name));
    }
    if let Some(joined) = made(path.join(below)) {
        assert_eq!(joined.as_bytes(), [path.as_bytes(), below].join(&b'/'));
        comes_apart(&joined, &path);
    }
    if let Some(other) = other {
        for (one, another) in [(&path, &other), (&other, &path)] {
            assert!(one.is_below(another) || one.below(another).is_none());
            if one.is_below(another) {
                comes_apart(one, another);
            }
        }
    }
    assert!(!path.is_below(&path));
}

/// Takes a length and that many bytes, or as many as there are.
fn part<'a>(data: &mut &'a [u8]) -> &'a [u8] {
    let Some((&length, rest)) = data.split_first() else { return &[] };
    let (part, rest) = rest.split_at(rest.len().min(length.into()));
    *data = rest;
    part
}

fn made(path: Result<RelPath, PathError>) -> Option<RelPath> {
    path.ok().inspect(keeps_the_rules)
}

/// `whole` is `base` and what is below it.
fn comes_apart(whole: &RelPath, base: &RelPath) {
    let rest = whole.as_bytes().strip_prefix(base.as_bytes()).and_then(|rest| rest.strip_prefix(b"/"));
    let rest = rest.expect("the bytes of one begin with those of the other");
    assert!(whole.is_below(base));
    // What is a name below a folder need not be one at the top, where `.ferry` is the server's.
    let below = whole.below(base).inspect(keeps_the_rules);
    assert_eq!(below, RelPath::new(rest).ok());
    if let Some(below) = below {
        assert_eq!(base.join(&below).as_ref(), Ok(whole));
    }
}

/// The rules in the documentation of `RelPath`, told in another way than it checks them.
fn keeps_the_rules(path: &RelPath) {
    let bytes = path.as_bytes();
    let names: Vec<&[u8]> = path.components().collect();
    assert_eq!(names.join(&b'/'), bytes);
    assert_eq!(names.last(), Some(&path.name()));
    assert!(bytes.len() <= limits::PATH && (1..=limits::DEPTH).contains(&names.len()));
    for name in &names {
        assert!((1..=limits::NAME).contains(&name.len()));
        assert!(*name != b"." && *name != b"..");
        assert!(name.iter().all(|byte| !matches!(byte, 0 | b'/')));
    }
    assert_ne!(names[0].to_ascii_lowercase(), b".ferry", "the server's own folder");
    assert_eq!(RelPath::new(bytes).as_ref(), Ok(path));
    assert!(path.to_string().chars().all(|c| !c.is_control()));
}
