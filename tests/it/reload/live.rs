//! What becomes of live sockets.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::{Scene, reloads};
use crate::harness::endpoint::{Answer, Endpoint};
use crate::harness::http::get;
use crate::harness::polling::Polling;
use crate::harness::websocket::RawSocket;
use crate::harness::{closes, member, mint, now, refusals, until};
use crate::keys::*;
use flowgate::edition::Reloaded;
use jsonwebtoken::Algorithm::{ES256, HS256};

const NOTHING: [&str; 0] = [];

/// A user with teams in two claims.
async fn join(scene: &Scene, user: &str, teams: &[&str], groups: &[&str]) -> RawSocket {
    RawSocket::join(scene.sidecar.public, &auth(user, teams, groups)).await
}

fn auth(user: &str, teams: &[&str], groups: &[&str]) -> Value {
    json!({ "token": mint(json!({ "sub": user, "teams": teams, "groups": groups })) })
}

#[tokio::test]
async fn rooms_are_left_and_joined_and_nobody_is_disconnected() {
    let scene = Scene::with("").await;
    let mut ann = join(&scene, "ann", &["red"], &["blue"]).await;
    let mut ben = join(&scene, "ben", &["red"], &["red"]).await;
    let mut cat = join(&scene, "cat", &["green"], &["blue"]).await;
    let mut polls = Polling::open(scene.sidecar.public).await;
    polls.connect(&auth("dan", &["red"], &["blue"])).await.unwrap();
    assert_eq!(ann.ask("1").await["ok"], true);
    assert_eq!(ben.heard_until_now().await, ["1"]);
    assert_eq!(cat.heard_until_now().await, NOTHING);
    let (changes, closed) = scene.change("[auth.claims]\nteams = \"groups\"").await;
    assert_eq!((changes, closed), (vec!["changed auth.claims.teams".to_owned()], 0));
    assert_eq!(ann.ask("2").await["ok"], true);
    assert_eq!(ben.ask("3").await["ok"], true);
    assert_eq!(ann.heard_until_now().await, ["1", "2"]);
    assert_eq!(ben.heard_until_now().await, ["3"]);
    assert_eq!(cat.heard_until_now().await, ["2"]);
    assert_eq!(polls.event().await, "1");
    assert_eq!(polls.event().await, "2");
    scene.sidecar.until("flowgate_rooms", 2.0).await;
    assert_eq!(scene.sidecar.metric("flowgate_members").await, 4.0);
    assert_eq!(scene.sidecar.metric(&closes("policy_changed")).await, 0.0);
    drop((ann, ben, cat));
    scene.sidecar.until("flowgate_members", 1.0).await;
}

#[tokio::test]
async fn meta_and_what_is_kept_begin_and_end_with_the_policy() {
    const KEPT: &str = "[relay]\nmeta = true\n[relay.history]\ncount = 9\n";
    let scene = Scene::with("").await;
    let mut ann = join(&scene, "ann", &["red"], &[]).await;
    assert_eq!(ann.ask("1").await["ok"], true);
    scene.change(KEPT).await;
    assert_eq!(ann.ask("2").await["ok"], true);
    assert_eq!(ann.ask("3").await["ok"], true);
    let heard = ann.heard_until_now().await;
    assert_eq!(heard[0], "1");
    let meta: Value = serde_json::from_str(heard[1].strip_prefix("2,").unwrap()).unwrap();
    assert_eq!(meta["seq"], 1, "what came before was not counted");
    let mut back = auth("ben", &["red"], &[]);
    back["since"] = meta["id"].clone();
    let mut ben = RawSocket::join(scene.sidecar.public, &back).await;
    assert!(ben.event().await.starts_with("3,{"));
    scene.change("").await;
    assert_eq!(ann.ask("4").await["ok"], true);
    assert_eq!(ann.heard_until_now().await, ["4"]);
    scene.change(KEPT).await;
    // What came in between was not kept.
    let mut ben = RawSocket::join(scene.sidecar.public, &back).await;
    assert!(ben.event().await.starts_with("{\"type\":\"resync\"},{"));
}

