//! Connections abandoned at every stage: dropped, reset, or held until the server has had enough.

use std::io;
use std::time::Duration;

use tokio::time::sleep;

use super::{Attacker, Ended, at_most};
use crate::frame::{self, MASK};
use crate::message;
use crate::soak::event;
use crate::soak::session::{Poll, Socket, post_request};
use crate::soak::target::team_name;
use crate::soak::wire::{Wire, text_frame};

/// How long a peer that says nothing more is held where only the heartbeat would end it.
const HELD: Duration = Duration::from_secs(4);
/// The pause between two bytes of the slow.
const DRIP: Duration = Duration::from_millis(400);

/// Connects, and says nothing.
pub async fn tcp(attacker: &mut Attacker) -> io::Result<Ended> {
    let from = attacker.address();
    let wire = attacker.stage.target.dial(from).await?;
    abandon(attacker, wire).await
}

/// Half a head of a request, in one piece or byte by byte.
pub async fn head(attacker: &mut Attacker) -> io::Result<Ended> {
    let from = attacker.address();
    let mut wire = attacker.stage.target.dial(from).await?;
    let request = message::upgrade_request("flowgate.example");
    let half = &request.as_bytes()[..1 + attacker.chance.below(request.len() - 1)];
    if attacker.chance.once_in(4) {
        for byte in half {
            wire.write(&[*byte]).await?;
            sleep(DRIP).await;
        }
    } else {
        wire.write(half).await?;
    }
    abandon(attacker, wire).await
}

/// A WebSocket on which nobody asks to be admitted.
pub async fn session(attacker: &mut Attacker) -> io::Result<Ended> {
    let from = attacker.address();
    let socket = Socket::open(&attacker.stage.target, from).await?;
    abandon(attacker, socket.wire).await
}

/// An upgrade that is begun and left: before or after CONNECT, before or after the probe.
pub async fn upgrade(attacker: &mut Attacker) -> io::Result<Ended> {
    let (from, team) = (attacker.address(), attacker.team());
    let token = attacker.token(team)?;
    let (is_admitted, is_polling, probes) =
        (attacker.chance.once_in(2), attacker.chance.once_in(2), attacker.chance.once_in(2));
    let target = &attacker.stage.target;
    let mut poll = Poll::open(target, from).await?;
    if is_admitted {
        poll.post(target, &message::connect(&token, &team_name(team))).await?;
    }
    if is_polling {
        poll.begin_poll().await?;
    }
    let mut wire = poll.ask_upgrade(target).await?;
    if probes {
        wire.write_text("2probe").await?;
    }
    abandon(attacker, wire).await
}

/// A member whose last frame never ends.
pub async fn frame(attacker: &mut Attacker) -> io::Result<Ended> {
    let team = attacker.team();
    let mut socket = attacker.join_socket(team).await?;
    let whole = match attacker.chance.below(3) {
        0 => text_frame(&event::hostile(team, None)),
        // A length of 64 KiB less one announced, and nothing of it.
        1 => [&[0x80 | frame::TEXT, 0x80 | 126, 0xff, 0xff][..], &MASK].concat(),
        _ => text_frame(&"4".repeat(3000)),
    };
    let cut = 1 + attacker.chance.below(whole.len() - 1);
    socket.wire.write(&whole[..cut]).await?;
    abandon(attacker, socket.wire).await
}

/// A POST whose body does not come.
pub async fn body(attacker: &mut Attacker) -> io::Result<Ended> {
    let (from, team) = (attacker.address(), attacker.team());
    let token = attacker.token(team)?;
    let target = &attacker.stage.target;
    let poll = Poll::open(target, from).await?;
    let mut wire = target.dial(from).await?;
    let host = target.public.to_string();
    let request = post_request(&host, &poll.sid, &message::connect(&token, &team_name(team)));
    let cut = request.len() - 1 - attacker.chance.below(100);
    wire.write(&request.as_bytes()[..cut]).await?;
    abandon(attacker, wire).await
}

/// Drops the connection, resets it, or holds it.
async fn abandon(attacker: &mut Attacker, mut wire: Wire) -> io::Result<Ended> {
    match attacker.chance.below(4) {
        0 => {}
        1 => wire.end_with_reset()?,
        2 => {
            let held = attacker.chance.about(HELD);
            return Ok(at_most(held, wire.until_closed()).await);
        }
        _ => {
            wire.until_closed().await;
            return Ok(Ended::Stopped);
        }
    }
    Ok(Ended::Left)
}
