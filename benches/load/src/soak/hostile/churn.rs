//! Members who come, say a few words and go, in every way there is to go.

use std::io;
use std::time::Duration;

use super::{Attacker, Ended, flood};
use crate::soak::event;
use crate::soak::session::{Session, Transport};

/// The longest stay.
const STAY: Duration = Duration::from_millis(1500);

/// Is admitted, sends up to three events, stays a moment or none, and leaves.
pub async fn member(attacker: &mut Attacker) -> io::Result<Ended> {
    let team = attacker.team();
    let transport = *attacker.chance.pick(&[
        Transport::WebSocket,
        Transport::WebSocket,
        Transport::Polling,
        Transport::Upgrade,
    ]);
    let mut session = attacker.join(transport, team).await?;
    if transport == Transport::Upgrade {
        session = session.upgrade(&attacker.stage.target).await?;
    }
    for number in 0..attacker.chance.below(4) {
        session.send(&attacker.stage.target, &event::hostile(team, Some(number as u64))).await?;
    }
    if attacker.chance.once_in(2) {
        let stay = attacker.chance.about(STAY / 2);
        flood::idle(&mut session, attacker, stay).await?;
    }
    match (attacker.chance.below(4), session) {
        (0, session) => session.leave(&attacker.stage.target, true).await?,
        (1, session) => session.leave(&attacker.stage.target, false).await?,
        (2, Session::Socket(socket)) => socket.wire.end_with_reset()?,
        _ => {}
    }
    Ok(Ended::Left)
}
