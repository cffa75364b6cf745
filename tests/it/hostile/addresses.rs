//! Row 30: addresses that clients make up.

use std::net::Ipv4Addr;

use super::scene::{Scene, source};
use crate::harness::http::{POLLING, WEBSOCKET};
use crate::harness::websocket::RawSocket;
use crate::harness::{code_of, member, until, within};

/// Only 127.0.0.9 is a proxy. Who has taken a client's few places shows who was believed. The honest come from
/// 127.0.0.1, which has as many as they are.
const FEW_PLACES: &str = r#"
[server]
trusted_proxies = ["127.0.0.9/32"]
[limits.connections]
per_ip = 3
"#;

const PLACES: usize = 3;

const PROXY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

fn v1(source: &str) -> Vec<u8> {
    format!("PROXY TCP4 {source} 198.51.100.2 56324 443\r\n").into_bytes()
}

fn v2(source: [u8; 4]) -> Vec<u8> {
    let addresses = [&source[..], &[198, 51, 100, 2], &[0xdc, 4, 1, 0xbb]].concat();
    [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".as_slice(), &addresses].concat()
}

/// First bytes of a connection, and headers of its request.
type Way<'a> = (&'a [u8], &'a [(&'a str, &'a str)]);

/// A member on a WebSocket from this address, behind these first bytes; `Err` is the status of a refusal.
async fn joins(
    scene: &Scene,
    from: Ipv4Addr,
    first: &[u8],
    headers: &[(&str, &str)],
) -> Result<RawSocket, u16> {
    let mut http = scene.tcp(from).await;
    http.send_raw(first).await;
    match RawSocket::upgrade(http, WEBSOCKET, headers).await {
        Ok(mut socket) => {
            socket.connect(&member("eve", &["blue"])).await.unwrap();
            Ok(socket)
        }
        Err(answer) => {
            assert_eq!((answer.status, &*code_of(&answer)), (429, "too_many_requests"));
            assert!(answer.header("retry-after").is_some());
            Err(answer.status)
        }
    }
}

/// Takes the places that this client has, and shows that there is no other.
async fn takes_all(scene: &Scene, from: Ipv4Addr, ways: &[Way<'_>]) -> Vec<RawSocket> {
    let mut taken = Vec::new();
    for at in 0..PLACES {
        let (first, headers) = ways[at % ways.len()];
        taken
            .push(joins(scene, from, first, headers).await.unwrap_or_else(|status| panic!("{at}: {status}")));
    }
    for (first, headers) in ways {
        assert_eq!(joins(scene, from, first, headers).await.err(), Some(429), "{headers:?}");
    }
    taken
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_30_made_up_addresses_are_believed_of_trusted_proxies_only() {
    let scene = Scene::new(FEW_PLACES).await;
    let attack = async {
        let says = |address| [("X-Forwarded-For", address)];
        // With another address in each request it would never meet its cap. It has its places, as anybody.
        let lies =
            [says("203.0.113.1"), says("203.0.113.2, 127.0.0.9"), says("203.0.113.3"), says("203.0.113.4")];
        let lies: Vec<Way<'_>> = lies.iter().map(|lie| (b"".as_slice(), lie.as_slice())).collect();
        let _attacker = takes_all(&scene, source(1), &lies).await;
        let others = ["Forwarded", "X-Real-IP", "True-Client-IP", "CF-Connecting-IP", "X-Client-IP"];
        for name in others {
            let refused = joins(&scene, source(1), b"", &[(name, "203.0.113.5")]).await;
            assert_eq!(refused.err(), Some(429), "{name}");
        }
        // Nor did it take the places of those whom it named.
        let _named = takes_all(&scene, PROXY, &[(b"", &says("203.0.113.1"))]).await;
        // A PROXY header of an untrusted peer is no beginning of a request.
        for first in [v1("203.0.113.6"), v2([203, 0, 113, 6]), v1("203.0.113.7"), v1("127.0.0.9")] {
            let mut http = scene.tcp(source(2)).await;
            http.send_raw(&first).await;
            http.send("GET", POLLING, &[], "").await;
            let answer = within("the request is refused", http.answer()).await;
            assert!(answer.as_ref().is_none_or(|answer| answer.status == 400), "{answer:?}");
        }
        let _untouched = takes_all(&scene, source(2), &[(b"", &[])]).await;
        // Behind the proxy all three ways name one client: the last address that no proxy of ours has.
        let (first, second) = (v1("192.0.2.1"), v2([192, 0, 2, 1]));
        let (alone, behind) = (says("192.0.2.1"), says("6.6.6.6, 192.0.2.1"));
        let ways: [Way<'_>; 5] = [
            (&first, &[]),
            (&second, &[]),
            (b"", &alone),
            (b"", &behind),
            // The PROXY header's client is no proxy, so what it forwards is its own word.
            (&first, &[("X-Forwarded-For", "203.0.113.8")]),
        ];
        let _client = takes_all(&scene, PROXY, &ways).await;
        assert_eq!(scene.refused("too_many_requests").await, (4 + 5 + 1 + 1 + 5) as f64);
        // The operator is told once of each, and not what was made up.
        let warnings = |words: &str| {
            let log = scene.log();
            log.lines().filter(|line| line.contains("WARN") && line.contains(words)).count()
        };
        let both = async || warnings("PROXY protocol header") > 0 && warnings("X-Forwarded-For") > 0;
        until("both are warned of", both).await;
        assert_eq!((warnings("PROXY protocol header"), warnings("X-Forwarded-For")), (1, 1));
        for lie in 2..=8 {
            assert!(!scene.log().contains(&format!("203.0.113.{lie}")), "{}", scene.log());
        }
    };
    scene.during(attack).await;
    scene.at_rest().await;
}
