//! What a picture says of itself, as it is kept and told.

use std::io::{BufRead, Seek};

use ferry_pictures::{Kind, Limits};
use serde::{Deserialize, Serialize};

/// See the module. A file that turned out to be no picture is known as such.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// Its kind, if it is a picture.
    pub(crate) media_type: Option<String>,
    /// Whether there can be a small one of it.
    pub(crate) is_decoded: bool,
    /// On the camera's own clock, as RFC 3339 without a zone.
    pub(crate) taken: Option<String>,
    /// The zone, where the camera knew it.
    pub(crate) offset: Option<String>,
    /// Pixels across and down, seen upright.
    pub(crate) width: Option<u32>,
    pub(crate) height: Option<u32>,
    pub(crate) make: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) lens: Option<String>,
    /// In seconds, as a fraction.
    pub(crate) exposure: Option<String>,
    pub(crate) f_number: Option<f64>,
    pub(crate) iso: Option<u32>,
    /// In millimetres.
    pub(crate) focal_length: Option<f64>,
    pub(crate) focal_length_35: Option<u32>,
}

impl Facts {
    /// Looks into a file.
    pub(super) fn of(file: impl BufRead + Seek) -> Self {
        ferry_pictures::facts(file, &Limits::THUMBNAIL).map(Facts::from).unwrap_or_default()
    }
}

impl From<ferry_pictures::Facts> for Facts {
    fn from(facts: ferry_pictures::Facts) -> Self {
        let shown = facts.shown();
        Facts {
            media_type: Some(facts.kind.media_type().to_owned()),
            is_decoded: facts.kind.is_decoded(),
            taken: facts.taken.map(|taken| taken.at.strftime("%Y-%m-%dT%H:%M:%S").to_string()),
            offset: facts.taken.and_then(|taken| taken.offset).map(|offset| offset.to_string()),
            width: shown.map(|(width, _)| width),
            height: shown.map(|(_, height)| height),
            make: facts.make,
            model: facts.model,
            lens: facts.lens,
            exposure: facts.exposure.map(|(above, below)| exposure(above, below)),
            f_number: facts.f_number,
            iso: facts.iso,
            focal_length: facts.focal_length,
            focal_length_35: facts.focal_length_35,
        }
    }
}

/// As photographers write it: `1/125`, or `2.5`.
fn exposure(above: u32, below: u32) -> String {
    let seconds = f64::from(above) / f64::from(below);
    match seconds {
        // Cameras know fractions like 10/1250.
        ..0.3 => format!("1/{}", (1.0 / seconds).round()),
        _ => format!("{}", (seconds * 10.0).round() / 10.0),
    }
}

/// By its name: nobody opens thousands of films to see that they are none.
pub(super) fn may_be_picture(name: &[u8]) -> bool {
    Kind::promised_by(name).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exposures_are_told_as_photographers_tell_them() {
        for ((above, below), told) in
            [((1, 125), "1/125"), ((10, 1250), "1/125"), ((1, 4), "1/4"), ((5, 2), "2.5"), ((30, 1), "30")]
        {
            assert_eq!(exposure(above, below), told);
        }
    }
}
