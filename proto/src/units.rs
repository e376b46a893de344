//! Sizes and times as people write them: `64MiB`, `1.5GB`, `90s`, `7d`.

use std::time::Duration;

/// A text that is neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a size.
    #[error(
        "a size is a number, alone (bytes) or with kB, MB, GB, TB (powers of 1000) or KiB, MiB, GiB, TiB"
    )]
    Size,
    /// Not a duration.
    #[error("a time is a number with s, m, h or d")]
    Duration,
}

/// Bytes: `4096`, `64MiB`, `1.5GB`, `10k`; the `B` is optional.
///
/// ```
/// # use ferry_proto::units::size;
/// assert_eq!(size("64MiB"), Ok(67_108_864));
/// assert_eq!(size("1.5 GB"), Ok(1_500_000_000));
/// assert_eq!(size("10k"), Ok(10_000));
/// assert!(size("ten").is_err());
/// ```
pub fn size(text: &str) -> Result<u64, UnitError> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim().to_ascii_lowercase();
    let factor: u64 = match unit.strip_suffix('b').unwrap_or(&unit) {
        "" => 1,
        "k" => 1000,
        "m" => 1000 * 1000,
        "g" => 1000 * 1000 * 1000,
        "t" => 1000 * 1000 * 1000 * 1000,
        "ki" => 1 << 10,
        "mi" => 1 << 20,
        "gi" => 1 << 30,
        "ti" => 1 << 40,
        _ => return Err(UnitError::Size),
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor).ok_or(UnitError::Size);
    }
    let fraction: f64 = number.parse().map_err(|_| UnitError::Size)?;
    let bytes = fraction * factor as f64;
    if bytes.is_finite() && (0.0..u64::MAX as f64).contains(&bytes) {
        Ok(bytes as u64)
    } else {
        Err(UnitError::Size)
    }
}

/// Bytes as people read them, in powers of 1000 as disks are sold.
///
/// ```
/// # use ferry_proto::units::told;
/// assert_eq!(told(999), "999 B");
/// assert_eq!(told(1_500_000), "1.5 MB");
/// assert_eq!(told(64 << 20), "67.1 MB");
/// ```
pub fn told(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if unit == 0 || value >= 99.95 { 0 } else { 1 };
    format!("{value:.digits$} {}", UNITS[unit])
}

/// A length of time: `90s`, `15m`, `24h`, `7d`.
///
/// ```
/// # use ferry_proto::units::duration;
/// # use std::time::Duration;
/// assert_eq!(duration("15m"), Ok(Duration::from_secs(900)));
/// assert!(duration("15").is_err());
/// ```
pub fn duration(text: &str) -> Result<Duration, UnitError> {
    let text = text.trim();
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or(UnitError::Duration)?;
    let (number, unit) = text.split_at(unit_at);
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return Err(UnitError::Duration),
    };
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    seconds.map(Duration::from_secs).ok_or(UnitError::Duration)
}
