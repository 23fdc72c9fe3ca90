//! Bytes, rates, spans and times as a person reads them.

use time::{OffsetDateTime, macros::format_description};

/// Decimal, as bills are: `1.23 GB`.
pub(crate) fn bytes(bytes: u64) -> String {
    scaled(bytes as f64, "B", 1000.0)
}

/// Two digits behind the point, four where it is less than one; `0.0512 EUR`.
pub(crate) fn money(amount: f64, currency: &str) -> String {
    let text = match amount {
        0.0 => "0".to_owned(),
        _ if amount.abs() < 0.995 => format!("{amount:.4}"),
        _ => format!("{amount:.2}"),
    };
    format!("{text} {currency}").trim_end().to_owned()
}

/// `1.23 Mbit/s`.
pub(crate) fn rate(bits_per_second: f64) -> String {
    scaled(bits_per_second, "bit/s", 1000.0)
}

fn scaled(value: f64, unit: &str, step: f64) -> String {
    let mut value = value;
    for prefix in ["", "k", "M", "G", "T"] {
        // What would be rounded up to a thousand belongs to the next.
        if value < step - 0.5 || prefix == "T" {
            return match prefix {
                "" => format!("{value:.0} {unit}"),
                _ if value < 9.995 => format!("{value:.2} {prefix}{unit}"),
                _ if value < 99.95 => format!("{value:.1} {prefix}{unit}"),
                _ => format!("{value:.0} {prefix}{unit}"),
            };
        }
        value /= step;
    }
    unreachable!("the last prefix takes everything")
}

/// The two longest units: `3d 4h`, `12m 5s`.
pub(crate) fn span(seconds: u64) -> String {
    let units =
        [("d", seconds / 86_400), ("h", seconds / 3_600 % 24), ("m", seconds / 60 % 60), ("s", seconds % 60)];
    let first = units.iter().position(|(_, count)| *count > 0).unwrap_or(3);
    let shown = units[first..].iter().take(2).filter(|(_, count)| *count > 0 || first == 3);
    shown.map(|(unit, count)| format!("{count}{unit}")).collect::<Vec<_>>().join(" ")
}

/// In UTC: `2026-11-25 23:59:08`.
pub(crate) fn moment(unix: u64) -> String {
    let form = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
    let time = OffsetDateTime::from_unix_timestamp(unix as i64).ok();
    time.and_then(|time| time.format(&form).ok()).unwrap_or_else(|| unix.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_three_digits_and_the_unit_of_bills() {
        for (count, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.00 kB"),
            (1_234_567, "1.23 MB"),
            (12_345_678_901, "12.3 GB"),
            (999_960_000, "1.00 GB"),
            (20 * (1 << 40), "22.0 TB"),
            (5_000_000_000_000_000, "5000 TB"),
        ] {
            assert_eq!(bytes(count), text, "{count}");
        }
        assert_eq!(rate(2_500_000.0), "2.50 Mbit/s");
        for (amount, text) in [
            (0.0, "0 EUR"),
            (0.0512, "0.0512 EUR"),
            (0.99, "0.9900 EUR"),
            (0.999, "1.00 EUR"),
            (12.345, "12.35 EUR"),
            (-3.0, "-3.00 EUR"),
        ] {
            assert_eq!(money(amount, "EUR"), text, "{amount}");
        }
        assert_eq!(money(2.0, ""), "2.00");
    }

    #[test]
    fn a_span_has_two_units_at_most() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (725, "12m 5s"),
            (3_600, "1h"),
            (3_605, "1h"),
            (273_700, "3d 4h"),
        ] {
            assert_eq!(span(seconds), text, "{seconds}");
        }
        assert_eq!(moment(1_764_115_261), "2025-11-26 00:01:01");
    }
}
