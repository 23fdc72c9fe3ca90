//! Durations as an operator writes them: a whole number and a unit.

use std::time::Duration;

/// Units with their length in milliseconds, longest first.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Text that is no duration.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a duration is a whole number and a unit of ms, s, m, h or d, such as \"90s\" or \"10m\"")]
pub struct DurationError;

/// Reads a duration: a whole number and one of `ms`, `s`, `m`, `h`, `d`.
///
/// # Errors
/// [`DurationError`] on any other text, and on what is too long to count in milliseconds.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| DurationError)?;
    let (_, length) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(DurationError)?;
    number.checked_mul(*length).map(Duration::from_millis).ok_or(DurationError)
}

/// Writes a duration in the longest unit that holds it exactly; `parse_duration` reads it back.
pub fn format_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let whole = |(_, length): &&(&str, u64)| millis != 0 && millis.is_multiple_of(u128::from(*length));
    match UNITS.iter().find(whole) {
        Some((name, length)) => format!("{}{name}", millis / u128::from(*length)),
        None => "0s".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_read_and_written_back() {
        for (text, millis) in [
            ("0s", 0),
            ("250ms", 250),
            ("90s", 90_000),
            ("10m", 600_000),
            ("3h", 10_800_000),
            ("1d", 86_400_000),
        ] {
            let read = parse_duration(text).unwrap();
            assert_eq!(read, Duration::from_millis(millis));
            assert_eq!(format_duration(read), text);
        }
        assert_eq!(format_duration(Duration::from_secs(3600)), "1h");
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in
            ["", "10", "m", "-1s", "1.5h", "10 m", "10M", "1h30m", " 1s", "18446744073709551615d", "１s"]
        {
            assert_eq!(parse_duration(text), Err(DurationError), "{text}");
        }
    }
}
