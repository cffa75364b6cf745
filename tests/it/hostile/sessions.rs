//! Sessions that are opened to be abandoned, and sessions of others.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use futures_util::StreamExt;
use futures_util::stream::iter;

use crate::harness::http::{Answer, Http, POLLING};
use crate::harness::packets::{self, EVENT};
use crate::harness::polling::Polling;
use crate::harness::websocket::RawSocket;
use crate::harness::{code_of, member, within};

use super::scene::{Scene, source};

/// Sessions that one address may have.
const PER_IP: u32 = 20;

/// Sessions that there may be.
const TOTAL: u32 = 2_500;

/// Addresses that open as many sessions as they may; together more than there may be.
const ADDRESSES: u32 = TOTAL / PER_IP + 5;

/// What one wave of abandoned sessions may leave behind in memory, beside what an allocator keeps after the first: less than
/// half of what the sessions themselves hold, since where the allocator has holes differs from run to run.
const LEFT_BEHIND: u64 = 20 << 20;

/// Asks for polling sessions until one is refused, on one connection, and abandons them.
async fn fills(scene: &Scene, source: Ipv4Addr) -> (u32, Answer) {
    let mut http = scene.tcp(source).await;
    let mut opened = 0;
    loop {
        let answer = within("an answer", http.request("GET", POLLING, &[], "")).await;
        if answer.status != 200 {
            return (opened, answer);
        }
        opened += 1;
    }
}

/// Turned away for now, with a time to come back.
fn turned_away(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, code_of(answer).as_str()), (status, code));
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
}

/// More sessions than there may be, abandoned as they are opened: each address gets its share, until there are no more.
async fn fills_everything(scene: &Scene) {
    let answers: Vec<_> =
        iter(0..ADDRESSES).map(|at| fills(scene, source(at))).buffer_unordered(16).collect().await;
    let opened: u32 = answers.iter().map(|(opened, _)| opened).sum();
    // The honest have the others.
    assert_eq!(opened, TOTAL - 3);
    for (opened, answer) in &answers {
        match answer.status {
            429 => turned_away(answer, 429, "too_many_requests"),
            _ => turned_away(answer, 503, "full"),
        }
        assert!(*opened == PER_IP || answer.status == 503, "{opened}");
    }
    assert!(answers.iter().filter(|(_, answer)| answer.status == 503).count() >= 5);
    // By WebSocket it is full as well.
    let refused = RawSocket::open_from(source(ADDRESSES), scene.public).await.err().expect("no WebSocket");
    turned_away(&refused, 503, "full");
}

