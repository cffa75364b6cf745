//! How far a client has heard that comes back: the `auth.since` of its handshake, which is the `id` of the last meta it has
//! seen.

use std::fmt;

use serde_json::Value;

use crate::event_id::{EventId, hexadecimal};

/// What a client has heard, by its own account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// Nothing yet.
    Nothing,
    /// Everything up to this event.
    Event(EventId),
    /// Everything up to this place.
    Place(Position),
}

/// A place in the order of all that one process relays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Which order: no two have the same, of whatever process.
    pub epoch: EventId,
    /// The place in it.
    pub place: u64,
}

impl Since {
    /// Reads `auth.since`; `None` where the client passes none. The empty text means that it has heard nothing.
    ///
    /// # Errors
    /// A sentence for the log. It is neither the id of an event nor that of a notice.
    pub fn read(value: &Value) -> Result<Option<Self>, &'static str> {
        let text = match value {
            Value::Null => return Ok(None),
            Value::String(text) => text,
            _ => return Err("auth.since is no text"),
        };
        if text.is_empty() {
            return Ok(Some(Since::Nothing));
        }
        let since = match text.split_once('+') {
            None => EventId::parse(text).map(Since::Event),
            Some((epoch, place)) => EventId::parse(epoch)
                .zip(hexadecimal(place))
                .map(|(epoch, place)| Since::Place(Position { epoch, place })),
        };
        since.map(Some).ok_or("auth.since is no id that flowgate gives")
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{:x}", self.epoch, self.place)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ids_are_read_as_they_are_written() {
        let epoch = EventId::next();
        assert_eq!(Since::read(&json!(epoch.to_string())), Ok(Some(Since::Event(epoch))));
        let position = Position { epoch, place: 300 };
        assert!(position.to_string().ends_with("+12c"), "{position}");
        assert_eq!(Since::read(&json!(position.to_string())), Ok(Some(Since::Place(position))));
        assert_eq!(Since::read(&json!("")), Ok(Some(Since::Nothing)));
        assert_eq!(Since::read(&json!(null)), Ok(None));
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in [
            json!(7),
            json!({}),
            json!(["1-2"]),
            json!(true),
            json!("1"),
            json!("-"),
            json!("1-"),
            json!("-1"),
            json!("1--1"),
            json!("+1-1"),
            json!("1-+1"),
            json!("1-1+"),
            json!("1-1+2+3"),
            json!("1-2-3"),
            json!("1-G"),
            json!("1-A"),
            json!(" 1-2"),
            json!("11111111111111111-1"),
            json!("1-1+11111111111111111"),
        ] {
            assert!(Since::read(&bad).is_err(), "{bad}");
        }
    }
}
