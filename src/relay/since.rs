//! How far a client has heard that comes back: the `auth.since` of its handshake, which is the `id` of the last meta it has
//! seen.
//!
//! Each node tells its own members first, so that no two nodes have one order. What was heard last says how far a client has come
//! only together with the node that told it; so the id of an event that was told elsewhere than at its origin names that node too.

use std::fmt;

use serde_json::Value;

use super::extent::Extent;
use crate::event_id::{EventId, Run, hexadecimal};

/// What a client has heard, by its own account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since {
    /// The last of it.
    pub last: Last,
    /// The same as all nodes understand it, where they keep one history.
    pub extent: Option<Extent>,
}

/// What a client has heard last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// Nothing yet.
    Nothing,
    /// Everything up to this event.
    Event(Heard),
    /// Everything up to this place.
    Place(Position),
    /// This event of a replay that has not come to its end: that is in no node's own order.
    Replayed(EventId),
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
    /// Nothing.
    pub const NOTHING: Since = Since { last: Last::Nothing, extent: None };

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
            return Ok(Some(Since::NOTHING));
        }
        Self::parse(text).map(Some).ok_or("auth.since is no id that flowgate gives")
    }

    fn parse(text: &str) -> Option<Self> {
        let (last, extent) = match text.split_once('~') {
            None => (text, None),
            Some((last, extent)) => (last, Some(extent)),
        };
        let last = match (last.split_once('+'), last.split_once('@'), extent) {
            (Some((epoch, place)), _, _) => {
                Last::Place(Position { epoch: EventId::parse(epoch)?, place: hexadecimal(place)? })
            }
            (None, None, Some(_)) => Last::Replayed(EventId::parse(last)?),
            (None, None, None) => Last::Event(Heard::at_origin(EventId::parse(last)?)),
            (None, Some((id, "")), Some(_)) => Last::Event(Heard::at_origin(EventId::parse(id)?)),
            (None, Some((id, on)), _) => Last::Event(Heard { id: EventId::parse(id)?, on: Run::parse(on)? }),
        };
        let extent = match extent {
            Some(extent) => Some(Extent::parse(extent, last.on())?),
            None => None,
        };
        Some(Since { last, extent })
    }
}

impl Last {
    /// On which node it was heard.
    pub fn on(&self) -> Option<Run> {
        match self {
            Last::Nothing | Last::Replayed(_) => None,
            Last::Event(heard) => Some(heard.on),
            Last::Place(position) => Some(position.epoch.origin()),
        }
    }
}

/// As it is given to clients: `ID`, `ID@RUN` where it was heard elsewhere than at its origin, or `EPOCH+PLACE`; then, where nodes
/// keep one history, `~` and the extent. There the `@` stands even where no run follows, for `ID~` is of a replay.
impl fmt::Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.last {
            Last::Nothing => return Ok(()),
            Last::Event(heard) => write!(f, "{heard}")?,
            Last::Place(position) => write!(f, "{position}")?,
            Last::Replayed(id) => write!(f, "{id}")?,
        }
        let Some(extent) = &self.extent else { return Ok(()) };
        if matches!(&self.last, Last::Event(heard) if heard.on == heard.id.origin()) {
            write!(f, "@")?;
        }
        write!(f, "~{}", extent.written(self.last.on()))
    }
}

impl Heard {
    fn at_origin(id: EventId) -> Self {
        Heard { id, on: id.origin() }
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
    use crate::relay::extent::Stamp;

    fn reads(text: &str) -> Since {
        Since::read(&json!(text)).unwrap().unwrap()
    }

    #[test]
    fn ids_are_read_as_they_are_written() {
        let epoch = EventId::next();
        let here = Since { last: Last::Event(Heard { id: epoch, on: Run::this() }), extent: None };
        assert_eq!((here.to_string(), reads(&epoch.to_string())), (epoch.to_string(), here));
        let (id, on) = (EventId::parse("1-2").unwrap(), Run::parse("af").unwrap());
        let elsewhere = Since { last: Last::Event(Heard { id, on }), extent: None };
        assert_eq!((elsewhere.to_string(), reads("1-2@af")), ("1-2@af".into(), elsewhere));
        let position = Since { last: Last::Place(Position { epoch, place: 300 }), extent: None };
        assert!(position.to_string().ends_with("+12c"), "{position}");
        assert_eq!(reads(&position.to_string()), position);
        assert_eq!(Since::read(&json!("")), Ok(Some(Since::NOTHING)));
        assert_eq!(Since::read(&json!(null)), Ok(None));
    }

    #[test]
    fn behind_them_stands_how_far_that_is_for_all_nodes() {
        let (id, [one, af]) =
            (EventId::parse("1-2").unwrap(), ["1", "af"].map(|run| Run::parse(run).unwrap()));
        let upto = Stamp { epoch: 0xe, ms: 0x19a, seq: 3 };
        for (text, last, of) in [
            ("1-2@~e.19a.3.1f", Last::Event(Heard { id, on: one }), one),
            ("1-2@af~e.19a.3.1f", Last::Event(Heard { id, on: af }), af),
            ("1-2+12c~e.19a.3.1f", Last::Place(Position { epoch: id, place: 300 }), one),
            ("1-2~e.19a.3.1f.af", Last::Replayed(id), af),
            ("1-2~e.19a.3.1f.1", Last::Replayed(id), one),
        ] {
            let since = Since { last, extent: Some(Extent { upto, of, own: 0x1f }) };
            assert_eq!((since.to_string(), reads(text)), (text.into(), since));
        }
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
            json!("1-1~"),
            json!("~1.1.1.1"),
            json!("1-1@~"),
            json!("1-1~1.1.1.1"),
            json!("1-1@~1.1.1"),
            json!("1-1@~1.1.1.1.1.1"),
            json!("1-1@~1.1.1.1~1.1.1.1"),
            json!("1-1@~1.1.1.x"),
            json!("1-1@~1.1.1.1."),
            json!("1-1@~100000000.1.1.1"),
            json!("1-1+1@~1.1.1.1"),
        ] {
            assert!(Since::read(&bad).is_err(), "{bad}");
        }
    }
}
