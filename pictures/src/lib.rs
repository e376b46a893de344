//! What a picture file says of itself, and how a small picture is made of it.
//!
//! Everything comes in through a reader that can go to any place, and everything goes out as plain values. Who has the
//! file, where it is kept, and what time it is are none of this room's business: a clock comes in as the question whether
//! it is time to stop.
//!
//! A file is somebody else's, so nothing it says is believed before it is checked against [`Limits`]; whatever is wrong
//! with it ends in a [`Flaw`], and in nothing else. Text out of a file is short and holds nothing that a terminal would
//! act on (see [`Facts`]).

mod boxes;
mod check;
mod decode;
mod exif;
mod facts;
mod flaw;
mod jpeg;
mod kind;
mod preview;
mod reading;
mod taken;
mod thumbnail;
mod webp;

pub use self::{
    check::check,
    facts::{Facts, facts},
    flaw::Flaw,
    kind::Kind,
    reading::Limits,
    taken::Taken,
    thumbnail::thumbnail,
};
