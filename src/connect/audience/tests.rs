//! Audience rules as files say them, over peers as admission makes them.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::config::expression::Claims;
use crate::config::{Sources, load};
use crate::event::fixtures::{noon, peer};
use crate::filter::Filter;
use crate::hears::Hearing;
use crate::message::{TaskId, Topic};

const SETTINGS: &str = r#"
[[auth.issuers]]
name = "app"
algorithms = ["HS256"]
secret_env = "APP_SECRET"
[[events.database-change.types]]
match = "comment-*"
[events.note]
emit = "noted"
payload = "any"
"#;

const INTERNAL: &str = r#"
[[audience]]
name = "internal"
on = ["comment-internal-*", "task-deleted"]
teams = ["client-*"]
hear_if = '!("client" in peer.roles)'
"#;

struct World {
    policy: Policy,
    counters: AudienceCounters,
    audience: Audience,
}

impl World {
    fn new(rules: &str) -> Self {
        let sources = Sources {
            texts: vec![("audience.toml".into(), format!("{SETTINGS}{rules}"))],
            environment: vec![("APP_SECRET".into(), "s".repeat(64))],
            ..Sources::default()
        };
        let policy = load(&sources).unwrap_or_else(|problems| panic!("{problems}")).policy;
        let counters = AudienceCounters::default();
        let audience = Audience::new(&policy, &counters);
        World { policy, counters, audience }
    }

    fn listens(&self, peer: &Peer) -> Vec<Listening> {
        self.audience.listens(peer, peer.teams(), noon().wall)
    }

    /// Hears, withheld, observed, error; and the deliveries.
    fn counts(&self, rule: &str) -> [u64; 5] {
        let AudienceCounts { hears, withheld, observed, error, deliveries } = self.counters.of(rule);
        [hears, withheld, observed, error, deliveries].map(|counter| counter.get())
    }
}

fn of_roles(teams: &[&str], roles: &[&str]) -> Peer {
    let mut peer = peer(teams);
    peer.roles = roles.iter().map(|&role| role.into()).collect();
    peer
}

/// `hears`, `observed`, `ruled` or `filtered`.
fn judged(listening: &Listening, kind: &str) -> &'static str {
    let topic = Topic { kind: Some(kind.into()), task_id: Some(TaskId::Integer("1")) };
    match listening.hears.judge(&topic) {
        Hearing::Heard => "hears",
        Hearing::Observed(_) => "observed",
        Hearing::Ruled(_) => "ruled",
        Hearing::Filtered => "filtered",
    }
}

#[test]
fn a_rule_withholds_its_types_in_its_teams() {
    let world = World::new(INTERNAL);
    let client = world.listens(&of_roles(&["client-a", "staff"], &["client"]));
    assert_eq!(judged(&client[0], "comment-internal-added"), "ruled");
    assert_eq!(judged(&client[0], "task-deleted"), "ruled");
    assert_eq!(judged(&client[0], "comment-added"), "hears");
    assert_eq!(client[0].hears.judge(&Topic::default()), Hearing::Heard, "without a type");
    assert!(client[1].hears.is_everything());
    assert_eq!((&*client[0].room, &*client[1].room), ("client-a", "staff"));
    let staff = world.listens(&of_roles(&["client-a"], &["editor"]));
    assert!(staff[0].hears.is_everything());
    assert_eq!(world.counts("internal"), [1, 1, 0, 0, 0]);
    // Who hears the same is the same, so that one decision does for all.
    let other = world.listens(&of_roles(&["client-b"], &["client", "x"]));
    assert_eq!(other[0].hears, client[0].hears);
}

#[test]
fn all_rules_of_a_type_must_let_it_be_heard() {
    let world = World::new(
        r#"
[[audience]]
name = "one"
on = ["task-*"]
hear_if = '"a" in peer.roles'
[[audience]]
name = "two"
on = ["task-moved"]
hear_if = 'team == "red" || peer.teams[0] == team'
"#,
    );
    let listening = world.listens(&of_roles(&["blue", "red", "green"], &["a"]));
    assert_eq!(
        listening.iter().map(|listening| judged(listening, "task-moved")).collect::<Vec<_>>(),
        ["hears", "hears", "ruled"]
    );
    assert!(listening.iter().all(|listening| judged(listening, "task-updated") == "hears"));
    let listening = world.listens(&of_roles(&["blue"], &[]));
    assert_eq!(
        (judged(&listening[0], "task-updated"), judged(&listening[0], "comment-x")),
        ("ruled", "hears")
    );
    assert_eq!((world.counts("one"), world.counts("two")), ([3, 1, 0, 0, 0], [3, 1, 0, 0, 0]));
}

