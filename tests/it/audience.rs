//! Who hears what, over real sockets: audience rules and clients' own filters, polling and not, in several teams.

use serde_json::{Value, json};

use crate::harness::packets::{self, EVENT};
use crate::harness::polling::Polling;
use crate::harness::websocket::RawSocket;
use crate::harness::{Sidecar, mint, now, refusals};

const NOTHING: [&str; 0] = [];

/// Typed payloads with comments beside the four types of the defaults.
const TYPED: &str = r#"
[events.database-change]
payload = "typed"
team_field = "team"
[[events.database-change.types]]
match = "comment-*"
"#;

/// In every team but `staff`, guests hear no internal comments and no deletions.
const INTERNAL: &str = r#"
[[audience]]
name = "internal"
on = ["comment-internal-*", "task-deleted"]
teams = ["red", "blue"]
hear_if = '!("guest" in peer.roles) && team != "blue"'
"#;

const UPDATED: &str = r#"{"type":"task-updated","taskId":7}"#;
const DELETED: &str = r#"{"type":"task-deleted","taskId":"7"}"#;
const COMMENT: &str = r#"{"type":"comment-added","taskId":8}"#;
const SECRET: &str = r#"{"type":"comment-internal-added"}"#;
const ALL: [&str; 4] = [UPDATED, DELETED, COMMENT, SECRET];

async fn serve(settings: &str) -> Sidecar {
    Sidecar::start(&format!("{TYPED}{settings}")).await
}

/// The CONNECT payload of a user of these teams and roles; `null` filters nothing.
fn auth(user: &str, teams: &[&str], roles: &[&str], filter: Value) -> Value {
    json!({ "token": mint(json!({ "sub": user, "teams": teams, "roles": roles })), "filter": filter })
}

/// A member of the team `red`.
async fn join(sidecar: &Sidecar, user: &str, roles: &[&str], filter: Value) -> RawSocket {
    RawSocket::join(sidecar.public, &auth(user, &["red"], roles, filter)).await
}

/// A member of the team `red` that hears everything, sends all of these, and has each accepted.
async fn sends(sidecar: &Sidecar, payloads: &[&str]) -> RawSocket {
    let mut sender = join(sidecar, "sender", &[], Value::Null).await;
    for payload in payloads {
        assert_eq!(sender.ask(payload).await["ok"], true, "{payload}");
    }
    sender
}

fn withheld(reason: &str) -> String {
    format!("flowgate_withheld_total{{reason=\"{reason}\"}}")
}

fn by_rule(rule: &str) -> String {
    format!("flowgate_audience_withheld_total{{rule=\"{rule}\"}}")
}

fn judged(rule: &str, outcome: &str) -> String {
    format!("flowgate_audience_total{{rule=\"{rule}\",outcome=\"{outcome}\"}}")
}

#[tokio::test]
async fn a_rule_withholds_from_whom_it_does_not_let_hear() {
    let sidecar = serve(INTERNAL).await;
    let mut guest = join(&sidecar, "guest", &["guest"], Value::Null).await;
    let mut member = join(&sidecar, "member", &["editor"], Value::Null).await;
    let mut sender = sends(&sidecar, &ALL).await;
    assert_eq!(guest.heard_until_now().await, [UPDATED, COMMENT]);
    assert_eq!(member.heard_until_now().await, ALL);
    assert_eq!(sender.heard_until_now().await, ALL);
    assert_eq!(sidecar.metric("flowgate_deliveries_total").await, 10.0);
    assert_eq!(sidecar.metric(&withheld("audience")).await, 2.0);
    assert_eq!(sidecar.metric(&by_rule("internal")).await, 2.0);
    for (outcome, count) in [("hears", 2.0), ("withheld", 1.0), ("observed", 0.0), ("error", 0.0)] {
        assert_eq!(sidecar.metric(&judged("internal", outcome)).await, count, "{outcome}");
    }
    // What a guest may not hear it may send, and then its own echo is withheld too; the answer comes all the same.
    assert_eq!(guest.ask(DELETED).await["ok"], true);
    assert_eq!(guest.heard_until_now().await, NOTHING);
    assert_eq!(member.heard_until_now().await, [DELETED]);
    drop((guest, member, sender));
    sidecar.until_empty().await;
}