#[tokio::test]
async fn the_audience_is_asked_again() {
    const TYPED: &str = "[events.database-change]\npayload = \"typed\"\n";
    const RULE: &str = r#"
[[audience]]
name = "internal"
on = ["task-deleted"]
hear_if = '!("guest" in peer.roles) && peer.claims.level == "high"'
"#;
    const DELETED: &str = r#"{"type":"task-deleted","taskId":7}"#;
    let scene = Scene::with(TYPED).await;
    let user = |user: &str, role: &str, level: &str| json!({ "token": mint(json!({ "sub": user, "roles": [role], "level": level })) });
    let mut guest = RawSocket::join(scene.sidecar.public, &user("guest", "guest", "high")).await;
    let mut low = RawSocket::join(scene.sidecar.public, &user("low", "editor", "low")).await;
    let mut high = RawSocket::join(scene.sidecar.public, &user("high", "editor", "high")).await;
    assert_eq!(high.ask(DELETED).await["ok"], true);
    for socket in [&mut guest, &mut low, &mut high] {
        assert_eq!(socket.heard_until_now().await, [DELETED]);
    }
    // A claim that no rule had read is known all the same.
    let (changes, _) = scene.change(&format!("{TYPED}{RULE}")).await;
    assert_eq!(changes, ["added audience[name=\"internal\"]"]);
    assert_eq!(high.ask(DELETED).await["ok"], true);
    assert_eq!(guest.heard_until_now().await, NOTHING);
    assert_eq!(low.heard_until_now().await, NOTHING);
    assert_eq!(high.heard_until_now().await, [DELETED]);
    scene.change(TYPED).await;
    assert_eq!(low.ask(DELETED).await["ok"], true);
    for socket in [&mut guest, &mut low, &mut high] {
        assert_eq!(socket.heard_until_now().await, [DELETED]);
    }
}

#[tokio::test]
async fn spent_budgets_are_kept_where_the_rate_is_the_same() {
    let limits = |socket: u32, user: u32, more: &str| {
        format!("[limits.events]\nper_socket = \"{socket}/h\"\nper_user = \"{user}/h\"\n{more}")
    };
    let scene = Scene::with(&limits(2, 100, "")).await;
    let mut ann = join(&scene, "ann", &["red"], &[]).await;
    let mut answers = Vec::new();
    for settings in ["", "[refusals]\ndetail = \"full\"\n"] {
        if !settings.is_empty() {
            scene.change(&limits(2, 100, settings)).await;
        }
        for _ in 0..2 {
            answers.push(ann.ask("1").await["ok"] == true);
        }
    }
    assert_eq!(answers, [true, true, false, false]);
    // What the first policy refuses by the socket's rate the next refuses by the user's.
    scene.change(&limits(50, 100, "")).await;
    assert_eq!(ann.ask("1").await["ok"], true);
    scene.change(&limits(50, 1, "")).await;
    assert_eq!([ann.ask("1").await["ok"] == true, ann.ask("1").await["ok"] == true], [true, false]);
    scene.change(&limits(50, 1, "[refusals]\ndetail = \"full\"\n")).await;
    assert_eq!(ann.ask("1").await["rule"], "limits.events.per_user");
}

