use proptest::prelude::*;
use serde_json::Value;

use crate::config::policy::{Mode, UnknownFields};
use crate::event::EventId;
use crate::event::fixtures::{World, json_value, peer, with_typed};
use crate::event::pipeline::{Decision, Refused};
use crate::reject::Code;

/// A world whose validation is in this mode.
fn world(validation: Mode) -> World {
    World::new(with_typed(|typed| typed.validation = validation))
}

fn text(payload: &str) -> String {
    let comma = if payload.is_empty() { "" } else { "," };
    format!(r#"["database-change"{comma}{payload}]"#)
}

/// The code that enforced validation refuses a payload with, and what observed validation relays of it.
fn observed(payload: &str) -> (Option<Code>, String) {
    let text = text(payload);
    let world = world(Mode::Observe);
    let decision = world.decide(&text).unwrap_or_else(|refused| panic!("{payload}: {refused:?}"));
    assert!(decision.observed.iter().all(|refused| refused.stage == "validate"));
    let code = decision.observed.first().map(|refused| refused.reject.code);
    (code, decision.payload.into_owned())
}

#[test]
fn what_would_be_refused_passes_byte_for_byte() {
    for (payload, code) in [
        (r#"{"type":"task-updated", "taskId":1}"#, None),
        (r#"{ "type":"task-updated"}"#, Some(Code::MissingField)),
        (r#"{"type":"task-updated","taskId":1.0}"#, Some(Code::InvalidPayload)),
        (r#"{"type":"task-created","taskId":1}"#, Some(Code::UnknownField)),
        (r#"{"type":"task-updated","taskId":1,"x":[ ]}"#, Some(Code::UnknownField)),
        (r#"{"type":"task-lost"}"#, Some(Code::UnknownType)),
        (r#"{"type":7}"#, Some(Code::InvalidPayload)),
        (r#"{"type":"comment-x","timestamp":"2020-01-01T00:00:00Z"}"#, Some(Code::StaleTimestamp)),
        (r#"{"type":"comment-x","timestamp":"2030-01-01T00:00:00Z"}"#, Some(Code::FutureTimestamp)),
        (r#"{"type":"comment-x","timestamp":"noon"}"#, Some(Code::InvalidPayload)),
        (r#"{"type":"comment-x","\ud800":1}"#, Some(Code::InvalidPayload)),
        ("{}", Some(Code::MissingField)),
        ("[1, 2]", Some(Code::InvalidPayload)),
        ("1e400", Some(Code::InvalidPayload)),
        ("null", Some(Code::InvalidPayload)),
    ] {
        assert_eq!(observed(payload), (code, payload.to_owned()));
    }
    // As Node's server has it, and as any payload is relayed.
    assert_eq!(observed(""), (Some(Code::InvalidPayload), "null".into()));
}

#[test]
fn nothing_is_stripped() {
    for mode in [Mode::Observe, Mode::Off] {
        let world = World::new(with_typed(|typed| {
            typed.validation = mode;
            typed.unknown_fields = UnknownFields::Strip;
        }));
        let payload = r#"{"type":"task-updated","x":1, "taskId":1}"#;
        let text = text(payload);
        let decision = world.decide(&text).unwrap();
        assert_eq!((&*decision.payload, decision.observed.len()), (payload, 0));
    }
}

#[test]
fn what_decides_where_an_event_goes_is_said_once_and_rightly() {
    for mode in [Mode::Observe, Mode::Off] {
        let world = world(mode);
        for (payload, field) in [
            (r#"{"type":"task-created"},1"#, ""),
            (r#"{"type":"task-created"}}"#, ""),
            (r#"{"type":}"#, ""),
            ("nope", ""),
            (r#"{"type":"task-created","type":"task-created"}"#, "type"),
            (r#"{"type":"a","typ\u0065":"b"}"#, "type"),
            (r#"{"taskId":1,"taskId":2}"#, "taskId"),
            (r#"{"timestamp":1,"timestamp":1}"#, "timestamp"),
            (r#"{"team":"red","team":"red"}"#, "team"),
            (r#"{"team":1}"#, "team"),
        ] {
            let refused = world.decide(&text(payload)).unwrap_err();
            assert_eq!((refused.stage, refused.reject.code), ("validate", Code::InvalidPayload), "{payload}");
            assert_eq!(refused.reject.field.as_deref().unwrap_or_default(), field, "{payload}");
        }
        // Other keys may stand twice; nothing here looks at them.
        assert!(world.decide(&text(r#"{"x":1,"x":2}"#)).is_ok());
    }
}

#[test]
fn a_malformed_event_reaches_no_room_that_a_sound_one_would_not() {
    for mode in [Mode::Observe, Mode::Off] {
        let world = world(mode);
        let several = world.sender(peer(&["red", "blue"]));
        let decide = |payload: &str| {
            let decided = world
                .pipeline
                .decide(&several, &text(payload), EventId::next(), world.now)
                .map(|decision| decision.teams.iter().map(|team| team.to_string()).collect::<Vec<_>>());
            decided.map_err(|refused| refused.reject.code)
        };
        assert_eq!(decide(r#"{"team":"blue","nonsense":1}"#), Ok(vec!["blue".to_owned()]));
        for payload in [r#"{"team":"green"}"#, r#"{"nonsense":1}"#, "[]", "", r#"["team","blue"]"#] {
            assert_eq!(decide(payload), Err(Code::NoRoom), "{payload}");
        }
    }
}

#[test]
fn the_label_is_the_types_as_far_as_it_is_declared() {
    let world = world(Mode::Off);
    for (payload, label) in [
        (r#"{"type":"comment-x","taskId":{}}"#, Some("comment-*")),
        (r#"{"type":"task-lost"}"#, None),
        (r#"{"type":["task-created"]}"#, None),
        ("[]", None),
    ] {
        assert_eq!(world.decide(&text(payload)).unwrap().kind, label, "{payload}");
    }
}

/// A decision without what was observed, to be compared.
fn outcome<'e>(decided: Result<Decision<'e>, Refused>) -> Result<Decision<'e>, Refused> {
    decided.map(|decision| Decision { observed: Vec::new(), ..decision })
}

proptest! {
    /// What a client can tell is the same, whether validation observes or is off; and for what passes it, enforced too.
    #[test]
    fn observing_is_off_and_both_are_as_enforced_for_what_is_right(
        members in prop::collection::vec(
            (
                prop::sample::select(vec!["type", "taskId", "timestamp", "team", "x", "typ\\u0065", "\\ud800"]),
                prop_oneof![
                    json_value().prop_map(|value| value.to_string()),
                    prop::sample::select(vec![
                        r#""task-created""#, r#""task-updated""#, r#""comment-x""#, r#""task-lost""#, r#""red""#, r#""blue""#,
                        "1", "-1", "1.5", "1772366400000", "1000", r#""2026-03-01T12:00:00Z""#, r#""""#, r#""\ud800""#,
                    ]).prop_map(str::to_owned),
                ],
            ),
            0..6,
        ),
        whole in prop::option::weighted(0.1, json_value()),
    ) {
        let members: Vec<String> = members.iter().map(|(key, value)| format!(r#""{key}":{value}"#)).collect();
        let payload = whole.as_ref().map_or(format!("{{{}}}", members.join(", ")), Value::to_string);
        let text = text(&payload);
        let [enforcing, observing, off] = [Mode::Enforce, Mode::Observe, Mode::Off].map(world);
        let teams = ["red", "blue"];
        let senders = [&enforcing, &observing, &off].map(|world| world.sender(peer(&teams)));
        let enforced = enforcing.pipeline.decide(&senders[0], &text, EventId::next(), enforcing.now);
        let observed = observing.pipeline.decide(&senders[1], &text, EventId::next(), observing.now);
        let off = off.pipeline.decide(&senders[2], &text, EventId::next(), off.now);
        if let Ok(observed) = &observed {
            let would_refuse = observed.observed.first();
            match &enforced {
                Ok(_) => prop_assert_eq!(would_refuse, None),
                Err(refused) => prop_assert!(would_refuse == Some(refused) || refused.stage == "route"),
            }
        }
        let observed = outcome(observed);
        prop_assert_eq!(&observed, &outcome(off));
        if enforced.is_ok() {
            prop_assert_eq!(&enforced, &observed);
        }
    }
}