#[tokio::test]
async fn polling_and_upgraded_members_are_no_different() {
    let sidecar = serve(INTERNAL).await;
    let guest = |user: &str| auth(user, &["red"], &["guest"], Value::Null);
    let mut polling = Polling::join(sidecar.public, &guest("a")).await;
    let upgrading = Polling::join(sidecar.public, &guest("b")).await;
    let filter = json!({ "types": ["comment-*"] });
    let mut filtering = Polling::join(sidecar.public, &auth("c", &["red"], &[], filter)).await;
    let mut sender = sends(&sidecar, &[SECRET, UPDATED]).await;
    let mut upgraded = upgrading.upgrade().await;
    for payload in [DELETED, COMMENT, SECRET, UPDATED] {
        assert_eq!(sender.ask(payload).await["ok"], true);
    }
    for expected in [UPDATED, COMMENT, UPDATED] {
        assert_eq!(polling.event().await, expected);
        assert_eq!(upgraded.event().await, expected);
    }
    assert_eq!(upgraded.heard_until_now().await, NOTHING);
    for expected in [SECRET, COMMENT, SECRET] {
        assert_eq!(filtering.event().await, expected);
    }
    // Nothing else waits: the next thing that comes is the answer.
    for member in [&mut polling, &mut filtering] {
        member.post(&packets::event("no-such-event", "", Some(1))).await;
        assert_eq!(packets::answer(&member.packet().await.unwrap(), 1).unwrap()["code"], "unknown_event");
    }
}