#[tokio::test]
async fn who_may_not_stay_is_closed_and_comes_back_to_hear_why() {
    let scene = Scene::with("").await;
    let mut ann = join(&scene, "ann", &["red"], &[]).await;
    let mut ben = join(&scene, "ben", &["red"], &["red"]).await;
    let mut polls = Polling::open(scene.sidecar.public).await;
    polls.connect(&auth("cat", &["red"], &[])).await.unwrap();
    let (_, closed) = scene.change("[auth.claims]\nteams = \"groups\"").await;
    assert_eq!(closed, 2);
    // Nothing is heard under the new policy by those who may not stay.
    assert_eq!(ben.ask("1").await["ok"], true);
    ann.send("41").await;
    assert_eq!(ann.close_code().await, Some(1001));
    scene.sidecar.until(&closes("policy_changed"), 2.0).await;
    scene.sidecar.until("flowgate_peers", 1.0).await;
    let mut again = RawSocket::open(scene.sidecar.public).await;
    assert_eq!(again.connect(&auth("ann", &["red"], &[])).await, Err("no_team".into()));
    assert_eq!(scene.sidecar.metric("flowgate_deliveries_total").await, 1.0);
}

#[tokio::test]
async fn the_door_is_shut_and_opened_for_those_who_are_in() {
    let scene = Scene::with("[auth]\nmode = \"off\"").await;
    let mut stranger = RawSocket::join(scene.sidecar.public, &Value::Null).await;
    assert_eq!(stranger.ask("1").await["ok"], true);
    let (_, closed) = scene.change("[auth]\nmode = \"optional\"\n[rooms]\nanonymous = \"lobby\"").await;
    assert_eq!(closed, 1);
    stranger.closed().await;
    let mut silent = RawSocket::join(scene.sidecar.public, &Value::Null).await;
    let mut ann = join(&scene, "ann", &["lobby"], &[]).await;
    assert_eq!(silent.ask("1").await["code"], "not_allowed");
    let (_, closed) = scene.change("").await;
    assert_eq!(closed, 1);
    silent.closed().await;
    assert_eq!(ann.ask("1").await["ok"], true);
    let (_, closed) = scene.change("[auth]\nmode = \"off\"").await;
    assert_eq!(closed, 0);
    let mut other = RawSocket::join(scene.sidecar.public, &Value::Null).await;
    assert_eq!(other.ask("2").await["ok"], true);
    assert_eq!(ann.heard_until_now().await, ["1", "2"]);
    // It has not forgotten who she is.
    scene.change("").await;
    assert_eq!(ann.ask("3").await["ok"], true);
    assert_eq!(ann.heard_until_now().await, ["3"]);
}

#[tokio::test]
async fn secrets_and_keys_are_rotated_and_a_withdrawn_one_takes_its_sockets_with_it() {
    const ISSUERS: &str = r#"
[[auth.issuers]]
name = "app"
secret_env = []
secret_file = ["new", "old"]
[[auth.issuers]]
name = "pem"
issuer = "https://pem.example"
algorithms = ["ES256"]
public_key_file = "key.pem"
"#;
    let other = vec![b'x'; 64];
    let files: [(&str, &[u8]); 3] = [("new", &other), ("old", SECRET), ("key.pem", P256_PUBLIC)];
    let scene = Scene::with_files(ISSUERS, &files).await;
    let of = |key: &[u8], algorithm, issuer: &str| {
        let claims = json!({ "iss": issuer, "sub": "u", "aud": "flowgate", "teams": ["red"], "iat": now(), "exp": now() + 60 });
        json!({ "token": token(&claims, key, algorithm) })
    };
    let (app, pem) = ("https://app.example", "https://pem.example");
    let mut old = RawSocket::join(scene.sidecar.public, &of(SECRET, HS256, app)).await;
    let mut new = RawSocket::join(scene.sidecar.public, &of(&other, HS256, app)).await;
    let by_pem = RawSocket::join(scene.sidecar.public, &of(P256, ES256, pem)).await;
    // The names of the files stay; what stands in them does not.
    scene.write("old", vec![b'y'; 64]);
    scene.write("key.pem", P256_OTHER_PUBLIC);
    let Reloaded::Applied { changes, closed, before, after, .. } = scene.reload().await else { panic!() };
    let keys: Vec<&str> = changes.iter().map(|change| &*change.key).collect();
    let expected =
        ["auth.issuers[name=\"app\"].secret_file[1]", "auth.issuers[name=\"pem\"].public_key_file"];
    assert_eq!((keys, closed), (expected.to_vec(), 2));
    assert_ne!(before, after, "a public key is part of the hash");
    assert_eq!(new.ask("1").await["ok"], true);
    old.send("41").await;
    old.closed().await;
    by_pem.closed().await;
    for (auth, outcome) in [
        (of(SECRET, HS256, app), Err("token_invalid".to_owned())),
        (of(&[b'y'; 64], HS256, app), Ok(())),
        (of(P256, ES256, pem), Err("token_invalid".to_owned())),
        (of(P256_OTHER, ES256, pem), Ok(())),
    ] {
        assert_eq!(RawSocket::open(scene.sidecar.public).await.connect(&auth).await, outcome);
    }
    // Half of a rotation, with a file that is not there yet, changes nothing.
    std::fs::remove_file(scene.path("new")).unwrap();
    let Reloaded::Refused { problems, .. } = scene.reload().await else { panic!() };
    assert!(problems[0].to_string().contains("secret_file"), "{problems:?}");
    assert_eq!(new.ask("2").await["ok"], true);
}

