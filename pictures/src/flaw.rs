//! What can be wrong with a picture.

use std::io::{self, ErrorKind};

/// Longest words of a decoder that are passed on.
const WORDS: usize = 200;

/// Why nothing can be had of a picture.
#[derive(Debug, thiserror::Error)]
pub enum Flaw {
    /// It is of no kind that can be looked into.
    #[error("it is no picture of a kind that is understood here")]
    Unknown,
    /// There is nothing in it, though its name says that it is a picture.
    #[error("it is empty")]
    Empty,
    /// It is no picture, though its name says that it is one of this kind.
    #[error("it is no {0}, though its name says so")]
    NoPicture(&'static str),
    /// It ends before the picture does.
    #[error("it is cut off")]
    CutOff,
    /// It is not what its kind should be, in the decoder's words.
    #[error("it cannot be decoded: {0}")]
    Damaged(String),
    /// It says that it is larger than anybody wants to decode, or would take too much memory.
    #[error("it is too large to be looked into")]
    TooLarge,
    /// It was time to stop.
    #[error("looking into it takes too long")]
    TooSlow,
    /// It cannot be read, which says nothing about the picture.
    #[error("{0}")]
    Unreadable(#[from] io::Error),
}

impl Flaw {
    /// Whether the picture itself is at fault, and not just too much, unreadable, or of another kind.
    pub fn is_of_the_picture(&self) -> bool {
        matches!(self, Flaw::Empty | Flaw::NoPicture(_) | Flaw::CutOff | Flaw::Damaged(_))
    }

    /// In a decoder's words, of which a crafted file may choose some.
    pub(crate) fn damaged(words: impl ToString) -> Self {
        Flaw::Damaged(plain(&words.to_string(), WORDS))
    }

    /// For a reader whose end is the end of the file.
    pub(crate) fn reading(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::UnexpectedEof => Flaw::CutOff,
            _ => Flaw::Unreadable(error),
        }
    }
}

/// Text without what a terminal or a page would act on, and no longer than so many characters.
pub(crate) fn plain(text: &str, most: usize) -> String {
    text.chars().filter(|c| !acts(*c)).take(most).collect::<String>().trim().to_owned()
}

/// Control characters; direction marks and overrides, zero-width characters, separators, tags.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{061c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}
