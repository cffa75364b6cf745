//! What stands behind the `?` of a request to the API, and the places in a list that pages begin after.

use std::collections::HashMap;
use std::str::FromStr;

use axum::http::{StatusCode, Uri};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::answer::Declined;

/// Entries of one page, where nothing else is asked for, and at most.
const PAGE: usize = 100;
const LARGEST_PAGE: usize = 500;

/// The parts of a query, each there once at most.
pub(super) struct Query(HashMap<String, String>);

impl Query {
    /// Reads a query that may hold these parts and no others.
    ///
    /// # Errors
    /// It holds others, or one of them twice.
    pub fn read(uri: &Uri, known: &[&str]) -> Result<Self, Declined> {
        let mut parts = HashMap::new();
        for (name, value) in url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            let Some(name) = known.iter().find(|known| **known == name) else {
                let message = match known {
                    [] => "this takes no query".to_owned(),
                    known => format!("the query may hold {}, and nothing else", known.join(", ")),
                };
                return Err(invalid(message));
            };
            if parts.insert((*name).to_owned(), value.into_owned()).is_some() {
                return Err(invalid(format!("the query holds {name} twice")));
            }
        }
        Ok(Query(parts))
    }

    /// One part as it stands.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// One part, which must be a whole number in this range.
    ///
    /// # Errors
    /// It is none.
    pub fn number(&self, name: &str, default: usize, most: usize) -> Result<usize, Declined> {
        let Some(text) = self.text(name) else { return Ok(default) };
        let number = usize::from_str(text).ok().filter(|number| (1..=most).contains(number));
        number.ok_or_else(|| invalid(format!("{name} is a whole number from 1 to {most}")))
    }

    /// How many entries a page is to have.
    ///
    /// # Errors
    /// `limit` is no such number.
    pub fn limit(&self) -> Result<usize, Declined> {
        self.number("limit", PAGE, LARGEST_PAGE)
    }

    /// The place after which the page begins, as [`cursor`] wrote it, read by `read`; `None` for the beginning.
    ///
    /// # Errors
    /// It is no such place.
    pub fn after<T>(&self, read: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, Declined> {
        let Some(cursor) = self.text("cursor") else { return Ok(None) };
        let place = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let place = place.and_then(|place| read(&place));
        place.map(Some).ok_or_else(|| invalid("cursor is none that this list gave as next".into()))
    }
}

/// What the next page is to be asked for with. It is opaque to who asks, so that it may become something else.
pub(super) fn cursor(place: &str) -> String {
    URL_SAFE_NO_PAD.encode(place)
}

/// What is asked for cannot be.
pub(super) fn invalid(message: String) -> Declined {
    Declined::new(StatusCode::BAD_REQUEST, "invalid_query", message)
}