#[tokio::test]
async fn an_endpoint_that_stays_keeps_its_keys_and_a_new_one_must_have_some() {
    let endpoint = Endpoint::start(Answer::Body(jwks(&[jwk(P256, "a", ES256)]))).await;
    let issuer = |name: &str, url: &url::Url| {
        format!(
            "[[auth.issuers]]\nname = \"{name}\"\nissuer = \"https://{name}.example\"\nalgorithms = [\"ES256\"]\n\
                 jwks_url = \"{url}\"\ninsecure_http = true\n"
        )
    };
    let first = issuer("one", &endpoint.url);
    let scene = Scene::with(&first).await;
    let by = |issuer: &str| {
        let claims = claims(
            json!({ "iss": format!("https://{issuer}.example"), "aud": null, "iat": now(), "exp": now() + 60 }),
        );
        json!({ "token": token_with_kid(&claims, "a", P256, ES256) })
    };
    let mut ann = RawSocket::join(scene.sidecar.public, &by("one")).await;
    assert_eq!(endpoint.requests(), 1);
    // From here on it has nothing to give.
    endpoint.answers(Answer::Silent);
    scene.change(&format!("{first}[refusals]\ndetail = \"full\"")).await;
    assert_eq!(ann.ask("1").await["ok"], true);
    RawSocket::join(scene.sidecar.public, &by("one")).await;
    assert_eq!(endpoint.requests(), 1, "it was not asked again");
    let dead = Endpoint::start(Answer::Status("503 Service Unavailable")).await;
    let said = scene.refused(&format!("{first}{}", issuer("two", &dead.url))).await;
    assert!(said.contains("auth.issuers[name=\"two\"].jwks_url"), "{said}");
    let good = Endpoint::start(Answer::Body(jwks(&[jwk(P256, "a", ES256)]))).await;
    let (_, closed) = scene.change(&format!("{first}{}", issuer("two", &good.url))).await;
    assert_eq!(closed, 0);
    RawSocket::join(scene.sidecar.public, &by("two")).await;
    // The next policy is without the first: whoever it had vouched for goes.
    let (_, closed) = scene.change(&issuer("two", &good.url)).await;
    assert_eq!(closed, 1);
    ann.closed().await;
}

