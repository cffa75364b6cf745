//! Pages of other origins.

use crate::harness::code_of;
use crate::harness::http::Answer;
use crate::harness::http::{Http, POLLING, get};
use crate::harness::packets::{self, EVENT};
use crate::harness::polling::Polling;
use crate::harness::websocket::RawSocket;

use super::scene::{Scene, TEAM};

const OWN_PAGE: &str = "https://app.example";

/// The answers to a page that polls, opens a WebSocket, upgrades a session that is there, and polls and posts in it.
async fn on_all_ways(scene: &Scene, there: &Polling, origins: &[&str]) -> [Option<Answer>; 5] {
    let headers: Vec<_> = origins.iter().map(|origin| ("Origin", *origin)).collect();
    let event = packets::event(EVENT, "\"of another page\"", None);
    let post = Http::to(scene.public).await.request("POST", &there.target(), &headers, &event).await;
    let poll = get(scene.public, &there.target(), &headers).await;
    [
        Polling::open_with(scene.public, &headers).await.err(),
        RawSocket::open_with(scene.public, &headers).await.err(),
        there.ask_upgrade_with(&headers).await.err(),
        Some(poll),
        Some(post),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_01_pages_of_other_origins_come_in_on_no_way() {
    const ORIGINS: [&[&str]; 16] = [
        &["https://evil.test"],
        &["null"],
        &[""],
        &["*"],
        &["http://app.example"],
        &["https://app.example:443"],
        &["https://app.example:8443"],
        &["https://app.example.evil.test"],
        &["https://app.example@evil.test"],
        &["https://evil.test/https://app.example"],
        &["https://evilapp.example"],
        &["https://APP.example"],
        &["https://app.example/"],
        &["https://app.example, https://evil.test"],
        &["https://app.example", "https://evil.test"],
        &["https://app.example", "https://app.example"],
    ];
    let scene = Scene::new("").await;
    // The session of a victim, an insider even, whose cookie a browser would send along.
    let mut there = Polling::open_with(scene.public, &[("Origin", OWN_PAGE)]).await.unwrap();
    there.connect(&crate::harness::member("dan", &[TEAM])).await.unwrap();
    scene
        .during(async {
            for origins in ORIGINS {
                for answer in on_all_ways(&scene, &there, origins).await {
                    let answer = answer.expect("it should be refused");
                    assert_eq!((answer.status, code_of(&answer).as_str()), (403, "origin"), "{origins:?}");
                    // A refusal may be read by the page that is named first, and only if it is the own one.
                    let reader = answer.header("access-control-allow-origin");
                    assert!(reader.is_none_or(|reader| reader == OWN_PAGE && origins[0] == OWN_PAGE));
                }
            }
        })
        .await;
    assert_eq!(scene.refused("origin").await, 5.0 * ORIGINS.len() as f64);
    // Its own page and clients that are no page come in on all ways.
    for origins in [&[OWN_PAGE][..], &[]] {
        let headers: Vec<_> = origins.iter().map(|origin| ("Origin", *origin)).collect();
        let polling = Polling::open_with(scene.public, &headers).await.unwrap();
        drop(polling.ask_upgrade_with(&headers).await.unwrap());
        drop(RawSocket::open_with(scene.public, &headers).await.unwrap());
    }
    // The victim's session is as it was: it still upgrades, on its own page.
    let mut upgraded = there.upgrade().await;
    assert_eq!(upgraded.ask_as("no-such-event", "").await["code"], "unknown_event");
    drop(upgraded);
    scene.at_rest().await;
}

/// The attack on a browser's cookies: an answer that any page may read, with them in the request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_02_no_answer_is_for_any_page_and_with_credentials() {
    let cors = |answer: &Answer| {
        let header = |name: &str| answer.header(name).map(str::to_owned);
        (header("access-control-allow-origin"), header("access-control-allow-credentials"))
    };
    let preflight =
        [("Access-Control-Request-Method", "POST"), ("Access-Control-Request-Headers", "content-type")];
    for (settings, is_listed) in [("", true), ("[server]\nallowed_origins = [\"*\"]", false)] {
        let scene = Scene::new(settings).await;
        scene
            .during(async {
                for origin in [OWN_PAGE, "https://evil.test", "null", "*"] {
                    let expected = match (is_listed, origin) {
                        (true, OWN_PAGE) => (Some(OWN_PAGE.to_owned()), Some("true".to_owned())),
                        (true, _) => (None, Some("true".to_owned())),
                        (false, _) => (Some("*".to_owned()), None),
                    };
                    let headers: Vec<_> =
                        preflight.iter().copied().chain([("Origin", origin), ("Cookie", "a=b")]).collect();
                    for method in ["GET", "POST", "OPTIONS", "PUT"] {
                        for target in [POLLING, "/socket.io/", "/elsewhere"] {
                            let mut http = Http::to(scene.public).await;
                            let answer = http.request(method, target, &headers, "").await;
                            assert_eq!(cors(&answer), expected, "{method} {target} {origin}");
                        }
                    }
                }
            })
            .await;
        // A browser reads refusals of its own page too: it is told the code and when to come back.
        let answer = get(scene.public, "/socket.io/?EIO=3&transport=polling", &[("Origin", OWN_PAGE)]).await;
        assert_eq!(answer.status, 400);
        let readable_by = if is_listed { OWN_PAGE } else { "*" };
        assert_eq!(answer.header("access-control-allow-origin"), Some(readable_by));
        assert!(
            !is_listed || answer.header("vary").is_some_and(|vary| vary.to_lowercase().contains("origin"))
        );
    }
}
