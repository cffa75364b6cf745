//! `[bus.nodejs]`: what this node says to Socket.IO servers in Node.js, and lets them say here.

use std::sync::Arc;

use super::events::LONGEST_NAME;
use super::publish::{teams, types};
use super::rules::Events;
use super::{Report, raw};
use crate::config::bus::{Driver, NodeJs};
use crate::config::key_path::KeyPath;
use crate::config::policy::{EventPolicy, Publisher};

/// How logs and metrics call all that comes from there; no publisher may have this name.
pub(super) const NAME: &str = "nodejs";

/// Adapters and emitters put no bound on theirs; it stands in the name of every channel.
const LONGEST_KEY: usize = LONGEST_NAME;

/// `Some(None)` where it is not enabled; it is checked all the same.
pub(super) fn compile(
    raw: &raw::Raw,
    driver: Option<&Driver>,
    events: Option<&Events>,
    report: &mut Report<'_>,
) -> Option<Option<NodeJs>> {
    let (at, settings) = (KeyPath::of("bus.nodejs"), &raw.bus.nodejs);
    let key = key(&settings.key, &at.key("key"), report);
    let teams = teams(&settings.teams, &at.key("teams"), report);
    let types = types(&settings.types, &at.key("types"), events, report);
    if !settings.enabled {
        return (key.is_some() && teams.is_some() && types.is_some()).then_some(None);
    }
    let is_right = [
        has_redis(driver, &at.key("enabled"), report),
        has_teams(&raw.auth.mode, &at.key("enabled"), report),
        events.is_none_or(|events| are_told_apart(events, &at.key("enabled"), report)),
    ];
    let publisher = Publisher {
        name: NAME.into(),
        key: "bus.nodejs".into(),
        tokens: Vec::new(),
        teams: teams?,
        types: types?,
    };
    let nodejs = NodeJs { key: key?, publisher: Arc::new(publisher), everyone: settings.everyone };
    is_right.iter().all(|right| *right).then_some(Some(nodejs))
}

fn key(key: &str, at: &KeyPath, report: &mut Report<'_>) -> Option<Arc<str>> {
    let found = match key {
        "" => "found an empty key".to_owned(),
        long if long.len() > LONGEST_KEY => format!("it is {} bytes long", long.len()),
        odd if odd.chars().any(char::is_control) => format!("{odd:?} holds control characters"),
        key => return Some(key.into()),
    };
    report.refuse(
        at,
        found,
        r#"write the `key` that the adapters and emitters are given: "socket.io" by default"#,
    );
    None
}

/// One server, whose plain channels every node can be heard on.
fn has_redis(driver: Option<&Driver>, at: &KeyPath, report: &mut Report<'_>) -> bool {
    let mend = match driver {
        None => return true,
        Some(Driver::None) => {
            let mend = r#"write bus.driver = "redis", and bus.redis.url"#;
            report.refuse_beside(
                at,
                &KeyPath::of("bus.driver"),
                r#"there is no Redis with bus.driver = "none""#,
                mend,
            );
            return false;
        }
        Some(Driver::Redis(redis)) if !redis.cluster => return true,
        Some(Driver::Redis(_)) => {
            "use one Redis server for the bus and the adapters while both are there; it need not be large"
        }
    };
    let found = "with bus.redis.cluster = true channels are sharded, which the adapters' are not";
    report.refuse_beside(at, &KeyPath::of("bus.redis.cluster"), found, mend);
    false
}

fn has_teams(mode: &str, at: &KeyPath, report: &mut Report<'_>) -> bool {
    if mode == "off" {
        let found = r#"with auth.mode = "off" there are no teams, so no rooms that a Node server could name"#;
        report.refuse_beside(at, &KeyPath::of("auth.mode"), found, "ask clients for tokens, or leave it off");
    }
    mode != "off"
}

/// What comes from there is called as clients hear it, and judged by the only event that they hear so.
fn are_told_apart(events: &Events, at: &KeyPath, report: &mut Report<'_>) -> bool {
    let mut all: Vec<(&str, &str)> =
        events.iter().map(|(name, event): (_, &Arc<EventPolicy>)| (&*event.emit, &**name)).collect();
    all.sort_unstable();
    let same = all.windows(2).find(|pair| pair[0].0 == pair[1].0);
    if let Some([(emit, one), (_, other)]) = same {
        let found = format!(
            "the events {one:?} and {other:?} are both heard as {emit:?}, so which is meant cannot be told"
        );
        let mend = format!(
            "give one of them another name with events.{other}.emit, or make them one with several types"
        );
        report.refuse_beside(at, &KeyPath::of("events").key(other), found, mend);
    }
    same.is_none()
}