/// Whoever waits for a key is seated by the policy that is in force when it has come.
#[tokio::test]
async fn who_is_being_admitted_comes_in_by_the_policy_that_came_meanwhile() {
    let (old, new) = (jwk(P256, "old", ES256), jwk(P256_OTHER, "new", ES256));
    let endpoint = Endpoint::start(Answer::Body(jwks(std::slice::from_ref(&old)))).await;
    let issuer = format!(
        "[[auth.issuers]]\nname = \"es\"\nissuer = \"https://es.example\"\nalgorithms = [\"ES256\"]\n\
         jwks_url = \"{}\"\ninsecure_http = true\n",
        endpoint.url
    );
    let scene = Scene::with(&issuer).await;
    let mut red = join(&scene, "red", &["red"], &["red"]).await;
    let mut blue = join(&scene, "blue", &["blue"], &["blue"]).await;
    let permits = Arc::new(Semaphore::new(0));
    endpoint.answers(Answer::Held(jwks(&[old, new]), permits.clone()));
    let public = scene.sidecar.public;
    let coming = |groups: &'static [&'static str]| {
        let claims = claims(json!({
            "iss": "https://es.example", "aud": null, "sub": "ann", "teams": ["red"], "groups": groups,
            "iat": now(), "exp": now() + 60,
        }));
        let auth = json!({ "token": token_with_kid(&claims, "new", P256_OTHER, ES256) });
        tokio::spawn(async move {
            let mut socket = RawSocket::open(public).await;
            (socket.connect(&auth).await, socket)
        })
    };
    let (ann, nobody) = (coming(&["blue"]), coming(&[]));
    until("both wait for the key", async || endpoint.requests() > 1).await;
    let by_groups = format!("{issuer}[auth.claims]\nteams = \"groups\"\n");
    scene.change(&by_groups).await;
    permits.add_permits(10);
    let (outcome, mut ann) = ann.await.unwrap();
    assert_eq!(outcome, Ok(()));
    assert_eq!(nobody.await.unwrap().0, Err("no_team".into()));
    assert_eq!(red.ask("1").await["ok"], true);
    assert_eq!(blue.ask("2").await["ok"], true);
    assert_eq!(ann.heard_until_now().await, ["2"]);
    drop((ann, red, blue));
    scene.sidecar.until_empty().await;
}

#[tokio::test]
async fn a_bad_configuration_and_one_that_needs_a_restart_change_nothing() {
    let scene = Scene::with("").await;
    let mut ann = join(&scene, "ann", &["red"], &[]).await;
    let hash = || async {
        let ready: Value =
            serde_json::from_str(&get(scene.sidecar.internal, "/ready", &[]).await.body).unwrap();
        assert_eq!(ready["ready"], true);
        ready["policy"].as_str().unwrap().to_owned()
    };
    let first = hash().await;
    let said = scene.refused("[limits.events]\nper_sockt = \"1/s\"\n[refusals]\ndetail = \"loud\"").await;
    assert!(said.contains("limits.events.per_sockt") && said.contains("refusals.detail"), "{said}");
    for (settings, key) in [
        ("[server]\nlisten = \"127.0.0.1:1\"", "server.listen"),
        ("[server]\npath = \"/other/\"", "server.path"),
        ("[server]\ntransports = [\"polling\"]", "server.transports"),
        ("[internal]\nlisten = \"127.0.0.1:1\"", "internal.listen"),
        ("[limits.payload]\nhard_max_bytes = \"128KiB\"", "limits.payload.hard_max_bytes"),
        ("[revocation]\ncapacity = 9", "revocation.capacity"),
        ("[bus]\nnode = \"other\"", "bus.node"),
        ("[bus.redis]\nprefix = \"other\"", "bus.redis.prefix"),
    ] {
        let said = scene.refused(&format!("{settings}\n[refusals]\ndetail = \"full\"")).await;
        let place = format!("{}: {key}: ", scene.path("2.toml").display());
        assert!(said.starts_with(&place) && said.contains("restart"), "{said}");
    }
    assert_eq!(ann.ask_as("x", "1").await, json!({ "ok": false, "code": "unknown_event" }));
    assert_eq!(hash().await, first);
    assert_eq!(scene.sidecar.metric(&reloads("refused")).await, 9.0);
    assert_eq!(scene.sidecar.metric("flowgate_policy_current").await, 0.0);
    assert_eq!(scene.sidecar.metric(&format!("flowgate_policy_info{{hash=\"{first}\"}}")).await, 1.0);
    scene.write("2.toml", "# as before");
    assert!(matches!(scene.reload().await, Reloaded::Unchanged { .. }));
    assert_eq!(scene.sidecar.metric("flowgate_policy_current").await, 1.0);
    scene.change("[refusals]\ndetail = \"full\"").await;
    let second = hash().await;
    assert_ne!(second, first);
    let infos = scene.sidecar.metrics("flowgate_policy_info").await;
    assert_eq!(infos, [1.0], "there is one policy at a time");
    assert!(ann.ask_as("x", "1").await["message"].is_string());
}

