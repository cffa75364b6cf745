//! Floods of packets that are no events, which each cost their sender nothing.

use std::io;

use super::{Attacker, Ended};
use crate::frame;
use crate::message;
use crate::soak::target::team_name;
use crate::soak::wire::text_frame;

/// Packets of one flood; flowgate bears 200 at once.
const FLOOD: usize = 1500;

/// Is admitted, floods with one kind of packet, and waits to be closed.
pub async fn flood(attacker: &mut Attacker) -> io::Result<Ended> {
    let team = attacker.team();
    let mut socket = attacker.join_socket(team).await?;
    let one = packet(attacker, team)?;
    let flood = one.repeat(FLOOD.min(1 + 200_000 / one.len()));
    socket.wire.write(&flood).await?;
    socket.wire.until_closed().await;
    Ok(Ended::Stopped)
}

fn packet(attacker: &mut Attacker, team: usize) -> io::Result<Vec<u8>> {
    let mut raw = Vec::new();
    match attacker.chance.below(8) {
        0 => return Ok(text_frame("2")),
        1 => return Ok(text_frame("3")),
        2 => return Ok(text_frame("40/other,{}")),
        3 => return Ok(text_frame("40/other-team,{\"token\":\"x\"}")),
        4 => {
            let token = attacker.token(team)?;
            return Ok(text_frame(&message::connect(&token, &team_name(team))));
        }
        5 => return Ok(text_frame("41")),
        6 => frame::write_masked(&mut raw, frame::PING, b"ping"),
        _ => frame::write_masked(&mut raw, frame::TEXT, b""),
    }
    Ok(raw)
}