#[test]
fn no_answer_is_a_no() {
    let rule =
        "[[audience]]\nname = \"paid\"\non = [\"comment-*\"]\nhear_if = 'peer.claims.plan == \"pro\"'\n";
    let world = World::new(rule);
    let observing = World::new(&format!("{rule}mode = \"observe\""));
    let mut paid = peer(&["red"]);
    let claims = json!({ "plan": "pro", "other": 1 });
    paid.claims =
        Some(Box::new(Claims::keep(claims.as_object().unwrap(), world.policy.claims_read()).unwrap()));
    for (world, none) in [(&world, "ruled"), (&observing, "observed")] {
        assert_eq!(judged(&world.listens(&paid)[0], "comment-added"), "hears");
        assert_eq!(judged(&world.listens(&peer(&["red"]))[0], "comment-added"), none);
        assert_eq!(world.counts("paid"), [1, 0, 0, 1, 0]);
    }
}

#[test]
fn observing_and_off_withhold_nothing() {
    let world = World::new(&format!("{INTERNAL}mode = \"observe\""));
    let client = world.listens(&of_roles(&["client-a"], &["client"]));
    assert_eq!(judged(&client[0], "task-deleted"), "observed");
    assert_eq!(judged(&client[0], "task-moved"), "hears");
    assert_eq!(world.counts("internal"), [0, 0, 1, 0, 0]);
    let world = World::new(&format!("{INTERNAL}mode = \"off\""));
    assert!(world.listens(&of_roles(&["client-a"], &["client"]))[0].hears.is_everything());
    assert_eq!(world.counts("internal"), [0; 5]);
}

#[test]
fn a_filter_narrows_what_rules_leave() {
    let world = World::new(&format!(
        "{INTERNAL}\n{}",
        INTERNAL.replace("internal\"", "watched\"\nmode = \"observe\"")
    ));
    let mut client = of_roles(&["client-a", "staff"], &["client"]);
    let filter = json!({ "types": ["task-*"], "taskIds": [1] });
    client.filter = Filter::read(&filter).unwrap().map(Arc::new);
    let listening = world.listens(&client);
    // A rule speaks before the filter, and what the filter does not want an observing rule would not have withheld.
    for (kind, expected) in [
        ("task-deleted", "ruled"),
        ("task-moved", "hears"),
        ("comment-added", "filtered"),
        ("comment-internal-x", "ruled"),
    ] {
        assert_eq!(judged(&listening[0], kind), expected, "{kind}");
    }
    assert_eq!(
        (judged(&listening[1], "task-deleted"), judged(&listening[1], "comment-x")),
        ("hears", "filtered")
    );
    let observing = World::new(&format!("{INTERNAL}mode = \"observe\""));
    let listening = observing.listens(&client);
    assert_eq!(
        (judged(&listening[0], "task-deleted"), judged(&listening[0], "comment-internal-x")),
        ("observed", "filtered")
    );
}

#[test]
fn what_is_heard_is_told() {
    let world = World::new(&format!(
        "{INTERNAL}\n[[audience]]\nname = \"never\"\non = [\"task-moved\"]\nhear_if = 'peer.claims.x'"
    ));
    let client = of_roles(&["client-a"], &["client"]);
    let told = |room: &str| -> Vec<(String, Ears, usize)> {
        let heard = heard(&world.policy, &client, room, noon().wall);
        let line = |heard: Heard<'_>| {
            (format!("{} {}", heard.event, heard.kind.unwrap_or("-")), heard.hears(), heard.rules.len())
        };
        heard.into_iter().map(line).collect()
    };
    let told_in = |room| {
        told(room).iter().map(|(what, ears, rules)| format!("{what} {ears:?} {rules}")).collect::<Vec<_>>()
    };
    assert_eq!(
        told_in("client-a"),
        [
            "database-change comment-* Partly 1",
            "database-change task-created Open 0",
            "database-change task-deleted Shut 1",
            "database-change task-moved Shut 1",
            "database-change task-updated Open 0",
            "note - Open 0",
        ]
    );
    assert_eq!(told_in("staff")[0], "database-change comment-* Open 0");
    let moved = &heard(&world.policy, &client, "staff", noon().wall)[3];
    assert_eq!(moved.rules[0].1, Said::NoAnswer(Failure::Absent));
    assert_eq!(world.counts("never"), [0; 5], "nothing is counted");
}
