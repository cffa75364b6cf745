//! Row 31: what must stand in no log and in no metric, whatever the log was asked to tell.

use serde_json::json;

use super::scene::Scene;
use crate::harness::http::{Http, POLLING, UPGRADE, get};
use crate::harness::polling::Polling;
use crate::harness::websocket::RawSocket;
use crate::harness::{claims, mint, now};
use crate::keys::{self, SECRET};

/// Tokens may come on more than one way.
const EVERY_WAY: &str = r#"
[auth]
token_from = ["auth", "header"]
[events.typed]
emit = "database-changed"
payload = "typed"
team_field = "team"
types = [{ match = "known" }]
"#;

/// The names of all series, without their values.
async fn series(scene: &Scene) -> Vec<String> {
    let text = get(scene.internal, "/metrics", &[]).await.body;
    let name = |line: &str| line.rsplit_once(' ').map(|(name, _)| name.to_owned());
    let mut names: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).filter_map(name).collect();
    names.sort_unstable();
    names
}

/// Texts that must stand nowhere. Each is found again by its mark, whole or in the parts that matter.
struct Secrets(Vec<String>);

impl Secrets {
    /// A token and its parts, of which each tells something.
    fn token(&mut self, token: String) -> String {
        self.0.extend(token.split('.').skip(1).map(str::to_owned));
        token
    }

    /// A text of an attacker's choosing.
    fn chosen(&mut self, text: &str) -> String {
        self.0.push(text.to_owned());
        text.to_owned()
    }

    fn assert_not_in(&self, what: &str, text: &str) {
        for secret in &self.0 {
            let line = text.lines().find(|line| line.contains(secret.as_str()));
            assert_eq!(line, None, "{secret} stands in {what}");
        }
    }
}

/// A good token with a private claim, another one for each name.
fn good(name: &str) -> String {
    mint(json!({ "sub": name, "teams": ["blue"], "private": format!("hunter2-{name}") }))
}

/// One whose signature is of no key.
fn forged(name: &str) -> String {
    let claims = claims(json!({ "sub": name, "teams": ["blue"] }));
    keys::token(&claims, b"another secret, which is long enough for HS256", jsonwebtoken::Algorithm::HS256)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_31_tokens_sids_and_chosen_names_stand_in_no_log_and_no_metric() {
    let scene = Scene::new_in(EVERY_WAY, &[("FLOWGATE_LOG", "trace")]).await;
    let before = series(&scene).await;
    let mut secrets = Secrets(vec![String::from_utf8(SECRET.to_vec()).unwrap()]);
    let attack = async {
        // Where tokens belong, good and bad, and ended.
        let over = mint(json!({ "sub": "over", "exp": now() - 60, "iat": now() - 120 }));
        for token in [
            good("auth"),
            forged("auth"),
            over,
            "needle-no-token".into(),
            format!("{}.needle-x", good("odd")),
        ] {
            let auth = json!({ "token": secrets.token(token) });
            let mut websocket = RawSocket::open(scene.public).await;
            let mut polling = Polling::open(scene.public).await;
            let outcomes = (websocket.connect(&auth).await, polling.connect(&auth).await);
            assert_eq!(outcomes.0, outcomes.1);
            secrets.0.extend([websocket.sid.clone(), polling.sid.clone()]);
            polling.post("1").await;
        }
        let bearer = format!("Bearer {}", secrets.token(good("header")));
        let mut by_header = RawSocket::open_with(scene.public, &[("Authorization", &bearer)]).await.unwrap();
        secrets.0.push(by_header.sid.clone());
        by_header.connect(&json!({})).await.unwrap();
        // And where they do not.
        let strayed = secrets.token(good("strayed"));
        let cookie = format!("jwt={strayed}; token={strayed}");
        for target in [
            format!("{POLLING}&token={strayed}"),
            format!("{POLLING}&auth={strayed}&access_token={strayed}"),
            format!("{POLLING}&sid={strayed}"),
            format!("{POLLING}&sid=needle-sid"),
            format!("/socket.io/{strayed}?EIO=4&transport=polling"),
            format!("/{strayed}"),
            "/needle-path?needle-query=1".into(),
            "/socket.io/?EIO=needle-eio&transport=needle-transport".into(),
        ] {
            let headers = [
                ("Cookie", cookie.as_str()),
                ("Referer", strayed.as_str()),
                ("X-Needle-Header", strayed.as_str()),
                ("X-Forwarded-For", "needle-forwarded"),
                ("User-Agent", "needle-agent"),
            ];
            for address in [scene.public, scene.internal] {
                get(address, &target, &headers).await;
                get(address, &target, &[("Origin", "https://needle-origin.test")]).await;
                let upgrade: Vec<_> = UPGRADE.iter().chain(&headers).copied().collect();
                Http::to(address).await.request("GET", &target, &upgrade, "").await;
                Http::to(address).await.request("POST", &target, &headers, "4needle-body").await;
            }
            let mut broken = Http::to(scene.public).await;
            broken.send_raw(format!("NEEDLE-METHOD {strayed} HTTP/9\r\nneedle-line\r\n\r\n")).await;
            broken.closed().await;
        }
        for chosen in ["hunter2", "needle-", "needle_", "Needle", "NEEDLE"] {
            secrets.chosen(chosen);
        }
        // Names and payloads, a thousand of each, of one who is let in.
        for at in 0..1_000 {
            let name = format!("needle-event-{at}");
            let payload = format!(
                r#"{{"type":"needle-type-{at}","needle_{at}":1,"team":"needle-team-{at}","taskId":"needle-{at}"}}"#
            );
            assert_eq!(by_header.ask_as(&name, &payload).await["code"], "unknown_event");
            assert_eq!(by_header.ask_as("typed", &payload).await["ok"], false);
            assert_eq!(by_header.ask(&payload).await["ok"], true);
        }
        for packet in [
            "40/needle-namespace,",
            "42/needle-namespace,[\"needle-event\"]",
            "4needle-packet",
            "needle-packet",
            "42[\"needle-event\",needle]",
            "451-[\"needle-event\",{\"_placeholder\":true,\"num\":0}]",
        ] {
            let mut socket = scene.websocket("eve", &["blue"]).await;
            secrets.0.push(socket.sid.clone());
            socket.send(packet).await;
            socket.closed().await;
        }
        let mut auth = json!({ "token": good("choosing"), "needle-auth": 1 });
        auth["team"] = "needle-team".into();
        assert_eq!(RawSocket::open(scene.public).await.connect(&auth).await, Err("no_team".into()));
        // An upgrade tells its sid in a query.
        let upgraded = scene.polling("upgrading", &["blue"]).await.upgrade().await;
        secrets.0.push(upgraded.sid.clone());
    };
    scene.during(attack).await;
    scene.at_rest().await;
    let log = scene.log();
    for word in
        ["TRACE relayed", "DEBUG event refused", "INFO refused", "INFO admitted", "DEBUG malformed request"]
    {
        assert!(log.contains(word), "no {word} in the log");
    }
    secrets.assert_not_in("the log", &log);
    secrets.assert_not_in("the metrics", &get(scene.internal, "/metrics", &[]).await.body);
    // A code that a stage refuses with for the first time makes a series; both labels are of fixed sets.
    let met = ["unknown_event", "unknown_field"]
        .map(|code| format!("flowgate_event_refusals_total{{stage=\"validate\",code=\"{code}\"}}"));
    let mut expected = [before, met.to_vec()].concat();
    expected.sort_unstable();
    assert_eq!(series(&scene).await, expected, "series that a client made");
}
