//! Where a handshake carries its token.

use cookie::Cookie;
use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE};
use serde_json::Value;

use crate::config::policy::TokenSource;

/// What the handshake carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing in any of the sources.
    Nothing,
    /// Something, not yet verified.
    Token(String),
    /// Something that cannot be a token; it is not skipped, so that one bad source never hides behind another.
    Unusable(&'static str),
}

/// Looks through `sources` in their order; the first that is present counts.
///
/// `auth` is the Socket.IO CONNECT packet's payload. Its `token` counts as absent when it is `null`, which is what
/// clients that have none send.
pub fn find_token(sources: &[TokenSource], auth: Option<&Value>, headers: &HeaderMap) -> Found {
    for source in sources {
        let found = match source {
            TokenSource::Auth => from_auth(auth),
            TokenSource::Header => from_header(headers),
            TokenSource::Cookie(name) => from_cookie(name, headers),
        };
        if found != Found::Nothing {
            return found;
        }
    }
    Found::Nothing
}

fn from_auth(auth: Option<&Value>) -> Found {
    match auth.and_then(|auth| auth.get("token")) {
        None | Some(Value::Null) => Found::Nothing,
        Some(Value::String(token)) => Found::Token(token.clone()),
        Some(_) => Found::Unusable("auth.token is not text"),
    }
}

/// RFC 6750 §2.1, the scheme in any case (RFC 9110 §11.1). Other schemes are somebody else's and count as absent.
fn from_header(headers: &HeaderMap) -> Found {
    let mut bearers = headers.get_all(AUTHORIZATION).iter().filter_map(|value| bearer(value.as_bytes()));
    match (bearers.next(), bearers.next()) {
        (None, _) => Found::Nothing,
        (Some(_), Some(_)) => Found::Unusable("there are several Authorization: Bearer headers"),
        (Some(credentials), None) => match std::str::from_utf8(credentials) {
            Ok(token) => Found::Token(token.to_owned()),
            Err(_) => Found::Unusable("the Authorization header is not text"),
        },
    }
}

/// The credentials after `Bearer`; the scheme alone has empty ones.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, credentials) = value.split_at_checked("Bearer".len())?;
    let ends = credentials.first().is_none_or(|&byte| byte == b' ' || byte == b'\t');
    (ends && scheme.eq_ignore_ascii_case(b"Bearer")).then(|| credentials.trim_ascii())
}

/// RFC 6265 §5.4. The same name twice is refused: a page of a sibling domain can plant the second one.
fn from_cookie(name: &str, headers: &HeaderMap) -> Found {
    let mut found = Found::Nothing;
    for header in headers.get_all(COOKIE) {
        let Ok(text) = std::str::from_utf8(header.as_bytes()) else {
            return Found::Unusable("the Cookie header is not text");
        };
        for cookie in Cookie::split_parse(text).flatten().filter(|cookie| cookie.name() == name) {
            if found != Found::Nothing {
                return Found::Unusable("there are several cookies of that name");
            }
            found = Found::Token(cookie.value_trimmed().to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};
    use serde_json::json;

    fn headers(pairs: &[(&'static str, &[u8])]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &[u8])| {
            (HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    fn token(text: &str) -> Found {
        Found::Token(text.into())
    }

    #[test]
    fn auth_token_is_text() {
        let find = |auth: Value| find_token(&[TokenSource::Auth], Some(&auth), &HeaderMap::new());
        assert_eq!(find(json!({"token": "a.b.c"})), token("a.b.c"));
        assert_eq!(find(json!({"token": ""})), token(""));
        assert_eq!(find(json!({"token": null})), Found::Nothing);
        assert_eq!(find(json!({})), Found::Nothing);
        assert_eq!(find(json!("a.b.c")), Found::Nothing);
        for odd in [json!(1), json!(["a.b.c"]), json!({"a": 1}), json!(true)] {
            assert!(matches!(find(json!({ "token": odd })), Found::Unusable(_)));
        }
        assert_eq!(find_token(&[TokenSource::Auth], None, &HeaderMap::new()), Found::Nothing);
    }

    #[test]
    fn bearer_in_any_case_and_no_other_scheme() {
        let find = |values: &[&[u8]]| {
            let pairs: Vec<_> = values.iter().map(|value| ("authorization", *value)).collect();
            find_token(&[TokenSource::Header], None, &headers(&pairs))
        };
        for value in ["Bearer a.b.c", "bearer a.b.c", "BEARER   a.b.c "] {
            assert_eq!(find(&[value.as_bytes()]), token("a.b.c"), "{value}");
        }
        assert_eq!(find(&[b"Bearer"]), token(""));
        for value in ["Basic dXNlcjpwYXNz", "Bearers a.b.c", "Bear", ""] {
            assert_eq!(find(&[value.as_bytes()]), Found::Nothing, "{value}");
        }
        assert_eq!(find(&[b"Basic dXNlcjpwYXNz", b"Bearer a.b.c"]), token("a.b.c"));
        assert!(matches!(find(&[b"Bearer a.b.c", b"Bearer a.b.c"]), Found::Unusable(_)));
        assert!(matches!(find(&[b"Bearer \xff"]), Found::Unusable(_)));
    }

    #[test]
    fn cookies_go_by_exact_name_and_once() {
        let find = |values: &[&[u8]]| {
            let pairs: Vec<_> = values.iter().map(|value| ("cookie", *value)).collect();
            find_token(&[TokenSource::Cookie("jwt".into())], None, &headers(&pairs))
        };
        assert_eq!(find(&[b"theme=dark; jwt=a.b.c; x=y"]), token("a.b.c"));
        assert_eq!(find(&[b"jwt=\"a.b.c\""]), token("a.b.c"));
        assert_eq!(find(&[b"theme=dark", b"jwt=a.b.c"]), token("a.b.c"));
        for value in ["JWT=a.b.c", "xjwt=a.b.c", "jwt2=a", "jwt", ""] {
            assert_eq!(find(&[value.as_bytes()]), Found::Nothing, "{value}");
        }
        assert!(matches!(find(&[b"jwt=a.b.c; jwt=d.e.f"]), Found::Unusable(_)));
        assert!(matches!(find(&[b"jwt=a.b.c", b"jwt=d.e.f"]), Found::Unusable(_)));
    }

    #[test]
    fn the_first_present_counts_even_when_it_is_bad() {
        let sources = [TokenSource::Cookie("jwt".into()), TokenSource::Auth, TokenSource::Header];
        let auth = json!({"token": 5});
        let header: (&str, &[u8]) = ("authorization", b"Bearer from.the.header");
        assert_eq!(
            find_token(&sources, Some(&auth), &headers(&[header, ("cookie", b"jwt=from.the.cookie")])),
            token("from.the.cookie")
        );
        assert!(matches!(find_token(&sources, Some(&auth), &headers(&[header])), Found::Unusable(_)));
        assert_eq!(find_token(&sources, None, &headers(&[header])), token("from.the.header"));
        assert_eq!(find_token(&[], Some(&auth), &headers(&[header])), Found::Nothing);
    }
}
