//! `[relay]`.

use std::time::Duration;

use super::Report;
use crate::config::bus::{Bus, Driver};
use crate::config::key_path::KeyPath;
use crate::config::policy::{HistoryBounds, Relay, Store};
use crate::config::raw;
use crate::config::values;

/// Longer would be felt as lag, and what a peer sent would outlive the peer's own end, which takes effect within a second.
const LONGEST_WINDOW: Duration = Duration::from_secs(1);

/// More is replayed to nobody.
const MOST_KEPT: u32 = crate::relay::history::MOST_REPLAYED as u32;

/// All teams together take no more.
const MOST_BYTES: usize = crate::relay::history::MOST_BYTES;

/// Whoever was away for longer fetches everything anyway.
const LONGEST_KEPT: Duration = Duration::from_secs(24 * 3600);

pub(super) fn compile(raw: &raw::Relay, report: &mut Report<'_>) -> Option<Relay> {
    let at = KeyPath::of("relay");
    let (coalesce, history) = (coalesce(&raw.coalesce, &at, report), history(raw, &at, report));
    let stores = [("memory", Store::Memory), ("redis", Store::Redis)];
    let store = report.choice(&at.key("history").key("store"), &raw.history.store, &stores);
    Some(Relay {
        coalesce: coalesce?,
        meta: raw.meta,
        resync_on_connect: raw.resync_on_connect,
        history: history?,
        store: store?,
    })
}

/// Whether there is what the history is to be kept in, and something to keep.
pub(super) fn check_store(relay: &Relay, bus: &Bus, hears_nodejs: bool, report: &mut Report<'_>) {
    if relay.store == Store::Memory {
        return;
    }
    let at = KeyPath::of("relay.history.store");
    let mut refuse = |other: &str, found: &str, mend: &str| {
        report.refuse_beside(&at, &KeyPath::of(other), found, mend);
    };
    match &bus.driver {
        Driver::None => refuse(
            "bus.driver",
            "events are to be kept in Redis, but bus.driver is \"none\"",
            "write bus.driver = \"redis\" where there are other nodes, or \"memory\" here",
        ),
        Driver::Redis(redis) if redis.cluster => refuse(
            "bus.redis.cluster",
            "the servers of a cluster have no common order, which this history is kept in",
            "use one server, or write \"memory\" here",
        ),
        Driver::Redis(_) if hears_nodejs => refuse(
            "bus.nodejs.enabled",
            "what servers in Node.js announce goes past the history in Redis, and would be missing in it",
            "write \"memory\" here, or bus.nodejs.enabled = false",
        ),
        Driver::Redis(_) if relay.history.is_none() => refuse(
            "relay.history.count",
            "events are to be kept in Redis, but relay.history.count is 0",
            "write how many of each team are kept, such as 500, or \"memory\" here",
        ),
        Driver::Redis(_) => {}
    }
}

fn coalesce(raw: &raw::Coalesce, at: &KeyPath, report: &mut Report<'_>) -> Option<Option<Duration>> {
    let at = at.key("coalesce").key("window");
    let window = report.take(&at, values::duration(&raw.window))?;
    if window > LONGEST_WINDOW {
        let found = format!("{:?} would keep every change back for so long", raw.window);
        report.refuse(&at, found, "write at most \"1s\", such as \"50ms\", or \"0s\" to turn it off");
        return None;
    }
    Some((!window.is_zero()).then_some(window))
}

/// What is kept of each team's events, if anything is.
fn history(raw: &raw::Relay, relay: &KeyPath, report: &mut Report<'_>) -> Option<Option<HistoryBounds>> {
    let (history, at) = (&raw.history, relay.key("history"));
    let count = match history.count {
        0 => Some(0),
        count => report.take(&at.key("count"), values::count(count, MOST_KEPT)),
    };
    let age = report.positive_duration(&at.key("age"), &history.age);
    let bytes = report.take(&at.key("bytes"), values::size(&history.bytes));
    let (count, age, bytes) = (count?, age?, bytes?);
    if age > LONGEST_KEPT {
        let found = format!("{:?} is longer than a day", history.age);
        report.refuse(&at.key("age"), found, "write at most \"24h\", such as \"10m\"");
        return None;
    }
    if bytes > MOST_BYTES {
        let found = format!("{bytes} bytes are more than all teams together may take");
        report.refuse(&at.key("bytes"), found, "write at most \"64MiB\", such as \"256KiB\"");
        return None;
    }
    if count > 0 && !raw.meta {
        let found = "events are kept, but without relay.meta nobody can say which was heard last";
        report.refuse(&at.key("count"), found, "set relay.meta = true, or 0 here");
        return None;
    }
    Some((count > 0).then_some(HistoryBounds { count: count as usize, age, bytes }))
}
