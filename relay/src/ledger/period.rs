//! Days and billing periods, in UTC.

use time::{Date, Month, OffsetDateTime};

/// Seconds of a day in UTC.
pub(crate) const DAY: u64 = 86_400;

/// A day, counted from 1970-01-01.
pub(crate) fn day_of(unix: u64) -> i64 {
    (unix / DAY) as i64
}

/// A day as it is written.
pub(crate) fn day_name(day: i64) -> String {
    date(day).to_string()
}

/// The first day of the billing period that holds a day. One that is to begin on the 31st begins on the last day of a
/// shorter month.
pub(crate) fn period_start(day: i64, reset_day: u8) -> i64 {
    let today = date(day);
    let this_month = reset_in(today.year(), today.month(), reset_day);
    if this_month <= today {
        return number(this_month);
    }
    let (year, month) = before(today.year(), today.month());
    number(reset_in(year, month, reset_day))
}

/// The first day of the period after the one that begins on a day.
pub(crate) fn next_period(start: i64, reset_day: u8) -> i64 {
    let start = date(start);
    let (year, month) = match start.month() {
        Month::December => (start.year() + 1, Month::January),
        month => (start.year(), month.next()),
    };
    number(reset_in(year, month, reset_day))
}

fn reset_in(year: i32, month: Month, reset_day: u8) -> Date {
    let last = month.length(year);
    Date::from_calendar_date(year, month, reset_day.clamp(1, last)).expect("the day is one of the month")
}

fn before(year: i32, month: Month) -> (i32, Month) {
    match month {
        Month::January => (year - 1, Month::December),
        month => (year, month.previous()),
    }
}

/// What no calendar holds is the last day that one does.
fn date(day: i64) -> Date {
    let time = OffsetDateTime::from_unix_timestamp(day.saturating_mul(DAY as i64));
    time.map_or(Date::MAX, OffsetDateTime::date)
}

fn number(date: Date) -> i64 {
    i64::from(date.to_julian_day())
        - i64::from(Date::from_ordinal_date(1970, 1).expect("a date").to_julian_day())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> i64 {
        let [year, month, day]: [i32; 3] =
            text.split('-').map(|part| part.parse().unwrap()).collect::<Vec<_>>().try_into().unwrap();
        let month = Month::try_from(month as u8).unwrap();
        number(Date::from_calendar_date(year, month, day as u8).unwrap())
    }

    #[test]
    fn a_period_begins_on_its_day_or_the_last_of_a_shorter_month() {
        for (today, reset_day, start, next) in [
            ("2026-11-25", 1, "2026-11-01", "2026-12-01"),
            ("2026-12-31", 1, "2026-12-01", "2027-01-01"),
            ("2026-01-01", 1, "2026-01-01", "2026-02-01"),
            ("2026-01-14", 15, "2025-12-15", "2026-01-15"),
            ("2026-01-15", 15, "2026-01-15", "2026-02-15"),
            ("2026-02-27", 31, "2026-01-31", "2026-02-28"),
            ("2026-02-28", 31, "2026-02-28", "2026-03-31"),
            ("2026-03-30", 31, "2026-02-28", "2026-03-31"),
            ("2028-02-28", 31, "2028-01-31", "2028-02-29"),
            ("2028-02-29", 31, "2028-02-29", "2028-03-31"),
            ("2026-04-30", 31, "2026-04-30", "2026-05-31"),
            ("2026-03-01", 30, "2026-02-28", "2026-03-30"),
        ] {
            let found = period_start(day(today), reset_day);
            assert_eq!(day_name(found), start, "{today} by {reset_day}");
            assert_eq!(day_name(next_period(found, reset_day)), next, "{today} by {reset_day}");
        }
    }

    #[test]
    fn every_day_of_eight_years_lies_in_one_period() {
        for reset_day in 1..=31 {
            let mut start = period_start(day("2024-01-01"), reset_day);
            for today in day("2024-01-01")..day("2032-01-01") {
                if today == next_period(start, reset_day) {
                    start = today;
                }
                assert_eq!(period_start(today, reset_day), start, "{} by {reset_day}", day_name(today));
            }
        }
    }
}
