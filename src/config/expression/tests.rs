//! Expressions by example: what is one, what is none, and what comes of them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value as Json, json};

use super::*;

/// 2026-03-01T12:00:00Z.
fn noon() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_772_366_400)
}

const PAYLOAD: &str = r#"{"type":"task-updated","title":"größe","escaped":"a\u0062c","tags":["a","b"],"big":12345678901234567890,
    "half":0.5,"nothing":null,"nested":{"deep":{"x":1.5}},"due":"2026-03-02T00:00:00Z","yes":true}"#;

fn claims() -> Json {
    json!({ "plan": "pro", "seats": 5, "https://app.example/level": 2, "gone": null, "tags": ["x"], "unread": "y" })
}

/// What comes of `text` for ann of the teams red and blue, a minute after her event.
fn answer(text: &str, payload: &str) -> Result<bool, Failure> {
    let expression =
        Expression::parse(text, Scope::Event).unwrap_or_else(|fault| panic!("{text}: {fault:?}"));
    let reads = expression.reads();
    let claims =
        Claims::keep(claims().as_object().unwrap(), reads.claims.iter().map(|claim| &**claim)).unwrap();
    let peer = PeerFacts {
        subject: Some("ann"),
        teams: &["red".into(), "blue".into()],
        roles: &["editor".into()],
        claims: Some(&claims),
        address: [192, 0, 2, 7].into(),
    };
    let event = EventFacts {
        name: "database-change",
        kind: Some(Own::Read("task-updated")),
        task_id: Some(Own::Read(Id::Integer("42"))),
        timestamp: Some(Own::Read(noon() - Duration::from_secs(60))),
        json: payload,
        fields: &reads.fields,
    };
    expression.evaluate(&Facts::new(peer, event, noon()))
}

