//! Polling sessions that are left lying, or used as they must not be.

use std::io;
use std::time::Duration;

use super::{Attacker, Ended, at_most};
use crate::message;
use crate::soak::session::{Poll, post_request};
use crate::soak::target::team_name;

/// How long an answer is waited for.
const ANSWER: Duration = Duration::from_secs(3);

/// Opens a session, perhaps is admitted, perhaps polls, and is gone without a word.
pub async fn left(attacker: &mut Attacker) -> io::Result<Ended> {
    let (from, team) = (attacker.address(), attacker.team());
    let token = attacker.token(team)?;
    let (is_admitted, polls) = (attacker.chance.once_in(2), attacker.chance.once_in(2));
    let target = &attacker.stage.target;
    let mut poll = Poll::open(target, from).await?;
    if is_admitted {
        poll.post(target, &message::connect(&token, &team_name(team))).await?;
    }
    if polls {
        poll.begin_poll().await?;
    }
    Ok(Ended::Left)
}

/// Two polls at once, bodies that are no packets, a session that is another's.
pub async fn misused(attacker: &mut Attacker) -> io::Result<Ended> {
    let from = attacker.address();
    let kind = attacker.chance.below(6);
    let length = attacker.chance.below(2000);
    let garbage: String =
        attacker.chance.bytes(length).into_iter().map(|byte| char::from(byte & 0x7f)).collect();
    let target = &attacker.stage.target;
    let mut poll = Poll::open(target, from).await?;
    let host = target.public.to_string();
    let body = match kind {
        0 => garbage,
        1 => "2\x1e3\x1e".repeat(400),
        2 => "b4AAAA".to_owned(),
        3 => "x".repeat(70_000),
        4 => "41\x1e40\x1e41\x1e40".to_owned(),
        _ => {
            // The second poll of a session, while the first one waits.
            poll.begin_poll().await?;
            let mut second = target.dial(from).await?;
            let request = format!(
                "GET /socket.io/?EIO=4&transport=polling&sid={} HTTP/1.1\r\nHost: {host}\r\n\r\n",
                poll.sid
            );
            second.write(request.as_bytes()).await?;
            return Ok(at_most(ANSWER, second.answer()).await);
        }
    };
    let mut wire = target.dial(from).await?;
    wire.write(post_request(&host, &poll.sid, &body).as_bytes()).await?;
    let answer = wire.answer().await?;
    Ok(if answer.status == 200 { Ended::Left } else { Ended::Stopped })
}
