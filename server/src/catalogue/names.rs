//! What clients are called: short names that are safe in a terminal, a log and a shell.

use rusqlite::{Connection, OptionalExtension};

/// Bytes of a client's name: it stands in every row that the client sends.
const LONGEST: usize = 64;

/// In whose name a scrub takes things in. No client can be called so.
pub const ADOPTED: &str = "(adopted)";

/// What a client is called that has no usable name of its own.
const NAMELESS: &str = "client";

/// Whether a client can be called exactly so.
pub fn is_client_name(text: &str) -> bool {
    clean(text) == text
}

/// A name like the wanted one that no client has or had: `laptop`, `laptop-2`, …
pub(super) fn unique(db: &Connection, wanted: &str) -> rusqlite::Result<String> {
    let base = clean(wanted);
    let mut taken = db.prepare_cached("SELECT 1 FROM clients WHERE name = ?1")?;
    let mut name = base.clone();
    let mut number = 1u64;
    while taken.query_row([&name], |_| Ok(())).optional()?.is_some() {
        number += 1;
        name = numbered(&base, number);
    }
    Ok(name)
}

/// Letters, digits, `.`, `_` and `-`; one `-` for each run of anything else. Neither a dot, which would hide a
/// file, nor a dash, which would begin an option, stands at an end.
fn clean(wanted: &str) -> String {
    let mut name = String::new();
    for letter in wanted.chars() {
        if letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-') {
            name.push(letter);
        } else if !name.ends_with('-') {
            name.push('-');
        }
    }
    let at_ends = ['.', '-'];
    let name = name.trim_start_matches(at_ends);
    let name = name[..name.len().min(LONGEST)].trim_end_matches(at_ends);
    if name.is_empty() { NAMELESS.to_owned() } else { name.to_owned() }
}

fn numbered(base: &str, number: u64) -> String {
    let tail = format!("-{number}");
    let room = LONGEST.saturating_sub(tail.len()).min(base.len());
    format!("{}{tail}", &base[..room])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_05_a_clients_name_is_made_harmless() {
        for (wanted, name) in [
            ("laptop", "laptop"),
            ("Anna's MacBook", "Anna-s-MacBook"),
            ("a.b_c-d", "a.b_c-d"),
            ("", "client"),
            ("..", "client"),
            ("\x1b[31m", "31m"),
            ("-rf", "rf"),
            (".hidden", "hidden"),
            ("../../etc", "etc"),
            ("büro", "b-ro"),
            ("\u{202e}exe.jpg", "exe.jpg"),
            ("<b>x</b>\n", "b-x-b"),
            ("電話", "client"),
        ] {
            assert_eq!(clean(wanted), name, "{wanted:?}");
        }
        assert!(!is_client_name(ADOPTED));
        assert_eq!(clean(&"x".repeat(1000)), "x".repeat(64));
        assert_eq!(clean(&format!("{}.y", "x".repeat(63))), "x".repeat(63));
    }

    #[test]
    fn a_number_stays_within_the_longest_name() {
        assert_eq!(numbered("laptop", 2), "laptop-2");
        assert_eq!(numbered(&"x".repeat(64), 10), format!("{}-10", "x".repeat(61)));
    }
}
