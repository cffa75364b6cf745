//! How far somebody has come in what all nodes share, where they keep one history (`relay.history.store = "redis"`).
//!
//! Redis stamps each change as it is published, and each node hears the others' in the order of their stamps; its own it tells its
//! members before they are stamped, and numbers them. So what one node has told by some moment is everything up to one stamp,
//! and of its own changes also those up to one number. That is an extent, and it means the same on every node.

use std::cmp::Ordering;
use std::fmt;

use crate::event_id::{Run, hexadecimal};

/// A place in the order of all that goes through Redis. Those of two epochs cannot be compared: nobody knows what was lost between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Which order it is: another after Redis was restarted or emptied.
    pub epoch: u32,
    /// Milliseconds since 1970, by the clock of Redis.
    pub ms: u64,
    /// The place among those of the same millisecond.
    pub seq: u64,
}

/// A message as it comes by, where all nodes keep one history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passing {
    /// How it is stamped.
    pub stamp: Stamp,
    /// Whether all who are to hear it here have heard it with that. A change comes once for each of its teams, and one that has
    /// just begun to be listened to hears it with its own.
    pub is_whole: bool,
}

/// Everything stamped up to here, and of one node's own changes those up to that number too, stamped or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The last stamp.
    pub upto: Stamp,
    /// Whose own changes.
    pub of: Run,
    /// The number of the last of them; 0 for none.
    pub own: u64,
}

impl Stamp {
    /// Whether it is this one, or comes before it in the same epoch.
    pub fn is_upto(self, other: Stamp) -> bool {
        self <= other
    }

    /// Reads `EPOCH.MS.SEQ` in hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let stamp = Self::read(&mut parts)?;
        parts.next().is_none().then_some(stamp)
    }

    fn read<'t>(parts: &mut impl Iterator<Item = &'t str>) -> Option<Self> {
        let epoch = hexadecimal(parts.next()?)?.try_into().ok()?;
        Some(Stamp { epoch, ms: hexadecimal(parts.next()?)?, seq: hexadecimal(parts.next()?)? })
    }
}

impl PartialOrd for Stamp {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self.epoch == other.epoch).then(|| (self.ms, self.seq).cmp(&(other.ms, other.seq)))
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{:x}.{:x}", self.epoch, self.ms, self.seq)
    }
}

impl Extent {
    /// Whether it has a change of this origin and number that was stamped so, in the same epoch.
    pub fn has(&self, stamp: Stamp, origin: Run, number: u64) -> bool {
        stamp <= self.upto || origin == self.of && number <= self.own
    }

    /// As it is written behind an id that says by itself that it was heard on `on`, if on any node: `EPOCH.MS.SEQ.OWN`, with `.RUN`
    /// behind it where that is another.
    pub(super) fn written(&self, on: Option<Run>) -> String {
        let Extent { upto, of, own } = self;
        match on {
            Some(on) if on == *of => format!("{upto}.{own:x}"),
            _ => format!("{upto}.{own:x}.{of}"),
        }
    }

    pub(super) fn parse(text: &str, on: Option<Run>) -> Option<Self> {
        let mut parts = text.split('.');
        let (upto, own) = (Stamp::read(&mut parts)?, hexadecimal(parts.next()?)?);
        let of = match parts.next() {
            Some(of) => Run::parse(of)?,
            None => on?,
        };
        parts.next().is_none().then_some(Extent { upto, of, own })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(text: &str) -> Stamp {
        Stamp::parse(text).unwrap()
    }

    #[test]
    fn stamps_are_in_one_order_within_an_epoch() {
        assert!(stamp("1.a.0") < stamp("1.a.1") && stamp("1.a.9") < stamp("1.b.0"));
        assert_eq!(stamp("1.a.0").partial_cmp(&stamp("2.a.0")), None);
        assert!(stamp("1.a.0").is_upto(stamp("1.a.0")) && !stamp("1.a.0").is_upto(stamp("2.b.0")));
        assert_eq!(stamp("f.19a.2").to_string(), "f.19a.2");
        for bad in ["", "1", "1.2", "1.2.3.4", "1.2.g", "1..3", "100000000.1.1"] {
            assert_eq!(Stamp::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_extent_has_what_is_stamped_up_to_it_and_one_node_s_own_beyond() {
        let [one, other] = ["1", "2"].map(|run| Run::parse(run).unwrap());
        let extent = Extent { upto: stamp("1.a.1"), of: one, own: 7 };
        assert!(extent.has(stamp("1.a.1"), other, 99) && !extent.has(stamp("1.a.2"), other, 1));
        assert!(extent.has(stamp("1.b.0"), one, 7) && !extent.has(stamp("1.b.0"), one, 8));
        assert!(!extent.has(stamp("2.a.0"), other, 1), "of another epoch nothing is known");
    }
}
