//! `timestamp`: RFC 3339 text or epoch milliseconds, within the policy's window.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::{Date, Month};

use crate::config::policy::TimestampPolicy;
use crate::reject::Code;

use super::{nested, text};

/// The Julian day of 1970-01-01, from which `time` counts to our epoch.
const EPOCH_JULIAN_DAY: i32 = 2_440_588;

/// Digits of a fraction that a nanosecond needs; more are allowed and don't count.
const FRACTION_DIGITS: usize = 9;

/// Reads the JSON value `raw`. On failure the code, and a sentence for the developer of the client.
pub(super) fn read(
    raw: &str,
    policy: &TimestampPolicy,
    now: SystemTime,
) -> Result<SystemTime, (Code, &'static str)> {
    let invalid = (
        Code::InvalidPayload,
        "timestamp must be RFC 3339 text with an offset, or integer epoch milliseconds",
    );
    let time = if nested::is_integer(raw) {
        raw.parse().ok().and_then(from_milliseconds)
    } else {
        text::decode(raw).and_then(|text| parse_rfc3339(&text))
    };
    let time = time.ok_or(invalid)?;
    match now.duration_since(time) {
        Ok(age) if age > policy.max_age => Err((Code::StaleTimestamp, "timestamp is too old")),
        Err(ahead) if ahead.duration() > policy.max_ahead => {
            Err((Code::FutureTimestamp, "timestamp is too far in the future"))
        }
        _ => Ok(time),
    }
}

fn from_milliseconds(milliseconds: i64) -> Option<SystemTime> {
    shift(milliseconds < 0, Duration::from_millis(milliseconds.unsigned_abs()))
}

/// The Unix epoch, so much earlier or later.
fn shift(earlier: bool, by: Duration) -> Option<SystemTime> {
    if earlier { UNIX_EPOCH.checked_sub(by) } else { UNIX_EPOCH.checked_add(by) }
}

/// Reads `YYYY-MM-DDThh:mm:ss[.fraction](Z|±hh:mm)`, RFC 3339 §5.6, with `t` and `z` in either case.
///
/// A second of 60 is taken as the next second wherever it stands, as the RFC leaves it to the reader to know when leap
/// seconds were. `-00:00` is UTC.
fn parse_rfc3339(text: &str) -> Option<SystemTime> {
    let bytes = text.as_bytes();
    let (stamp, rest) = bytes.split_at_checked(19)?;
    let separators = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    if separators.iter().any(|&(at, expected)| stamp[at] != expected) || !matches!(stamp[10], b'T' | b't') {
        return None;
    }
    let year = number(&stamp[0..4], 9999)?;
    let month = Month::try_from(u8::try_from(number(&stamp[5..7], 12)?).ok()?).ok()?;
    let day = u8::try_from(number(&stamp[8..10], 31)?).ok()?;
    let date = Date::from_calendar_date(i32::try_from(year).ok()?, month, day).ok()?;
    let (hour, minute, second) =
        (number(&stamp[11..13], 23)?, number(&stamp[14..16], 59)?, number(&stamp[17..19], 60)?);
    let (nanoseconds, zone) = fraction(rest)?;

    let days = i64::from(date.to_julian_day() - EPOCH_JULIAN_DAY);
    let seconds = days * 86_400 + i64::from(hour * 3600 + minute * 60 + second) - offset(zone)?;
    shift(seconds < 0, Duration::from_secs(seconds.unsigned_abs()))?
        .checked_add(Duration::from_nanos(nanoseconds))
}