/// Every way to begin and to go away again, many times from each of many addresses.
async fn comes_and_goes(scene: &Scene, at: u32) {
    let from = source(at);
    let auth = member(&format!("eve-{}", at % 50), &["blue"]);
    // A WebSocket without CONNECT, one in the middle of CONNECT, one that is in.
    drop(RawSocket::open_from(from, scene.public).await.unwrap());
    let mut socket = RawSocket::open_from(from, scene.public).await.unwrap();
    socket.send(&packets::connect(&auth)).await;
    drop(socket);
    let mut socket = RawSocket::open_from(from, scene.public).await.unwrap();
    socket.connect(&auth).await.unwrap();
    drop(socket);
    // An upgrade that is asked for, one that is probed, both of a session that is in and of one that is not.
    for is_in in [true, false] {
        for probes in [true, false] {
            let mut client = Polling::open_from(from, scene.public, &[]).await.unwrap();
            if is_in {
                client.connect(&auth).await.unwrap();
            }
            let mut socket = client.ask_upgrade().await.unwrap();
            if probes {
                socket.send("2probe").await;
                assert_eq!(socket.frame().await.as_deref(), Some("3probe"));
            }
            drop(socket);
        }
    }
    // A poll that waits, and a WebSocket's request that nobody waits for.
    let mut client = Polling::open_from(from, scene.public, &[]).await.unwrap();
    client.post(&packets::connect(&auth)).await;
    let mut http = scene.tcp(from).await;
    http.send("GET", &client.target(), &[], "").await;
    drop(http);
    client.post("1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_12_abandoned_sessions_are_capped_and_reaped() {
    let limits = format!("[limits.connections]\ntotal = {TOTAL}\nper_ip = {PER_IP}");
    let scene = Scene::new(&limits).await;
    let mut memory = Vec::new();
    for _ in 0..2 {
        scene.during(fills_everything(&scene)).await;
        scene.during(scene.at_rest()).await;
        memory.push(scene.process().resident());
    }
    assert!(memory[1] < memory[0] + LEFT_BEHIND, "{memory:?}");
    let refused = scene.refused("too_many_requests").await + scene.refused("full").await;
    assert_eq!(refused, 2.0 * f64::from(ADDRESSES + 1));
    // Three of everybody's are never closed by it.
    assert_eq!(scene.closed("not_admitted").await, 2.0 * f64::from(TOTAL - 3));
    // Every place is free again.
    for at in [0, ADDRESSES - 1] {
        assert_eq!(fills(&scene, source(at)).await.0, PER_IP);
    }
    scene.at_rest().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_12_upgrades_begun_and_abandoned_leave_nothing() {
    const COMINGS: u32 = 300;
    let scene = Scene::new("[limits.connections]\nper_ip = 100").await;
    scene
        .during(async {
            iter(0..COMINGS).map(|at| comes_and_goes(&scene, at)).buffer_unordered(16).collect::<()>().await;
            scene.at_rest().await;
        })
        .await;
    let files = scene.process().open_files();
    assert!(files < 50, "{files}");
}

/// TCP connections that carry nothing are capped by address too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_12_connections_of_one_address_are_capped() {
    // An address may have three connections for each session, and the honest have four of theirs.
    let scene = Scene::new("[limits.connections]\nper_ip = 5").await;
    let mut held = Vec::new();
    scene
        .during(async {
            for _ in 0..15 {
                let mut http = scene.tcp(source(1)).await;
                assert_eq!(within("an answer", http.request("GET", "/", &[], "")).await.status, 404);
                held.push(http);
            }
            for _ in 0..200 {
                let mut http = scene.tcp(source(1)).await;
                http.send("GET", "/", &[], "").await;
                let answer = within("the end of one too many", http.answer()).await;
                assert!(answer.is_none(), "{answer:?}");
            }
            // Others are not held by it.
            drop(RawSocket::open_from(source(2), scene.public).await.unwrap());
        })
        .await;
    assert_eq!(scene.refused("too_many_connections").await, 200.0);
    drop(held);
    scene.at_rest().await;
    assert_eq!(
        within("an answer", scene.tcp(source(1)).await.request("GET", "/", &[], "")).await.status,
        404
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_13_session_ids_cannot_be_guessed_and_are_not_told_to_others() {
    let scene = Scene::new("").await;
    let mut sids = Vec::new();
    for _ in 0..200 {
        sids.push(Polling::open(scene.public).await.sid);
    }
    let unique: HashSet<_> = sids.iter().collect();
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
    // Every other last letter, each of them nobody's.
    let last = sids[0].chars().last().unwrap();
    let guesses: Vec<String> = ('0'..='z')
        .filter(|letter| letter.is_ascii_alphanumeric() && *letter != last)
        .map(|letter| format!("{}{letter}", &sids[0][..sids[0].len() - 1]))
        .collect();
    scene
        .during(async {
            for guess in &guesses {
                let target = format!("{POLLING}&sid={guess}");
                scene.refuses(format!("GET {target} HTTP/1.1\r\nHost: l\r\n\r\n"), 400, "malformed").await;
            }
        })
        .await;
    assert_eq!(scene.refused("malformed").await, guesses.len() as f64);
    // A session that began on a WebSocket is not one to poll, and its id stands in nothing that it hears.
    let mut ann = scene.websocket("ann", &["blue"]).await;
    let mut ben = scene.websocket("ben", &["blue"]).await;
    let target = format!("{POLLING}&sid={}", ann.sid);
    for (method, body) in [("GET", ""), ("POST", "1")] {
        let answer = Http::to(scene.public).await.request(method, &target, &[], body).await;
        assert_eq!((answer.status, code_of(&answer).as_str()), (400, "malformed"));
    }
    let answer = ann.ask("1").await;
    assert_eq!(answer["ok"], true);
    let heard = ben.packet().await.unwrap();
    assert!(!answer.to_string().contains(&ann.sid) && !heard.contains(&ann.sid), "{heard}");
    // A sid lives no longer than its session.
    let mut ended = Polling::open(scene.public).await;
    ended.post("1").await;
    assert_eq!(ended.post("3").await.status, 400);
    drop((ann, ben, ended));
    scene.at_rest().await;
    let log = scene.log();
    assert!(sids.iter().all(|sid| !log.contains(sid.as_str())), "{log}");
}

/// What somebody who knows the sid of a session gets for a poll, an event and an upgrade, from this address and with these
/// headers.
async fn reuses(
    scene: &Scene,
    sid: &str,
    from: Ipv4Addr,
    headers: &[(&str, &str)],
) -> [Result<u16, String>; 3] {
    let told = |answer: Answer| if answer.status == 200 { Ok(200) } else { Err(answer.body) };
    let target = format!("{POLLING}&sid={sid}");
    let event = packets::event(EVENT, "\"stolen\"", None);
    let post = scene.tcp(from).await.request("POST", &target, headers, &event).await;
    let poll = scene.tcp(from).await.request("GET", &target, headers, "").await;
    let upgrade = target.replace("polling", "websocket");
    let upgrade = RawSocket::upgrade(scene.tcp(from).await, &upgrade, headers).await;
    [told(post), told(poll), upgrade.map(|_| 101).map_err(|answer| answer.body)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_13_a_session_is_bound_to_its_address_where_policy_says_so() {
    let (own, other) = (source(1), source(2));
    let scene = Scene::new("[server]\nbind_sessions_to_address = true").await;
    let mut dan = Polling::open_from(own, scene.public, &[]).await.unwrap();
    dan.connect(&member("dan", &["blue"])).await.unwrap();
    scene
        .during(async {
            for from in [other, Ipv4Addr::LOCALHOST] {
                // Not to be told from a session that is not there.
                let unknown = reuses(&scene, "AAAAAAAAAAAAAAAA", from, &[]).await;
                assert_eq!(reuses(&scene, &dan.sid, from, &[]).await, unknown);
                assert_eq!(unknown[0], Err(r#"{"code":"malformed"}"#.to_owned()));
                // Nor does it help to say that one is another.
                let forwarded = [("X-Forwarded-For", "127.1.0.1")];
                assert_eq!(reuses(&scene, &dan.sid, from, &forwarded).await, unknown);
            }
            // Nor to name two sessions.
            for query in [format!("sid={}&sid=x", dan.sid), format!("sid=x&sid={}", dan.sid)] {
                let request = format!("GET {POLLING}&{query} HTTP/1.1\r\nHost: l\r\n\r\n");
                scene.refuses(request, 400, "malformed").await;
            }
        })
        .await;
    assert_eq!(scene.refused("malformed").await, 20.0);
    assert_eq!(scene.metric("flowgate_events_accepted_total").await, scene.honest_said().await);
    // From its own address it goes on, and has lost nothing.
    dan.emit("1").await;
    assert_eq!(dan.event().await, "1");
    let mut dan = dan.upgrade().await;
    assert_eq!(dan.ask("2").await["ok"], true);
    drop(dan);
    scene.at_rest().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_13_behind_a_proxy_a_session_is_bound_to_the_client() {
    let settings = "bind_sessions_to_address = true\ntrusted_proxies = [\"127.1.0.0/16\"]";
    let scene = Scene::new(&format!("[server]\n{settings}")).await;
    let (own, other) = ([("X-Forwarded-For", "192.0.2.1")], [("X-Forwarded-For", "192.0.2.2")]);
    let mut dan = Polling::open_from(source(1), scene.public, &own).await.unwrap();
    dan.connect(&member("dan", &["blue"])).await.unwrap();
    for stranger in [&other[..], &[]] {
        let answers = scene.during(reuses(&scene, &dan.sid, source(1), stranger)).await;
        assert!(answers.iter().all(Result::is_err), "{answers:?}");
    }
    // Through another of the proxies it is the same client.
    let answers = reuses(&scene, &dan.sid, source(2), &own).await;
    assert_eq!(answers, [Ok(200), Ok(200), Ok(101)]);
    drop(dan);
    scene.at_rest().await;
}

/// Phones change their address; the policy may let them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_13_a_session_may_move_where_policy_does_not_bind_it() {
    let scene = Scene::new("").await;
    let mut dan = Polling::open_from(source(1), scene.public, &[]).await.unwrap();
    dan.connect(&member("dan", &["blue"])).await.unwrap();
    let answers = scene.during(reuses(&scene, &dan.sid, source(2), &[])).await;
    assert_eq!(answers, [Ok(200), Ok(200), Ok(101)]);
    drop(dan);
    scene.at_rest().await;
}
