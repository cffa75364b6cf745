//! The history that all nodes keep (`relay.history.store = "redis"`), as Redis has it: one stream for each team, of what was
//! published there, message by message as it went over the channel.
//!
//! A script (`append.lua`) stamps a change, puts it into the streams of its teams and publishes it, in one go, so that streams and
//! channels have one order. It also knows each node's last number, so that nothing is published twice that a node hands over again,
//! nor anything left out because one of a batch failed. Another script reads (`read.lua`), and a third (`tick.lua`) says which
//! stamp the time has come to. What they return is only read here; what follows from it is said in [`crate::relay::elsewhere`].
//!
//! # Keys
//!
//! `PREFIX:h:{TEAM}` is a team's stream; it goes when nothing was published for as long as events are kept. `PREFIX:clock` has the
//! last stamp, the epoch, and the run of Redis that it belongs to. `PREFIX:n:RUN` has a node's last number; it goes a day after.
//!
//! # Permissions
//!
//! Beside the driver's: `+evalsha +script|load +info +time +get +set +hmget +hset +del +exists +pexpire +xadd +xtrim +xlen +xrange
//! +xrevrange`, and the keys (`~flowgate:*`).

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use bytes::Bytes;
use redis::{Cmd, Value, cmd};

use crate::config::policy::HistoryBounds;
use crate::event_id::Run;
use crate::relay::elsewhere::{Entry, Found, Stamped, Stream};
use crate::relay::extent::{Extent, Stamp};
use crate::relay::history::MOST_REPLAYED;

/// For how long a node's last number is remembered, at least: longer than anybody waits for what a node that is silent had said.
const NUMBERS_KEPT: Duration = Duration::from_secs(24 * 3600);

/// What a script that is not known any more is answered with.
pub const UNKNOWN_SCRIPT: &str = "NOSCRIPT";

/// What `append.lua` answers where a message before this one failed.
pub const OUT_OF_ORDER: &str = "ORDER";

/// A script, and the name that Redis has for it.
#[derive(Debug)]
struct Script {
    text: &'static str,
    name: String,
}

static SCRIPTS: LazyLock<[Script; 3]> = LazyLock::new(|| {
    [include_str!("streams/append.lua"), include_str!("streams/read.lua"), include_str!("streams/tick.lua")]
        .map(|text| {
            let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
            let name = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            Script { text, name }
        })
});

/// The streams of all nodes with one prefix.
#[derive(Clone, Debug)]
pub struct Streams {
    prefix: Arc<str>,
}

/// One message that is to be published and kept.
#[derive(Debug)]
pub struct Append<'a> {
    /// The node whose it is.
    pub origin: Run,
    /// Its number among all of that node.
    pub number: u64,
    /// The number of the one that must have gone before; 0 where none must.
    pub after: u64,
    /// For each of its teams: the team, the channel and what goes over it.
    pub copies: &'a [(Arc<str>, Arc<str>, Vec<u8>)],
}

impl Streams {
    /// Those whose keys begin so (`bus.redis.prefix`).
    pub fn new(prefix: &str) -> Self {
        Streams { prefix: prefix.into() }
    }

    /// Makes the scripts known to Redis.
    pub fn load() -> Vec<Cmd> {
        let load = |script: &Script| {
            let mut command = cmd("SCRIPT");
            command.arg("LOAD").arg(script.text);
            command
        };
        SCRIPTS.iter().map(load).collect()
    }

    /// The key that commands are sent by. All of it is on one server.
    pub fn clock(&self) -> String {
        format!("{}:clock", self.prefix)
    }

    fn number(&self, run: Run) -> String {
        format!("{}:n:{run}", self.prefix)
    }

    fn stream(&self, team: &str) -> String {
        format!("{}:h:{{{team}}}", self.prefix)
    }

    /// Publishes a message, and keeps it within these bounds.
    pub fn append(&self, append: &Append<'_>, bounds: &HistoryBounds) -> Cmd {
        let Append { origin, number, after, copies } = append;
        let mut command = run(0, 2 + copies.len());
        command.arg(self.clock()).arg(self.number(*origin));
        copies.iter().for_each(|(team, ..)| _ = command.arg(self.stream(team)));
        let age = millis(bounds.age);
        command.arg(new_epoch()).arg(*number).arg(*after).arg(origin.to_string());
        command.arg(bounds.count.max(1)).arg(age).arg(bounds.bytes).arg(age.max(millis(NUMBERS_KEPT)));
        copies.iter().for_each(|(_, channel, message)| _ = command.arg(&**channel).arg(message));
        command
    }

    /// Reads what the streams of these teams have behind an extent: at most so many bytes. `own` is this node.
    pub fn read(&self, extent: &Extent, teams: &[Arc<str>], own: Run, most_bytes: usize) -> Cmd {
        let mut command = run(1, 3 + teams.len());
        command.arg(self.clock()).arg(self.number(extent.of)).arg(self.number(own));
        teams.iter().for_each(|team| _ = command.arg(self.stream(team)));
        let Stamp { epoch, ms, seq } = extent.upto;
        command.arg(written(epoch)).arg(ms).arg(seq).arg(MOST_REPLAYED).arg(most_bytes);
        command
    }

