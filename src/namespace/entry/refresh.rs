//! `refresh-token`: a newer token on a live socket (`auth.refresh`).
//!
//! It goes the way of every token: verified by the policy in force, asked whether it is revoked, and then the socket is
//! judged again on these grounds, in its seat, as after a reload. The event goes no further, and the token is in no log.

use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use socketioxide::adapter::LocalAdapter;
use socketioxide::extract::AckSender;
use socketioxide::handler::{FromMessageParts, Value};
use socketioxide::socket::Socket;

use super::{Answer, EventEntry};
use crate::config::policy::RefusalDetail;
use crate::connect::admission::Denied;
use crate::connect::token::{MAX_TOKEN_BYTES, TokenError, Verified};
use crate::decision_log::{Kind, Outcome, Record, Who};
use crate::edition::Edition;
use crate::event::{EventId, Now};
use crate::metrics::CloseReason;
use crate::reject::{Code, Reject};
use crate::seat::Taken;

/// The event's name.
pub const NAME: &str = crate::config::REFRESH;

/// What stands round the token at most, as a stock client writes it: the name, an object, and the signs between.
const AROUND: usize = 64;

/// When to come again while another token of the same socket, or its issuer's keys, are waited for.
const RETRY: Duration = Duration::from_secs(1);

/// Whether this event is one. The library has made sure that a name stands first, and that nothing in it is escaped.
pub(super) fn is_meant(text: &str) -> bool {
    let rest = text.strip_prefix("[\"").and_then(|text| text.strip_prefix(NAME)?.strip_prefix('"'));
    rest.is_some_and(|rest| rest.starts_with([',', ']']))
}

/// The token as it comes: by itself, or in the field in which `auth` has it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Argument {
    Text(String),
    Object { token: String },
}

fn token(text: &str) -> Result<String, Reject> {
    if text.len() > MAX_TOKEN_BYTES + AROUND {
        return Err(Reject::new(Code::TooLarge, "a token is shorter"));
    }
    match serde_json::from_str::<(IgnoredAny, Argument)>(text) {
        Ok((_, Argument::Text(token) | Argument::Object { token })) => Ok(token),
        Err(_) => {
            Err(Reject::new(Code::InvalidPayload, "the token, as text or as { token }, is the one argument"))
        }
    }
}

/// Who is to be told. The socket is held weakly: what it holds is freed with it, also while a key is fetched.
pub(super) struct Asked {
    pub socket: Weak<Socket>,
    /// `None` where no answer is asked for.
    pub ack: Option<i64>,
}

impl EventEntry {
    /// Takes the token in this event in, at once or when its key has been fetched. Events of the same socket that come in
    /// between are judged by what the socket was.
    #[cold]
    pub(super) fn refresh(
        &self,
        edition: &Edition,
        taken: &mut Taken,
        text: &str,
        asked: Asked,
        id: EventId,
        now: Now,
    ) {
        let charged = edition.pipeline.charge(taken.sender(), now).map_err(|refused| refused.reject);
        let token = match charged.and_then(|()| token(text)) {
            Ok(token) => token,
            Err(reject) => return self.no_refresh(edition, taken, &reject, None, &asked, id, now),
        };
        if taken.is_refreshing() {
            return self.no_refresh(edition, taken, &later(), None, &asked, id, now);
        }
        // Only a key that has to be fetched is waited for; the first look then begins the fetch.
        let verified = {
            let verify = pin!(edition.admission.verifier().verify(&token, now.wall));
            verify.poll(&mut Context::from_waker(Waker::noop()))
        };
        match verified {
            Poll::Ready(verified) => self.refreshed(edition, taken, verified, &asked, id, now),
            Poll::Pending => self.refresh_later(taken, token, asked, id),
        }
    }

    fn refresh_later(&self, taken: &mut Taken, token: String, asked: Asked, id: EventId) {
        taken.set_refreshing(true);
        let (path, edition) = (self.path.clone(), self.path.current.get());
        // Held weakly: what the socket holds is freed with it.
        let seat = Arc::downgrade(&self.seat);
        tokio::spawn(async move {
            let verified = edition.admission.verifier().verify(&token, SystemTime::now()).await;
            let Some(seat) = seat.upgrade() else { return };
            let entry = EventEntry { path, seat };
            let edition = entry.path.current.hold();
            let mut taken = entry.seat.taken();
            taken.set_refreshing(false);
            entry.refreshed(&edition, &mut taken, verified, &asked, id, Now::read());
        });
    }

