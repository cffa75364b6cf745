//! Texts that stand for something: durations, rates, sizes, origins, paths into claims.
//!
//! Each reader says what was found and what to write instead; where it stands is the caller's to add.

use std::num::NonZeroU32;
use std::time::Duration;

use super::policy::Rate;
use super::raw;

/// Why a value cannot be: what was found, and what to write instead.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub found: String,
    pub mend: String,
}

impl Fault {
    pub(super) fn new(found: impl Into<String>, mend: impl Into<String>) -> Self {
        Fault { found: found.into(), mend: mend.into() }
    }
}

/// Longer is a slip of the pen: ten years. It also keeps every sum of a time and a duration far from overflow.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// More is a slip of the pen: a gibibyte in one payload, queue or message.
const LARGEST: u64 = 1 << 30;

/// More than this many per second is no limit, and a token's share of time would fall under a nanosecond.
const FASTEST: u128 = 1_000_000;

/// `"30s"`, `"1m 30s"`, `"250ms"`; also zero.
pub(super) fn duration(text: &str) -> Result<Duration, Fault> {
    let duration = humantime::parse_duration(text.trim()).map_err(|_| {
        Fault::new(format!("{text:?} is not a duration"), r#"write one such as "30s", "5m" or "24h""#)
    })?;
    if duration > LONGEST {
        return Err(Fault::new(
            format!("{text:?} is longer than ten years"),
            r#"write a duration such as "24h""#,
        ));
    }
    Ok(duration)
}

/// A duration that is not zero.
pub(super) fn positive_duration(text: &str) -> Result<Duration, Fault> {
    match duration(text)? {
        Duration::ZERO => {
            Err(Fault::new(format!("{text:?} is no time at all"), r#"write a duration such as "30s""#))
        }
        duration => Ok(duration),
    }
}

/// `"16KiB"`, `"64 kB"`, `"1MiB"`, or whole bytes; not zero.
pub(super) fn size(size: &raw::Size) -> Result<usize, Fault> {
    let mend = r#"write a size such as "16KiB", "1MiB", or whole bytes such as 16384"#;
    let (bytes, found) = match size {
        raw::Size::Bytes(bytes) => (u64::try_from(*bytes).ok(), bytes.to_string()),
        raw::Size::Text(text) => (size_in_words(text), format!("{text:?}")),
    };
    match bytes {
        None => Err(Fault::new(format!("{found} is not a size"), mend)),
        Some(0) => Err(Fault::new(format!("{found} lets nothing through"), mend)),
        Some(bytes) if bytes > LARGEST => Err(Fault::new(format!("{found} is more than 1GiB"), mend)),
        Some(bytes) => Ok(bytes as usize),
    }
}

fn size_in_words(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (count, unit) = text.split_at(digits);
    let unit = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return None,
    };
    count.parse::<u64>().ok()?.checked_mul(unit)
}

/// `"20/s"`, `"100/m"`, `"5/h"`, with or without a burst, which otherwise is the count.
pub(super) fn rate(text: &str, burst: Option<i64>) -> Result<Rate, Fault> {
    let mend = r#"write one such as "20/s", "100/m" or "5/h""#;
    let not_a_rate = || Fault::new(format!("{text:?} is not a rate"), mend);
    let (count, unit) = text.split_once('/').ok_or_else(not_a_rate)?;
    let per = match unit.trim() {
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        "h" => Duration::from_secs(3600),
        _ => return Err(not_a_rate()),
    };
    let count: u128 = count.trim().parse().map_err(|_| not_a_rate())?;
    if count > FASTEST * u128::from(per.as_secs()) || u32::try_from(count).is_err() {
        return Err(Fault::new(format!("{text:?} is faster than 1000000/s, which is no limit"), mend));
    }
    let count = u32::try_from(count).ok().and_then(NonZeroU32::new);
    let count = count.ok_or_else(|| Fault::new(format!("{text:?} lets nothing through"), mend))?;
    let burst = match burst {
        None => count,
        Some(burst) => u32::try_from(burst).ok().and_then(NonZeroU32::new).ok_or_else(|| {
            Fault::new(
                format!("a burst of {burst}"),
                format!("write at least 1, or leave it out for {count}"),
            )
        })?,
    };
    Ok(Rate { count, per, burst })
}

/// A whole number from 1 to `most`.
pub(super) fn count(number: i64, most: u32) -> Result<u32, Fault> {
    match u32::try_from(number) {
        Ok(count) if (1..=most).contains(&count) => Ok(count),
        _ => Err(Fault::new(format!("found {number}"), format!("write a whole number from 1 to {most}"))),
    }
}

/// An origin exactly as browsers send it (RFC 6454 §6.2): `scheme://host[:port]`, lower case, no default port, no slash.
pub(super) fn origin(text: &str) -> Result<String, Fault> {
    let example = "write scheme://host or scheme://host:port, such as https://app.example";
    if text == "null" {
        let found = "`null` is what sandboxed pages and files of any source send";
        return Err(Fault::new(found, "name the origins that are yours, such as https://app.example"));
    }
    if text.contains('*') {
        let found = format!("{text:?} is a pattern, and origins are compared exactly");
        return Err(Fault::new(found, "name each origin, or write [\"*\"] alone"));
    }
    let url = url::Url::parse(text).map_err(|_| Fault::new(format!("{text:?} is not an origin"), example))?;
    let exact = url.origin();
    if !exact.is_tuple() && url.host_str().is_none() {
        return Err(Fault::new(format!("{text:?} is not an origin"), example));
    }
    // Schemes that the URL standard does not know (an app's own, say) have no origin there, yet browsers send one.
    let exact = if exact.is_tuple() {
        exact.ascii_serialization()
    } else {
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or_default().to_ascii_lowercase())
    };
    if exact != text {
        let shown = if url.username().is_empty() && url.password().is_none() {
            text
        } else {
            "an address with a password"
        };
        return Err(Fault::new(
            format!("{shown:?} is not an origin as browsers send it"),
            format!("write {exact:?}"),
        ));
    }
    Ok(exact)
}

/// The segments of a dotted path; a segment that holds dots itself is quoted: `"https://app.example/claims".teams`.
pub(super) fn claim_path(text: &str) -> Result<Vec<String>, Fault> {
    let fault = || {
        let mend = r#"write one such as "teams" or "app.teams"; a name with dots is quoted: '"https://app.example/teams"'"#;
        Fault::new(format!("{text:?} is not a path into the claims"), mend)
    };
    let mut segments = Vec::new();
    let mut rest = text;
    loop {
        let (segment, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').ok_or_else(fault)?,
            None => rest.split_at(rest.find('.').unwrap_or(rest.len())),
        };
        if segment.is_empty() || segment.trim() != segment {
            return Err(fault());
        }
        segments.push(segment.to_owned());
        match after.strip_prefix('.') {
            Some(more) => rest = more,
            None if after.is_empty() => return Ok(segments),
            None => return Err(fault()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Option<usize> {
        size(&raw::Size::Text(text.into())).ok()
    }

    #[test]
    fn durations() {
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        for wrong in ["", "30", "-5s", "soon", "99999999999999999999s", "11years"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert!(positive_duration("0s").is_err());
    }

    #[test]
    fn sizes() {
        assert_eq!(bytes("16KiB"), Some(16384));
        assert_eq!(bytes("2 kB"), Some(2000));
        assert_eq!(bytes("7"), Some(7));
        for wrong in ["", "KiB", "-1KiB", "1.5MiB", "0", "2GiB", "18446744073709551615GiB", "5 parsecs"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
        assert!(size(&raw::Size::Bytes(-1)).is_err());
        assert_eq!(size(&raw::Size::Bytes(1)), Ok(1));
    }

    #[test]
    fn rates() {
        let rate_of = |text, burst| {
            rate(text, burst).map(|rate| (rate.count.get(), rate.per.as_secs(), rate.burst.get())).ok()
        };
        assert_eq!(rate_of("20/s", Some(40)), Some((20, 1, 40)));
        assert_eq!(rate_of("100/m", None), Some((100, 60, 100)));
        assert_eq!(rate_of("5/h", None), Some((5, 3600, 5)));
        for wrong in ["", "20", "0/s", "-1/s", "0.5/s", "20/d", "/s", "99999999/s", "99999999999/h"] {
            assert_eq!(rate_of(wrong, None), None, "{wrong}");
        }
        assert_eq!(rate_of("20/s", Some(0)), None);
        assert_eq!(rate_of("20/s", Some(-1)), None);
        assert_eq!(rate_of("20/s", Some(i64::MAX)), None);
    }

    #[test]
    fn origins() {
        for right in
            ["https://app.example", "http://localhost:5173", "http://[::1]:8080", "capacitor://localhost"]
        {
            assert_eq!(origin(right).as_deref(), Ok(right));
        }
        for (wrong, mend) in [
            ("https://app.example/", r#"write "https://app.example""#),
            ("https://App.example", r#"write "https://app.example""#),
            ("https://app.example:443", r#"write "https://app.example""#),
            ("https://app.example/path?x", r#"write "https://app.example""#),
            ("https://me:pw@app.example", r#"write "https://app.example""#),
        ] {
            let fault = origin(wrong).unwrap_err();
            assert_eq!(fault.mend, mend, "{wrong}");
            assert!(!fault.found.contains("pw"), "{}", fault.found);
        }
        for wrong in [
            "",
            "app.example",
            "null",
            "https://",
            "https://*.app.example",
            "mailto:me",
            "*",
            "localhost:3000",
        ] {
            assert!(origin(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn claim_paths() {
        assert_eq!(claim_path("app.teams"), Ok(vec!["app".to_owned(), "teams".to_owned()]));
        assert_eq!(claim_path(r#""https://a.b/t".x"#), Ok(vec!["https://a.b/t".to_owned(), "x".to_owned()]));
        for wrong in ["", ".", "a.", "a..b", " a", r#""a"#, r#""a"b"#] {
            assert!(claim_path(wrong).is_err(), "{wrong}");
        }
    }
}