/// A leading `.digits` in nanoseconds, and what follows; zero without one.
fn fraction(text: &[u8]) -> Option<(u64, &[u8])> {
    let Some((b'.', digits)) = text.split_first() else { return Some((0, text)) };
    let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if length == 0 {
        return None;
    }
    let (digits, rest) = digits.split_at(length);
    let digits = digits.iter().chain(std::iter::repeat(&b'0')).take(FRACTION_DIGITS);
    Some((digits.fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')), rest))
}

/// `Z` or `±hh:mm`, in seconds east of UTC.
fn offset(zone: &[u8]) -> Option<i64> {
    let (sign, hour, minute) = match *zone {
        [b'Z' | b'z'] => return Some(0),
        [b'+', h1, h2, b':', m1, m2] => (1, [h1, h2], [m1, m2]),
        [b'-', h1, h2, b':', m1, m2] => (-1, [h1, h2], [m1, m2]),
        _ => return None,
    };
    Some(sign * i64::from(number(&hour, 23)? * 3600 + number(&minute, 59)? * 60))
}

/// A few decimal digits and nothing else, up to `max`.
fn number(digits: &[u8], max: u32) -> Option<u32> {
    let mut sum = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        sum = sum * 10 + u32::from(digit - b'0');
    }
    (sum <= max).then_some(sum)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::OffsetDateTime;
    use time::format_description::well_known::Rfc3339;

    use super::*;
    use crate::config::policy::Presence;

    /// 2026-03-01T12:00:00Z
    const NOW: u64 = 1_772_366_400;

    fn judge(raw: &str) -> Result<SystemTime, Code> {
        let minutes = |count: u64| Duration::from_secs(60 * count);
        let policy =
            TimestampPolicy { presence: Presence::Optional, max_age: minutes(5), max_ahead: minutes(1) };
        read(raw, &policy, UNIX_EPOCH + Duration::from_secs(NOW)).map_err(|(code, _)| code)
    }

    #[test]
    fn accepts_one_moment_in_every_notation() {
        let now = UNIX_EPOCH + Duration::from_secs(NOW);
        for raw in [
            r#""2026-03-01T12:00:00Z""#,
            r#""2026-03-01t12:00:00z""#,
            r#""2026-03-01T12:00:00.000Z""#,
            r#""2026-03-01T12:00:00-00:00""#,
            r#""2026-03-01T14:30:00+02:30""#,
            r#""2026-02-28T13:00:00.0000000000000-23:00""#,
            r#""2026-03-01T11:59:60Z""#,
            r#""2026-03-01T12:00:00\u005a""#,
            "1772366400000",
        ] {
            assert_eq!(judge(raw), Ok(now), "{raw}");
        }
        assert_eq!(
            judge(r#""2026-03-01T12:00:00.1234567899Z""#),
            Ok(now + Duration::from_nanos(123_456_789))
        );
    }

    #[test]
    fn keeps_to_the_window_on_both_sides() {
        for raw in
            [r#""2026-03-01T11:55:00Z""#, r#""2026-03-01T12:01:00Z""#, "1772366100000", "1772366460000"]
        {
            assert!(judge(raw).is_ok(), "{raw}");
        }
        for raw in [
            r#""2026-03-01T11:54:59.999Z""#,
            "1772366099999",
            "0",
            "-1",
            "-9223372036854775808",
            r#""0000-01-01T00:00:00Z""#,
            r#""2016-12-31T23:59:60Z""#,
        ] {
            assert_eq!(judge(raw), Err(Code::StaleTimestamp), "{raw}");
        }
        for raw in [
            r#""2026-03-01T12:01:00.001Z""#,
            "1772366460001",
            "9223372036854775807",
            r#""9999-12-31T23:59:60Z""#,
        ] {
            assert_eq!(judge(raw), Err(Code::FutureTimestamp), "{raw}");
        }
    }

    #[test]
    fn refuses_what_is_no_timestamp() {
        for raw in [
            r#""2026-03-01T12:00:00""#,
            r#""2026-03-01 12:00:00Z""#,
            r#""2026-03-01""#,
            r#""2026-02-29T12:00:00Z""#,
            r#""2026-13-01T12:00:00Z""#,
            r#""2026-00-01T12:00:00Z""#,
            r#""2026-03-01T24:00:00Z""#,
            r#""2026-03-01T12:60:00Z""#,
            r#""2026-03-01T12:00:61Z""#,
            r#""2026-03-01T12:00:00.Z""#,
            r#""2026-03-01T12:00:00+2:00""#,
            r#""2026-03-01T12:00:00+0200""#,
            r#""2026-03-01T12:00:00+24:00""#,
            r#""2026-03-01T12:00:00Zjunk""#,
            r#""10000-01-01T00:00:00Z""#,
            r#""+2026-03-01T12:00:00Z""#,
            r#""２026-03-01T12:00:00Z""#,
            r#""""#,
            r#""\ud800""#,
            "1772366400000.5",
            "1.7723664e12",
            "9223372036854775808",
            "null",
            "{}",
        ] {
            assert_eq!(judge(raw), Err(Code::InvalidPayload), "{raw}");
        }
    }

    proptest! {
        #[test]
        fn reads_what_another_library_writes(seconds in -62_167_219_200_i64..253_402_300_800, nanos in 0_u32..1_000_000_000) {
            let written = OffsetDateTime::from_unix_timestamp(seconds).unwrap().replace_nanosecond(nanos).unwrap();
            prop_assert_eq!(parse_rfc3339(&written.format(&Rfc3339).unwrap()), Some(written.into()));
        }

        #[test]
        fn survives_any_text(text in "[-+0-9TZtz:.é]{0,40}|\\PC*") {
            parse_rfc3339(&text);
        }
    }
}
