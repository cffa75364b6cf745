//! Floods of events from members with good tokens, in the teams of the honest and in others.

use std::io;
use std::time::Duration;

use tokio::time::sleep;

use super::{Attacker, Ended};
use crate::message::epoch_ms;
use crate::soak::event;
use crate::soak::session::{Session, Socket};
use crate::soak::wire::text_frame;

/// Frames in one write.
const BATCH: usize = 40;
/// Batches of one flood, far more than are heard out.
const BATCHES: usize = 50;
/// A pace of twice the default rate of one socket.
const TWICE_THE_RATE: Duration = Duration::from_millis(25);
/// Events at that pace.
const OVER_RATE_EVENTS: u64 = 400;

/// Streams events that the policy refuses until it is disconnected.
pub async fn refused(attacker: &mut Attacker) -> io::Result<Ended> {
    let team = attacker.team();
    let mut socket = attacker.join_socket(team).await?;
    for _ in 0..BATCHES {
        let mut batch = Vec::new();
        for _ in 0..BATCH {
            batch.extend_from_slice(&text_frame(&bad_event(attacker)));
        }
        socket.wire.write(&batch).await?;
    }
    socket.wire.until_closed().await;
    Ok(Ended::Stopped)
}

/// Sends good events at twice the rate that one socket has, and listens, until it is disconnected or tired.
pub async fn over_rate(attacker: &mut Attacker) -> io::Result<Ended> {
    let team = attacker.team();
    let mut socket = attacker.join_socket(team).await?;
    // Some begin with a burst.
    if attacker.chance.once_in(2) {
        let burst: Vec<u8> = (0..BATCH).flat_map(|_| text_frame(&event::hostile(team, None))).collect();
        socket.wire.write(&burst).await?;
    }
    for number in 0..OVER_RATE_EVENTS {
        socket.wire.write_text(&event::hostile(team, Some(number))).await?;
        listen(&mut socket, TWICE_THE_RATE).await?;
    }
    Ok(Ended::Left)
}

/// Reads what comes within `time`, and answers pings.
async fn listen(socket: &mut Socket, time: Duration) -> io::Result<()> {
    let over = sleep(time);
    tokio::pin!(over);
    loop {
        tokio::select! {
            () = &mut over => return Ok(()),
            text = socket.wire.text() => if text? == "2" {
                socket.wire.write_text("3").await?;
            },
        }
    }
}

/// Has a session answered by heartbeat alone for `time`.
pub async fn idle(session: &mut Session, attacker: &Attacker, time: Duration) -> io::Result<()> {
    let over = sleep(time);
    tokio::pin!(over);
    loop {
        tokio::select! {
            () = &mut over => return Ok(()),
            packet = session.packet() => if packet? == "2" {
                session.send(&attacker.stage.target, "3").await?;
            },
        }
    }
}

/// An event that the policy refuses, each for another reason.
pub fn bad_event(attacker: &mut Attacker) -> String {
    let now = epoch_ms();
    let number = attacker.chance.next() % 1000;
    let ack = if attacker.chance.once_in(3) { number.to_string() } else { String::new() };
    let payload = match attacker.chance.below(9) {
        0 => format!(r#"{{"type":"unknown","taskId":1,"timestamp":{now}}}"#),
        1 => format!(r#"{{"type":"task-updated","timestamp":{now}}}"#),
        2 => r#"{"type":"task-updated","taskId":1,"timestamp":1}"#.to_owned(),
        3 => format!(r#"{{"type":"task-updated","taskId":1,"timestamp":{}}}"#, now + 3_600_000),
        4 => format!(r#"{{"type":"task-updated","taskId":1,"timestamp":{now},"more":1}}"#),
        5 => format!(
            r#"{{"type":"task-updated","taskId":1,"timestamp":{now},"note":"{}"}}"#,
            "n".repeat(17_000)
        ),
        6 => format!("{}{}", "[".repeat(500), "]".repeat(500)),
        7 => r#"1,2,3"#.to_owned(),
        _ => return format!(r#"42{ack}["made-up-{number}",1]"#),
    };
    format!(r#"42{ack}["database-change",{payload}]"#)
}
