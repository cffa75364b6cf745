//! HTTP on the public port, honest and hostile.

use std::time::Duration;

use serde_json::json;

use crate::harness::http::{Answer, Http, POLLING, UPGRADE, WEBSOCKET, get};
use crate::harness::packets::{self, EVENT};
use crate::harness::polling::Polling;
use crate::harness::websocket::RawSocket;
use crate::harness::{Sidecar, code_of, member, refusals, until, within};

const OWN_PAGE: &str = "https://app.example";

/// The answers to a page that polls, opens a WebSocket, and upgrades a session that is there.
async fn on_all_ways(sidecar: &Sidecar, origins: &[&str]) -> [Result<(), Answer>; 3] {
    let headers: Vec<_> = origins.iter().map(|origin| ("Origin", *origin)).collect();
    let there = Polling::open_with(sidecar.public, &[("Origin", OWN_PAGE)]).await.unwrap();
    [
        Polling::open_with(sidecar.public, &headers).await.map(drop),
        RawSocket::open_with(sidecar.public, &headers).await.map(drop),
        there.ask_upgrade_with(&headers).await.map(drop),
    ]
}

#[tokio::test]
async fn pages_of_other_origins_come_in_on_no_way() {
    let sidecar = Sidecar::start("").await;
    for origins in [
        &["https://evil.test"][..],
        &["null"],
        &[""],
        &["*"],
        &["http://app.example"],
        &["https://app.example:8443"],
        &["https://app.example.evil.test"],
        &["https://evil.test/https://app.example"],
        &["https://evilapp.example"],
        &["https://APP.example"],
        &["https://app.example/"],
        &["https://app.example", "https://evil.test"],
        &["https://app.example", "https://app.example"],
    ] {
        for answer in on_all_ways(&sidecar, origins).await {
            let answer = answer.expect_err("it should be refused");
            assert_eq!((answer.status, code_of(&answer).as_str()), (403, "origin"), "{origins:?}");
        }
    }
    assert_eq!(sidecar.metric(&refusals("origin")).await, 39.0);
    assert!(on_all_ways(&sidecar, &[OWN_PAGE]).await.iter().all(Result::is_ok));
    // Native clients have none.
    assert!(on_all_ways(&sidecar, &[]).await.iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_missing_origin_may_be_refused_too() {
    let sidecar = Sidecar::start("[server]\nallow_missing_origin = false").await;
    for answer in on_all_ways(&sidecar, &[]).await {
        assert_eq!(answer.expect_err("it should be refused").status, 403);
    }
    assert!(on_all_ways(&sidecar, &[OWN_PAGE]).await.iter().all(Result::is_ok));
}

#[tokio::test]
async fn polls_and_posts_of_another_page_are_refused_in_a_session_that_is_there() {
    let sidecar = Sidecar::start("").await;
    let mut client = Polling::join(sidecar.public, &member("ann", &["red"])).await;
    let (target, evil) = (client.target(), [("Origin", "https://evil.test")]);
    assert_eq!(get(sidecar.public, &target, &evil).await.status, 403);
    let event = packets::event(EVENT, "\"evil\"", None);
    let post = Http::to(sidecar.public).await.request("POST", &target, &evil, &event).await;
    assert_eq!(post.status, 403);
    client.emit("1").await;
    assert_eq!(client.event().await, "1");
}

#[tokio::test]
async fn cors_answers_never_combine_any_with_credentials() {
    let cors = |answer: &Answer| {
        let header = |name: &str| answer.header(name).map(str::to_owned);
        (header("access-control-allow-origin"), header("access-control-allow-credentials"))
    };
    let preflight =
        [("Access-Control-Request-Method", "POST"), ("Access-Control-Request-Headers", "content-type")];
    let listed = Sidecar::start("").await;
    let open = Sidecar::start("[server]\nallowed_origins = [\"*\"]").await;
    for origin in [OWN_PAGE, "https://evil.test", "null"] {
        let page = ("Origin", origin);
        let own = origin == OWN_PAGE;
        let expected = own.then(|| OWN_PAGE.to_owned());
        for method in ["GET", "OPTIONS"] {
            let headers: Vec<_> = preflight.iter().copied().chain([page]).collect();
            let answer = Http::to(listed.public).await.request(method, POLLING, &headers, "").await;
            assert_eq!(cors(&answer).0, expected, "{method} {origin}");
            assert!(cors(&answer).0.as_deref() != Some("*"));
            if method == "GET" {
                assert_eq!(answer.status, if own { 200 } else { 403 });
            }
            let answer = Http::to(open.public).await.request(method, POLLING, &headers, "").await;
            assert_eq!((answer.status, cors(&answer)), (200, (Some("*".into()), None)), "{method} {origin}");
        }
    }
    // A browser reads refusals of its own page too: it is told the code and when to come back.
    let answer = get(listed.public, "/socket.io/?EIO=3&transport=polling", &[("Origin", OWN_PAGE)]).await;
    assert_eq!((answer.status, cors(&answer).0), (400, Some(OWN_PAGE.to_owned())));
    assert!(answer.header("vary").is_some_and(|vary| vary.to_lowercase().contains("origin")));
}

#[tokio::test]
async fn malformed_requests_are_400() {
    let sidecar = Sidecar::start("").await;
    let there = Polling::open(sidecar.public).await.sid;
    for query in [
        "".to_owned(),
        "?".to_owned(),
        "?EIO=4".to_owned(),
        "?transport=polling".to_owned(),
        "?EIO=3&transport=polling".to_owned(),
        "?EIO=44&transport=polling".to_owned(),
        "?EIO=4&transport=webtransport".to_owned(),
        "?EIO=4&transport=POLLING".to_owned(),
        "?EIO=4&EIO=4&transport=polling".to_owned(),
        "?EIO=4&transport=polling&transport=polling".to_owned(),
        "?EIO=4&transport=polling&sid=".to_owned(),
        "?EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAA".to_owned(),
        "?EIO=4&transport=polling&sid=..%2f..".to_owned(),
        format!("?EIO=4&transport=polling&sid={}", "A".repeat(10_000)),
        format!("?EIO=4&transport=polling&sid={there}&sid={there}"),
        format!("?EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAA&sid={there}"),
        format!("?EIO=4&transport=polling&sid={}", there.to_lowercase() + "x"),
        // A WebSocket without asking for one.
        "?EIO=4&transport=websocket".to_owned(),
        format!("?EIO=4&transport=websocket&sid={there}"),
    ] {
        let answer = get(sidecar.public, &format!("/socket.io/{query}"), &[]).await;
        assert_eq!((answer.status, code_of(&answer).as_str()), (400, "malformed"), "{query}");
    }
    for (method, target) in [
        ("POST", POLLING.to_owned()),
        ("PUT", POLLING.to_owned()),
        ("DELETE", format!("{POLLING}&sid={there}")),
        ("PUT", format!("{POLLING}&sid={there}")),
    ] {
        let answer = Http::to(sidecar.public).await.request(method, &target, &[], "").await;
        assert_eq!((answer.status, code_of(&answer).as_str()), (400, "malformed"), "{method} {target}");
    }
    // Each header of the upgrade is needed, with its value.
    for (at, (name, _)) in UPGRADE.iter().enumerate() {
        for value in [None, Some(""), Some("x"), Some("12")] {
            let mut headers = UPGRADE.to_vec();
            match value {
                Some(value) => headers[at].1 = value,
                None => drop(headers.remove(at)),
            }
            let answer = get(sidecar.public, WEBSOCKET, &headers).await;
            assert_eq!((answer.status, code_of(&answer).as_str()), (400, "malformed"), "{name}: {value:?}");
        }
    }
    for path in ["/", "/socket.io", "/socket.io/../", "/metrics", "/ready", "/SOCKET.IO/"] {
        let answer = get(sidecar.public, &format!("{path}?EIO=4&transport=polling"), &[]).await;
        let expected = if path == "/socket.io" { 200 } else { 404 };
        assert_eq!(answer.status, expected, "{path}");
    }
    // The session that was there has not been hurt.
    let post =
        Http::to(sidecar.public).await.request("POST", &format!("{POLLING}&sid={there}"), &[], "3").await;
    assert_eq!(post.status, 200);
}

#[tokio::test]
async fn what_is_no_http_is_closed() {
    let sidecar = Sidecar::start("").await;
    let mut honest = RawSocket::join(sidecar.public, &member("ann", &["red"])).await;
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost localhost\r\n\r\n",
        b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nX-A: a\r\n b\r\n\x00: c\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
    ] {
        let mut http = Http::to(sidecar.public).await;
        http.send_raw(bytes).await;
        if let Some(answer) = within("an end", http.answer()).await {
            assert!((400..500).contains(&answer.status), "{answer:?}");
        }
        within("the end", http.closed()).await;
    }
    // Two lengths, or a length and chunks: whose reading of them counts must never be the question.
    let mut client = Polling::join(sidecar.public, &member("ben", &["red"])).await;
    for lengths in ["Content-Length: 1\r\nContent-Length: 2", "Content-Length: 5\r\nContent-Length: 6"] {
        let mut http = Http::to(sidecar.public).await;
        http.send_raw(format!("POST {} HTTP/1.1\r\nHost: l\r\n{lengths}\r\n\r\n33333", client.target()))
            .await;
        if let Some(answer) = within("an end", http.answer()).await {
            assert_eq!(answer.status, 400);
        }
        within("the end", http.closed()).await;
    }
    client.emit("1").await;
    assert_eq!(honest.event().await, "1");
}

#[tokio::test]
async fn header_floods_are_refused() {
    let sidecar = Sidecar::start("").await;
    let many = "X-A: a\r\n".repeat(5_000);
    let long = format!("X-A: {}\r\n", "a".repeat(100_000));
    let cookie = format!("Cookie: {}\r\n", "a=b; ".repeat(20_000));
    let target = format!("{POLLING}&{}", "a".repeat(100_000));
    for request in [
        format!("GET {POLLING} HTTP/1.1\r\n{many}\r\n"),
        format!("GET {POLLING} HTTP/1.1\r\n{long}\r\n"),
        format!("GET {POLLING} HTTP/1.1\r\n{cookie}\r\n"),
        format!("GET {target} HTTP/1.1\r\n\r\n"),
        // Lines without an end.
        format!("GET {POLLING} HTTP/1.1\r\nX-A: {}", "a".repeat(100_000)),
        "a".repeat(100_000),
    ] {
        let mut http = Http::to(sidecar.public).await;
        // The other side may have closed before all of it is sent.
        let (mut read, mut write) = http.tcp.split();
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        write.write_all(request.as_bytes()).await.ok();
        let mut answer = Vec::new();
        within("the end", read.read_to_end(&mut answer)).await.ok();
        let status = String::from_utf8_lossy(&answer).split(' ').nth(1).map(str::to_owned);
        assert!(
            status.is_none() || status.as_deref() == Some("431") || status.as_deref() == Some("414"),
            "{status:?}"
        );
    }
    sidecar.until("flowgate_sessions", 0.0).await;
    // Some thirty headers, as browsers behind proxies send them, are fine.
    let headers: Vec<(String, String)> = (0..40).map(|at| (format!("X-{at}"), "a".repeat(100))).collect();
    let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(get(sidecar.public, POLLING, &headers).await.status, 200);
}

#[tokio::test]
async fn bodies_are_bounded_before_they_are_read() {
    let settings = "[limits.payload]\nmax_bytes = \"1KiB\"\nhard_max_bytes = \"4KiB\"";
    let sidecar = Sidecar::start(settings).await;
    let mut client = Polling::join(sidecar.public, &member("ann", &["red"])).await;
    assert_eq!(client.max_payload, 4096);
    let target = client.target();
    // Declared: answered before any of it has come.
    for length in ["4097", "1000000000", "18446744073709551615"] {
        let mut http = Http::to(sidecar.public).await;
        http.send_raw(format!("POST {target} HTTP/1.1\r\nHost: l\r\nContent-Length: {length}\r\n\r\n")).await;
        let answer = within("an answer", http.answer()).await.expect("an answer");
        // What hyper itself cannot count to, it refuses in its own way.
        assert!(answer.status == 413 || length.len() > 10 && answer.status == 431, "{length}: {answer:?}");
        within("the end", http.closed()).await;
    }
    // Chunked: answered as soon as too much has come, though more is announced.
    let mut http = Http::to(sidecar.public).await;
    http.send_raw(format!("POST {target} HTTP/1.1\r\nHost: l\r\nTransfer-Encoding: chunked\r\n\r\n")).await;
    for _ in 0..5 {
        http.send_raw(format!("400\r\n{}\r\n", "x".repeat(1024))).await;
    }
    let answer = within("an answer", http.answer()).await.expect("an answer");
    assert_eq!((answer.status, code_of(&answer).as_str()), (413, "body_too_large"));
    within("the end", http.closed()).await;
    // Up to the limit it is fine, chunked or not.
    let packet = packets::event(EVENT, "1", None);
    let filled = vec![packet.as_str(); 4096 / (packet.len() + 1)].join("\x1e");
    assert_eq!(client.post(&filled).await.status, 200);
    let mut http = Http::to(sidecar.public).await;
    let chunk = format!("{:x}\r\n{packet}\r\n0\r\n\r\n", packet.len());
    http.send_raw(format!("POST {target} HTTP/1.1\r\nHost: l\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}"))
        .await;
    assert_eq!(within("an answer", http.answer()).await.expect("an answer").status, 200);
    for _ in 0..4096 / (packet.len() + 1) + 1 {
        assert_eq!(client.event().await, "1");
    }
}

/// Everything that may come a byte at a time, or never: each has its deadline.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_stage_has_a_deadline() {
    let sidecar = Sidecar::start("").await;
    let mut honest = RawSocket::join(sidecar.public, &member("ann", &["red"])).await;
    let client = Polling::join(sidecar.public, &member("ben", &["red"])).await;
    let silent = Http::to(sidecar.public).await;
    let mut half_a_head = Http::to(sidecar.public).await;
    half_a_head.send_raw(format!("GET {WEBSOCKET} HTTP/1.1\r\nHost: l\r\nUpgrade: webso")).await;
    let mut half_a_body = Http::to(sidecar.public).await;
    half_a_body
        .send_raw(format!("POST {} HTTP/1.1\r\nHost: l\r\nContent-Length: 9\r\n\r\n42[\"da", client.target()))
        .await;
    let mut half_a_chunk = Http::to(sidecar.public).await;
    half_a_chunk
        .send_raw(format!(
            "POST {} HTTP/1.1\r\nHost: l\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n42",
            client.target()
        ))
        .await;
    let mut drop_by_drop = Http::to(sidecar.public).await;
    let mut kept_alive = Http::to(sidecar.public).await;
    assert_eq!(kept_alive.request("GET", "/", &[], "").await.status, 404);
    let no_connect = RawSocket::open(sidecar.public).await;
    let begun = client.ask_upgrade().await.unwrap();

    let trickle = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        let head = format!("GET {POLLING} HTTP/1.1\r\nX-Endless: ");
        let mut bytes = head.into_bytes().into_iter().chain(std::iter::repeat(b'a'));
        // Ends when the other side has closed.
        while drop_by_drop.tcp.write_all(&[bytes.next().unwrap()]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    for mut http in [silent, half_a_head, kept_alive] {
        within("the end of a head that does not come", http.closed()).await;
    }
    for mut http in [half_a_body, half_a_chunk] {
        let answer = within("an answer to half a body", http.answer()).await.expect("an answer");
        assert_eq!(answer.status, 408);
        within("the end of half a body", http.closed()).await;
    }
    within("the end of a head that trickles", trickle).await.unwrap();
    within("the end of a session without CONNECT", no_connect.closed()).await;
    within("the end of an upgrade that is not gone on with", begun.closed()).await;
    assert_eq!(honest.ask("1").await["ok"], true);
}

#[tokio::test]
async fn a_session_asks_for_one_websocket() {
    let sidecar = Sidecar::start("").await;
    let mut sender = RawSocket::join(sidecar.public, &member("ann", &["red"])).await;
    let client = Polling::join(sidecar.public, &member("ben", &["red"])).await;
    let (target, sid) = (client.target(), client.sid.clone());
    let mut socket = client.upgrade().await;
    let again = format!("/socket.io/?EIO=4&transport=websocket&sid={sid}");
    let second = RawSocket::upgrade(Http::to(sidecar.public).await, &again, &[]).await;
    assert_eq!(second.err().expect("no WebSocket").status, 400);
    // Nor does it poll any more, and nobody else may in its name.
    let poll = get(sidecar.public, &target, &[]).await;
    assert_eq!(poll.status, 400, "{poll:?}");
    let post = Http::to(sidecar.public).await.request("POST", &target, &[], "1").await;
    assert_eq!(post.status, 400, "{post:?}");
    sender.ask("1").await;
    assert_eq!(socket.event().await, "1");
}

#[tokio::test]
async fn session_ids_cannot_be_guessed_and_are_not_told_to_others() {
    let sidecar = Sidecar::start("").await;
    let mut sids = Vec::new();
    for _ in 0..50 {
        sids.push(Polling::open(sidecar.public).await.sid);
    }
    let unique: std::collections::HashSet<_> = sids.iter().collect();
    assert_eq!(unique.len(), sids.len());
    // 64 random bits at the least.
    assert!(sids.iter().all(|sid| sid.len() >= 11), "{sids:?}");
    for (at, sid) in sids.iter().enumerate() {
        let alike = sids
            .iter()
            .skip(at + 1)
            .map(|other| sid.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count());
        assert!(alike.max().unwrap_or(0) < 6, "{sid}");
    }
    // One letter off is nobody's.
    let mut guess = sids[0].clone();
    let last = guess.pop().unwrap();
    guess.push(if last == 'A' { 'B' } else { 'A' });
    let answer = get(sidecar.public, &format!("{POLLING}&sid={guess}"), &[]).await;
    assert_eq!((answer.status, code_of(&answer).as_str()), (400, "malformed"));
    // A session that began on a WebSocket is not one to poll.
    let mut socket = RawSocket::join(sidecar.public, &member("ann", &["red"])).await;
    let target = format!("{POLLING}&sid={}", socket.sid);
    assert_eq!(get(sidecar.public, &target, &[]).await.status, 400);
    assert_eq!(Http::to(sidecar.public).await.request("POST", &target, &[], "1").await.status, 400);
    let answer = socket.ask("1").await;
    assert_eq!(answer["ok"], true);
    assert!(!answer.to_string().contains(&socket.sid));
}

#[tokio::test]
async fn two_polls_at_once_end_the_session() {
    let sidecar = Sidecar::start("").await;
    let client = Polling::join(sidecar.public, &member("ann", &["red"])).await;
    let target = client.target();
    let mut first = Http::to(sidecar.public).await;
    first.send("GET", &target, &[], "").await;
    // Whichever of the others comes second is the one too many.
    until("the session's end", async || get(sidecar.public, &target, &[]).await.status == 400).await;
    sidecar.until_empty().await;
    within("an answer to the first", first.answer()).await;
}

#[tokio::test]
async fn forwarded_addresses_are_believed_from_proxies_only() {
    let settings = "[limits.connections]\nper_ip = 1";
    let direct = Sidecar::start(settings).await;
    let behind = Sidecar::start(&format!("[server]\ntrusted_proxies = [\"127.0.0.1/32\"]\n{settings}")).await;
    let open = async |sidecar: &Sidecar, forwarded: &str| {
        RawSocket::open_with(sidecar.public, &[("X-Forwarded-For", forwarded)]).await
    };
    // Claiming to be another each time helps nobody who is not trusted.
    let _first = open(&direct, "192.0.2.1").await.unwrap();
    for forwarded in ["192.0.2.2", "192.0.2.3, 192.0.2.4", "::1"] {
        assert_eq!(open(&direct, forwarded).await.err().expect("a refusal").status, 429);
    }
    // Behind a proxy each client has its own place, and what the client itself wrote to the left does not count.
    let _ann = open(&behind, "192.0.2.1").await.unwrap();
    let _ben = open(&behind, "192.0.2.2").await.unwrap();
    for forwarded in ["192.0.2.1", "9.9.9.9, 192.0.2.1", "192.0.2.2, 127.0.0.1", "rubbish, 192.0.2.2"] {
        assert_eq!(open(&behind, forwarded).await.err().expect("a refusal").status, 429, "{forwarded}");
    }
}

#[tokio::test]
async fn transports_can_be_switched_off() {
    let only_websocket = Sidecar::start("[server]\ntransports = [\"websocket\"]").await;
    let answer = Polling::open_with(only_websocket.public, &[]).await.err().expect("no session");
    assert_eq!((answer.status, code_of(&answer).as_str()), (400, "malformed"));
    RawSocket::join(only_websocket.public, &member("ann", &["red"])).await;
    let only_polling = Sidecar::start("[server]\ntransports = [\"polling\"]").await;
    assert_eq!(RawSocket::open_with(only_polling.public, &[]).await.err().expect("no WebSocket").status, 400);
    let client = Polling::join(only_polling.public, &member("ann", &["red"])).await;
    assert_eq!(client.ask_upgrade().await.err().expect("no WebSocket").status, 400);
}

#[tokio::test]
async fn another_path_is_served_when_the_policy_says_so() {
    let sidecar = Sidecar::start("[server]\npath = \"/realtime/\"").await;
    assert_eq!(get(sidecar.public, "/realtime/?EIO=4&transport=polling", &[]).await.status, 200);
    let answer = get(sidecar.public, POLLING, &[]).await;
    assert_eq!((answer.status, answer.body), (404, json!({ "code": "not_found" }).to_string()));
}