#[tokio::test]
async fn what_lives_beside_the_policy_follows_it() {
    let scene = Scene::with("").await;
    let origin = [("Origin", "https://new.example")];
    let open = || async { RawSocket::open_with(scene.sidecar.public, &origin).await };
    assert_eq!(open().await.err().map(|answer| answer.status), Some(403));
    let log = scene.path("decisions.jsonl");
    let settings = format!(
        "[server]\nallowed_origins = [\"https://new.example\"]\n[limits.connections]\ntotal = 2\n\
         [relay.coalesce]\nwindow = \"1s\"\n[decision_log]\npath = {:?}\nsample = 1\n",
        log.display().to_string()
    );
    let mut ann = join(&scene, "ann", &["red"], &[]).await;
    scene.change(&settings).await;
    let second = open().await.expect("the origin is allowed now");
    assert_eq!(open().await.err().map(|answer| answer.status), Some(503), "two are the most now");
    // Two equal changes within the window are one.
    ann.ask("1").await;
    ann.ask("1").await;
    assert_eq!(ann.event().await, "1");
    scene.sidecar.until("flowgate_events_folded_total{by=\"window\"}", 1.0).await;
    let lines = || std::fs::read_to_string(&log).unwrap_or_default();
    crate::harness::until("the decision log tells of both", async || {
        lines().contains("\"kind\":\"reload\"") && lines().contains("\"kind\":\"event\"")
    })
    .await;
    // Who is in stays above a cap that was lowered.
    scene
        .change(&settings.replace("total = 2", "total = 1").replace("window = \"1s\"", "window = \"0s\""))
        .await;
    ann.ask("2").await;
    assert_eq!(ann.heard_until_now().await, ["2"]);
    drop(second);
    scene.change("").await;
    assert!(open().await.is_err(), "as before");
    assert_eq!(scene.sidecar.metric(&refusals("origin")).await, 2.0);
    RawSocket::join(scene.sidecar.public, &member("ben", &["red"])).await;
}

#[tokio::test]
async fn tokens_that_live_too_long_by_the_new_policy_are_not_honoured() {
    let scene = Scene::with("").await;
    let ann = join(&scene, "ann", &["red"], &[]).await;
    let short = json!({ "token": mint(json!({ "sub": "ben", "exp": now() + 30 })) });
    let mut ben = RawSocket::join(scene.sidecar.public, &short).await;
    let (_, closed) = scene.change("[auth]\nmax_lifetime = \"1m\"").await;
    assert_eq!(closed, 1);
    ann.closed().await;
    assert_eq!(ben.ask("1").await["ok"], true);
    // A token whose time was over already, but for the leeway.
    let late = json!({ "token": mint(json!({ "sub": "cat", "exp": now() - 10, "iat": now() - 60 })) });
    scene.change("[auth]\nleeway = \"10m\"").await;
    let late = RawSocket::join(scene.sidecar.public, &late).await;
    let (_, closed) = scene.change("").await;
    assert_eq!(closed, 1);
    late.closed().await;
    scene.sidecar.until(&closes("token_expired"), 1.0).await;
    assert_eq!(ben.ask("2").await["ok"], true);
}
