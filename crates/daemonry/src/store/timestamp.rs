//! Wall time as text: ISO 8601 in UTC with milliseconds, as `Date.prototype.toISOString` writes it.

use std::time::{Duration, SystemTime};

const DAY: u64 = 24 * 60 * 60;

/// `2026-11-30T09:00:00.000Z`. Times before 1970 are 1970.
pub(super) fn to_text(time: SystemTime) -> String {
    let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (seconds, millis) = (since_epoch.as_secs(), since_epoch.subsec_millis());
    let (year, month, day) = date_of(seconds / DAY);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// `None` for anything that [`to_text`] does not write.
pub(super) fn from_text(text: &str) -> Option<SystemTime> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let seconds = days_until(number(0, 4)?, number(5, 7)?, number(8, 10)?)?.checked_mul(DAY)?
        + number(11, 13)? * 3600
        + number(14, 16)? * 60
        + number(17, 19)?;
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))?;
    let time = time.checked_add(Duration::from_millis(number(20, 23)?))?;
    (to_text(time) == text).then_some(time)
}

/// The date of a day that is counted from the beginning of 1970.
///
/// Years begin in March here, so that the leap day is the last one.
///
/// # References
///
/// [`civil_from_days`](https://howardhinnant.github.io/date_algorithms.html)
fn date_of(day: u64) -> (u64, u64, u64) {
    let day = day + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (400 * era + year + carry, month, day)
}

/// The opposite. What is no date is some other day.
fn days_until(year: u64, month: u64, day: u64) -> Option<u64> {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let (era, year) = (year / 400, year % 400);
    let day = (153 * month + 2) / 5 + day.checked_sub(1)?;
    (era * 146_097 + year * 365 + year / 4 - year / 100 + day).checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::property::holds;

    #[test]
    fn a_time_is_what_javascript_writes() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_827_696_789, "2000-02-29T12:34:56.789Z"),
            (1_796_029_200_001, "2026-11-30T09:00:00.001Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
        ] {
            let time = SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
            assert_eq!(to_text(time), text);
            assert_eq!(from_text(text), Some(time));
        }
    }

    #[test]
    fn any_time_comes_back_and_no_other_text_is_one() {
        holds("milliseconds to text and back", 2000, &(0..200_000_000_000_000_u64), |millis| {
            let time = SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
            assert_eq!(from_text(&to_text(time)), Some(time));
        });
        for text in
            ["", "2026-11-30", "2026-02-30T09:00:00.000Z", "2026-11-30T24:00:00.000Z", "2026-11-30T09:00:00.000+"]
        {
            assert_eq!(from_text(text), None, "{text}");
        }
        holds("any text", 2000, &"[0-9+é]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}.[0-9]{3}Z", |text: String| {
            let _time = from_text(&text);
        });
    }
}
