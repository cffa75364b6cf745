//! An explanation for tools. The shape is documented in docs/explain.md.

use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::{Explained, Sent};
use crate::config::policy::{AudienceRule, Mode, Rule};
use crate::config::{Effective, Setting};
use crate::connect::audience::{Ears, Heard, Said};
use crate::event::rate_limit::Budget;
use crate::event::trace::Step;
use crate::message::Topic;
use crate::peer::Standing;
use crate::trial::{Denial, Member, Relayed, rules};

pub(super) fn of(explained: &Explained<'_>) -> Value {
    let code = explained.code();
    json!({
        "decision": if code.is_none() { "allowed" } else { "denied" },
        "code": code,
        "at": time(explained.now.wall),
        "handshake": handshake(explained),
        "event": explained.event.as_ref().map(|sent| event(sent, explained)),
        "budget": explained.budget.iter().map(|rate| budget(rate, explained.effective)).collect::<Vec<_>>(),
    })
}

fn time(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(at).to_string()
}

fn handshake(explained: &Explained<'_>) -> Value {
    let handshake = &explained.handshake;
    let member = handshake.outcome.as_ref().ok();
    json!({
        "admitted": member.is_some(),
        "code": handshake.outcome.as_ref().err().map(|denial| denial.code),
        "signature": handshake.signature.as_str(),
        "answer": match &handshake.outcome {
            Ok(_) => json!({ "connect": true }),
            Err(Denial { code, closes: true, .. }) => json!({ "closed": code }),
            Err(Denial { code, .. }) => json!({ "connect_error": code }),
        },
        "steps": steps(&handshake.steps, explained.effective),
        "peer": member.map(peer),
        "rooms": member.map(|member| rooms(member, explained)),
    })
}

fn peer(member: &Member) -> Value {
    let peer = member.peer();
    json!({
        "standing": match peer.standing() {
            Standing::Verified => "verified",
            Standing::Anonymous => "anonymous",
            Standing::Open => "open",
            Standing::Publisher => "publisher",
        },
        "subject": peer.subject(),
        "teams": names(peer.teams()),
        "roles": names(peer.roles()),
        "team": peer.chosen_team().map(|team| &**team),
        "address": peer.address(),
        "expires_at": peer.expires_at().map(time),
    })
}

fn names(names: &[Arc<str>]) -> Vec<&str> {
    names.iter().map(|name| &**name).collect()
}

fn rooms(member: &Member, explained: &Explained<'_>) -> Vec<Value> {
    let each = member.listening().iter().map(|listening| &listening.room);
    each.map(|room| {
        let heard = explained.trial.hears(member, room, explained.now);
        let hears: Vec<Value> = heard.iter().map(|heard| hearing(heard, member, explained)).collect();
        json!({ "room": &**room, "hears": hears })
    })
    .collect()
}

fn hearing(heard: &Heard<'_>, member: &Member, explained: &Explained<'_>) -> Value {
    let rule = |(rule, said): &(&AudienceRule, Said)| {
        let settings = explained.effective.behind(&rule.key);
        json!({
            "rule": &*rule.key,
            "name": &*rule.name,
            "origin": origin(&settings),
            "says": match said {
                Said::Hears => "hears",
                Said::Deaf => "does_not_hear",
                Said::NoAnswer(_) => "no_answer",
            },
        })
    };
    json!({
        "event": heard.event,
        "type": heard.kind,
        "heard": match heard.hears() {
            Ears::Open => "all",
            Ears::Partly => "part",
            Ears::Shut => "nothing",
        },
        "wanted": wanted(heard, member),
        "rules": heard.rules.iter().map(rule).collect::<Vec<_>>(),
    })
}

/// Whether the client's own filter wants it, as far as the type decides.
pub(super) fn wanted(heard: &Heard<'_>, member: &Member) -> bool {
    let topic = Topic { kind: heard.kind.map(Into::into), task_id: None };
    // Of a glob a filter may want a part.
    let is_glob = heard.kind.is_some_and(|kind| kind.contains('*'));
    is_glob || member.peer().filter().is_none_or(|filter| filter.wants(&topic))
}

fn steps(steps: &[Step], effective: &Effective) -> Vec<Value> {
    let one = |step: &Step| {
        let settings = step.rule.as_deref().map(|rule| effective.behind(rule)).unwrap_or_default();
        json!({
            "stage": step.stage,
            "verdict": step.verdict.as_str(),
            "code": step.code,
            "message": step.message,
            "rule": step.rule,
            "field": step.field,
            "retry_after_ms": step.retry_after.map(|wait| wait.as_millis() as u64 + 1),
            "origin": origin(&settings),
            "settings": settings.into_iter().map(setting).collect::<Vec<_>>(),
        })
    };
    steps.iter().map(one).collect()
}

fn setting(setting: Setting) -> Value {
    json!({ "key": setting.key, "value": setting.value, "origin": setting.origin })
}

/// Where the settings behind a key came from, each place once; `null` where nothing is set there.
fn origin(settings: &[Setting]) -> Option<String> {
    (!settings.is_empty()).then(|| Setting::origins(settings))
}

fn event(sent: &Sent, explained: &Explained<'_>) -> Value {
    let Sent { event, ruling } = sent;
    let refused = ruling.outcome.as_ref().err();
    let policy = explained.trial.policy();
    let said = rules::said(policy, ruling, &event.name, event.payload.as_deref());
    let rule = |(rule, said): &(&Rule, rules::Said)| {
        let origin = origin(&explained.effective.behind(&rule.key));
        json!({ "rule": &*rule.key, "name": &*rule.name, "origin": origin, "says": said.as_str() })
    };
    let observed = |denial: &Denial| json!({ "code": denial.code, "rule": denial.rule });
    json!({
        "name": event.name,
        "payload": event.payload,
        "accepted": refused.is_none(),
        "code": refused.map(|denial| denial.code),
        "rule": refused.and_then(|denial| denial.rule.as_deref()),
        "steps": steps(&ruling.steps, explained.effective),
        "rules": said.iter().map(rule).collect::<Vec<_>>(),
        "observed": ruling.observed.iter().map(observed).collect::<Vec<_>>(),
        "relayed": ruling.outcome.as_ref().ok().map(|relayed| heard_by(relayed, sent, explained)),
        "answer": ruling.answer,
        "closes": ruling.closes.map(|reason| reason.as_str()),
    })
}

/// Who hears it: whoever is in these rooms, but for those from whom rules withhold it.
fn heard_by(relayed: &Relayed, sent: &Sent, explained: &Explained<'_>) -> Value {
    let room = |room: &Arc<str>| {
        let rules = sent.audience(room, explained);
        let rules = rules.map(|rule| {
            let settings = explained.effective.behind(&rule.key);
            json!({
                "rule": &*rule.key,
                "name": &*rule.name,
                "mode": if rule.mode == Mode::Enforce { "enforce" } else { "observe" },
                "hear_if": Setting::text_of(&settings, ".hear_if"),
                "origin": origin(&settings),
            })
        });
        json!({ "room": &**room, "audience": rules.collect::<Vec<_>>() })
    };
    json!({
        "emit": relayed.emit,
        "payload": relayed.payload,
        "rooms": relayed.rooms.iter().map(room).collect::<Vec<_>>(),
        "sender_hears": !relayed.recipients.is_empty(),
    })
}

fn budget(budget: &Budget, effective: &Effective) -> Value {
    json!({
        "rule": budget.rule,
        "team": budget.team.as_deref(),
        "left": budget.left,
        "burst": budget.burst,
        "origin": origin(&effective.behind(budget.rule)),
    })
}
