//! Modes over real sockets: what is observed is counted and said, and no client can tell it from what is off.

use serde_json::{Value, json};

use crate::harness::polling::Polling;
use crate::harness::websocket::RawSocket;
use crate::harness::{Sidecar, closes, member, mint, refusals};

/// Typed payloads, a team field, and a day's rates of three events each; everything in this mode.
fn all_in(mode: &str) -> String {
    let rate = format!("{{ rate = \"1/h\", burst = 3, mode = \"{mode}\" }}");
    format!(
        r#"
[refusals]
detail = "full"
[limits.events]
per_socket = {rate}
per_user = {rate}
per_address = {rate}
per_team = {rate}
disconnect_after = {{ refusals = 2, per = "1h", mode = "{mode}" }}
[events.database-change]
payload = "typed"
validation = "{mode}"
team_field = "team"
[[rules]]
name = "owners"
on = ["*"]
allow_if = '"owner" in peer.roles'
mode = "{mode}"
"#
    )
}

/// Events of which some are right, some are wrong in a way that may be observed, and some are refused whatever the mode is.
const DAY: [&str; 23] = [
    r#"{"type":"task-created"}"#,
    r#"{ "type" : "task-updated", "taskId" : 7, "timestamp":"2020-01-01T00:00:00Z" }"#,
    r#"{"type":"task-updated"}"#,
    r#"{"type":"task-lost","taskId":[1.0]}"#,
    r#"{"type":"task-moved","taskId":1,"x":{"a":1,"a":2}}"#,
    r#"{"type":"task-moved","taskId":1,"team":"red"}"#,
    r#"{"type":"task-moved","taskId":1,"team":"blue"}"#,
    r#"{"type":"task-moved","taskId":1,"team":"green"}"#,
    r#"{"nonsense":1,"team":"green"}"#,
    r#"{"type":"task-moved","taskId":1,"team":["red"]}"#,
    r#"{"type":"task-moved","type":"task-moved","taskId":1}"#,
    r#"{"type":7}"#,
    "",
    "null",
    "[1, 2]",
    "1e400",
    "{},{}",
    "[[[[[[[[[9]]]]]]]]]",
    r#"{"type":"task-deleted","taskId":3,"timestamp":"tomorrow"}"#,
    r#"{"type":"task-deleted","taskId":-3}"#,
    r#"{"type":"task-deleted","taskId":""}"#,
    r#"{"type":"task-deleted","taskId":"a","z":12345678901234567890}"#,
    r#"{"type":"task-created"}"#,
];

/// The last event, by which those who poll know that they have heard everything.
const LAST: &str = r#"{"type":"task-created","taskId":"the last"}"#;

/// Everything that anybody can see of such a day: the sender's answers but for their ids, and what each has heard, whether
/// it is in the sender's teams or not, and whether it polls or not.
async fn day(sidecar: &Sidecar) -> (Vec<Value>, Vec<Vec<String>>) {
    let join = async |user: &str, teams: &[&str]| RawSocket::join(sidecar.public, &member(user, teams)).await;
    let token = mint(json!({ "sub": "ann", "teams": ["red", "blue"] }));
    let mut sender = RawSocket::join(sidecar.public, &json!({ "token": token, "team": "red" })).await;
    let mut others =
        [join("ben", &["red"]).await, join("cleo", &["blue"]).await, join("dan", &["green"]).await];
    let mut polling = Polling::join(sidecar.public, &member("eve", &["blue", "red"])).await;
    let mut answers = Vec::new();
    for argument in DAY.iter().chain([&LAST]) {
        answers.push(sender.ask(argument).await);
    }
    answers.push(sender.ask_as("no-such-event", "").await);
    for answer in &mut answers {
        let had_id = answer.as_object_mut().unwrap().remove("id").is_some();
        assert_eq!(had_id, answer["ok"] == true, "{answer}");
    }
    let mut heard = vec![sender.heard_until_now().await];
    for other in &mut others {
        heard.push(other.heard_until_now().await);
    }
    let mut polled = Vec::new();
    while polled.last().is_none_or(|last| last != LAST) {
        polled.push(polling.event().await);
    }
    heard.push(polled);
    (answers, heard)
}

