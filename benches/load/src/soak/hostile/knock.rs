//! Those who are not let in: bad tokens, and handshakes faster than an address may make them.

use std::io;
use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{Attacker, Ended};
use crate::message;
use crate::soak::session::{Poll, Session, Socket};
use crate::soak::stage::add;
use crate::soak::target::team_name;
use crate::token::Algorithm;

/// Handshakes of one storm: three times what an address may burst.
const STORM: usize = 60;
/// CONNECTs on one session; more than three close it.
const TRIES: usize = 5;

/// Asks to be admitted with tokens that are none, until the session is closed.
pub async fn bad_token(attacker: &mut Attacker) -> io::Result<Ended> {
    let from = attacker.address();
    let mut session = Session::Socket(Socket::open(&attacker.stage.target, from).await?);
    for _ in 0..=attacker.chance.below(TRIES) {
        let team = attacker.team();
        let packet = match token(attacker, team)? {
            Some(token) => message::connect(&token, &team_name(team)),
            None => "40".to_owned(),
        };
        session.send(&attacker.stage.target, &packet).await?;
        let answer = session.packet().await?;
        if answer.starts_with("40") {
            add(&attacker.stage.let_in, 1);
            return Ok(Ended::Left);
        }
    }
    Ok(Ended::Stopped)
}

fn token(attacker: &mut Attacker, team: usize) -> io::Result<Option<String>> {
    let user = attacker.user();
    let kind = attacker.chance.below(7);
    let target = &attacker.stage.target;
    let good = target.token(&user, team, Duration::from_secs(60))?;
    Ok(Some(match kind {
        0 => return Ok(None),
        1 => target.forged_token(&user, team)?,
        2 => target.expired_token(&user, team, Duration::from_secs(600))?,
        3 => {
            let issuer = Algorithm::Hs256.issuer();
            let claims = format!(
                r#"{{"iss":"{issuer}","aud":"flowgate","sub":"{user}","teams":["team-1"],"exp":9999999999}}"#
            );
            let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
            format!("{}.{}.", encode(r#"{"alg":"none"}"#), encode(&claims))
        }
        4 => "a".repeat(30_000),
        5 => good.chars().rev().collect(),
        // A token for a life that the policy does not grant.
        _ => target.token(&user, team, Duration::from_secs(40 * 24 * 3600))?,
    }))
}

/// Many polling handshakes from one address at once, all abandoned.
pub async fn storm(attacker: &mut Attacker) -> io::Result<Ended> {
    let from = attacker.address();
    let mut refused = 0;
    let mut open = Vec::new();
    for _ in 0..STORM {
        match Poll::open(&attacker.stage.target, from).await {
            Ok(poll) => open.push(poll),
            Err(_) => refused += 1,
        }
    }
    Ok(if refused > 0 { Ended::Stopped } else { Ended::Left })
}