    /// Says which stamp the time has come to. `ends` is an epoch that is to end, if it has not yet.
    pub fn tick(&self, ends: Option<u32>, bounds: &HistoryBounds) -> Cmd {
        let mut command = run(2, 1);
        command.arg(self.clock()).arg(new_epoch());
        command.arg(ends.map(written).unwrap_or_default()).arg(millis(bounds.age));
        command
    }
}

fn run(script: usize, keys: usize) -> Cmd {
    let mut command = cmd("EVALSHA");
    command.arg(&SCRIPTS[script].name).arg(keys);
    command
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// Random, so that no two are the same by chance.
fn new_epoch() -> String {
    written(RandomState::new().hash_one(0_u8) as u32)
}

fn written(epoch: u32) -> String {
    format!("{epoch:x}")
}

/// A message as it came over a channel: its stamp, if it was stamped, and the rest.
pub fn stamped(message: &Bytes) -> (Option<Stamp>, Bytes) {
    let stamp = message.strip_prefix(b"@").and_then(|rest| {
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let mut words = std::str::from_utf8(&rest[..end]).ok()?.split(' ');
        let stamp = Stamp {
            epoch: u32::from_str_radix(words.next()?, 16).ok()?,
            ms: words.next()?.parse().ok()?,
            seq: words.next()?.parse().ok()?,
        };
        words.next().is_none().then_some((stamp, end + 2))
    });
    match stamp {
        Some((stamp, begins)) => (Some(stamp), message.slice(begins..)),
        None => (None, message.clone()),
    }
}

/// What `tick.lua` says.
pub fn ticked(answer: &Value) -> Option<Stamp> {
    let Value::Array(parts) = answer else { return None };
    let [epoch, ms, seq] = &parts[..] else { return None };
    Some(Stamp { epoch: u32::from_str_radix(text(epoch)?, 16).ok()?, ms: number(ms)?, seq: number(seq)? })
}

/// What `read.lua` says of the streams of these teams, for somebody who had come so far. `open` makes of a team and a message the change
/// that it is, or nothing where it says that something was lost. `None` where nothing is known.
pub fn found(
    answer: &Value,
    extent: &Extent,
    teams: &[Arc<str>],
    mut open: impl FnMut(&str, &[u8], Stamp, Run, u64) -> Option<Stamped>,
) -> Option<Found> {
    let Value::Array(parts) = answer else { return None };
    let [ms, seq, now, age, theirs, own, Value::Array(streams)] = &parts[..] else { return None };
    let epoch = extent.upto.epoch;
    let mut found = Vec::with_capacity(streams.len());
    for (team, stream) in teams.iter().zip(streams) {
        let Value::Array(stream) = stream else { return None };
        let [exists, Value::Array(entries)] = &stream[..] else { return None };
        let entries = entries.iter().map(|one| entry(one, epoch, team, &mut open)).collect::<Option<_>>()?;
        found.push(Stream { exists: number(exists)? == 1, entries });
    }
    (found.len() == teams.len()).then_some(Found {
        upto: Stamp { epoch, ms: number(ms)?, seq: number(seq)? },
        now: number(now)?,
        age: Duration::from_millis(number(age)?),
        theirs: number(theirs)?,
        own: number(own)?,
        streams: found,
    })
}

fn entry(
    value: &Value,
    epoch: u32,
    team: &str,
    open: &mut impl FnMut(&str, &[u8], Stamp, Run, u64) -> Option<Stamped>,
) -> Option<Entry> {
    let Value::Array(parts) = value else { return None };
    let [id, before, node, its, Value::BulkString(message)] = &parts[..] else { return None };
    let stamp = of_id(text(id)?, epoch)?;
    let before = match text(before)? {
        "" => None,
        id => Some(of_id(id, epoch)?),
    };
    let what = open(team, message, stamp, Run::parse(text(node)?)?, number(its)?);
    Some(Entry { stamp, before, what })
}

/// The stamp of the entry with this id.
fn of_id(id: &str, epoch: u32) -> Option<Stamp> {
    let (ms, seq) = id.split_once('-')?;
    Some(Stamp { epoch, ms: ms.parse().ok()?, seq: seq.parse().ok()? })
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        value => text(value)?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_stands_before_a_message_or_does_not() {
        let stamp = Stamp { epoch: 0xbeef, ms: 1_764_000_000_000, seq: 7 };
        let message = Bytes::from_static(b"@beef 1764000000000 7\nfg1 -\nchange {}\n[\"\n\"]");
        assert_eq!(stamped(&message), (Some(stamp), Bytes::from_static(b"fg1 -\nchange {}\n[\"\n\"]")));
        for other in [
            "fg1 -\nalive {}\n",
            "",
            "@",
            "@\n",
            "@1 2\nx",
            "@1 2 3 4\nx",
            "@g 1 1\nx",
            "@1 -1 1\nx",
            "@1 2 3",
        ] {
            let message = Bytes::from_static(other.as_bytes());
            assert_eq!(stamped(&message), (None, message), "{other}");
        }
    }
}
