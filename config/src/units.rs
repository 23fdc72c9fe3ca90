//! Durations and bit rates as an operator writes them: a whole number and a unit.

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

/// Units of bit rates, in bits a second.
const RATES: [(&str, u64); 4] = [("bit", 1), ("kbit", 1_000), ("Mbit", 1_000_000), ("Gbit", 1_000_000_000)];
/// Less than this carries no call: whoever writes it has the unit wrong.
const LEAST_RATE: u64 = 8_000;

/// Text that is no bit rate.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "a bit rate is \"0\" for no limit, or a whole number and a unit of bit, kbit, Mbit or Gbit a second, 8kbit at least, \
     such as \"500kbit\" or \"4Mbit\""
)]
pub(crate) struct BitRateError;

/// Reads a bit rate in bits a second: `0`, or a whole number and one of `bit`, `kbit`, `Mbit`, `Gbit`.
///
/// # Errors
/// [`BitRateError`] on any other text, on rates under 8 kbit/s and on what is too large to count in bits.
pub(crate) fn parse_bit_rate(text: &str) -> Result<u64, BitRateError> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| BitRateError)?;
    if number == 0 && unit.is_empty() {
        return Ok(0);
    }
    let (_, factor) = RATES.iter().find(|(name, _)| *name == unit).ok_or(BitRateError)?;
    number.checked_mul(*factor).filter(|rate| *rate == 0 || *rate >= LEAST_RATE).ok_or(BitRateError)
}

/// Units of bytes, decimal and binary.
const SIZES: [(&str, u64); 9] = [
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// Text that is no count of bytes.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "a size is \"0\", or a whole number and a unit of B, kB, MB, GB, TB (thousands) or KiB, MiB, GiB, TiB (1,024s), \
     such as \"900GiB\" or \"20TB\""
)]
pub(crate) struct ByteSizeError;

/// Reads a count of bytes: `0`, or a whole number and a unit.
///
/// # Errors
/// [`ByteSizeError`] on any other text, and on what SQLite cannot count (2^63).
pub(crate) fn parse_byte_size(text: &str) -> Result<u64, ByteSizeError> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| ByteSizeError)?;
    if number == 0 && unit.is_empty() {
        return Ok(0);
    }
    let (_, factor) = SIZES.iter().find(|(name, _)| *name == unit).ok_or(ByteSizeError)?;
    number.checked_mul(*factor).filter(|bytes| *bytes < 1 << 63).ok_or(ByteSizeError)
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
    fn bit_rates_are_decimal() {
        for (text, rate) in [
            ("0", 0),
            ("0Mbit", 0),
            ("8000bit", 8_000),
            ("500kbit", 500_000),
            ("4Mbit", 4_000_000),
            ("10Gbit", 10_000_000_000),
        ] {
            assert_eq!(parse_bit_rate(text), Ok(rate), "{text}");
        }
        for text in [
            "",
            "4",
            "4M",
            "4mbit",
            "4 Mbit",
            "4Mbit/s",
            "4MB",
            "-4Mbit",
            "4.5Mbit",
            "7kbit",
            "99999999999Gbit",
        ] {
            assert_eq!(parse_bit_rate(text), Err(BitRateError), "{text}");
        }
    }

    #[test]
    fn decimal_and_binary_sizes_are_distinct() {
        for (text, bytes) in [
            ("0", 0),
            ("100MiB", 104_857_600),
            ("100MB", 100_000_000),
            ("20TiB", 21_990_232_555_520),
            ("20TB", 20_000_000_000_000),
            ("7B", 7),
        ] {
            assert_eq!(parse_byte_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "5", "5G", "5gb", "1.5TB", "-1GB", "5 GB", "9000000TiB", "99999999999999999999B"] {
            assert_eq!(parse_byte_size(text), Err(ByteSizeError), "{text}");
        }
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
