//! Files of tests, read and checked.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::table::{Faults, Table};
use super::{Cast, Event, Expect, OWN_PEER, Step, Suite, Test};
use crate::config::{Problem, Problems, parse_duration, read_toml};
use crate::metrics::CloseReason;
use crate::reject::Code;
use crate::trial::{Arrival, Bearer};

/// When tests begin that do not say so: 2026-03-01T12:00:00Z, as seconds since 1970.
const NOON: u64 = 1_772_366_400;

/// One step is repeated at most so often: more than any burst that a sensible policy allows, and done in a second.
const MOST_REPEATS: u32 = 100_000;

const A_TIME: &str = "write a time such as \"2026-03-01T12:00:00Z\"";
const A_NAME: &str = "write a text";

/// Reads a file of tests.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn read(path: &Path) -> Result<Suite, Problems> {
    let origin = path.display().to_string();
    let mut problems = Vec::new();
    let Some(table) = read_toml(path, &mut problems) else { return Err(Problems(problems)) };
    let faults = Faults { origin: &origin, problems: RefCell::new(problems) };
    let folder = path.parent().unwrap_or(Path::new(""));
    let suite = suite(Table::new(&faults, "", table), &origin, folder);
    let problems: Vec<Problem> = faults.problems.take();
    if problems.is_empty() { Ok(suite) } else { Err(Problems(problems)) }
}

fn suite(mut table: Table<'_>, origin: &str, folder: &Path) -> Suite {
    let policy = table.texts("policy");
    let now = table.parsed("now", A_TIME, time);
    let peers: Vec<Arc<Cast>> = table.tables("peers").unwrap_or_default().into_iter().map(peer).collect();
    let tables = table.tables("tests").unwrap_or_default();
    if tables.is_empty() {
        table.refuse("tests", "no test", "write [[tests]] with a name, an event and what is expected");
    }
    let tests: Vec<Test> = tables.into_iter().map(|table| test(table, &peers)).collect();
    let mut names = BTreeSet::new();
    for name in peers.iter().map(|peer| &peer.name).chain([&OWN_PEER.to_owned()]) {
        if !names.insert(name) {
            table.refuse("peers", format!("two peers of the name {name:?}"), "name them apart");
        }
    }
    let mut names = BTreeSet::new();
    for test in &tests {
        if !names.insert(&test.name) {
            table.refuse("tests", format!("two tests of the name {:?}", test.name), "name them apart");
        }
    }
    table.finish();
    Suite {
        origin: origin.to_owned(),
        policy: policy.map(|paths| paths.iter().map(|path| folder.join(path)).collect()),
        now: now.unwrap_or(SystemTime::UNIX_EPOCH + Duration::from_secs(NOON)),
        tests,
    }
}

/// The table's name; what lacks one is said.
fn name(table: &mut Table<'_>) -> String {
    if !table.has("name") {
        table.refuse("", "no name", "add name = \"…\"");
    }
    table.text("name", A_NAME).unwrap_or_default()
}

fn peer(mut table: Table<'_>) -> Arc<Cast> {
    let name = name(&mut table);
    let arrival = arrival(&mut table);
    table.finish();
    Arc::new(Cast { name, arrival })
}

/// Who somebody is: without claims it brings no token.
fn arrival(table: &mut Table<'_>) -> Arrival {
    let claims = table.object("claims");
    let address = table.parsed("address", "write an IP address", |text| text.parse().ok());
    Arrival {
        bearer: claims.map_or(Bearer::Nothing, Bearer::Claims),
        auth: table.object("auth").unwrap_or_default(),
        address: address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
    }
}

fn test(mut table: Table<'_>, all: &[Arc<Cast>]) -> Test {
    let name = name(&mut table);
    let mut peers = match table.texts("peers") {
        None => all.to_vec(),
        Some(names) => names
            .iter()
            .filter_map(|name| {
                let found = all.iter().find(|peer| peer.name == *name);
                if found.is_none() {
                    table.refuse_name("peers", name, all.iter().map(|peer| peer.name.as_str()));
                }
                found.cloned()
            })
            .collect(),
    };
    let has_own = ["claims", "auth", "address"].iter().any(|key| table.has(key));
    let own = arrival(&mut table);
    if has_own || peers.is_empty() {
        peers.push(Arc::new(Cast { name: OWN_PEER.into(), arrival: own }));
    }
    // Who is meant where a step does not say so.
    let usual = match peers.len() {
        len if has_own || len == 1 => Some(len - 1),
        _ => None,
    };
    let steps = match table.tables("steps") {
        Some(steps) => {
            for key in ["at", "event", "repeat", "expect"] {
                if table.has(key) {
                    table.refuse(key, "beside `steps`", "write it into one of the steps");
                    table.skip(key);
                }
            }
            let usual = from(&mut table, &peers).or(usual);
            if steps.is_empty() {
                table.refuse("steps", "no step", "write one, with an event and what is expected");
            }
            steps
                .into_iter()
                .map(|mut inner| {
                    let step = step(&mut inner, &peers, usual);
                    inner.finish();
                    step
                })
                .collect()
        }
        None => vec![step(&mut table, &peers, usual)],
    };
    for (before, after) in steps.iter().zip(steps.iter().skip(1)) {
        if after.at < before.at {
            let found = format!("{:?} comes after {:?}", after.at, before.at);
            table.refuse("steps", found, "write the steps in the order of their times");
        }
    }
    table.finish();
    Test { name, peers, steps }
}