    /// Judges the socket on the grounds of a token that was verified, if it was.
    fn refreshed(
        &self,
        edition: &Edition,
        taken: &mut Taken,
        verified: Result<Verified, TokenError>,
        asked: &Asked,
        id: EventId,
        now: Now,
    ) {
        let renewed = verified.map_err(Denied::from);
        match renewed.and_then(|verified| taken.renew(edition, &self.seat, verified)) {
            Ok(expires_at) => {
                let peer = taken.sender().peer();
                self.path.metrics.refreshes.inc();
                // A client may bring the same one again and again.
                if edition.pipeline.may_say_refresh(true, now) {
                    tracing::info!(connection = %peer.id(), event = %id, subject = peer.subject(), "token refreshed");
                } else {
                    tracing::debug!(connection = %peer.id(), event = %id, subject = peer.subject(), "token refreshed");
                }
                if self.path.log.is_on() && self.may_have_line(taken.sender(), now) {
                    self.path.log.write(Record {
                        outcome: Some(Outcome::Accepted),
                        id: Some(id),
                        ..Record::new(Kind::Refresh, Who::Peer(peer.clone()), now.wall)
                    });
                }
                self.tell(asked, &Answer::refreshed(milliseconds(expires_at)));
            }
            Err(Denied::Final(code, why)) => {
                let reject = Reject::new(code, "the token is not taken, and the old one counts");
                self.no_refresh(edition, taken, &reject, Some(&why), asked, id, now);
            }
            Err(Denied::Later(_, why)) => {
                self.no_refresh(edition, taken, &later(), Some(&why), asked, id, now);
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "what one event has with it")]
    fn no_refresh(
        &self,
        edition: &Edition,
        taken: &Taken,
        reject: &Reject,
        why: Option<&str>,
        asked: &Asked,
        id: EventId,
        now: Now,
    ) {
        let (sender, code) = (taken.sender(), reject.code.as_str());
        self.path.metrics.refused(reject.code);
        // What is refused for its rate or its shape costs its sender nothing, and says nothing about a token.
        let is_said = why.is_some() && edition.pipeline.may_say_refresh(false, now);
        if is_said {
            tracing::info!(connection = %sender.peer().id(), event = %id, code, why, "token not refreshed");
        } else {
            tracing::debug!(connection = %sender.peer().id(), event = %id, code, why, "token not refreshed");
        }
        if self.path.log.is_on() && self.may_have_line(sender, now) {
            self.path.log.write(Record {
                outcome: Some(Outcome::Refused),
                id: Some(id),
                code: Some(code),
                why: why.map(Into::into),
                ..Record::new(Kind::Refresh, Who::Peer(sender.peer().clone()), now.wall)
            });
        }
        self.after_refusal(sender, id, now);
        let detail: RefusalDetail = edition.policy.refusal_detail;
        self.tell(asked, &Answer::refused(reject, detail));
    }

    fn tell(&self, asked: &Asked, answer: &Answer<'_>) {
        let (true, Some(socket)) = (asked.ack.is_some(), asked.socket.upgrade()) else { return };
        let mut nothing = Value::Bytes(Bytes::new());
        let Ok(acks) = AckSender::<LocalAdapter>::from_message_parts(&socket, &mut nothing, &asked.ack);
        // A client that asks for answers and does not collect them loses its connection, not its answers.
        if acks.send(answer).is_err() {
            self.close(CloseReason::SendFailed);
        }
    }
}

fn later() -> Reject {
    Reject::new(Code::RateLimited, "the token cannot be judged now; send it again after the given time")
        .retry_after(RETRY)
}

fn milliseconds(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_event_is_meant() {
        for (text, meant) in [
            (r#"["refresh-token"]"#, true),
            (r#"["refresh-token","x"]"#, true),
            (r#"["refresh-tokens","x"]"#, false),
            (r#"["refresh-token\u0000"]"#, false),
            (r#"["database-change","refresh-token"]"#, false),
            ("", false),
        ] {
            assert_eq!(is_meant(text), meant, "{text}");
        }
    }

    #[test]
    fn the_token_is_the_one_argument() {
        let code = |text: &str| token(text).map_err(|reject| reject.code);
        for text in [r#"["refresh-token","a.b.c"]"#, r#"["refresh-token",{"token":"a.b.c"}]"#] {
            assert_eq!(code(text), Ok("a.b.c".to_owned()));
        }
        for text in [
            r#"["refresh-token"]"#,
            r#"["refresh-token",null]"#,
            r#"["refresh-token",7]"#,
            r#"["refresh-token",{}]"#,
            r#"["refresh-token",{"token":7}]"#,
            r#"["refresh-token",{"token":"a","token":"b"}]"#,
            r#"["refresh-token","a","b"]"#,
        ] {
            assert_eq!(code(text), Err(Code::InvalidPayload), "{text}");
        }
        let long = format!(r#"["refresh-token","{}"]"#, "a".repeat(MAX_TOKEN_BYTES + AROUND));
        assert_eq!(code(&long), Err(Code::TooLarge));
    }
}
