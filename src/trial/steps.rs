//! What is said of a handshake, step by step, and by which key.

use std::sync::Arc;

use super::keys::NO_ISSUER;
use super::{Denial, Signature};
use crate::connect::admission::Denied;
use crate::connect::token::TokenError;
use crate::event::trace::{Step, Verdict};
use crate::hears::Listening;
use crate::metrics::CloseReason;
use crate::peer::{Peer, Standing};
use crate::reject::Code;

/// What is said of claims.
const UNSIGNED: &str = "had signed them; no signature was verified";

/// Whose token it is.
pub(super) fn identified(issuer: &str, signature: Signature) -> Step {
    let step = |message: String| Step::passed("token", Some(key_of(issuer)), message);
    match signature {
        Signature::Claims if issuer == NO_ISSUER => Step::passed(
            "token",
            Some("auth.issuers".into()),
            format!("claims judged as if an issuer {UNSIGNED}"),
        ),
        Signature::Claims => step(format!("claims judged as if issuer {issuer:?} {UNSIGNED}")),
        Signature::NotChecked => step(format!(
            "the signature was NOT checked: the keys of issuer {issuer:?} are at its jwks_url; its claims are judged as if it held"
        )),
        _ => step(format!("verified with a key of issuer {issuer:?}")),
    }
}

/// Why a token, or claims of `issuer`'s, are not accepted.
pub(super) fn not_verified(error: &TokenError, issuer: Option<&str>, steps: &mut Vec<Step>) -> Denial {
    let rule = match (error, issuer) {
        (TokenError::Expired(_), _) => "auth.leeway".to_owned(),
        (TokenError::Issuer(_) | TokenError::TooLong(_), _) | (_, None) => "auth.issuers".to_owned(),
        (_, Some(issuer)) => key_of(issuer),
    };
    let (code, closes) = match error.code() {
        Some(code) => (code.as_str(), false),
        None => (CloseReason::KeysUnavailable.as_str(), true),
    };
    push_refusal("token", code, Some(rule), error.to_string(), closes, steps)
}

/// A client without a token that may come in all the same.
pub(super) fn without_token(peer: &Peer, steps: &mut Vec<Step>) {
    let message = match peer.standing() {
        Standing::Verified | Standing::Publisher => return,
        Standing::Open => "nobody is asked who they are",
        Standing::Anonymous => "without a token it only listens",
    };
    steps.push(Step::passed("token", Some("auth.mode".into()), message));
}

/// As whom it comes in.
pub(super) fn admitted(peer: &Peer, steps: &mut Vec<Step>) {
    let list = |what: &str, names: &[Arc<str>]| match names {
        [] => format!("no {what}"),
        [one] => format!("{what} {one}"),
        several => format!("{what}s {}", several.join(", ")),
    };
    let (rule, message) = match peer.subject() {
        None => ("auth.mode", "somebody without a name".to_owned()),
        Some(subject) => {
            let chosen = peer.chosen_team().map(|team| format!(", sends to {team}")).unwrap_or_default();
            let (teams, roles) = (list("team", peer.teams()), list("role", peer.roles()));
            ("auth.claims", format!("{subject}, {teams}, {roles}{chosen}"))
        }
    };
    steps.push(Step::passed("admission", Some(rule.into()), message));
}

/// Where it listens.
pub(super) fn rooms(peer: &Peer, listening: &[Listening], steps: &mut Vec<Step>) {
    let rule = match peer.standing() {
        Standing::Open => "auth.mode",
        Standing::Anonymous => "rooms.anonymous",
        Standing::Verified if peer.teams().is_empty() => "rooms.without_team",
        Standing::Verified | Standing::Publisher => "auth.claims.teams",
    };
    let rooms: Vec<&str> = listening.iter().map(|listening| &*listening.room).collect();
    let message = match rooms.as_slice() {
        [] => "listens nowhere".to_owned(),
        rooms => format!("listens in {}", rooms.join(", ")),
    };
    steps.push(Step::passed("rooms", Some(rule.into()), message));
}

/// The last step of a client that admission does not let in.
pub(super) fn refuse(denied: Denied, steps: &mut Vec<Step>) -> Denial {
    let stage = match denied {
        Denied::Final(Code::TokenMissing, _) => "token",
        _ => "admission",
    };
    match denied {
        Denied::Final(code, why) => {
            let rule = match code {
                Code::TokenMissing => "auth.token_from",
                // What the client said at its handshake is no key of the configuration.
                Code::NoTeam if why.starts_with("auth.team") => "auth.team",
                Code::NoTeam => "rooms.without_team",
                Code::InvalidPayload => "auth.filter",
                _ => "auth.issuers",
            };
            push_refusal(stage, code.as_str(), Some(rule.into()), why, false, steps)
        }
        Denied::Later(reason, why) => {
            push_refusal(stage, reason.as_str(), reason.rule().map(Into::into), why, true, steps)
        }
    }
}

/// The one step of an event whose connection is closed.
pub(super) fn closed(reason: CloseReason, message: &'static str) -> (Vec<Step>, Denial) {
    let mut steps = Vec::new();
    let rule = match reason {
        CloseReason::TokenExpired => Some("auth.leeway"),
        CloseReason::BadPacket => Some("limits.payload.hard_max_bytes"),
        reason => reason.rule(),
    };
    let rule = rule.map(str::to_owned);
    let denial = push_refusal("connection", reason.as_str(), rule, message.into(), true, &mut steps);
    (steps, denial)
}

fn push_refusal(
    stage: &'static str,
    code: &'static str,
    rule: Option<String>,
    message: String,
    closes: bool,
    steps: &mut Vec<Step>,
) -> Denial {
    steps.push(Step {
        verdict: Verdict::Refused,
        code: Some(code),
        ..Step::passed(stage, rule.clone(), message)
    });
    Denial { code, rule, closes }
}

fn key_of(issuer: &str) -> String {
    format!("auth.issuers[name={issuer:?}]")
}