#[tokio::test]
async fn observing_changes_nothing_that_a_client_sees() {
    let off = Sidecar::start(&all_in("off")).await;
    let observing = Sidecar::start(&all_in("observe")).await;
    let (seen, seen_observing) = (day(&off).await, day(&observing).await);
    assert_eq!(seen_observing, seen);

    // There was something to see: what is right, what is not, and what is refused in any case.
    let (answers, heard) = seen;
    let passed = answers.iter().filter(|answer| answer["ok"] == true).count();
    assert_eq!((answers.len(), passed), (25, 18));
    assert_eq!([0, 1, 2, 3, 4].map(|at| heard[at].len()), [18, 17, 1, 0, 18]);
    let relayed: Vec<&str> =
        DAY.into_iter().filter(|argument| heard[0].iter().any(|heard| heard == argument)).collect();
    assert!(relayed.contains(&DAY[1]) && relayed.contains(&"1e400"), "{relayed:?}");

    // Something to observe, of which one sidecar says nothing.
    let sum = async |sidecar: &Sidecar, series: &str| -> f64 { sidecar.metrics(series).await.iter().sum() };
    assert_eq!(sum(&off, "flowgate_observed_").await, 0.0);
    for sidecar in [&off, &observing] {
        assert_eq!(sidecar.metric(&closes("refusals")).await, 0.0);
        assert_eq!(sidecar.metric("flowgate_events_accepted_total").await, 18.0);
    }
    let code = |code: &str| {
        format!("flowgate_observed_events_total{{event=\"database-change\",type=\"\",code=\"{code}\"}}")
    };
    assert_eq!(observing.metric("flowgate_observed_closes_total{reason=\"refusals\"}").await, 1.0);
    assert_eq!(observing.metric(&code("unknown_type")).await, 1.0);
    assert_eq!(observing.metric("flowgate_rules_total{rule=\"owners\",outcome=\"observed\"}").await, 20.0);

    // Enforced, most of it is refused, and the connection is closed for it.
    let enforcing = Sidecar::start(&all_in("enforce")).await;
    let mut ann = RawSocket::join(enforcing.public, &member("ann", &["red"])).await;
    for argument in DAY {
        ann.emit(argument).await;
    }
    ann.closed().await;
    assert_eq!(enforcing.metric(&closes("refusals")).await, 1.0);
}

/// One event's series.
fn events(kind: &str, outcome: &str) -> String {
    format!("flowgate_events_total{{event=\"database-change\",type=\"{kind}\",outcome=\"{outcome}\"}}")
}

fn observed(kind: &str, code: &str) -> String {
    format!("flowgate_observed_events_total{{event=\"database-change\",type=\"{kind}\",code=\"{code}\"}}")
}