#[test]
fn expressions_answer() {
    for (text, expected) in [
        (r#""editor" in peer.roles"#, Ok(true)),
        (r#""viewer" in peer.roles"#, Ok(false)),
        (r#"peer.teams == ["red", "blue"] && ["red", "blue"] == peer.teams"#, Ok(true)),
        (r#"size(peer.teams) == 2 && peer.teams[1] == "blue""#, Ok(true)),
        (r#"peer.sub == "ann" && peer["sub"] != "ben""#, Ok(true)),
        (r#"peer.address.startsWith("192.0.2.")"#, Ok(true)),
        (r#"peer.claims.plan in ["pro", "max"] && peer.claims.seats > 4"#, Ok(true)),
        (r#"peer.claims["https://app.example/level"] == 2"#, Ok(true)),
        (r#""x" in peer.claims.tags"#, Ok(true)),
        ("has(peer.claims.absent) || has(peer.claims.gone)", Ok(false)),
        ("peer.claims.absent == 1", Err(Failure::Absent)),
        (r#"event.name == "database-change" && event.type == "task-updated""#, Ok(true)),
        ("event.taskId == 42 && type(event.taskId) == int", Ok(true)),
        (r#"event.taskId == "42""#, Ok(false)),
        (r#"event.timestamp < now && now - event.timestamp < duration("2m")"#, Ok(true)),
        (r#"now.getFullYear() == 2026 && now.getHours("Europe/Berlin") == 13"#, Ok(true)),
        (r#"timestamp(event.payload.due) > now"#, Ok(true)),
        (r#"event.payload.title.contains("ö") && size(event.payload.title) == 5"#, Ok(true)),
        (r#"event.payload.escaped.endsWith("bc")"#, Ok(true)),
        (r#"event.payload.tags[1] == "b" && "a" in event.payload.tags"#, Ok(true)),
        ("event.payload.tags[2] == \"c\"", Err(Failure::Value)),
        ("event.payload.nested.deep.x == 1.5 && event.payload[\"half\"] < 1", Ok(true)),
        ("event.payload.big > 1.2e19 && type(event.payload.big) == double", Ok(true)),
        ("event.payload.nothing == null && has(event.payload.nothing)", Ok(true)),
        ("event.payload.yes ? event.payload.half > 0.4 : false", Ok(true)),
        (r#""title" in event.payload && size(event.payload) == 10"#, Ok(true)),
        ("has(event.payload.absent) && event.payload.absent == 1", Ok(false)),
        ("event.payload.absent == 1", Err(Failure::Absent)),
        ("event.payload.absent == 1 || true", Ok(true)),
        ("1 / 0 == 1", Err(Failure::Value)),
        ("9223372036854775807 + 1 > 0", Err(Failure::Value)),
        (r#"int("x") == 1"#, Err(Failure::Value)),
        ("peer.sub > 1", Err(Failure::Type)),
        ("peer.sub", Err(Failure::NotBoolean)),
    ] {
        assert_eq!(answer(text, PAYLOAD), expected, "{text}");
    }
}

#[test]
fn a_payload_is_read_in_one_way_or_not_at_all() {
    let x_is_1 = |payload| answer("event.payload.x == 1", payload);
    assert_eq!(x_is_1(r#"{"x":1,"y":{"a":1,"a":2}}"#), Ok(true));
    for twice in [r#"{"x":1,"x":2}"#, r#"{"x":1,"\u0078":1}"#, r#"{"x":{"a":1,"a":1}}"#, "[1]", "null", "{"] {
        assert_eq!(x_is_1(twice), Err(Failure::Value), "{twice}");
    }
    assert_eq!(answer("event.payload.x == 1 || has(event.payload.y)", r#"{"y":1}"#), Ok(true));
}

#[test]
fn reads_are_what_is_named() {
    let reads = |text| Expression::parse(text, Scope::Event).unwrap().reads().clone();
    let names = |names: &[&str]| names.iter().map(|&name| name.into()).collect();
    let read =
        reads(r#"has(peer.claims.a) && peer.claims["b c"].d == event.payload.x.y + event.payload["z"]"#);
    assert_eq!(read.claims, names(&["a", "b c"]));
    assert_eq!(read.fields, Fields { all: false, names: names(&["x", "z"]) });
    assert!(reads(r#"event.payload[peer.sub] == 1"#).fields.all);
    assert!(reads(r#"size(event.payload) == 1"#).fields.all);
    assert_eq!(reads(r#""a" in peer.roles && event.taskId == 1"#), Reads::default());
}

#[test]
fn what_cannot_be_is_pointed_at() {
    let long = format!("peer.sub == \"{}\"", "x".repeat(MAX_BYTES));
    for (text, found, meant) in [
        ("", "not an expression in CEL at column 1: mismatched input '<EOF>'", None),
        ("peer.roles ==", "not an expression in CEL at column 14: mismatched input", None),
        ("peer.sub = \"ann\"", "at column 10: token recognition error", None),
        ("true &&\n  1 + * 2", "at line 2, column 7: extraneous input '*'", None),
        ("has(peer)", "at column 5: `has` takes a field, as in has(event.taskId)", None),
        ("has(event.taskId, 1)", "column 1: `has` takes one field", None),
        ("peer.?sub == 1", "at column 5: unsupported syntax '.?'", None),
        ("evnt.type == \"x\"", "column 1: `evnt` is no variable", Some("event")),
        ("true && evnt.type", "column 9: `evnt` is no variable", Some("event")),
        ("\"größe\" == event.typ", "column 12: `event` has no field `typ`", Some("type")),
        ("true &&\n  peer.role == []", "line 2, column 3: `peer` has no field `role`", Some("roles")),
        ("\"größe\" == = 1", "at column 12: ", None),
        ("peer == event", "column 1: `peer` as a whole", None),
        ("size(peer.claims) > 1", "column 6: `peer.claims` as a whole", None),
        ("sizee(peer.sub) > 1", "column 1: there is no function `sizee`", Some("size")),
        ("math.greatest(1, 2) > 1", "column 6: there is no function `greatest`", None),
        ("peer.roles.exists(r, r == \"x\")", "column 12: `exists` does something for each element", None),
        ("event.payload.x.map(y, y) == []", "column 17: `map` does something for each", None),
        ("peer.sub.matches(\"a+\")", "column 10: `matches` takes a regular expression", None),
        ("now + duration(event.payload.x) > now", "column 7: `duration` of something else", None),
        ("Foo{a: 1} == 1", "a message", None),
        (&long, "an expression of 1038 bytes; at most 1024 are read", None),
        (&("(".repeat(41) + "true" + &")".repeat(41)), "an expression with 41 brackets", None),
        (&("1".to_owned() + &"+1".repeat(300)), "an expression with 300 signs", None),
        (&("1".to_owned() + &"+1".repeat(200)), "column 1: more than 32 operators inside each other", None),
    ] {
        let Err(fault) = Expression::parse(text, Scope::Event) else { panic!("{text} should be refused") };
        assert!(fault.found.contains(found), "{text}\nwants {found}\nhas   {}", fault.found);
        assert_eq!(fault.did_you_mean.as_deref(), meant, "{text}");
        assert!(!fault.mend.is_empty(), "{text}");
    }
}

/// What operators write cannot end the process either.
#[test]
fn no_expression_is_too_much_for_the_stack() {
    let nested =
        |open: &str, inner: &str, close: &str, times| open.repeat(times) + inner + &close.repeat(times);
    for text in [
        nested("(", "true", ")", 40),
        nested("(", "", "", 40),
        nested("[", "1", "]", 40),
        nested("[{1:", "", "", 20),
        nested("!(", "true", ")", 40),
        nested("size(", "1", ")", 40),
        nested("true ? true : ", "true", "", 40),
        nested("!", "true", "", 250),
        nested("-", "1", "", 250),
        nested("", "1", "==1", 120),
        nested("", "peer", ".sub", 200),
        nested("", "1", " in 1", 200),
        nested("", "true", "&&true", 120),
        nested("", "peer.sub", "[0]", 40),
    ] {
        if let Ok(expression) = Expression::parse(&text, Scope::Event) {
            let peer =
                PeerFacts { subject: None, teams: &[], roles: &[], claims: None, address: [0; 4].into() };
            let event = EventFacts {
                name: "",
                kind: None,
                task_id: None,
                timestamp: None,
                json: "{}",
                fields: &expression.reads().fields,
            };
            let _ = expression.evaluate(&Facts::new(peer, event, noon()));
        }
    }
    let deepest = nested("!(", "true", ")", 31);
    assert_eq!(answer(&deepest, "{}"), Ok(false));
}

#[test]
fn claims_are_bounded_and_never_shown() {
    let claims = claims();
    let kept = Claims::keep(claims.as_object().unwrap(), ["plan", "gone", "absent"]).unwrap();
    assert_eq!(format!("{kept:?}"), "Claims(1)");
    let large = json!({ "a": "x".repeat(MAX_CLAIMS), "b": vec![0; MAX_CLAIMS / 64], "c": 1 });
    let large = large.as_object().unwrap();
    assert!(Claims::keep(large, ["a"]).is_err_and(|bytes| bytes > MAX_CLAIMS));
    assert!(Claims::keep(large, ["b"]).is_err_and(|bytes| bytes > MAX_CLAIMS));
    assert!(Claims::keep(large, ["c"]).is_ok());
}

#[test]
fn a_listener_is_judged_by_peer_team_and_time() {
    let facts = PeerFacts {
        subject: Some("ann"),
        teams: &["red".into(), "blue".into()],
        roles: &["editor".into()],
        claims: None,
        address: [192, 0, 2, 7].into(),
    };
    let mut facts = ListenerFacts::new(facts, noon());
    facts.enter("blue");
    for (text, expected) in [
        (r#"team == "blue" && team in peer.teams"#, Ok(true)),
        (r#"team.startsWith("b") && size(team) == 4 && "editor" in peer.roles"#, Ok(true)),
        (r#"now < timestamp("2026-03-02T00:00:00Z") && peer.sub == "ann""#, Ok(true)),
        (r#"has(peer.claims.plan) && peer.claims.plan == "pro""#, Ok(false)),
        (r#"peer.claims.plan == "pro""#, Err(Failure::Absent)),
        ("team > 1", Err(Failure::Type)),
    ] {
        let expression =
            Expression::parse(text, Scope::Listener).unwrap_or_else(|fault| panic!("{text}: {fault:?}"));
        assert_eq!(expression.evaluate(&facts), expected, "{text}");
        assert_eq!(expression.reads().team, text.contains("team"), "{text}");
    }
    facts.enter("red");
    assert_eq!(Expression::parse("team == \"red\"", Scope::Listener).unwrap().evaluate(&facts), Ok(true));
    for (text, scope, found) in [
        ("event.type == \"x\"", Scope::Listener, "column 1: `event` is no variable"),
        ("true || has(event.taskId)", Scope::Listener, "`event` is no variable"),
        ("team == \"x\"", Scope::Event, "column 1: `team` is no variable"),
        ("team.name == \"x\"", Scope::Listener, "column 1: `team` is a text and has no fields"),
        ("has(peer.sub, 1)", Scope::Listener, "`has` takes one field"),
    ] {
        let Err(fault) = Expression::parse(text, scope) else { panic!("{text} should be refused") };
        assert!(fault.found.contains(found), "{text}\nwants {found}\nhas   {}", fault.found);
        let other = if scope == Scope::Event { "`event`" } else { "`team`" };
        assert!(!found.contains("no variable") || fault.mend.contains(other), "{}", fault.mend);
    }
}
