//! What can be read.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::http::Http;
use crate::harness::operator::operated;
use crate::harness::polling::Polling;
use crate::harness::websocket::RawSocket;
use crate::harness::{claims, code_of, member, mint, until};

/// The texts of one field of a list's entries, in their order.
fn texts(list: &Value, field: &str) -> Vec<String> {
    list.as_array().unwrap().iter().map(|entry| entry[field].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn connections_are_listed_with_who_they_are_and_never_with_what_lets_them_in() {
    let (sidecar, operator) = operated("").await;
    let token = mint(json!({ "sub": "ann", "teams": ["red", "blue"], "roles": ["editor"] }));
    let _ann = RawSocket::join(sidecar.public, &json!({ "token": token.clone() })).await;
    let ben = Polling::join(sidecar.public, &member("ben", &["red"])).await;
    let _nobody = RawSocket::open(sidecar.public).await;
    let answer = operator.get("/api/connections").await;
    assert_eq!((&answer["total"], &answer["matching"], answer.get("next")), (&json!(3), &json!(3), None));
    let [first, second, third] = &answer["connections"].as_array().unwrap()[..] else { panic!("{answer}") };
    assert_eq!(
        json!([first["subject"], first["teams"], first["roles"], first["transport"], first["standing"]]),
        json!(["ann", ["red", "blue"], ["editor"], "websocket", "verified"])
    );
    assert_eq!((&first["address"], &second["transport"]), (&json!("127.0.0.1"), &json!("polling")));
    assert_eq!(
        (&third["standing"], &third["teams"], third.get("subject")),
        (&json!("connecting"), &json!([]), None)
    );
    let exp = claims(json!({}))["exp"].as_u64().unwrap();
    let expires = time::OffsetDateTime::parse(
        first["expires"].as_str().unwrap(),
        &time::format_description::well_known::Rfc3339,
    );
    assert!(expires.unwrap().unix_timestamp().abs_diff(exp as i64) < 60, "{first}");
    assert!(first["since"].as_str().unwrap().ends_with(".000Z"), "{first}");
    let text = answer.to_string();
    for secret in [&*token, token.rsplit('.').next().unwrap(), &ben.sid] {
        assert!(!text.contains(secret), "{text}");
    }

    let id = first["id"].as_str().unwrap();
    let one = operator.get(&format!("/api/connections/{id}")).await;
    assert_eq!(
        (&one["subject"], &one["filtered"], one.get("chosenTeam")),
        (&json!("ann"), &json!(false), None)
    );
    for wrong in ["c0", "c999999", "1", "c01", "%2e%2e", "c1%00"] {
        let (status, answer) = operator.ask("GET", &format!("/api/connections/{wrong}"), "").await;
        assert_eq!((status, &answer["code"]), (404, &json!("not_found")), "{wrong}");
    }
}

#[tokio::test]
async fn lists_are_filtered_and_come_in_pages_that_lack_nobody() {
    let (sidecar, operator) = operated("").await;
    let mut sockets = Vec::new();
    for at in 0..23 {
        let teams: &[&str] = if at % 2 == 0 { &["red"] } else { &["red-2", "blue"] };
        sockets.push(RawSocket::join(sidecar.public, &member(&format!("user-{at}"), teams)).await);
    }
    let _polling = Polling::join(sidecar.public, &member("user-p", &["red"])).await;
    let _elsewhere = RawSocket::open_from([127, 0, 0, 9].into(), sidecar.public).await.unwrap();
    for (query, matching) in [
        ("", 25),
        ("team=red", 13),
        ("teamPrefix=red", 24),
        ("team=blue", 11),
        ("user=user-1", 1),
        ("userPrefix=user-1", 11),
        ("transport=polling", 1),
        ("transport=polling&team=blue", 0),
        ("address=127.0.0.9", 1),
        ("address=::ffff:127.0.0.9", 1),
        ("address=127.0.0.0/29", 24),
        ("address=127.0.0.0/8&team=red", 13),
        ("user=", 0),
        ("userPrefix=", 24),
    ] {
        let answer = operator.get(&format!("/api/connections?{query}")).await;
        assert_eq!((&answer["matching"], &answer["total"]), (&json!(matching), &json!(25)), "{query}");
        assert_eq!(answer["connections"].as_array().unwrap().len(), matching, "{query}");
    }
    let (mut seen, mut pages, mut cursor) = (BTreeSet::new(), 0, String::new());
    loop {
        let page = operator.get(&format!("/api/connections?limit=7&userPrefix=user{cursor}")).await;
        assert_eq!(page["matching"], 24);
        let ids = texts(&page["connections"], "id");
        assert!(ids.len() <= 7 && ids.iter().all(|id| seen.insert(id.clone())), "{ids:?}");
        pages += 1;
        match page.get("next") {
            Some(next) => cursor = format!("&cursor={}", next.as_str().unwrap()),
            None => break,
        }
    }
    assert_eq!((pages, seen.len()), (4, 24));
    // Whoever is gone is listed no more, and whoever a cursor stood on need not be there.
    let page = operator.get("/api/connections?limit=1&user=user-0").await;
    let first = page["connections"][0]["id"].as_str().unwrap().to_owned();
    let next = operator.get("/api/connections?limit=1").await["next"].as_str().unwrap().to_owned();
    sockets.remove(0).stream.close(None).await.unwrap();
    until("it is gone", async || {
        operator.ask("GET", &format!("/api/connections/{first}"), "").await.0 == 404
    })
    .await;
    let rest = operator.get(&format!("/api/connections?cursor={next}")).await;
    assert_eq!((&rest["total"], rest["connections"].as_array().unwrap().len()), (&json!(24), 24));
}

#[tokio::test]
async fn questions_that_cannot_be_are_refused_with_what_is_wrong() {
    let (_sidecar, operator) = operated("").await;
    for (target, words) in [
        ("/api/connections?limit=0", "limit is a whole number from 1 to 500"),
        ("/api/connections?limit=501", "limit is a whole number from 1 to 500"),
        ("/api/connections?limit=-1", "limit is"),
        ("/api/connections?limit=", "limit is"),
        ("/api/connections?limit=5&limit=5", "twice"),
        ("/api/connections?transport=carrier-pigeon", "polling or websocket"),
        ("/api/connections?address=localhost", "an IP address, or a network"),
        ("/api/connections?address=10.0.0.0/33", "an IP address, or a network"),
        ("/api/connections?cursor=!", "cursor is none"),
        ("/api/connections?cursor=YzAx", "cursor is none"),
        (
            "/api/connections?token=secret",
            "user, userPrefix, team, teamPrefix, address, transport, limit, cursor",
        ),
        ("/api/connections/c1?x", "takes no query"),
        ("/api/teams?sort=size", "sort is name, members, events or deliveries"),
        ("/api/teams?cursor=eA", "cursor is none"),
        ("/api/teams?user=ann", "prefix, sort, limit, cursor"),
        ("/api/series?minutes=61", "minutes is a whole number from 1 to 60"),
        ("/api/status?x=1", "takes no query"),
        ("/api/observed?x=1", "takes no query"),
        ("/api/policy?x=1", "takes no query"),
    ] {
        let (status, answer) = operator.ask("GET", target, "").await;
        assert_eq!((status, &answer["code"]), (400, &json!("invalid_query")), "{target}");
        assert!(answer["message"].as_str().unwrap().contains(words), "{target}: {answer}");
        assert!(!answer.to_string().contains("secret"), "{answer}");
    }
    for path in ["connections", "connections/c1", "teams", "status", "series", "observed", "policy"] {
        let answer = Http::to(operator.0).await.request("GET", &format!("/api/{path}"), &[], "").await;
        assert_eq!((answer.status, &*code_of(&answer)), (401, "unauthorized"), "{path}");
    }
}

#[tokio::test]
async fn one_connection_names_all_of_its_teams_and_a_list_only_some() {
    let (sidecar, operator) = operated("").await;
    let teams: Vec<String> = (0..20).map(|at| format!("team-{at}")).collect();
    let named: Vec<&str> = teams.iter().map(|team| team.as_str()).collect();
    let mut auth = member("ann", &named);
    auth["team"] = "team-3".into();
    auth["filter"] = json!({ "types": ["task-*"] });
    let _ann = RawSocket::join(sidecar.public, &auth).await;
    let listed = operator.get("/api/connections").await["connections"][0].clone();
    assert_eq!((listed["teams"].as_array().unwrap().len(), &listed["moreTeams"]), (8, &json!(12)));
    let one = operator.get(&format!("/api/connections/{}", listed["id"].as_str().unwrap())).await;
    assert_eq!(
        (&one["teams"], &one["chosenTeam"], &one["filtered"]),
        (&json!(teams), &json!("team-3"), &json!(true))
    );
    assert_eq!(one.get("moreTeams"), None);
}

#[tokio::test]
async fn teams_have_members_and_rates_and_are_sorted_by_them() {
    let (sidecar, operator) = operated("").await;
    let mut sockets = Vec::new();
    for (team, members) in [("ant", 1), ("bee", 3), ("bat", 2), ("cat", 2)] {
        for at in 0..members {
            sockets.push(RawSocket::join(sidecar.public, &member(&format!("{team}-{at}"), &[team])).await);
        }
    }
    let answer = operator.get("/api/teams").await;
    assert_eq!(texts(&answer["teams"], "name"), ["ant", "bat", "bee", "cat"]);
    assert_eq!(
        (&answer["matching"], &answer["total"], &answer["teams"][2]["members"]),
        (&json!(4), &json!(4), &json!(3))
    );
    let by_members = operator.get("/api/teams?sort=members").await;
    assert_eq!(texts(&by_members["teams"], "name"), ["bee", "bat", "cat", "ant"]);
    assert_eq!(texts(&operator.get("/api/teams?prefix=b").await["teams"], "name"), ["bat", "bee"]);
    let (mut names, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = operator.get(&format!("/api/teams?sort=members&limit=1{cursor}")).await;
        names.extend(texts(&page["teams"], "name"));
        match page.get("next") {
            Some(next) => cursor = format!("&cursor={}", next.as_str().unwrap()),
            None => break,
        }
    }
    assert_eq!(names, ["bee", "bat", "cat", "ant"]);
    for _ in 0..10 {
        assert_eq!(sockets[1].ask("{}").await["ok"], true);
    }
    until("rates are known", async || {
        let busiest = operator.get("/api/teams?sort=events&limit=1").await["teams"][0].clone();
        let rate = |field: &str| busiest[field].as_f64().unwrap();
        busiest["name"] == "bee"
            && rate("eventsPerSecond") > 0.0
            && (rate("deliveriesPerSecond") / rate("eventsPerSecond") - 3.0).abs() < 0.1
    })
    .await;
    assert_eq!(texts(&operator.get("/api/teams?sort=deliveries&limit=1").await["teams"], "name"), ["bee"]);
    assert_eq!(operator.get("/api/teams?prefix=ant").await["teams"][0]["eventsPerSecond"], 0.0);
}

#[tokio::test]
async fn the_last_minutes_are_there_in_samples_and_the_status_in_one_look() {
    let (sidecar, operator) = operated("").await;
    let mut ann = RawSocket::join(sidecar.public, &member("ann", &["red"])).await;
    let before = operator.get("/api/status").await;
    assert_eq!(
        json!([before["version"], before["ready"], before["notReady"], before["peers"], before["rooms"]]),
        json!([env!("CARGO_PKG_VERSION"), true, null, 1, 1])
    );
    assert_eq!(
        (&before["policy"]["edition"], &before["policy"]["wantedBy"]),
        (&json!(1), &json!("the start"))
    );
    assert_eq!(before["tcpConnections"], 1);
    assert!(before["residentBytes"].as_u64().unwrap() > 1 << 20, "{before}");
    for _ in 0..40 {
        ann.ask("{}").await;
        ann.ask_as("no-such-event", "").await;
    }
    let sum =
        |samples: &Value, of: &dyn Fn(&Value) -> u64| samples.as_array().unwrap().iter().map(of).sum::<u64>();
    let accepted = |sample: &Value| sample["eventsAccepted"].as_u64().unwrap();
    until("the sample is taken", async || {
        sum(&operator.get("/api/series?minutes=1").await["samples"], &accepted) == 40
    })
    .await;
    let series = operator.get("/api/series").await;
    let samples = &series["samples"];
    assert_eq!(series["everySeconds"], 5);
    let refused = |sample: &Value| sample["refusals"]["unknown_event"].as_u64().unwrap_or(0);
    assert_eq!(sum(samples, &refused), 40);
    assert_eq!(sum(samples, &|sample| sample["eventsRefused"].as_u64().unwrap()), 40);
    assert_eq!(sum(samples, &|sample| sample["deliveries"].as_u64().unwrap()), 40);
    for latency in ["pipelineMicros", "relayMicros"] {
        let measured =
            |sample: &Value| u64::from(sample[latency]["p99"].as_f64().is_some_and(|p99| p99 > 0.0));
        assert!(sum(samples, &measured) > 0, "{samples}");
    }
    let totals = operator.get("/api/status").await["totals"].clone();
    assert_eq!(
        json!([totals["eventsAccepted"], totals["deliveries"], totals["admissions"]]),
        json!([40, 40, 1])
    );
}

#[tokio::test]
async fn what_would_be_refused_is_reported_by_its_share_of_all_of_its_type() {
    let settings = r#"
        [events.database-change]
        payload = "typed"
        validation = "observe"
        [[rules]]
        name = "nobody deletes"
        on = ["task-deleted"]
        allow_if = "false"
        mode = "observe"
    "#;
    let (sidecar, operator) = operated(settings).await;
    let mut ann = RawSocket::join(sidecar.public, &member("ann", &["red"])).await;
    for at in 0..8 {
        let stale = if at < 2 { r#","timestamp":"2001-01-01T00:00:00Z""# } else { "" };
        let answer = ann.ask(&format!(r#"{{"type":"task-updated","taskId":1{stale}}}"#)).await;
        assert_eq!(answer["ok"], true, "{answer}");
    }
    assert_eq!(ann.ask(r#"{"type":"task-deleted","taskId":1}"#).await["ok"], true);
    let report = operator.get("/api/observed").await;
    let events = report["events"].as_array().unwrap();
    let of = |kind: &str, code: &str| {
        let entry = events.iter().find(|entry| entry["type"] == kind && entry["code"] == code);
        entry.unwrap_or_else(|| panic!("{report}")).clone()
    };
    let stale = of("task-updated", "stale_timestamp");
    assert_eq!(json!([stale["events"], stale["of"], stale["share"]]), json!([2, 8, 0.25]));
    assert_eq!(of("task-updated", "future_timestamp")["events"], 0);
    assert_eq!(of("task-deleted", "not_allowed")["share"], 1.0);
    let shares: Vec<f64> = events.iter().map(|entry| entry["share"].as_f64().unwrap()).collect();
    assert!(shares.is_sorted_by(|one, other| one >= other), "{shares:?}");
    assert_eq!(
        report["rules"],
        json!([{ "rule": "nobody deletes", "events": 1, "errors": 0, "of": 1, "share": 1.0 }])
    );
}

#[tokio::test]
async fn the_policy_is_shown_with_origins_and_without_secrets() {
    let (_sidecar, operator) = operated("[auth]\nleeway = \"7s\"").await;
    let policy = operator.get("/api/policy").await;
    let in_force = operator.get("/api/status").await["policy"].clone();
    assert_eq!((&in_force["hash"], &in_force["current"]), (&policy["hash"], &json!(true)));
    let leeway = &policy["settings"]["auth.leeway"];
    assert_eq!(leeway["value"], "7s");
    assert!(leeway["origin"].as_str().unwrap().ends_with("1.toml"), "{leeway}");
    let secret = crate::harness::secret();
    let text = policy.to_string();
    assert!(text.contains("TEST_SECRET") && !text.contains(&secret), "{text}");
    assert!(!text.contains(crate::harness::operator::TOKEN), "{text}");
}
