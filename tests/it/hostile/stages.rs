//! Everything that may come a byte at a time, or never: each has its deadline.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::iter;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::frames::{PING, TEXT, frame};
use crate::harness::http::{Http, POLLING, UPGRADE, WEBSOCKET};
use crate::harness::packets;
use crate::harness::polling::Polling;
use crate::harness::{closes, member, within};

use super::scene::{Scene, source};

/// Connections that are slow at each stage.
const CROWD: u32 = 150;

/// Between two pieces of one that dawdles. A whole deadline has dozens of them.
const DAWDLE: Duration = Duration::from_millis(200);

/// Sends a piece again and again, or nothing, until the other side closes; what has been read until then.
async fn outlasts(mut http: Http, piece: Option<&[u8]>) -> String {
    let mut read = Vec::new();
    let (mut from, mut to) = http.tcp.split();
    let dawdling = async {
        while let Some(piece) = piece {
            // The other side may have closed already, which the reading tells.
            if to.write_all(piece).await.is_err() {
                break;
            }
            tokio::time::sleep(DAWDLE).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        // An end by reset is one too.
        _ = from.read_to_end(&mut read) => {}
        () = dawdling => {}
    }
    String::from_utf8_lossy(&read).into_owned()
}

/// A crowd's connections. All of them are known to be accepted when this returns: of more than its queue holds, the
/// kernel drops some that were never seen by the process.
async fn crowd(scene: &Scene) -> Vec<Http> {
    let before = scene.metric("flowgate_connections").await;
    let crowd: Vec<_> = iter(0..CROWD).then(|at| scene.tcp(source(at))).collect().await;
    scene.until_at_least("flowgate_connections", before + f64::from(CROWD)).await;
    crowd
}

/// The crowd sends this beginning, and half of it goes on with one byte after the other.
async fn dawdles(crowd: Vec<Http>, stage: &str, beginning: &str, expected: &str) {
    iter(crowd.into_iter().enumerate())
        .for_each_concurrent(None, async |(at, mut http)| {
            http.send_raw(beginning).await;
            let piece = (at % 2 == 0 && !beginning.is_empty()).then_some(&b"a"[..]);
            let read = within(stage, outlasts(http, piece)).await;
            let status = read.split(' ').nth(1).unwrap_or("");
            // The kernel may drop an answer that is followed by an end with bytes unread.
            let is_dropped = piece.is_some() && status.is_empty();
            assert!(status == expected || is_dropped, "{stage}: {read:?}");
        })
        .await;
}

fn upgrade(target: &str) -> String {
    let lines: String = UPGRADE.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("GET {target} HTTP/1.1\r\nHost: l\r\n{lines}\r\n")
}

/// The crowd opens WebSockets and sends this beginning on them, and then one such piece after the other.
async fn dawdles_on_websocket(crowd: Vec<Http>, stage: &str, beginning: &[u8], piece: Option<&[u8]>) {
    iter(crowd)
        .for_each_concurrent(None, async |mut http| {
            http.send_raw(upgrade(WEBSOCKET)).await;
            assert_eq!(within("an answer", http.answer()).await.expect("an answer").status, 101);
            http.send_raw(beginning).await;
            within(stage, outlasts(http, piece)).await;
        })
        .await;
}

/// Opens a session and polls it, without ever asking to be let in.
async fn polls_and_never_connects(scene: &Scene) {
    iter(0..CROWD)
        .for_each_concurrent(None, async |at| {
            let client = Polling::open_from(source(at), scene.public, &[]).await.unwrap();
            within("the end of a session without CONNECT", client.closed()).await;
        })
        .await;
}

/// Is let in by polling, asks for a WebSocket, and never says that it has taken over.
async fn begins_an_upgrade_and_leaves_it(scene: &Scene) {
    iter(0..CROWD / 3)
        .for_each_concurrent(None, async |at| {
            let mut client = Polling::open_from(source(at), scene.public, &[]).await.unwrap();
            client.connect(&member("eve", &["blue"])).await.unwrap();
            let mut socket = client.ask_upgrade().await.unwrap();
            if at % 2 == 0 {
                socket.send_bytes(&frame(TEXT, b"2probe")).await;
            }
            within("the end of an upgrade that is not gone on with", socket.closed()).await;
        })
        .await;
}

/// All stages at once, so that the test is as long as the longest deadline.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_11_each_stage_has_a_deadline() {
    let scene = Scene::new("").await;
    let mut eve = scene.polling("eve", &["blue"]).await;
    let body = |length: &str| format!("POST {} HTTP/1.1\r\nHost: l\r\n{length}\r\n\r\n", eve.target());
    let declared = body("Content-Length: 9000") + "42[\"da";
    let chunked = body("Transfer-Encoding: chunked") + "2000\r\n42[\"da";
    let head = format!("GET {POLLING} HTTP/1.1\r\nX-Endless: ");
    let handshake = upgrade(WEBSOCKET);
    let kept_alive = "GET / HTTP/1.1\r\nHost: l\r\n\r\n";
    let connect = frame(TEXT, format!("40{{\"token\":\"{}", "a".repeat(200)).as_bytes());
    let (begun, rest) = connect.split_at(20);
    let ping = frame(PING, b"");
    scene
        .during(async {
            let mut crowds = Vec::new();
            for _ in 0..9 {
                crowds.push(crowd(&scene).await);
            }
            let mut next = || crowds.pop().unwrap();
            tokio::join!(
                dawdles(next(), "the end of silence", "", ""),
                dawdles(next(), "the end of half a head", &head, ""),
                dawdles(next(), "the end of half an upgrade", &handshake[..90], ""),
                dawdles(next(), "the end of an idle connection", kept_alive, "404"),
                dawdles(next(), "the end of half a body", &declared, "408"),
                dawdles(next(), "the end of half a chunk", &chunked, "408"),
                dawdles_on_websocket(next(), "the end without CONNECT", b"", None),
                dawdles_on_websocket(next(), "the end of pings without CONNECT", b"", Some(&ping)),
                dawdles_on_websocket(next(), "the end of half a CONNECT", begun, Some(&rest[..1])),
                polls_and_never_connects(&scene),
                begins_an_upgrade_and_leaves_it(&scene),
            );
        })
        .await;
    let many = f64::from(CROWD);
    scene.until(&closes("not_admitted"), 4.0 * many).await;
    // Half bodies, and the polls of sessions that were gone.
    assert_eq!(scene.refused("malformed").await, 3.0 * many);
    assert_eq!(scene.refused("not_found").await, many);
    // The session whose bodies never came is there, and hears of its own events.
    eve.emit("1").await;
    assert_eq!(within("its event", eve.event()).await, "1");
    eve.post("1").await;
    drop(eve);
    scene.at_rest().await;
}

/// A message whose bytes come one at a time is nobody's business but its sender's, and is answered when it is whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_11_a_message_that_trickles_delays_nobody() {
    let scene = Scene::new("").await;
    let mut slow = scene.websocket("eve", &["blue"]).await;
    let bytes = frame(TEXT, packets::event("no-such-event", "\"at last\"", Some(7)).as_bytes());
    scene
        .during(async {
            for byte in &bytes {
                slow.send_bytes(&[*byte]).await;
                scene.alive().await;
            }
        })
        .await;
    let packet = slow.packet().await.unwrap();
    assert_eq!(packets::answer(&packet, 7).unwrap()["code"], "unknown_event");
    drop(slow);
    scene.at_rest().await;
}
