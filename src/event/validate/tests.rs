use std::sync::Arc;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::config::policy::{FieldKind, FieldPolicy, Policy, Presence, TypedPayload, UnknownFields};
use crate::event::fixtures::{World, json_value, with_typed};
use crate::message::{Payload, TaskId};

/// `database-change` with this payload.
fn change(payload: &str) -> String {
    format!(r#"["database-change",{payload}]"#)
}

/// The code and field of a refusal by this stage, or the payload that is relayed.
fn judge(world: &World, text: &str) -> Result<String, (Code, String)> {
    match world.decide(text) {
        Ok(decision) => Ok(decision.payload.into_owned()),
        Err(refused) => {
            assert_eq!(refused.stage, "validate", "{text}: {:?}", refused.reject);
            Err((
                refused.reject.code,
                refused.reject.field.map(|field| field.to_string()).unwrap_or_default(),
            ))
        }
    }
}

fn refusal(world: &World, payload: &str) -> (Code, String) {
    judge(world, &change(payload)).expect_err(payload)
}

fn strict() -> World {
    World::new(|_| {})
}

fn with_mode(mode: UnknownFields) -> World {
    World::new(with_typed(|typed| typed.unknown_fields = mode))
}

fn declare(
    typed: &mut TypedPayload,
    name: &str,
    kind: FieldKind,
    presence: Presence,
    max_length: Option<usize>,
) {
    let rule = format!("events.database-change.fields.{name}").into();
    typed.fields.insert(name.into(), FieldPolicy { rule, kind, presence, max_length });
}

/// A world in which `database-change` declares one optional field of every kind.
fn with_fields(mode: UnknownFields) -> World {
    World::new(with_typed(|typed| {
        typed.unknown_fields = mode;
        for (name, kind) in KINDS {
            declare(typed, name, kind, Presence::Optional, Some(4));
        }
    }))
}

const KINDS: [(&str, FieldKind); 6] = [
    ("text", FieldKind::String),
    ("count", FieldKind::Integer),
    ("ratio", FieldKind::Number),
    ("done", FieldKind::Boolean),
    ("meta", FieldKind::Object),
    ("tags", FieldKind::Array),
];

#[test]
fn unknown_events_are_refused() {
    let world = strict();
    for text in [r#"["nope"]"#, r#"["",1]"#, r#"["Any"]"#, r#"["connect"]"#] {
        assert_eq!(judge(&world, text), Err((Code::UnknownEvent, String::new())), "{text}");
    }
}

#[test]
fn any_payload_is_relayed_byte_for_byte() {
    let world = strict();
    for payload in [
        "1.0",
        "12345678901234567890",
        "1e400",
        r#"{"b" : 1,  "a":{"a":1,"a":2}}"#,
        r#""\u0061\ud800""#,
        "[ 1 ,2]",
        "null",
        &"9".repeat(10_000),
    ] {
        assert_eq!(judge(&world, &format!("[ \"any\" , {payload} ]")).as_deref(), Ok(payload));
    }
    assert_eq!(judge(&world, r#"["any"]"#).as_deref(), Ok("null"));
}

#[test]
fn any_payload_is_one_argument_of_valid_json() {
    let world = strict();
    for text in [
        r#"["any",1,2]"#,
        r#"["any",nope]"#,
        r#"["any",{]"#,
        r#"["any",1],["x"]"#,
        r#"["any",'a']"#,
        r#"["any",01]"#,
    ] {
        assert_eq!(judge(&world, text), Err((Code::InvalidPayload, String::new())), "{text}");
    }
}

#[test]
fn any_payload_may_name_a_team_once() {
    let world = strict();
    assert!(judge(&world, r#"["any",{"team":"red","x":[{"team":"blue"}]}]"#).is_ok());
    for payload in [
        r#"{"team":1}"#,
        r#"{"team":null}"#,
        r#"{"team":"red","team":"red"}"#,
        r#"{"te\u0061m":"red","team":"red"}"#,
        r#"{"team":"\udc00"}"#,
    ] {
        let refused = judge(&world, &format!(r#"["any",{payload}]"#));
        assert_eq!(refused, Err((Code::InvalidPayload, "team".into())), "{payload}");
    }
    let refused = world.decide(r#"["any",{"\u0074eam":"blue"}]"#).unwrap_err();
    assert_eq!((refused.stage, refused.reject.code), ("route", Code::NoRoom));
}

#[test]
fn a_typed_payload_is_one_object() {
    let world = strict();
    for text in ["", ",1", ",[]", ",null", r#","x""#, ",{},{}", ",{", ",{}x", r#",{"type":"comment-x"},"#] {
        let refused = world.decide(&format!(r#"["database-change"{text}]"#)).unwrap_err();
        assert_eq!((refused.stage, refused.reject.code), ("validate", Code::InvalidPayload), "{text}");
    }
}

#[test]
fn types_match_by_name_then_by_glob() {
    let world = World::new(with_typed(|typed| {
        let exact = typed.exact_types["task-updated"].clone();
        typed.exact_types.insert("comment-pinned".into(), exact);
    }));
    let kind = |payload: &str| world.decide(&change(payload)).unwrap().kind.map(str::to_owned);
    assert_eq!(kind(r#"{"type":"task-created"}"#).as_deref(), Some("task-created"));
    assert_eq!(kind(r#"{"type":"comment-added"}"#).as_deref(), Some("comment-*"));
    assert_eq!(kind(r#"{"type":"comment\u002dadded"}"#).as_deref(), Some("comment-*"));
    assert_eq!(kind(r#"{"taskId":1,"type":"comment-pinned"}"#).as_deref(), Some("comment-pinned"));
    for (payload, code) in [
        ("{}", Code::MissingField),
        (r#"{"type":1}"#, Code::InvalidPayload),
        (r#"{"type":null}"#, Code::InvalidPayload),
        (r#"{"type":"\ud800"}"#, Code::InvalidPayload),
        (r#"{"type":"task-lost"}"#, Code::UnknownType),
        (r#"{"type":"Task-created"}"#, Code::UnknownType),
        (r#"{"type":""}"#, Code::UnknownType),
    ] {
        assert_eq!(refusal(&world, payload), (code, "type".into()), "{payload}");
    }
}

#[test]
fn task_ids_are_there_as_the_type_says() {
    let world = strict();
    for payload in [
        r#"{"type":"task-created"}"#,
        r#"{"type":"task-updated","taskId":-7}"#,
        r#"{"taskId":"t-1","type":"task-updated"}"#,
        r#"{"type":"comment-x"}"#,
    ] {
        assert_eq!(judge(&world, &change(payload)).as_deref(), Ok(payload));
    }
    for (payload, code) in [
        (r#"{"type":"task-created","taskId":1}"#, Code::UnknownField),
        (r#"{"type":"task-updated"}"#, Code::MissingField),
        (r#"{"type":"task-updated","taskId":null}"#, Code::InvalidPayload),
        (r#"{"type":"comment-x","taskId":1.5}"#, Code::InvalidPayload),
        (r#"{"type":"comment-x","taskId":1e400}"#, Code::InvalidPayload),
        (&format!(r#"{{"type":"comment-x","taskId":{}}}"#, "9".repeat(10_000)), Code::InvalidPayload),
    ] {
        assert_eq!(refusal(&world, payload), (code, "taskId".into()), "{payload:.60}");
    }
}

#[test]
fn timestamps_are_there_as_the_policy_says() {
    let optional = strict();
    let with = |presence| World::new(with_typed(|typed| typed.timestamp.presence = presence));
    let (present, absent) =
        (r#"{"type":"comment-x","timestamp":"2026-03-01T12:00:00Z"}"#, r#"{"type":"comment-x"}"#);
    let field = || "timestamp".to_owned();
    assert!(judge(&optional, &change(present)).is_ok() && judge(&optional, &change(absent)).is_ok());
    assert!(judge(&with(Presence::Required), &change(present)).is_ok());
    assert_eq!(refusal(&with(Presence::Required), absent), (Code::MissingField, field()));
    assert_eq!(refusal(&with(Presence::Forbidden), present), (Code::UnknownField, field()));
    for (timestamp, code) in [
        (r#""2026-03-01T11:00:00Z""#, Code::StaleTimestamp),
        ("-1", Code::StaleTimestamp),
        (r#""2026-03-01T13:00:00Z""#, Code::FutureTimestamp),
        (r#""2026-03-01T12:00:00""#, Code::InvalidPayload),
        (r#""10000-01-01T00:00:00Z""#, Code::InvalidPayload),
        ("1e400", Code::InvalidPayload),
        ("null", Code::InvalidPayload),
    ] {
        let payload = format!(r#"{{"type":"comment-x","timestamp":{timestamp}}}"#);
        assert_eq!(refusal(&optional, &payload), (code, field()), "{payload}");
    }
}

#[test]
fn the_typed_view_is_what_the_payload_says() {
    let world = strict();
    let text = r#"{"type":"comment-\u0078","taskId":9,"timestamp":1772366400000,"team":"red"}"#;
    let policy = &world.decide(&change(text)).map(|_| crate::event::fixtures::policy(|_| {})).unwrap();
    let event = &policy.events["database-change"];
    let typed::Read { payload, outgoing, .. } =
        typed::read(text, event, event.typed.as_ref().unwrap(), world.now.wall).unwrap();
    let expected = Payload {
        kind: Some("comment-x".into()),
        label: Some("comment-*"),
        task_id: Some(TaskId::Integer("9")),
        timestamp: Some(world.now.wall),
        team: Some("red".into()),
    };
    assert_eq!((payload, outgoing), (expected, text.into()));
    assert!(matches!(
        typed::read(text, event, event.typed.as_ref().unwrap(), world.now.wall),
        Ok(typed::Read { outgoing: Cow::Borrowed(_), .. })
    ));
}

#[test]
fn declared_fields_keep_to_their_kind_and_length() {
    let world = with_fields(UnknownFields::Reject);
    let payload = |field: &str, value: &str| format!(r#"{{"type":"comment-x","{field}":{value}}}"#);
    for (field, value) in [
        ("text", r#""abcd""#),
        ("text", r#""\u0061\u0062""#),
        ("text", r#""é\n""#),
        ("count", "-12345678901234567890"),
        ("ratio", "1.5E3"),
        ("done", "false"),
        ("meta", r#"{"a":[1,2,3,4,5],"b":{}}"#),
        ("tags", "[1,[2,3,4,5,6],{},null]"),
    ] {
        let payload = payload(field, value);
        assert_eq!(judge(&world, &change(&payload)), Ok(payload.clone()));
    }
    for (field, value) in [
        ("text", "1"),
        ("text", r#""abcde""#),
        ("text", r#""ééé""#),
        ("text", r#""\ud800""#),
        ("text", "null"),
        ("count", "1.0"),
        ("count", "1e2"),
        ("count", r#""1""#),
        ("ratio", "1e400"),
        ("ratio", "true"),
        ("done", "0"),
        ("done", "null"),
        ("meta", "[]"),
        ("meta", r#"{"a":1,"a":2}"#),
        ("meta", r#"{"a":1,"b":2,"c":3,"d":4,"e":5}"#),
        ("meta", r#"{"a":[{"n":1e999}]}"#),
        ("tags", "{}"),
        ("tags", "[1,2,3,4,5]"),
        ("tags", r#"[{"a":0,"\u0061":0}]"#),
    ] {
        assert_eq!(
            refusal(&world, &payload(field, value)),
            (Code::InvalidPayload, field.into()),
            "{field} {value}"
        );
    }
}

#[test]
fn declared_fields_are_there_as_the_policy_says() {
    let world = World::new(with_typed(|typed| {
        declare(typed, "must", FieldKind::Integer, Presence::Required, None);
        declare(typed, "never", FieldKind::Integer, Presence::Forbidden, None);
        typed.unknown_fields = UnknownFields::Pass;
    }));
    assert!(judge(&world, &change(r#"{"type":"comment-x","must":1}"#)).is_ok());
    assert_eq!(refusal(&world, r#"{"type":"comment-x"}"#), (Code::MissingField, "must".into()));
    assert_eq!(
        refusal(&world, r#"{"type":"comment-x","must":1,"never":1}"#),
        (Code::UnknownField, "never".into())
    );
}

#[test]
fn unknown_fields_are_refused_stripped_or_passed() {
    let payload = r#"{ "x" : {"a":1e3}, "type" :"comment-x","__proto__":null , "team":"red","taskId": 1 }"#;
    assert_eq!(refusal(&with_mode(UnknownFields::Reject), payload), (Code::UnknownField, "x".into()));
    assert_eq!(
        judge(&with_mode(UnknownFields::Strip), &change(payload)).as_deref(),
        Ok(r#"{"type":"comment-x","team":"red","taskId":1}"#)
    );
    assert_eq!(judge(&with_mode(UnknownFields::Pass), &change(payload)).as_deref(), Ok(payload));

    let known = r#"{ "type" : "comment-x" }"#;
    assert_eq!(judge(&with_mode(UnknownFields::Strip), &change(known)).as_deref(), Ok(known));
    let refused = refusal(&with_mode(UnknownFields::Reject), r#"{"type":"comment-x","__proto__":{}}"#);
    assert_eq!(refused, (Code::UnknownField, "__proto__".into()));
    let refused = refusal(&with_mode(UnknownFields::Reject), r#"{"type":"comment-x","a\nb":{}}"#);
    assert_eq!(refused, (Code::UnknownField, String::new()));
}

#[test]
fn a_refusal_names_the_rule() {
    let world = with_fields(UnknownFields::Reject);
    for (payload, rule) in [
        ("[]", "events.database-change"),
        ("{}", "events.database-change.types"),
        (r#"{"type":"comment-x","taskId":[]}"#, "events.database-change.task_id"),
        (r#"{"type":"comment-x","timestamp":0}"#, "events.database-change.timestamp"),
        (r#"{"type":"comment-x","x":0}"#, "events.database-change.unknown_fields"),
        (r#"{"type":"comment-x","text":0}"#, "events.database-change.fields.text"),
        (r#"{"type":"comment-x","team":0}"#, "events.database-change.team_field"),
    ] {
        let refused = world.decide(&change(payload)).unwrap_err();
        assert_eq!(refused.reject.rule.as_deref(), Some(rule), "{payload}");
    }
}

#[test]
fn duplicate_keys_are_refused_in_every_mode() {
    for mode in [UnknownFields::Reject, UnknownFields::Strip, UnknownFields::Pass] {
        let world = with_fields(mode);
        for (payload, field) in [
            (r#"{"type":"comment-x","type":"comment-x"}"#, "type"),
            (r#"{"type":"comment-x","t\u0079pe":"comment-y"}"#, "type"),
            (r#"{"type":"comment-x","taskId":1,"taskId":1}"#, "taskId"),
            (r#"{"type":"comment-x","timestamp":1,"timestamp":1}"#, "timestamp"),
            (r#"{"type":"comment-x","team":"red","team":"red"}"#, "team"),
            (r#"{"type":"comment-x","done":true,"done":true}"#, "done"),
        ] {
            assert_eq!(refusal(&world, payload), (Code::InvalidPayload, field.into()), "{payload}");
        }
    }
    for mode in [UnknownFields::Strip, UnknownFields::Pass] {
        let twice = r#"{"type":"comment-x","x":1,"x":1}"#;
        assert_eq!(refusal(&with_mode(mode), twice), (Code::InvalidPayload, "x".into()));
    }
    let nested = r#"{"type":"comment-x","x":[{"y":1,"y":1}]}"#;
    assert_eq!(refusal(&with_mode(UnknownFields::Pass), nested), (Code::InvalidPayload, "x".into()));
}

#[test]
fn many_unknown_keys_stay_cheap_and_right() {
    let keys = |count: usize| (0..count).map(|key| format!(r#","k{key}":0"#)).collect::<String>();
    let world = World::new(|policy: &mut Policy| {
        policy.limits.payload.max_bytes = 1 << 20;
        with_typed(|typed| typed.unknown_fields = UnknownFields::Pass)(policy);
    });
    let payload = format!(r#"{{"type":"comment-x"{}}}"#, keys(10_000));
    assert_eq!(judge(&world, &change(&payload)), Ok(payload));
    let payload = format!(r#"{{"type":"comment-x"{},"k7000":1}}"#, keys(10_000));
    assert_eq!(refusal(&world, &payload), (Code::InvalidPayload, "k7000".into()));
    assert_eq!(
        refusal(&strict(), &format!(r#"{{"type":"comment-x"{}}}"#, keys(1_000))).0,
        Code::UnknownField
    );
}

/// Values that are often right for the fields of `database-change`, and often not.
fn value_text() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            r#""comment-x""#,
            r#""task-created""#,
            r#""task-updated""#,
            r#""red""#,
            r#""2026-03-01T12:00:30Z""#,
            "1772366400000",
            r#""abc""#,
            "17",
            "-0.5e1",
            "true",
            r#"{ "a" : [1] }"#,
            "[1, 2]",
            "null",
            r#""\u0061\ud83d\ude00""#,
            "1e400",
            r#""\udead""#,
        ])
        .prop_map(str::to_owned),
        json_value().prop_map(|value| value.to_string()),
    ]
}

fn key_text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec!["type", "taskId", "timestamp", "team", "text", "count", "ratio", "done", "meta", "tags"])
            .prop_map(|key| format!("{key:?}")),
        1 => prop::sample::select(vec![r#""t\u0079pe""#, r#""__proto__""#, r#""x""#, r#""""#, r#""\ud800""#]).prop_map(str::to_owned),
    ]
}

/// Objects around a plausible type, with odd spacing, in any order, sometimes with duplicates.
fn object_text() -> impl Strategy<Value = String> {
    let space = || prop::sample::select(vec!["", "", " ", "\n\t"]);
    let member = (key_text(), space(), space(), value_text())
        .prop_map(|(key, a, b, value)| format!("{a}{key}{b}:{a}{value}{b}"));
    (prop::collection::vec(member, 0..5), prop::option::weighted(0.9, any::<prop::sample::Index>())).prop_map(
        |(mut members, kind)| {
            if let Some(place) = kind {
                members.insert(place.index(members.len() + 1), r#""type":"comment-x""#.into());
            }
            format!("{{{}}}", members.join(","))
        },
    )
}

fn has_kind(kind: FieldKind, value: &Value) -> bool {
    match kind {
        FieldKind::String => value.is_string(),
        FieldKind::Integer | FieldKind::Number => value.is_number(),
        FieldKind::Boolean => value.is_boolean(),
        FieldKind::Object => value.is_object(),
        FieldKind::Array => value.is_array(),
    }
}

/// The members of an object with their own bytes.
fn raw_members(text: &str) -> Vec<(String, String)> {
    let mut members = Vec::new();
    let read = object::each_member(text, |key, value| {
        members.push((key.to_owned(), value.to_owned()));
        Ok(())
    });
    assert!(read.is_ok());
    members
}

const DECLARED: [&str; 10] =
    ["type", "taskId", "timestamp", "team", "text", "count", "ratio", "done", "meta", "tags"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn what_is_accepted_has_the_declared_shape(payload in object_text()) {
        let world = with_fields(UnknownFields::Reject);
        let text = change(&payload);
        if let Ok(decision) = world.decide(&text) {
            prop_assert_eq!(&*decision.payload, &payload);
            let value: Value = serde_json::from_str(&payload).unwrap();
            let object = value.as_object().unwrap();
            prop_assert_eq!(object.len(), raw_members(&payload).len());
            prop_assert!(object.keys().all(|key| DECLARED.contains(&key.as_str())));
            prop_assert!(object["type"].is_string());
            prop_assert!(object.get("taskId").is_none_or(|id| id.is_i64() || id.is_u64() || id.is_string()));
            prop_assert!(object.get("team").is_none_or(|team| team == "red"));
            for (name, kind) in KINDS {
                prop_assert!(object.get(name).is_none_or(|value| has_kind(kind, value)));
            }
        }
    }

    #[test]
    fn what_is_passed_is_what_was_sent(payload in object_text()) {
        let world = with_fields(UnknownFields::Pass);
        if let Ok(relayed) = judge_quietly(&world, &change(&payload)) {
            prop_assert_eq!(relayed, payload);
        }
    }

    #[test]
    fn what_is_stripped_is_what_is_not_declared(payload in object_text()) {
        let world = with_fields(UnknownFields::Strip);
        if let Ok(relayed) = judge_quietly(&world, &change(&payload)) {
            let declared = |key: &str| DECLARED.contains(&&*text::decode(key).unwrap());
            let kept: Vec<_> = raw_members(&payload).into_iter().filter(|(key, _)| declared(key)).collect();
            prop_assert_eq!(raw_members(&relayed), kept);
        }
    }

    #[test]
    fn any_valid_json_passes_untouched(value in json_value(), pretty: bool) {
        let payload = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        let world = strict();
        if let Ok(relayed) = judge_quietly(&world, &format!(r#"["any", {payload} ]"#)) {
            prop_assert_eq!(relayed, payload);
        }
    }

    #[test]
    fn mutated_payloads_never_panic_and_are_relayed_only_as_json(
        payload in object_text(),
        at in any::<prop::sample::Index>(),
        inserted in r#"[\[\]{}",:\\0-9eE.\-nu ]{0,3}"#,
        removed in 0_usize..3,
        mode in prop::sample::select(vec![UnknownFields::Reject, UnknownFields::Strip, UnknownFields::Pass]),
    ) {
        let mut characters: Vec<char> = payload.chars().collect();
        let at = at.index(characters.len());
        let end = (at + removed).min(characters.len());
        characters.splice(at..end, inserted.chars());
        let mutated: String = characters.into_iter().collect();
        let world = with_fields(mode);
        for name in ["any", "database-change"] {
            if let Ok(decision) = world.decide(&format!(r#"["{name}",{mutated}]"#)) {
                prop_assert!(serde_json::from_str::<&RawValue>(&decision.payload).is_ok());
            }
        }
    }

    #[test]
    fn no_text_panics(text in any::<String>(), name in prop::sample::select(vec!["any", "database-change"])) {
        let world = with_fields(UnknownFields::Pass);
        let _ = world.decide(&text);
        let _ = world.decide(&format!(r#"["{name}",{text}]"#));
        let _ = world.decide(&format!(r#"["{name}"{text}"#));
    }
}

/// What is relayed, whichever stage refuses.
fn judge_quietly(world: &World, text: &str) -> Result<String, Code> {
    world.decide(text).map(|decision| decision.payload.into_owned()).map_err(|refused| refused.reject.code)
}

/// The tests above would also pass if nothing were ever accepted.
#[test]
fn the_generators_reach_both_outcomes() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for mode in [UnknownFields::Reject, UnknownFields::Strip, UnknownFields::Pass] {
        let world = with_fields(mode);
        let accepted = (0..1_000)
            .filter(|_| {
                world.decide(&change(&object_text().new_tree(&mut runner).unwrap().current())).is_ok()
            })
            .count();
        assert!((50..900).contains(&accepted), "{mode:?}: {accepted}");
    }
}

#[test]
fn events_share_their_policy() {
    let world = strict();
    let decision = world.decide(r#"["any"]"#).unwrap();
    assert_eq!((decision.emit, decision.echo, decision.kind), (&Arc::from("anyd"), true, None));
}
