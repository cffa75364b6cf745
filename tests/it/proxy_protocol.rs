//! The client's address in a PROXY protocol header: believed from trusted proxies, and from nobody else.

use std::net::SocketAddr;

use crate::harness::http::{Answer, Http, POLLING};
use crate::harness::packets;
use crate::harness::{Sidecar, code_of, member, refusals, within};

/// This machine is a trusted proxy, and every client has one place: who has taken it shows who was believed.
const TRUSTED: &str = r#"
[server]
trusted_proxies = ["127.0.0.0/8", "203.0.113.0/24"]
[limits.connections]
per_ip = 1
"#;

fn v1(source: &str) -> Vec<u8> {
    let family = if source.contains(':') { "TCP6" } else { "TCP4" };
    let destination = if source.contains(':') { "2001:db8::ffff" } else { "198.51.100.2" };
    format!("PROXY {family} {source} {destination} 56324 443\r\n").into_bytes()
}

fn v2(source: [u8; 4], extensions: &[u8]) -> Vec<u8> {
    let length = (12 + extensions.len()) as u16;
    let addresses = [&source[..], &[198, 51, 100, 2], &[0xdc, 4, 1, 0xbb]].concat();
    [b"\r\n\r\n\0\r\nQUIT\n\x21\x11", &length.to_be_bytes()[..], &addresses, extensions].concat()
}

/// Opens a polling session behind these first bytes.
async fn open(address: SocketAddr, first: &[u8], headers: &[(&str, &str)]) -> Answer {
    let mut http = Http::to(address).await;
    http.send_raw(first).await;
    within("an answer", http.request("GET", POLLING, headers, "")).await
}

#[tokio::test]
async fn clients_behind_a_trusted_proxy_are_known_by_their_own_address() {
    let sidecar = Sidecar::start(TRUSTED).await;
    let at = sidecar.public;
    let opens = async |first: &[u8], headers: &[(&str, &str)]| match open(at, first, headers).await {
        Answer { status: 200, .. } => true,
        answer => {
            assert_eq!((answer.status, &*code_of(&answer)), (429, "too_many_requests"));
            false
        }
    };
    assert!(opens(&v1("192.0.2.1"), &[]).await);
    assert!(!opens(&v1("192.0.2.1"), &[]).await);
    // Both versions and the other header name the same client.
    assert!(!opens(&v2([192, 0, 2, 1], &[]), &[]).await);
    assert!(!opens(b"", &[("X-Forwarded-For", "192.0.2.1")]).await);
    assert!(opens(&v2([192, 0, 2, 2], &[0xea, 0, 3, 1, 2, 3]), &[]).await);
    assert!(opens(&v1("2001:db8::1"), &[]).await);
    assert!(!opens(&v1("2001:db8::2"), &[]).await, "of the same /64");
    // The source is a proxy itself, and trusted: its header counts. Another's does not.
    assert!(opens(&v1("203.0.113.9"), &[("X-Forwarded-For", "192.0.2.3")]).await);
    assert!(!opens(&v1("192.0.2.1"), &[("X-Forwarded-For", "192.0.2.4")]).await);
    assert!(opens(&v1("192.0.2.4"), &[]).await);
}

#[tokio::test]
async fn no_byte_behind_the_header_is_lost() {
    let sidecar = Sidecar::start(TRUSTED).await;
    for (octet, header) in [v1("192.0.2.10"), v2([192, 0, 2, 11], &[9; 300]), Vec::new()].iter().enumerate() {
        let mut http = Http::to(sidecar.public).await;
        let request = format!("GET {POLLING} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let bytes = [header, request.as_bytes()].concat();
        if octet == 1 {
            http.send_raw(&bytes).await;
        } else {
            // Byte for byte, each a write of its own.
            for byte in &bytes {
                http.send_raw([*byte]).await;
            }
        }
        let open = within("an answer", http.answer()).await.unwrap();
        assert_eq!(open.status, 200);
        let open: serde_json::Value = serde_json::from_str(&open.body[1..]).unwrap();
        // The connection goes on as any other.
        let session = format!("{POLLING}&sid={}", open["sid"].as_str().unwrap());
        let connect = packets::connect(&member("ann", &["red"]));
        assert_eq!(within("a post", http.request("POST", &session, &[], &connect)).await.status, 200);
        let polled = within("a poll", http.request("GET", &session, &[], "")).await;
        assert!(polled.body.contains("40{"), "{polled:?}");
    }
}

#[tokio::test]
async fn a_malformed_header_of_a_trusted_proxy_closes_the_connection() {
    let sidecar = Sidecar::start(TRUSTED).await;
    let bad = [
        b"PROXY TCP4 192.0.2.1\r\n".to_vec(),
        [b"PROXY ".as_slice(), &[b'x'; 200]].concat(),
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c".to_vec(),
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff".to_vec(),
    ];
    for (count, first) in bad.iter().enumerate() {
        let mut http = Http::to(sidecar.public).await;
        http.send_raw(first).await;
        assert!(within("the connection closes", http.answer()).await.is_none());
        sidecar.until(&refusals("malformed"), (count + 1) as f64).await;
    }
    assert_eq!(open(sidecar.public, &v1("192.0.2.1"), &[]).await.status, 200);
}

#[tokio::test]
async fn a_trusted_proxy_that_says_nothing_is_closed() {
    let sidecar = Sidecar::start(TRUSTED).await;
    let mut silent = Http::to(sidecar.public).await;
    let mut half = Http::to(sidecar.public).await;
    half.send_raw("PROXY TCP4 192.0").await;
    within("both are closed", async { tokio::join!(silent.closed(), half.closed()) }).await;
}
