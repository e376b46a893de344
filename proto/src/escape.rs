//! The one place where text that somebody else wrote is made fit for a terminal or a log line.
//!
//! Control characters, bytes that are not UTF-8, and characters that reorder or hide text become `\n`, `\x1b`
//! or `\u{202e}`; a backslash becomes `\\`, so that two names never print alike.

use std::fmt::{self, Display, Write};

/// Shows bytes that should be text but may be anything.
pub fn bytes(raw: &[u8]) -> impl Display + '_ {
    Escaped(raw)
}

/// Shows text that may hold control or direction characters.
pub fn text(raw: &str) -> impl Display + '_ {
    Escaped(raw.as_bytes())
}

/// JSON whose strings hold nothing that a terminal would act on: such characters are written as `\\u202e`.
pub fn json(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    for c in raw.chars() {
        // Outside of strings there are none.
        if c.is_control() || acts_on_its_neighbours(c) {
            let mut units = [0; 2];
            c.encode_utf16(&mut units).iter().for_each(|unit| {
                let _ = write!(out, "\\u{unit:04x}");
            });
        } else {
            out.push(c);
        }
    }
    out
}

struct Escaped<'a>(&'a [u8]);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in self.0.utf8_chunks() {
            let plain = piece.valid().bytes().take_while(|&byte| is_plain(byte)).count();
            let (plain, rest) = piece.valid().split_at(plain);
            // Most text is nothing else.
            f.write_str(plain)?;
            for c in rest.chars() {
                match c {
                    '\n' => f.write_str("\\n")?,
                    '\r' => f.write_str("\\r")?,
                    '\t' => f.write_str("\\t")?,
                    '\\' => f.write_str("\\\\")?,
                    c if c.is_ascii_control() => write!(f, "\\x{:02x}", c as u32)?,
                    c if c.is_control() || acts_on_its_neighbours(c) => write!(f, "\\u{{{:x}}}", c as u32)?,
                    c => f.write_char(c)?,
                }
            }
            for byte in piece.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// What stands for itself, byte by byte.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'\\'
}

/// Direction marks and overrides, zero-width characters, line and paragraph separators, tags.
fn acts_on_its_neighbours(c: char) -> bool {
    matches!(c,
        '\u{061c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_05_nothing_reaches_the_terminal_as_a_command() {
        assert_eq!(text("a\x1b[31mred\n").to_string(), "a\\x1b[31mred\\n");
        assert_eq!(text("exe\u{202e}gpj").to_string(), "exe\\u{202e}gpj");
        assert_eq!(bytes(b"caf\xe9").to_string(), "caf\\xe9");
        assert_eq!(text("back\\slash").to_string(), "back\\\\slash");
        assert_eq!(text("photo é 日本 👍.jpg").to_string(), "photo é 日本 👍.jpg");
        assert_eq!(text("\u{9b}31m").to_string(), "\\u{9b}31m");
        assert_eq!(
            json("{\"a\":\"é\u{9b}31m\u{202e}\u{e0041}\"}"),
            "{\"a\":\"é\\u009b31m\\u202e\\udb40\\udc41\"}"
        );
    }
}
