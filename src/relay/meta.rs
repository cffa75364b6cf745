//! The second argument that events carry with `relay.meta`: `{ id, seq, team, actor, at }`.

use std::time::SystemTime;

use serde::Serialize;

/// What is said of one event, or of a notice that stands for many.
#[derive(Debug, Serialize)]
pub struct Meta<'a> {
    /// What the event's acknowledgement called it; a client that comes back says by it how far it has heard.
    id: String,
    /// The event's number among all that this node has relayed to the team; `None` where it was another that relayed it.
    seq: Option<u64>,
    /// The team through which it is heard.
    team: Option<&'a str>,
    /// The subject of whoever sent it.
    actor: Option<&'a str>,
    /// When it was relayed.
    at: String,
}

impl<'a> Meta<'a> {
    /// That of an event.
    pub fn of_event(
        id: String,
        seq: Option<u64>,
        team: &'a str,
        actor: Option<&'a str>,
        at: SystemTime,
    ) -> Self {
        Meta { id, seq, team: Some(team), actor, at: written(at) }
    }

    /// That of a notice, which nobody sent and which has no number: it only says how far its hearer has come.
    pub fn of_notice(id: String, at: SystemTime) -> Self {
        Meta { id, seq: None, team: None, actor: None, at: written(at) }
    }

    /// As JSON text.
    pub fn to_json(&self) -> String {
        // Texts and numbers always have a form.
        serde_json::to_string(self).unwrap_or_else(|_| "null".into())
    }
}

/// RFC 3339, to the millisecond.
fn written(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(at).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_five_that_are_promised() {
        let meta = Meta::of_event("1-2".into(), Some(7), "red", Some("a\"\u{1e}b"), SystemTime::UNIX_EPOCH);
        assert_eq!(
            meta.to_json(),
            r#"{"id":"1-2","seq":7,"team":"red","actor":"a\"\u001eb","at":"1970-01-01T00:00:00.000Z"}"#
        );
        let notice = Meta::of_notice("1-2+3".into(), SystemTime::UNIX_EPOCH);
        assert_eq!(
            notice.to_json(),
            r#"{"id":"1-2+3","seq":null,"team":null,"actor":null,"at":"1970-01-01T00:00:00.000Z"}"#
        );
    }
}
