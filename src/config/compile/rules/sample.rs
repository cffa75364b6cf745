//! Samples of the events that a rule will judge, made of what the policy declares.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::Judged;
use crate::config::expression::{EventFacts, Facts, Id, Own, PeerFacts};
use crate::config::policy::{FieldKind, Presence, Rule};

/// 2026-03-01T12:00:00Z; seconds since the Unix epoch. Samples must not depend on the day on which they are tried.
pub(in crate::config::compile) const NOON: u64 = 1_772_366_400;
const NOON_TEXT: &str = "2026-03-01T12:00:00Z";

/// The address of the one who sends samples, of those set aside for documentation (RFC 5737).
pub(in crate::config::compile) const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// One event as it may come.
pub(super) struct Sample {
    /// How it differs from the others of its type, for people: `without what is optional`.
    pub what: &'static str,
    event: String,
    kind: String,
    task_id: Option<Value>,
    has_timestamp: bool,
    json: String,
    subject: Option<&'static str>,
}

impl Sample {
    /// Those of one type: with everything that may be there, for each kind of task id, and with what must be there only.
    pub(super) fn all_of(judged: &Judged<'_>, nobody_is_asked: bool) -> Vec<Sample> {
        let id = &judged.payload.task_id;
        let integer = (json!(1), "whose taskId is an integer");
        let text = (json!("1"), "whose taskId is a string");
        let ids = match (judged.policy.task_id, id.integer, id.string) {
            (Presence::Forbidden, ..) => vec![(None, "with every field")],
            (_, true, false) => vec![(Some(integer.0), "with every field")],
            (_, false, _) => vec![(Some(text.0), "with every field")],
            (_, true, true) => vec![(Some(integer.0), integer.1), (Some(text.0), text.1)],
        };
        let mut samples: Vec<Sample> = ids
            .iter()
            .map(|(id, what)| {
                Sample::one(judged, id.clone(), what, |presence| presence != Presence::Forbidden)
            })
            .collect();
        let required = |presence| presence == Presence::Required;
        let id = ids.into_iter().next().and_then(|(id, _)| id).filter(|_| required(judged.policy.task_id));
        samples.push(Sample::one(judged, id, "without what is optional", required));
        if nobody_is_asked {
            samples.iter_mut().for_each(|sample| sample.subject = None);
        }
        samples
    }

    fn one(
        judged: &Judged<'_>,
        task_id: Option<Value>,
        what: &'static str,
        is_there: impl Fn(Presence) -> bool,
    ) -> Sample {
        let mut payload = Map::from_iter([("type".to_owned(), json!(judged.kind))]);
        payload.extend(task_id.clone().map(|id| ("taskId".to_owned(), id)));
        let has_timestamp = is_there(judged.payload.timestamp.presence);
        payload.extend(has_timestamp.then(|| ("timestamp".to_owned(), json!(NOON_TEXT))));
        let team = judged.event.team_field.as_ref().filter(|_| is_there(Presence::Optional));
        payload.extend(team.map(|field| (field.to_string(), json!("design"))));
        let declared = judged.payload.fields.iter().filter(|(_, field)| is_there(field.presence));
        payload.extend(declared.map(|(name, field)| (name.to_string(), value(field.kind))));
        Sample {
            what,
            event: judged.event.name.to_string(),
            kind: judged.kind.clone(),
            task_id,
            has_timestamp,
            json: Value::Object(payload).to_string(),
            subject: Some("ann"),
        }
    }

    /// What comes of the sample as this rule sees it.
    pub(super) fn on<T>(&self, rule: &Rule, judge: impl FnOnce(&Facts<'_>) -> T) -> T {
        let names = |name: &str| -> [Arc<str>; 1] { [name.into()] };
        let (teams, roles) = (names("design"), names("editor"));
        let peer =
            PeerFacts { subject: self.subject, teams: &teams, roles: &roles, claims: None, address: ADDRESS };
        let noon = UNIX_EPOCH + Duration::from_secs(NOON);
        let event = EventFacts {
            name: &self.event,
            kind: Some(Own::Read(&self.kind)),
            task_id: self.task_id.as_ref().map(|id| match id {
                Value::String(text) => Own::Read(Id::Text(text)),
                _ => Own::Read(Id::Integer("1")),
            }),
            timestamp: self.has_timestamp.then_some(Own::Read(noon)),
            json: &self.json,
            fields: &rule.expression.reads().fields,
        };
        judge(&Facts::new(peer, event, noon))
    }
}

fn value(kind: FieldKind) -> Value {
    match kind {
        FieldKind::String => json!("sample"),
        FieldKind::Integer => json!(1),
        FieldKind::Number => json!(1.5),
        FieldKind::Boolean => json!(true),
        FieldKind::Object => json!({}),
        FieldKind::Array => json!([]),
    }
}
