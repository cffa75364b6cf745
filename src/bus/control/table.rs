//! What nodes say of themselves: the table that operators see, and whether all act by one policy. Pure; it reads no clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use crate::bus::envelope::Origin;

/// Nodes that are known. Of more nothing is noted.
const MOST: usize = 1024;

/// Bytes of a version or of a policy's hash.
const LONGEST: usize = 64;

/// How long policies may differ without a warning: as long as it takes to put a new one on every node.
const ROLLING: Duration = Duration::from_secs(60);

/// What a node says of itself beside its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Its version.
    pub version: Box<str>,
    /// The hash of its policy.
    pub policy: Box<str>,
    /// Its sessions.
    pub connections: u64,
    /// When it began to serve; seconds since 1970.
    pub since: u64,
}

/// Another node.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it is called.
    pub name: Arc<str>,
    /// What it says of itself.
    pub about: About,
    /// When it was heard last.
    pub heard: SystemTime,
}

/// Whether all act by one policy, as it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// They have differed for long.
    Differ,
    /// They do not any more.
    Agree,
}

/// The other nodes.
#[derive(Debug, Default)]
pub struct Table {
    all: BTreeMap<Origin, Node>,
    differ_since: Option<Instant>,
    is_warned: bool,
}

impl About {
    /// Whether it may be what a node says: it stands on pages and in logs.
    pub fn is_possible(&self) -> bool {
        let is_plain = |text: &str| text.len() <= LONGEST && text.bytes().all(|byte| byte.is_ascii_graphic());
        is_plain(&self.version) && is_plain(&self.policy)
    }
}

impl Table {
    /// A node is there.
    pub fn alive(&mut self, origin: Origin, name: &str, about: About, now: SystemTime) {
        if self.all.len() >= MOST && !self.all.contains_key(&origin) {
            return;
        }
        self.all.insert(origin, Node { name: name.into(), about, heard: now });
    }

    /// A node has left, or died.
    pub fn gone(&mut self, origin: Origin) {
        self.all.remove(&origin);
    }

    /// Those that are there.
    pub fn all(&self) -> impl Iterator<Item = (Origin, &Node)> {
        self.all.iter().map(|(origin, node)| (*origin, node))
    }

    /// Whether all act by the policy of this hash.
    pub fn agree(&self, policy: &str) -> bool {
        self.all.values().all(|node| *node.about.policy == *policy)
    }

    /// Looks whether all act by the policy of this hash. Returns what is worth a line in the log.
    pub fn look(&mut self, policy: &str, now: Instant) -> Option<Turn> {
        if self.agree(policy) {
            self.differ_since = None;
            return std::mem::take(&mut self.is_warned).then_some(Turn::Agree);
        }
        let since = *self.differ_since.get_or_insert(now);
        if self.is_warned || now.saturating_duration_since(since) < ROLLING {
            return None;
        }
        self.is_warned = true;
        Some(Turn::Differ)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(policy: &str) -> About {
        About { version: "0.1.0".into(), policy: policy.into(), connections: 3, since: 1 }
    }

    #[test]
    fn policies_that_differ_for_long_are_told_of_once() {
        let (mut table, start) = (Table::default(), Instant::now());
        let second = |second| start + Duration::from_secs(second);
        table.alive(Origin(1), "a", about("one"), SystemTime::UNIX_EPOCH);
        table.alive(Origin(2), "b", about("two"), SystemTime::UNIX_EPOCH);
        assert!(!table.agree("one"));
        assert_eq!((table.look("one", second(0)), table.look("one", second(59))), (None, None));
        // While a policy is being put on every node nobody is told.
        table.alive(Origin(2), "b", about("one"), SystemTime::UNIX_EPOCH);
        assert_eq!(table.look("one", second(59)), None);
        table.alive(Origin(2), "b", about("two"), SystemTime::UNIX_EPOCH);
        assert_eq!((table.look("one", second(60)), table.look("one", second(119))), (None, None));
        assert_eq!(table.look("one", second(120)), Some(Turn::Differ));
        assert_eq!(table.look("one", second(500)), None);
        table.gone(Origin(2));
        assert_eq!(
            (table.look("one", second(501)), table.look("one", second(502))),
            (Some(Turn::Agree), None)
        );
    }

    #[test]
    fn no_more_nodes_are_known_than_there_may_be() {
        let mut table = Table::default();
        (0..2000).for_each(|number| table.alive(Origin(number), "n", about("one"), SystemTime::UNIX_EPOCH));
        assert_eq!(table.all().count(), MOST);
        table.alive(Origin(0), "renamed", about("two"), SystemTime::UNIX_EPOCH);
        assert_eq!(&*table.all().next().unwrap().1.name, "renamed");
    }

    #[test]
    fn what_could_not_stand_in_a_log_is_not_believed() {
        assert!(about("9d02f6e7a310").is_possible());
        for bad in ["a b", "\u{202e}", &"x".repeat(65)] {
            assert!(!about(bad).is_possible(), "{bad}");
        }
    }
}
