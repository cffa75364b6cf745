//! HTTP requests that are too large, malformed, or no HTTP at all.

use futures_util::StreamExt;
use futures_util::stream::iter;

use crate::harness::http::{Http, POLLING, UPGRADE, WEBSOCKET, get};
use crate::harness::packets;
use crate::harness::polling::Polling;
use crate::harness::{code_of, within};

use super::scene::{Scene, TEAM, source};

/// Connections that attack at the same time, where each alone might go unnoticed.
const AT_ONCE: usize = 200;

/// What a flood may cost the process in memory at its worst. What it sends is many times that.
const FLOOD_MEMORY: u64 = 64 << 20;

/// A `POST` head, with these lines for its length.
fn post(target: &str, lengths: &str) -> String {
    format!("POST {target} HTTP/1.1\r\nHost: localhost\r\n{lengths}\r\n\r\n")
}

/// Sends this again and again until the other side closes or all of it is sent, and reads nothing meanwhile.
async fn pours(http: &mut Http, piece: &[u8], times: usize) {
    use tokio::io::AsyncWriteExt;
    for _ in 0..times {
        if http.tcp.write_all(piece).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_03_bodies_are_refused_before_they_are_buffered() {
    let scene = Scene::new("[limits.payload]\nmax_bytes = \"1KiB\"\nhard_max_bytes = \"4KiB\"").await;
    let mut eve = scene.polling("eve", &[TEAM]).await;
    assert_eq!(eve.max_payload, 4096);
    let target = eve.target();
    let before = scene.process().peak_resident();
    scene
        .during(async {
            // Declared: answered before any of it has come.
            for length in ["4097", "1000000000"] {
                let answer =
                    scene.refuses(post(&target, &format!("Content-Length: {length}")), 413, "body_too_large");
                assert_eq!(answer.await.header("connection"), Some("close"));
            }
            // Chunked: answered as soon as too much has come, though more is announced.
            let chunks = format!("400\r\n{}\r\n", "x".repeat(1024)).repeat(5);
            let head = post(&target, "Transfer-Encoding: chunked");
            scene.refuses(head.clone() + &chunks, 413, "body_too_large").await;
            scene.refuses(head + "1001\r\n" + &"x".repeat(4097), 413, "body_too_large").await;
            assert_eq!(scene.refused("body_too_large").await, 4.0);
            // A length that hyper itself cannot count to, it refuses in its own way.
            for length in ["18446744073709551615", "99999999999999999999999", "-1", "1e3", "0x10"] {
                let mut http = Http::to(scene.public).await;
                http.send_raw(post(&target, &format!("Content-Length: {length}"))).await;
                let answer = within("an answer", http.answer()).await.expect("an answer");
                assert!([400, 413, 431].contains(&answer.status), "{length}: {answer:?}");
                within("the end", http.closed()).await;
            }
            // Two hundred who pour eight megabytes each, declared or not.
            let heads =
                [post(&target, "Content-Length: 8388608"), post(&target, "Transfer-Encoding: chunked")];
            let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
            iter(0..AT_ONCE)
                .for_each_concurrent(None, async |at| {
                    let mut http = scene.tcp(source(at as u32)).await;
                    http.send_raw(&heads[at % 2]).await;
                    pours(&mut http, chunk.as_bytes(), 128).await;
                    within("the end", http.closed()).await;
                })
                .await;
        })
        .await;
    let grown = scene.process().peak_resident() - before;
    assert!(grown < FLOOD_MEMORY, "{grown} bytes");
    // Up to the limit it is fine, chunked or not, and the session has not been hurt.
    let packet = packets::event("no-such-event", "", None);
    let filled = vec![packet.as_str(); 4096 / (packet.len() + 1)].join("\x1e");
    assert_eq!(eve.post(&filled).await.status, 200);
    let mut http = Http::to(scene.public).await;
    let chunk = format!("{:x}\r\n{packet}\r\n0\r\n\r\n", packet.len());
    http.send_raw(post(&target, "Transfer-Encoding: chunked") + &chunk).await;
    assert_eq!(within("an answer", http.answer()).await.expect("an answer").status, 200);
    assert_eq!(eve.post("1").await.status, 200);
    drop((eve, http));
    scene.at_rest().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_04_malformed_handshakes_are_400() {
    let scene = Scene::new("").await;
    let mut eve = scene.polling("eve", &[TEAM]).await;
    let there = eve.sid.clone();
    let mut requests = Vec::new();
    for query in [
        "".to_owned(),
        "?".to_owned(),
        "?EIO=4".to_owned(),
        "?transport=polling".to_owned(),
        "?EIO=&transport=polling".to_owned(),
        "?EIO=3&transport=polling".to_owned(),
        "?EIO=44&transport=polling".to_owned(),
        "?EIO=%34&transport=polling".to_owned(),
        "?EIO=4&transport=".to_owned(),
        "?EIO=4&transport=webtransport".to_owned(),
        "?EIO=4&transport=POLLING".to_owned(),
        "?EIO=4&EIO=4&transport=polling".to_owned(),
        "?EIO=4&transport=polling&transport=polling".to_owned(),
        "?EIO=4&transport=polling&transport=websocket".to_owned(),
        "?EIO=4&transport=polling&sid=".to_owned(),
        "?EIO=4&transport=polling&sid".to_owned(),
        "?EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAA".to_owned(),
        "?EIO=4&transport=polling&sid=..%2f..".to_owned(),
        "?EIO=4&transport=polling&sid=%00".to_owned(),
        format!("?EIO=4&transport=polling&sid={}", "A".repeat(10_000)),
        format!("?EIO=4&transport=polling&sid={there}&sid={there}"),
        format!("?EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAA&sid={there}"),
        format!("?EIO=4&transport=polling&sid={there}x"),
        // A WebSocket without asking for one.
        "?EIO=4&transport=websocket".to_owned(),
        format!("?EIO=4&transport=websocket&sid={there}"),
    ] {
        requests.push(format!("GET /socket.io/{query} HTTP/1.1\r\nHost: l\r\n\r\n"));
    }
    let begun = format!("{POLLING}&sid={there}");
    for (method, target) in [("POST", POLLING), ("PUT", POLLING), ("DELETE", &begun), ("PUT", &begun)] {
        requests.push(format!("{method} {target} HTTP/1.1\r\nHost: l\r\n\r\n"));
    }
    // Each header of the upgrade is needed, with its value.
    let upgrade = |target: &str, version: &str, headers: &[(&str, &str)]| {
        let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        format!("GET {target} HTTP/{version}\r\nHost: l\r\n{lines}\r\n")
    };
    let upgrade_there = format!("{WEBSOCKET}&sid={there}");
    for target in [WEBSOCKET, &upgrade_there] {
        for at in 0..UPGRADE.len() {
            for value in [None, Some(""), Some("x"), Some("12")] {
                let mut headers = UPGRADE.to_vec();
                match value {
                    Some(value) => headers[at].1 = value,
                    None => drop(headers.remove(at)),
                }
                requests.push(upgrade(target, "1.1", &headers));
            }
        }
        // hyper cannot hand over an HTTP/1.0 connection; frames before the answer would be looked at by nobody.
        requests.push(upgrade(target, "1.0", &UPGRADE));
        requests.push(upgrade(target, "1.1", &UPGRADE) + "\u{1}\u{2}");
        requests.push(upgrade(target, "1.1", &UPGRADE).replacen("GET", "POST", 1));
    }
    scene
        .during(async {
            for request in &requests {
                scene.refuses(request, 400, "malformed").await;
            }
        })
        .await;
    assert_eq!(scene.refused("malformed").await, requests.len() as f64);
    for path in ["/", "/socket.io/../", "/socket.io/x", "/metrics", "/ready", "/SOCKET.IO/", "//socket.io/"] {
        let answer = get(scene.public, &format!("{path}?EIO=4&transport=polling"), &[]).await;
        assert_eq!((answer.status, code_of(&answer).as_str()), (404, "not_found"), "{path}");
    }
    // The session that was there has not been hurt, and upgrades.
    assert_eq!(eve.post(&packets::event("no-such-event", "", Some(1))).await.status, 200);
    drop(eve.upgrade().await);
    scene.at_rest().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_04_what_is_no_http_is_closed() {
    let scene = Scene::new("").await;
    let mut eve = scene.polling("eve", &[TEAM]).await;
    let two_lengths = |lengths: &str| post(&eve.target(), lengths) + "33333";
    let requests = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n\r\n".to_vec(),
        b"GET\r\n\r\n".to_vec(),
        b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost localhost\r\n\r\n".to_vec(),
        b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nX-A: a\r\n b\r\n\x00: c\r\n\r\n".to_vec(),
        b"GET /socket.io/?EIO=4&transport=\xff\xfe HTTP/9.9\r\n\r\n".to_vec(),
        b"\0\0\0\0\r\n\r\n".to_vec(),
        vec![0xff; 4096],
        // Two lengths, or a length and chunks: whose reading of them counts must never be the question.
        two_lengths("Content-Length: 1\r\nContent-Length: 2").into_bytes(),
        two_lengths("Content-Length: 5\r\nContent-Length: 6").into_bytes(),
        two_lengths("Content-Length: 1, 2").into_bytes(),
        two_lengths("Transfer-Encoding: chunked, identity").into_bytes(),
        two_lengths("Transfer-Encoding: chunked").into_bytes(),
    ];
    scene
        .during(async {
            for bytes in &requests {
                let mut http = Http::to(scene.public).await;
                http.send_raw(bytes).await;
                let shown = String::from_utf8_lossy(bytes).into_owned();
                if let Some(answer) = within("an end", http.answer()).await {
                    assert!((400..500).contains(&answer.status), "{shown:?}: {answer:?}");
                }
                within("the end", http.closed()).await;
            }
        })
        .await;
    assert_eq!(eve.post("1").await.status, 200);
    drop(eve);
    scene.at_rest().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_10_header_floods_are_refused() {
    let scene = Scene::new("").await;
    let before = scene.process().peak_resident();
    let head = |more: &str| format!("GET {POLLING} HTTP/1.1\r\nHost: l\r\n{more}");
    let requests = [
        head(&("X-A: a\r\n".repeat(5_000) + "\r\n")),
        head(&("a:\r\n".repeat(65) + "\r\n")),
        head(&format!("X-A: {}\r\n\r\n", "a".repeat(100_000))),
        head(&format!("Cookie: {}\r\n\r\n", "a=b; ".repeat(20_000))),
        format!("GET {POLLING}&{} HTTP/1.1\r\n\r\n", "a".repeat(100_000)),
        // Lines without an end.
        head(&format!("X-A: {}", "a".repeat(100_000))),
        head(&"a".repeat(100_000)),
        "a".repeat(100_000),
        "\r\n".repeat(50_000),
    ];
    scene
        .during(async {
            iter(0..AT_ONCE)
                .for_each_concurrent(None, async |at| {
                    let request = requests[at % requests.len()].as_bytes();
                    let mut http = scene.tcp(source(at as u32)).await;
                    pours(&mut http, request, 1).await;
                    // Where the answer was written after more had come than was read, the kernel may drop it.
                    if let Some(answer) = within("an end", http.answer()).await {
                        assert!([400, 414, 431].contains(&answer.status), "{answer:?}");
                    }
                    within("the end", http.closed()).await;
                })
                .await;
            // Ten megabytes of one line each.
            iter(0..AT_ONCE)
                .for_each_concurrent(None, async |at| {
                    let mut http = scene.tcp(source(at as u32)).await;
                    http.send_raw(head("X-A: ")).await;
                    pours(&mut http, &[b'a'; 65_536], 160).await;
                    within("the end", http.closed()).await;
                })
                .await;
        })
        .await;
    let grown = scene.process().peak_resident() - before;
    assert!(grown < FLOOD_MEMORY, "{grown} bytes");
    scene.at_rest().await;
    // Some forty headers, as browsers behind proxies send them, are fine.
    let headers: Vec<(String, String)> = (0..40).map(|at| (format!("X-{at}"), "a".repeat(100))).collect();
    let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut client = Polling::open_with(scene.public, &headers).await.unwrap();
    assert_eq!(client.post("1").await.status, 200);
}
