//! What nodes ask and tell each other on the control channel, beside that they are there. Pure.

use serde::{Deserialize, Serialize};

use crate::bus::envelope::Origin;
use crate::link::disconnect::Disconnect;
use crate::revocation::RevocationId;

/// Revocations that one word names; whoever hears of more looks at all. As many as the API takes at once.
pub const MOST_IDS: usize = 1000;

/// One word to all nodes, or to one of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "word", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Word {
    /// What is known of these revocations has changed in Redis, for the `count`th time.
    Revocations {
        /// Which; none where they were too many to name.
        ids: Vec<RevocationId>,
        /// How often anything has changed there, this time included.
        count: u64,
    },
    /// Connections are to be closed everywhere, and each node is to say how many it has closed.
    Disconnect {
        /// The asking node's number for it.
        ask: u64,
        /// Which, and why.
        what: Disconnect,
    },
    /// That was done.
    Disconnected {
        /// Who has asked.
        to: Origin,
        /// Its number.
        ask: u64,
        /// How many were closed.
        closed: u64,
    },
}

impl Word {
    /// Reads one. `None` for what this version does not know, and for what cannot be.
    pub fn read(text: &str) -> Option<Self> {
        let word: Word = serde_json::from_str(text).ok()?;
        let is_possible = match &word {
            Word::Revocations { ids, .. } => ids.len() <= MOST_IDS,
            Word::Disconnect { what, .. } => what.is_possible(),
            Word::Disconnected { .. } => true,
        };
        is_possible.then_some(word)
    }

    /// As [`Word::read`] reads it.
    pub fn written(&self) -> String {
        // Texts and numbers always have a form.
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::disconnect::Target;

    fn disconnect(target: Target, reason: Option<&str>) -> Word {
        Word::Disconnect { ask: 7, what: Disconnect { target, reason: reason.map(Into::into) } }
    }

    #[test]
    fn words_are_read_as_they_are_written() {
        let id = RevocationId::parse("00000000000000ff").unwrap();
        for word in [
            Word::Revocations { ids: vec![id], count: 3 },
            Word::Revocations { ids: Vec::new(), count: u64::MAX },
            disconnect(Target::User("ann".into()), None),
            disconnect(Target::Team("\"red\"".into()), Some("moved")),
            disconnect(Target::Address("192.0.2.0/24".parse().unwrap()), None),
            Word::Disconnected { to: Origin(255), ask: 7, closed: 0 },
        ] {
            assert_eq!(Word::read(&word.written()), Some(word.clone()), "{}", word.written());
        }
    }

    #[test]
    fn what_cannot_be_is_not_read() {
        let id = RevocationId::parse("00000000000000ff").unwrap();
        for word in [
            Word::Revocations { ids: vec![id; MOST_IDS + 1], count: 1 },
            disconnect(Target::User("".into()), None),
            disconnect(Target::Team("x".repeat(257).into()), None),
            disconnect(Target::User("ann".into()), Some("two\nlines")),
        ] {
            assert_eq!(Word::read(&word.written()), None, "{word:?}");
        }
        for text in ["", "{}", "{\"word\":\"later\"}", "{\"word\":\"disconnect\",\"ask\":1}", "[]"] {
            assert_eq!(Word::read(text), None, "{text}");
        }
    }
}
