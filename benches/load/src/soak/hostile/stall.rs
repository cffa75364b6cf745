//! Members of the busy team who stop reading, and ask for acknowledgements that they never collect.

use std::io;
use std::time::Duration;

use tokio::time::sleep;

use super::{Attacker, Ended};
use crate::message;
use crate::soak::cast::BUSY_TEAM;
use crate::soak::event;
use crate::soak::session::{Poll, Session, Socket};
use crate::soak::target::team_name;
use crate::soak::wire::Wire;

/// The least that Linux grants is about twice this.
const RECEIVE_BUFFER: u32 = 2048;
/// The pause between two events, which also find out whether the connection is still there.
const BETWEEN: Duration = Duration::from_millis(300);

/// Over a WebSocket.
pub async fn websocket(attacker: &mut Attacker) -> io::Result<Ended> {
    let (from, token) = (attacker.address(), attacker.token(BUSY_TEAM)?);
    let target = &attacker.stage.target;
    let wire = Wire::dial(target.public, from, Some(RECEIVE_BUFFER)).await?;
    let mut session = Session::Socket(Socket::open_on(wire, target).await?);
    session.admit(target, &token, BUSY_TEAM).await?;
    for number in 0.. {
        sleep(BETWEEN).await;
        session.send(target, &event::hostile(BUSY_TEAM, Some(number))).await?;
    }
    Ok(Ended::Left)
}

/// Over polling: admitted, and never polls again.
pub async fn polling(attacker: &mut Attacker) -> io::Result<Ended> {
    let (from, token) = (attacker.address(), attacker.token(BUSY_TEAM)?);
    let target = &attacker.stage.target;
    let mut poll = Poll::open(target, from).await?;
    let mut packet = message::connect(&token, &team_name(BUSY_TEAM));
    for number in 0.. {
        if poll.post(target, &packet).await?.status != 200 {
            return Ok(Ended::Stopped);
        }
        sleep(BETWEEN).await;
        packet = event::hostile(BUSY_TEAM, Some(number));
    }
    Ok(Ended::Left)
}