/// The place of the peer that a table names.
fn from(table: &mut Table<'_>, peers: &[Arc<Cast>]) -> Option<usize> {
    let name = table.text("from", A_NAME)?;
    let place = peers.iter().position(|peer| peer.name == name);
    if place.is_none() {
        table.refuse_name("from", &name, peers.iter().map(|peer| peer.name.as_str()));
    }
    // What follows from it is not said too.
    place.or(Some(0))
}

fn step(table: &mut Table<'_>, peers: &[Arc<Cast>], usual: Option<usize>) -> Step {
    let at = table.parsed("at", "write how long after the beginning, such as \"30s\"", parse_duration);
    let from = from(table, peers).or(usual);
    if from.is_none() {
        table.refuse("", "no `from`, though there are several peers", "add from = \"…\"");
    }
    let event = match table.text_or_table("event", "write a name, or { name = \"…\", payload = … }") {
        None => None,
        Some(Ok(name)) => Some(Event { name: Some(name), payload: None }),
        Some(Err(event)) => Some(self::event(event)),
    };
    if !table.has("expect") {
        let mend = "add expect = { decision = \"accepted\" }, or whatever it is to show";
        table.refuse("", "nothing is expected, so it cannot fail", mend);
    }
    let expect = table.table("expect").map(|expect| self::expect(expect, peers, event.is_some()));
    Step {
        at: at.unwrap_or_default(),
        from: from.unwrap_or_default(),
        event,
        repeat: table.number("repeat", MOST_REPEATS).unwrap_or(1),
        expect: expect.unwrap_or_default(),
    }
}

fn event(mut table: Table<'_>) -> Event {
    let name = table.text("name", A_NAME);
    if table.has("payload") && table.has("json") {
        table.refuse("json", "beside `payload`", "keep one of them");
    }
    let payload = table.json("payload").map(|payload| payload.to_string());
    let json = table.parsed("json", "write JSON, in a text", |text| {
        serde_json::from_str::<&RawValue>(text).ok().map(|raw| raw.get().to_owned())
    });
    table.finish();
    Event { name, payload: payload.or(json) }
}

fn expect(mut table: Table<'_>, peers: &[Arc<Cast>], of_event: bool) -> Expect {
    let expect = Expect {
        admitted: table.flag("admitted"),
        accepted: table.parsed("decision", "write \"accepted\" or \"refused\"", |word| match word {
            "accepted" => Some(true),
            "refused" => Some(false),
            _ => None,
        }),
        code: table.text("code", A_NAME),
        rule: table.text("rule", A_NAME),
        rooms: table.texts("rooms"),
        recipients: table.texts("recipients"),
        relayed: table.json("relayed"),
        observed: table.texts("observed"),
        closes: table.text("closes", A_NAME),
        answer: table.object("answer"),
    };
    let codes = || Code::ALL.iter().map(|code| code.as_str());
    let reasons = || CloseReason::ALL.iter().map(|reason| reason.as_str());
    if let Some(code) = &expect.code
        && !codes().chain(reasons()).any(|known| known == code)
    {
        table.refuse_name("code", code, codes().chain(reasons()));
    }
    for code in expect.observed.iter().flatten().filter(|code| !codes().any(|known| known == code.as_str())) {
        table.refuse_name("observed", code, codes());
    }
    if let Some(reason) = &expect.closes
        && !reasons().any(|known| known == reason)
    {
        table.refuse_name("closes", reason, reasons());
    }
    for name in expect.recipients.iter().flatten() {
        if !peers.iter().any(|peer| peer.name == *name) {
            table.refuse_name("recipients", name, peers.iter().map(|peer| peer.name.as_str()));
        }
    }
    let about_events = [
        ("decision", expect.accepted.is_some()),
        ("recipients", expect.recipients.is_some()),
        ("relayed", expect.relayed.is_some()),
        ("observed", expect.observed.is_some()),
        ("answer", expect.answer.is_some()),
        ("closes", expect.closes.is_some()),
    ];
    for (key, _) in about_events.iter().filter(|(_, is_there)| *is_there && !of_event) {
        table.refuse(key, "expected of an event, and there is none", "add an event, or leave it out");
    }
    let nothing = expect.is_nothing();
    if nothing {
        table.refuse("", "nothing is expected, so it cannot fail", "write what it is to show");
    }
    table.finish();
    expect
}

impl Expect {
    fn is_nothing(&self) -> bool {
        let Expect { admitted, accepted, code, rule, rooms, recipients, relayed, observed, closes, answer } =
            self;
        admitted.is_none()
            && accepted.is_none()
            && code.is_none()
            && rule.is_none()
            && rooms.is_none()
            && recipients.is_none()
            && relayed.is_none()
            && observed.is_none()
            && closes.is_none()
            && answer.as_ref().is_none_or(serde_json::Map::<String, Value>::is_empty)
    }
}

fn time(text: &str) -> Option<SystemTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok().map(SystemTime::from)
}
