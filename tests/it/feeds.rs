//! Members who follow a room's feed, in all mixtures: of one team and of two, while others come and go.

use std::collections::HashMap;
use std::net::SocketAddr;

use tokio::task::JoinHandle;

use crate::harness::websocket::RawSocket;
use crate::harness::{Sidecar, member, within};

/// What each sender sends.
const EVENTS: u64 = 400;

/// Events of one sender that are on their way at once.
const BURST: u64 = 20;

/// Reads until the last event of each of `senders` was heard, and panics at one that comes twice, too early or unexpected.
async fn hears(socket: &mut RawSocket, senders: &[&str]) {
    let mut next: HashMap<String, u64> = senders.iter().map(|&sender| (sender.to_owned(), 0)).collect();
    while next.values().any(|&next| next < EVENTS) {
        let heard = socket.event().await;
        let (sender, number) = heard.trim_matches('"').split_once(' ').expect(&heard);
        let expected = next.get_mut(sender).unwrap_or_else(|| panic!("{heard} is not for it"));
        assert_eq!(number.parse(), Ok(*expected), "{heard}");
        *expected += 1;
    }
    assert_eq!(socket.heard_until_now().await, Vec::<String>::new(), "nothing more");
}

/// Sends in bursts, each paced by the last echo of the one before.
fn sends(addr: SocketAddr, name: &'static str, teams: &'static [&'static str]) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut socket = RawSocket::join(addr, &member(name, teams)).await;
        for at in 0..EVENTS {
            socket.emit(&format!("\"{name} {at}\"")).await;
            if at % BURST == BURST - 1 {
                let last = format!("\"{name} {at}\"");
                while socket.event().await != last {}
            }
        }
    })
}

async fn readers(
    addr: SocketAddr,
    count: usize,
    teams: &[&str],
    senders: &'static [&'static str],
) -> Vec<JoinHandle<()>> {
    let mut readers = Vec::new();
    for at in 0..count {
        let mut socket =
            RawSocket::join(addr, &member(&format!("{} {at}", teams.join(" and ")), teams)).await;
        readers.push(tokio::spawn(async move { hears(&mut socket, senders).await }));
    }
    readers
}

/// Comes, hears a little, and leaves without a word.
fn churns(addr: SocketAddr, at: usize) -> JoinHandle<()> {
    tokio::spawn(async move {
        let teams = [&["red"][..], &["blue"], &["red", "blue"]][at % 3];
        for time in 0..10 {
            let mut socket = RawSocket::join(addr, &member(&format!("guest {at}"), teams)).await;
            for _ in 0..time {
                socket.event().await;
            }
        }
    })
}

async fn everybody_hears_everything_once_and_in_order() {
    let sidecar = Sidecar::start("[rooms]\nmulti_team = \"all\"").await;
    let addr = sidecar.public;
    let mut all = readers(addr, 40, &["red"], &["r", "both"]).await;
    all.extend(readers(addr, 15, &["blue"], &["b", "both"]).await);
    all.extend(readers(addr, 10, &["red", "blue"], &["r", "b", "both"]).await);
    let guests: Vec<_> = (0..9).map(|at| churns(addr, at)).collect();
    let senders =
        [sends(addr, "r", &["red"]), sends(addr, "b", &["blue"]), sends(addr, "both", &["red", "blue"])];
    for task in senders.into_iter().chain(all) {
        within("everybody hears everything", task).await.unwrap();
    }
    guests.iter().for_each(JoinHandle::abort);
    assert_eq!(sidecar.metric(&crate::harness::closes("slow_reader")).await, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn members_of_two_teams_hear_all_in_order_while_others_come_and_go() {
    everybody_hears_everything_once_and_in_order().await;
}

#[tokio::test]
async fn the_same_on_one_thread() {
    everybody_hears_everything_once_and_in_order().await;
}

/// A sender that is left out hears everybody else's events, and the others hear its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_is_left_out_misses_its_own_events_only() {
    let sidecar = Sidecar::start("[events.database-change]\nsender = \"exclude\"").await;
    let mut sockets = Vec::new();
    for name in ["ann", "ben", "cleo"] {
        sockets.push((name, RawSocket::join(sidecar.public, &member(name, &["red"])).await));
    }
    // The first event makes them followers, the later ones find them so.
    for round in 0..3 {
        for from in 0..sockets.len() {
            let (name, socket) = &mut sockets[from];
            let event = format!("\"{name} {round}\"");
            assert_eq!(socket.ask(&event).await["ok"], true);
            for (other, socket) in sockets.iter_mut().filter(|(other, _)| !event.contains(other)) {
                assert_eq!(socket.event().await, event, "{other}");
            }
        }
    }
    for (name, socket) in &mut sockets {
        assert_eq!(socket.heard_until_now().await, Vec::<String>::new(), "{name}");
    }
}
