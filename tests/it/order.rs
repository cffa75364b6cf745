//! One sender's events reach every member in the order in which they were sent, each once, over every transport and
//! across the upgrade from one to the other.

use std::time::Duration;

use futures_util::SinkExt;
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::packets::{self, EVENT};
use crate::harness::polling::Polling;
use crate::harness::websocket::RawSocket;
use crate::harness::{Sidecar, member, within};

/// The number that an event of these tests carries.
fn number(argument: &str) -> u64 {
    argument.parse().unwrap_or_else(|_| panic!("{argument}"))
}

/// Reads events from the first that comes to `last`, and panics at the first that is not its predecessor's successor.
async fn reads_in_order(socket: &mut RawSocket, first: Option<u64>, last: u64) {
    let mut expected = first;
    loop {
        let heard = number(&socket.event().await);
        assert_eq!(heard, expected.unwrap_or(heard));
        if heard == last {
            return;
        }
        expected = Some(heard + 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn twenty_thousand_events_arrive_without_a_swap() {
    const EVENTS: u64 = 20_000;
    let sidecar = Sidecar::start("").await;
    let mut sender = RawSocket::join(sidecar.public, &member("ann", &["red"])).await;
    let mut reader = RawSocket::join(sidecar.public, &member("ben", &["red"])).await;
    let reads = tokio::spawn(async move { reads_in_order(&mut reader, Some(0), EVENTS - 1).await });
    let echo = tokio::spawn(async move {
        for at in 0..EVENTS {
            let event = packets::event(EVENT, &at.to_string(), None);
            sender.stream.feed(Message::text(event)).await.unwrap();
        }
        sender.stream.flush().await.unwrap();
        reads_in_order(&mut sender, Some(0), EVENTS - 1).await;
    });
    within("the member hears everything", reads).await.unwrap();
    within("the sender hears everything", echo).await.unwrap();
    sidecar.until("flowgate_events_accepted_total", EVENTS as f64).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_polling_sender_and_a_polling_member_keep_order() {
    const EVENTS: u64 = 2_000;
    let sidecar = Sidecar::start("").await;
    let mut sender = Polling::join(sidecar.public, &member("ann", &["red"])).await;
    let mut polling = Polling::join(sidecar.public, &member("ben", &["red"])).await;
    let mut websocket = RawSocket::join(sidecar.public, &member("cleo", &["red"])).await;
    let polled = tokio::spawn(async move {
        for at in 0..EVENTS {
            assert_eq!(number(&polling.event().await), at);
        }
    });
    let read = tokio::spawn(async move { reads_in_order(&mut websocket, Some(0), EVENTS - 1).await });
    // Ten packets to a body, as clients bundle what has waited.
    for first in (0..EVENTS).step_by(10) {
        let body: Vec<_> =
            (first..first + 10).map(|at| packets::event(EVENT, &at.to_string(), None)).collect();
        assert_eq!(sender.post(&body.join("\x1e")).await.status, 200);
    }
    within("the polling member hears everything", polled).await.unwrap();
    within("the other member hears everything", read).await.unwrap();
    for at in 0..EVENTS {
        assert_eq!(number(&sender.event().await), at);
    }
}

/// What a client sees that upgrades while events pass: joined, then from some event on every one, once, in order.
async fn upgrades_in_the_middle(sidecar: &Sidecar, clients: u64, events: u64) {
    /// Events that are on their way at once.
    const BURST: u64 = 20;
    let (addr, team) = (sidecar.public, ["red"]);
    let mut readers = Vec::new();
    for at in 0..clients {
        let mut client = Polling::join(addr, &member(&format!("user-{at}"), &team)).await;
        readers.push(tokio::spawn(async move {
            // Each at another moment: after as many events as its number says.
            let mut next = 0;
            while next < at * events / clients / 2 {
                assert_eq!(number(&client.event().await), next);
                next += 1;
            }
            let mut socket = client.upgrade().await;
            reads_in_order(&mut socket, Some(next), events - 1).await;
            assert_eq!(socket.heard_until_now().await, Vec::<String>::new(), "nothing twice");
        }));
    }
    let mut sender = RawSocket::join(addr, &member("sender", &team)).await;
    for at in 0..events {
        sender.emit(&at.to_string()).await;
        // Paced by its own echo now and then, so that upgrades and events overlap.
        if at % BURST == BURST - 1 {
            reads_in_order(&mut sender, Some(at + 1 - BURST), at).await;
        }
    }
    for reader in readers {
        within("a client that upgraded hears everything", reader).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_doubled_or_swapped_while_fifty_clients_upgrade() {
    let sidecar = Sidecar::start("").await;
    upgrades_in_the_middle(&sidecar, 50, 1_000).await;
    assert_eq!(sidecar.metric(&crate::harness::closes("slow_reader")).await, 0.0);
    assert_eq!(sidecar.metric(&crate::harness::closes("send_failed")).await, 0.0);
}

#[tokio::test]
async fn upgrades_keep_order_on_one_thread_too() {
    let sidecar = Sidecar::start("").await;
    upgrades_in_the_middle(&sidecar, 20, 400).await;
}

/// Clients that send and ask for answers while they upgrade: their own echo comes before the answer, every time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_echo_comes_before_the_answer_across_an_upgrade() {
    const ASKS: u64 = 60;
    let sidecar = Sidecar::start("").await;
    let addr = sidecar.public;
    let mut background = RawSocket::join(addr, &member("background", &["red"])).await;
    let noise = tokio::spawn(async move {
        for at in 0_u64.. {
            background.emit(&format!("\"noise {at}\"")).await;
            background.event().await;
        }
    });
    let mut clients = Vec::new();
    for at in 0..20 {
        clients.push(tokio::spawn(async move {
            let mut polling = Polling::join(addr, &member(&format!("user-{at}"), &["red"])).await;
            // Asked while polling, heard on either side of the upgrade.
            let ask = |own: u64| packets::event(EVENT, &format!("\"{at} {own}\""), Some(own));
            for own in 0..5 {
                assert_eq!(polling.post(&ask(own)).await.status, 200);
            }
            let mut socket = polling.upgrade().await;
            for own in 5..ASKS {
                socket.send(&ask(own)).await;
            }
            let mine = format!("\"{at} ");
            let (mut echoed, mut answered) = (0, 0);
            while answered < ASKS {
                let packet = socket.packet().await.expect("an answer rather than the end");
                if let Some(argument) = packets::heard(&packet) {
                    if let Some(rest) = argument.strip_prefix(&mine) {
                        assert_eq!(number(rest.trim_end_matches('"')), echoed);
                        echoed += 1;
                    }
                } else {
                    let answer: Value = packets::answer(&packet, answered).expect("answers in order");
                    assert_eq!(answer["ok"], true);
                    answered += 1;
                    assert!(echoed >= answered, "answer {answered} came before its echo");
                }
            }
        }));
    }
    for client in clients {
        within("a client hears all its answers", client).await.unwrap();
    }
    noise.abort();
}

/// An upgrade that a poll in flight does not accompany: nothing waits at that moment, or much does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waited_in_the_library_comes_first_after_the_upgrade() {
    let sidecar = Sidecar::start("").await;
    let mut sender = RawSocket::join(sidecar.public, &member("ann", &["red"])).await;
    for waiting in [0, 1, 100, 3_000] {
        let polling = Polling::join(sidecar.public, &member("ben", &["red"])).await;
        let emit = async |sender: &mut RawSocket, from: u64, to: u64| {
            for at in from..to {
                sender.emit(&at.to_string()).await;
            }
            if from < to {
                reads_in_order(sender, Some(from), to - 1).await;
            }
        };
        emit(&mut sender, 0, waiting).await;
        let mut socket = polling.ask_upgrade().await.unwrap();
        socket.send("2probe").await;
        assert_eq!(socket.frame().await.as_deref(), Some("3probe"));
        emit(&mut sender, waiting, waiting + 50).await;
        socket.send("5").await;
        emit(&mut sender, waiting + 50, waiting + 150).await;
        reads_in_order(&mut socket, Some(0), waiting + 149).await;
        assert_eq!(socket.heard_until_now().await, Vec::<String>::new());
        tokio::time::timeout(Duration::ZERO, socket.closed()).await.ok();
        sidecar.until("flowgate_peers", 1.0).await;
    }
}