#[tokio::test]
async fn each_team_has_its_own_audience() {
    let sidecar = serve(&format!("{INTERNAL}[rooms]\nmulti_team = \"all\"\n")).await;
    let of = |user: &str, teams: &[&str], roles: &[&str]| auth(user, teams, roles, Value::Null);
    let teams = ["red", "blue", "staff"];
    let mut guest = RawSocket::join(sidecar.public, &of("guest", &teams, &["guest"])).await;
    let mut editor = RawSocket::join(sidecar.public, &of("editor", &teams, &["editor"])).await;
    let mut sender = RawSocket::join(sidecar.public, &of("sender", &teams, &[])).await;
    let deleted = |team: &str, id: u8| format!(r#"{{"type":"task-deleted","taskId":{id},"team":"{team}"}}"#);
    let named = [deleted("red", 1), deleted("blue", 2), deleted("staff", 3)];
    for payload in &named {
        assert_eq!(sender.ask(payload).await["ok"], true);
    }
    assert_eq!(guest.heard_until_now().await, [&*named[2]]);
    assert_eq!(editor.heard_until_now().await, [&*named[0], &*named[2]]);
    // Guest: red and blue. Editor: blue. The sender itself: blue.
    assert_eq!(sidecar.metric(&withheld("audience")).await, 4.0);
    // To all three at once: each hears it once, in a team in which it may, and nothing was withheld from anybody.
    assert_eq!(sender.ask(DELETED).await["ok"], true);
    assert_eq!(guest.heard_until_now().await, [DELETED]);
    assert_eq!(editor.heard_until_now().await, [DELETED]);
    assert_eq!(sidecar.metric(&withheld("audience")).await, 4.0);
    // To the two in which a guest may not.
    let mut two = RawSocket::join(sidecar.public, &of("two", &["blue", "red"], &[])).await;
    assert_eq!(two.ask(DELETED).await["ok"], true);
    assert_eq!(guest.heard_until_now().await, NOTHING);
    assert_eq!(editor.heard_until_now().await, [DELETED]);
    assert_eq!(sidecar.metric(&withheld("audience")).await, 5.0);
}

/// All that a guest sees of a day, but for the ids in its answers: in the order in which it came.
async fn day_of_a_guest(sidecar: &Sidecar) -> Vec<String> {
    let mut guest = join(sidecar, "guest", &["guest"], json!({ "taskIds": ["7", 9] })).await;
    let mut sender = sends(sidecar, &ALL).await;
    let mut seen = Vec::new();
    for payload in ALL {
        let ack = guest.next_ack();
        guest.send(&packets::event(EVENT, payload, Some(ack))).await;
        loop {
            let packet = guest.packet().await.unwrap();
            if let Some(mut answer) = packets::answer(&packet, ack) {
                assert!(answer.as_object_mut().unwrap().remove("id").is_some());
                seen.push(answer.to_string());
                break;
            }
            seen.push(packet);
        }
        assert_eq!(sender.ask(payload).await["ok"], true);
    }
    seen.extend(guest.heard_until_now().await);
    seen
}

#[tokio::test]
async fn an_observed_rule_counts_and_changes_nothing_that_a_client_sees() {
    let without = serve("").await;
    let expected = day_of_a_guest(&without).await;
    let no_answer =
        "[[audience]]\nname = \"paid\"\non = [\"*\"]\nhear_if = 'peer.claims.paid'\nmode = \"observe\"\n";
    let observing = serve(&format!("{INTERNAL}mode = \"observe\"\n{no_answer}")).await;
    assert_eq!(day_of_a_guest(&observing).await, expected);
    assert_eq!(observing.metric(&withheld("audience")).await, 0.0);
    // Task 8 is not in its filter, and so would have been withheld from it anyway. Three rounds of each to the guest.
    assert_eq!(observing.metric(&withheld("filter")).await, 3.0);
    assert_eq!(observing.metric(&by_rule("internal")).await, 6.0);
    assert_eq!(observing.metric(&judged("internal", "observed")).await, 1.0);
    // The first that would withhold it is the one that counts: of the sender's twelve all, of the guest's nine the others.
    assert_eq!(observing.metric(&by_rule("paid")).await, 15.0);
    assert_eq!(observing.metric(&judged("paid", "error")).await, 2.0);
    assert_eq!(observing.metric(&withheld("observed")).await, 21.0);
    let deliveries = "flowgate_deliveries_total";
    assert_eq!(observing.metric(deliveries).await, without.metric(deliveries).await);

    let off = serve(&format!("{INTERNAL}mode = \"off\"")).await;
    assert_eq!(day_of_a_guest(&off).await, expected);
    assert_eq!(off.metric(&withheld("observed")).await, 0.0);
    // The same day with the rule in force is another one.
    assert_ne!(day_of_a_guest(&serve(INTERNAL).await).await, expected);
}

#[tokio::test]
async fn a_rule_without_an_answer_withholds() {
    let rule =
        "[[audience]]\nname = \"paid\"\non = [\"comment-*\"]\nhear_if = 'peer.claims.plan == \"pro\"'\n";
    let sidecar = serve(rule).await;
    let claims = |plan: Value| json!({ "token": mint(json!({ "teams": ["red"], "plan": plan })) });
    let mut free = RawSocket::join(sidecar.public, &claims(Value::Null)).await;
    let mut odd = RawSocket::join(sidecar.public, &claims(json!(["pro"]))).await;
    let mut paid = RawSocket::join(sidecar.public, &claims(json!("pro"))).await;
    assert_eq!(paid.ask(COMMENT).await["ok"], true);
    assert_eq!(paid.ask(UPDATED).await["ok"], true);
    assert_eq!(paid.heard_until_now().await, [COMMENT, UPDATED]);
    assert_eq!(free.heard_until_now().await, [UPDATED]);
    assert_eq!(odd.heard_until_now().await, [UPDATED]);
    assert_eq!(sidecar.metric(&judged("paid", "error")).await, 1.0);
    assert_eq!(sidecar.metric(&judged("paid", "withheld")).await, 1.0);
    assert_eq!(sidecar.metric(&by_rule("paid")).await, 2.0);
    // Claims that audience rules name are kept as for other rules, and no more of them.
    let mut large = RawSocket::open(sidecar.public).await;
    assert_eq!(large.connect(&claims(json!("x".repeat(5000)))).await, Err("token_invalid".into()));
}

#[tokio::test]
async fn a_filter_narrows_by_type_and_task() {
    let sidecar = serve("").await;
    let cases = [
        (Value::Null, ALL.to_vec()),
        (json!({}), ALL.to_vec()),
        (json!({ "types": null, "taskIds": null }), ALL.to_vec()),
        (json!({ "types": ["task-updated"] }), vec![UPDATED]),
        (json!({ "types": ["comment-*", "task-deleted"] }), vec![DELETED, COMMENT, SECRET]),
        // A task id is the same as a number and as a text; who says none is heard.
        (json!({ "taskIds": [7] }), vec![UPDATED, DELETED, SECRET]),
        (json!({ "taskIds": ["7"] }), vec![UPDATED, DELETED, SECRET]),
        (json!({ "taskIds": [8, "none"] }), vec![COMMENT, SECRET]),
        (json!({ "taskIds": [] }), vec![SECRET]),
        (json!({ "types": ["*-added", "task-updated"], "taskIds": [7] }), vec![UPDATED, SECRET]),
        (json!({ "types": [] }), vec![]),
    ];
    let mut members = Vec::new();
    for (filter, _) in &cases {
        members.push(join(&sidecar, "member", &[], filter.clone()).await);
    }
    sends(&sidecar, &ALL).await;
    let mut filtered = 0;
    for (member, (filter, expected)) in members.iter_mut().zip(&cases) {
        assert_eq!(member.heard_until_now().await, *expected, "{filter}");
        filtered += ALL.len() - expected.len();
    }
    assert_eq!(sidecar.metric(&withheld("filter")).await, filtered as f64);
    assert_eq!(sidecar.metric(&withheld("audience")).await, 0.0);
    // A sender's own echo is a delivery like others; its answer is none.
    assert_eq!(members[3].ask(DELETED).await["ok"], true);
    assert_eq!(members[3].ask(UPDATED).await["ok"], true);
    assert_eq!(members[3].heard_until_now().await, [UPDATED]);
    drop(members);
    sidecar.until_empty().await;
}

/// More of them than one broadcast writes to by itself, some of whom share a filter.
#[tokio::test]
async fn many_filters_each_hear_their_own_in_order() {
    let sidecar = serve(INTERNAL).await;
    let moved = |id: usize, n: usize| format!(r#"{{"type":"task-moved","taskId":{id},"timestamp":{n}}}"#);
    let begin = 1_000 * now() as usize;
    let mut members = Vec::new();
    for at in 0..120 {
        let roles: &[&str] = if at % 3 == 0 { &["guest"] } else { &[] };
        members.push(join(&sidecar, "member", roles, json!({ "taskIds": [at % 60, 1000] })).await);
    }
    let mut sender = join(&sidecar, "sender", &[], Value::Null).await;
    let mut expected = vec![Vec::new(); 60];
    for n in 0..600 {
        let id = if n % 10 == 0 { 1000 } else { n * 7 % 60 };
        let payload = moved(id, begin + n);
        for (own, expected) in expected.iter_mut().enumerate() {
            if id == own || id == 1000 {
                expected.push(payload.clone());
            }
        }
        match n % 50 {
            // Now and then all that was sent has been dealt with, so that nothing is under way when the next one comes.
            0 => assert_eq!(sender.ask(&payload).await["ok"], true),
            _ => sender.emit(&payload).await,
        }
    }
    assert_eq!(sender.ask(&moved(999, begin)).await["ok"], true);
    for (at, member) in members.iter_mut().enumerate() {
        assert_eq!(member.heard_until_now().await, expected[at % 60], "{at}");
    }
    drop((members, sender));
    sidecar.until_empty().await;
}

#[tokio::test]
async fn a_filter_never_widens() {
    let sidecar = serve(INTERNAL).await;
    let filter = json!({ "types": ["*", "task-deleted", "comment-internal-added"], "taskIds": [7] });
    let mut guest = join(&sidecar, "guest", &["guest"], filter.clone()).await;
    let mut stranger = RawSocket::join(sidecar.public, &auth("s", &["green"], &[], filter)).await;
    sends(&sidecar, &ALL).await;
    assert_eq!(guest.heard_until_now().await, [UPDATED]);
    assert_eq!(stranger.heard_until_now().await, NOTHING);
}

#[tokio::test]
async fn what_says_nothing_is_filtered_by_nothing() {
    let settings = "[auth]\nmode = \"off\"\n[[audience]]\nname = \"none\"\non = [\"*\"]\nhear_if = 'false'\n\
                    [events.other]\nemit = \"database-changed\"\npayload = \"any\"\n";
    let sidecar = serve(settings).await;
    let filter = json!({ "filter": { "types": ["x"], "taskIds": [1] } });
    let mut filtering = RawSocket::join(sidecar.public, &filter).await;
    let mut sender = RawSocket::join(sidecar.public, &Value::Null).await;
    assert_eq!(sender.ask_as("other", "").await["ok"], true);
    assert_eq!(sender.ask_as("other", UPDATED).await["ok"], true);
    assert_eq!(sender.ask(UPDATED).await["ok"], true);
    assert_eq!(filtering.heard_until_now().await, ["null", UPDATED]);
    assert_eq!(sender.heard_until_now().await, ["null", UPDATED]);
    assert_eq!(sidecar.metric(&withheld("audience")).await, 2.0);
}

#[tokio::test]
async fn who_only_listens_is_judged_too() {
    let settings = "[auth]\nmode = \"optional\"\n[rooms]\nanonymous = \"lobby\"\n[[audience]]\nname = \"known\"\n\
                    on = [\"comment-*\"]\nteams = [\"lobby\"]\nhear_if = 'has(peer.sub)'\n";
    let sidecar = serve(settings).await;
    let mut nobody = RawSocket::join(sidecar.public, &Value::Null).await;
    let filter = json!({ "filter": { "taskIds": [7] } });
    let mut picky = Polling::join(sidecar.public, &filter).await;
    let mut sender = RawSocket::join(sidecar.public, &auth("s", &["lobby"], &[], Value::Null)).await;
    for payload in [COMMENT, DELETED, r#"{"type":"task-moved","taskId":9}"#, UPDATED] {
        assert_eq!(sender.ask(payload).await["ok"], true);
    }
    assert_eq!(nobody.heard_until_now().await.len(), 3);
    assert_eq!(picky.event().await, DELETED);
    assert_eq!(picky.event().await, UPDATED);
}

#[tokio::test]
async fn a_filter_that_is_not_understood_is_refused() {
    let sidecar = serve("").await;
    let connect = async |auth: &Value| RawSocket::open(sidecar.public).await.connect(auth).await;
    let refused = Err("invalid_payload".to_owned());
    let bad = [
        json!("task-updated"),
        json!({ "type": ["task-updated"] }),
        json!({ "types": "task-updated" }),
        json!({ "types": ["a*b*c"] }),
        json!({ "taskIds": [1.5] }),
        json!({ "taskIds": [{}] }),
        json!({ "types": vec!["x"; 33] }),
        json!({ "taskIds": vec![1; 257] }),
        json!({ "taskIds": ["x".repeat(4097)] }),
    ];
    for filter in &bad {
        assert_eq!(connect(&auth("ann", &["red"], &[], filter.clone())).await, refused, "{filter}");
    }
    assert_eq!(sidecar.metric(&refusals("invalid_payload")).await, bad.len() as f64);
    let mut polling = Polling::open(sidecar.public).await;
    assert_eq!(polling.connect(&auth("ann", &["red"], &[], json!([]))).await, refused);
    // Who is nobody learns nothing of filters.
    let token = json!({ "token": "x.y.z", "filter": 7 });
    assert_eq!(connect(&token).await, Err("token_invalid".into()));
    // The limits themselves pass, and nobody was let in by halves.
    let most = json!({ "types": vec!["x"; 32], "taskIds": vec![1; 256] });
    assert_eq!(connect(&auth("ann", &["red"], &[], most)).await, Ok(()));
    sidecar.until("flowgate_peers", 0.0).await;
}
