//! How far a client has heard that comes back: the `auth.since` of its handshake, which is the `id` of the last meta it has
//! seen.
//!
//! Each node tells its own members first, so that no two nodes have one order. What was heard last says how far a client has come
//! only together with the node that told it; so the id of an event that was told elsewhere than at its origin names that node too.

use std::fmt;

use serde_json::Value;

use crate::event_id::{EventId, Run, hexadecimal};

/// What a client has heard, by its own account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// Nothing yet.
    Nothing,
    /// Everything up to this event.
    Event(Heard),
    /// Everything up to this place.
    Place(Position),
}

/// An event, and the process that told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The event.
    pub id: EventId,
    /// In whose order it was heard.
    pub on: Run,
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
            None => Heard::parse(text).map(Since::Event),
            Some((epoch, place)) => EventId::parse(epoch)
                .zip(hexadecimal(place))
                .map(|(epoch, place)| Since::Place(Position { epoch, place })),
        };
        since.map(Some).ok_or("auth.since is no id that flowgate gives")
    }
}

impl Heard {
    fn parse(text: &str) -> Option<Self> {
        match text.split_once('@') {
            None => EventId::parse(text).map(|id| Heard { id, on: id.origin() }),
            Some((id, on)) => Some(Heard { id: EventId::parse(id)?, on: Run::parse(on)? }),
        }
    }
}

/// The event's id, and the process only where it is not the one that gave the id.
impl fmt::Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.id)?;
        if self.on == self.id.origin() { Ok(()) } else { write!(f, "@{}", self.on) }
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
        let here = Heard { id: epoch, on: Run::this() };
        assert_eq!(here.to_string(), epoch.to_string());
        assert_eq!(Since::read(&json!(here.to_string())), Ok(Some(Since::Event(here))));
        let elsewhere = Heard { id: EventId::parse("1-2").unwrap(), on: Run::parse("af").unwrap() };
        assert_eq!(elsewhere.to_string(), "1-2@af");
        assert_eq!(Since::read(&json!("1-2@af")), Ok(Some(Since::Event(elsewhere))));
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
            json!("1-1@"),
            json!("@1"),
            json!("1-1@1-1"),
            json!("1-1@1@1"),
            json!("1-1@G"),
            json!("1-1@11111111111111111"),
            json!("1-1@1+1"),
            json!("1-1+1@1"),
        ] {
            assert!(Since::read(&bad).is_err(), "{bad}");
        }
    }
}