/// "Would refuse 3.1% of task-updated: stale_timestamp".
#[tokio::test]
async fn the_share_that_would_be_refused_can_be_told() {
    let settings = "[events.database-change]\npayload = \"typed\"\nvalidation = \"observe\"\n[limits.events]\nper_socket = { rate = \"1/h\", burst = 60, mode = \"observe\" }\n";
    let sidecar = Sidecar::start(settings).await;
    for (kind, code) in
        [("task-updated", "stale_timestamp"), ("", "unknown_type"), ("task-moved", "rate_limited")]
    {
        assert_eq!(sidecar.metric(&observed(kind, code)).await, 0.0, "{kind} {code}");
    }
    let mut ann = RawSocket::join(sidecar.public, &member("ann", &["red"])).await;
    let mut send = async |argument: &str, times: usize| {
        for _ in 0..times {
            assert_eq!(ann.ask(argument).await["ok"], true);
        }
    };
    send(r#"{"type":"task-updated","taskId":1}"#, 31).await;
    send(r#"{"type":"task-updated","taskId":1,"timestamp":1}"#, 1).await;
    send(r#"{"type":"task-lost"}"#, 1).await;
    // The rate is spent with these, and from then on both would refuse; each code is counted once for each event.
    send(r#"{"type":"task-moved"}"#, 30).await;
    for (series, count) in [
        (events("task-updated", "accepted"), 31.0),
        (events("task-updated", "observed"), 1.0),
        (events("task-updated", "refused"), 0.0),
        (observed("task-updated", "stale_timestamp"), 1.0),
        (observed("task-updated", "missing_field"), 0.0),
        (observed("task-updated", "rate_limited"), 0.0),
        (events("", "observed"), 1.0),
        (observed("", "unknown_type"), 1.0),
        (events("task-moved", "observed"), 30.0),
        (observed("task-moved", "missing_field"), 30.0),
        (observed("task-moved", "rate_limited"), 3.0),
        (refusals("rate_limited"), 0.0),
        (refusals("stale_timestamp"), 0.0),
    ] {
        assert_eq!(sidecar.metric(&series).await, count, "{series}");
    }
}

/// What validation only observes still has to pass the rules that are enforced, in whatever shape it comes.
#[tokio::test]
async fn no_rule_is_escaped_by_being_malformed() {
    let sidecar = Sidecar::start(
        r#"
[refusals]
detail = "full"
[events.database-change]
payload = "typed"
validation = "observe"
[[rules]]
name = "small"
on = ["task-*"]
allow_if = '!has(event.taskId) || event.taskId < 100'
[[rules]]
name = "fresh"
on = ["task-*"]
allow_if = '!has(event.timestamp) || now - event.timestamp < duration("1h")'
[[rules]]
name = "named"
on = ["*"]
allow_if = 'has(event.type) && event.type != "task-hidden"'
"#,
    )
    .await;
    let mut ann = RawSocket::join(sidecar.public, &member("ann", &["red"])).await;
    for (argument, rule) in [
        (r#"{"type":"task-updated","taskId":99}"#, None),
        (r#"{"type":"task-updated","taskId":100}"#, Some("small")),
        (r#"{"type":"task-updated","taskId":1e3}"#, Some("small")),
        (r#"{"type":"task-updated","taskId":"7"}"#, Some("small")),
        (r#"{"type":"task-updated","taskId":["7"]}"#, Some("small")),
        (r#"{"type":"task-updated","taskId":"\ud800"}"#, Some("small")),
        (r#"{"type":"task-lost","taskId":99}"#, None),
        (r#"{"type":"task-lost","taskId":100}"#, Some("small")),
        (r#"{"type":"task-lost","timestamp":0}"#, Some("fresh")),
        (r#"{"type":"task-lost","timestamp":"now"}"#, Some("fresh")),
        (r#"{"type":"task-hidden"}"#, Some("named")),
        (r#"{"type":"anything","taskId":100}"#, None),
        // Rules that are on every type judge what has none.
        (r#"{"taskId":100}"#, Some("named")),
        (r#"{"type":["task-hidden"]}"#, None),
        ("[]", Some("named")),
        ("", Some("named")),
    ] {
        let answer = ann.ask(argument).await;
        let spoke = answer["rule"].as_str().map(|rule| rule.strip_prefix("rules.").unwrap());
        assert_eq!((spoke, answer["ok"] == true), (rule, rule.is_none()), "{argument} {answer}");
    }
}

#[tokio::test]
async fn an_observed_limit_spends_as_an_enforced_one_does() {
    let limit = "[limits.events]\nper_user = { rate = \"1/h\", burst = 3, mode = \"observe\" }\nper_team = { rate = \"1/h\", burst = 5, mode = \"enforce\" }";
    let sidecar = Sidecar::start(limit).await;
    let mut ann = RawSocket::join(sidecar.public, &member("ann", &["red"])).await;
    for _ in 0..5 {
        assert_eq!(ann.ask("1").await["ok"], true);
    }
    assert_eq!(ann.ask("1").await["code"], "rate_limited");
    assert_eq!(sidecar.metric(&observed("", "rate_limited")).await, 2.0);
    assert_eq!(sidecar.metric(&events("", "refused")).await, 1.0);
}

#[tokio::test]
async fn who_would_need_a_token_is_counted() {
    let sidecar = Sidecar::start("[auth]\nmode = \"optional\"\n[rooms]\nanonymous = \"lobby\"").await;
    let series = "flowgate_observed_admissions_total{code=\"token_missing\"}";
    assert_eq!(sidecar.metric(series).await, 0.0);
    let _nobody = RawSocket::join(sidecar.public, &Value::Null).await;
    let _ann = RawSocket::join(sidecar.public, &member("ann", &["red"])).await;
    sidecar.until("flowgate_admissions_total", 2.0).await;
    assert_eq!(sidecar.metric(series).await, 1.0);
}

/// Nor does anything that is withheld from a peer reach it by being malformed.
#[tokio::test]
async fn no_audience_rule_is_escaped_by_being_malformed() {
    let settings = |on: &str| {
        format!(
            "[events.database-change]\npayload = \"typed\"\nvalidation = \"observe\"\n\
             [[audience]]\nname = \"owners\"\non = [\"{on}\"]\nhear_if = '\"owner\" in peer.roles'\n"
        )
    };
    let odd = [
        r#"{"type":"task-deleted","taskId":[1]}"#,
        r#"{"type":"task-lost"}"#,
        r#"{"type":["task-deleted"]}"#,
        "[]",
        "null",
        r#"{"type":"task-moved","taskId":1}"#,
    ];
    for (on, heard) in [("task-deleted", &odd[1..]), ("task-*", &odd[2..5]), ("*", &[])] {
        let sidecar = Sidecar::start(&settings(on)).await;
        let mut ann = RawSocket::join(sidecar.public, &member("ann", &["red"])).await;
        for argument in odd {
            assert_eq!(ann.ask(argument).await["ok"], true, "{argument}");
        }
        assert_eq!(ann.heard_until_now().await, heard, "{on}");
    }
}
