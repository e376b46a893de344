//! When a picture was taken, as cameras know it.

use jiff::{
    civil::{Date, DateTime, Time},
    tz::Offset,
};

/// A time on the clock of a camera. Most cameras do not know where they are: without an offset it is nobody's moment, only
/// what a clock on some wall showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Date and time on that clock.
    pub at: DateTime,
    /// How far that clock was ahead of UTC, if the camera says it.
    pub offset: Option<Offset>,
}

impl Taken {
    /// `2024:03:16 08:15:01`, digits of a fraction of a second, and `+01:00`, as EXIF writes them. A clock that was never
    /// set (zeros or blanks) says nothing.
    pub(crate) fn parse(at: &[u8], fraction: Option<&[u8]>, offset: Option<&[u8]>) -> Option<Self> {
        let at: &[u8; 19] = at.get(..19)?.try_into().ok()?;
        // Some write other characters between the numbers.
        let number = |from: usize, to: usize| digits(&at[from..to]);
        let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
        if year == 0 {
            return None;
        }
        let date = Date::new(i16::try_from(year).ok()?, i8::try_from(month).ok()?, i8::try_from(day).ok()?);
        // A leap second is the second before it.
        let [hour, minute, second] = [hour, minute, second.min(59)].map(|number| i8::try_from(number).ok());
        let nanos = fraction.and_then(nanoseconds).unwrap_or(0);
        let time = Time::new(hour?, minute?, second?, nanos);
        Some(Taken { at: date.ok()?.to_datetime(time.ok()?), offset: offset.and_then(parse_offset) })
    }
}

fn digits(text: &[u8]) -> Option<u32> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// `25` is a quarter of a second: the digits stand behind a point.
fn nanoseconds(text: &[u8]) -> Option<i32> {
    let text = text.trim_ascii();
    let most = &text[..text.len().min(9)];
    let number = i32::try_from(digits(most)?).ok()?;
    Some(number * 10_i32.pow(9 - most.len() as u32))
}

fn parse_offset(text: &[u8]) -> Option<Offset> {
    let text = text.trim_ascii();
    if text == b"Z" {
        return Some(Offset::UTC);
    }
    let text: &[u8; 6] = text.try_into().ok()?;
    let sign = match text[0] {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = (digits(&text[1..3])?, digits(&text[4..6])?);
    let seconds = i32::try_from(hours * 3600 + minutes * 60).ok()?;
    // Clocks on Earth are at most 14 hours ahead.
    Offset::from_seconds(sign * seconds).ok().filter(|_| hours < 15 && minutes < 60)
}

#[cfg(test)]
mod tests {
    use jiff::civil::datetime;

    use super::*;

    #[test]
    fn a_time_has_an_offset_only_where_the_camera_says_so() {
        let plain = Taken::parse(b"2024:03:16 08:15:01", None, None).unwrap();
        assert_eq!(plain, Taken { at: datetime(2024, 3, 16, 8, 15, 1, 0), offset: None });
        let whole = Taken::parse(b"2024:03:16 08:15:01", Some(b"25"), Some(b"-09:30")).unwrap();
        assert_eq!(whole.at, datetime(2024, 3, 16, 8, 15, 1, 250_000_000));
        assert_eq!(whole.offset.unwrap().seconds(), -(9 * 3600 + 30 * 60));
        let utc = Taken::parse(b"2024:03:16 08:15:01", Some(b"123456789012"), Some(b"Z")).unwrap();
        assert_eq!((utc.at.subsec_nanosecond(), utc.offset), (123_456_789, Some(Offset::UTC)));
    }

    #[test]
    fn what_is_no_time_is_none() {
        let none: [&[u8]; 8] = [
            b"",
            b"0000:00:00 00:00:00",
            b"    :  :     :  :  ",
            b"2024:13:16 08:15:01",
            b"2024:02:30 08:15:01",
            b"2024:03:16 24:15:01",
            b"2024:03:16",
            b"\xff\xff\xff\xff:03:16 08:15:01",
        ];
        for text in none {
            assert_eq!(Taken::parse(text, None, None), None, "{text:?}");
        }
        let odd: [&[u8]; 5] = [b"+1:00", b"     :  ", b"+99:00", b"+01:75", b"\xff"];
        for offset in odd {
            let taken = Taken::parse(b"2024:03:16 08:15:60", Some(b"x"), Some(offset)).unwrap();
            assert_eq!(taken, Taken { at: datetime(2024, 3, 16, 8, 15, 59, 0), offset: None }, "{offset:?}");
        }
    }
}
