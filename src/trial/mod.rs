//! A policy that is tried without a server: the same admission and the same pipeline, at a time of the caller's, with
//! every step told. `flowgate explain` and `flowgate test` are made of it.
//!
//! What the edge decides before CONNECT (origin, caps, handshake rates) is not part of it, and nothing waits: what
//! `relay.coalesce` would hold back is delivered at once.

mod claims;
mod keys;
pub mod rules;
mod steps;
pub mod suite;

use std::cell::Cell;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderValue};
use serde_json::{Map, Value};

use crate::config::policy::{AuthMode, Issuer, Policy, TokenSource};
use crate::connect::admission::{Admission, Admitted};
use crate::connect::audience::{Heard, heard};
use crate::connect::token::{TokenError, Verifier, VerifierError};
use crate::connect::users::{UserPlace, Users};
use crate::decision_log::DecisionLog;
use crate::event::rate_limit::Budget;
use crate::event::sender::AfterRefusal;
use crate::event::trace::{Step, Trace};
use crate::event::{Decision, EventId, Now, Pipeline, Sender};
use crate::hears::Listening;
use crate::link::session::Sessions;
use crate::metrics::{CloseReason, Metrics};
use crate::namespace::entry::Answer;
use crate::peer::{Peer, PeerId};
use crate::revocation::Revocations;

/// The two characters before the text of an event's packet.
const EVENT_PREFIX: usize = "42".len();

/// The event that PhotoFlow knows.
const USUAL_EVENT: &str = "database-change";

/// A policy under trial, from a beginning at which nothing has been used up.
pub struct Trial {
    policy: Arc<Policy>,
    /// Whose tokens claims stand for: the policy's, or one for want of any.
    issuers: Vec<Issuer>,
    /// Judges claims that nobody signed.
    vouching: Admission,
    /// Verifies tokens, where somebody brings one.
    verifying: Option<Admission>,
    users: Arc<Users>,
    sessions: Arc<Sessions>,
    metrics: Arc<Metrics>,
    pipeline: Pipeline,
}

/// What a client brings to its handshake.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// What says who it is.
    pub bearer: Bearer,
    /// Its `auth` beside the token, such as `team`.
    pub auth: Map<String, Value>,
    /// Its address.
    pub address: IpAddr,
}

/// What says who a client is.
#[derive(Clone)]
pub enum Bearer {
    /// Nothing.
    Nothing,
    /// A token.
    Token(String),
    /// What a token would say. It is judged as if an issuer had signed it, with what every issuer writes by itself added.
    Claims(Map<String, Value>),
}

/// A token is never shown.
impl std::fmt::Debug for Bearer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Bearer::Nothing => "Nothing",
            Bearer::Token(_) => "Token",
            Bearer::Claims(_) => "Claims",
        })
    }
}

/// Whether a signature stands behind what was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signature {
    /// There was no token, or nobody asked for one.
    None,
    /// A key of the issuer made it.
    Verified,
    /// There is one, and the keys to check it with are elsewhere.
    NotChecked,
    /// Claims were judged, which nobody signed.
    Claims,
    /// It was refused before, or because of it.
    Refused,
}

impl Signature {
    /// One word, as `--json` says it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Signature::None => "none",
            Signature::Verified => "verified",
            Signature::NotChecked => "not_checked",
            Signature::Claims => "claims",
            Signature::Refused => "refused",
        }
    }
}

/// What became of a handshake, and every step on the way.
pub struct Handshake {
    /// The steps.
    pub steps: Vec<Step>,
    /// What stands behind them.
    pub signature: Signature,
    /// Who came in, or why not.
    pub outcome: Result<Member, Denial>,
}

/// Why a client or an event was refused: what the last step said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The label of a code, or of the reason for which a connection is closed.
    pub code: &'static str,
    /// The key that spoke.
    pub rule: Option<String>,
    /// Whether the connection is closed for it.
    pub closes: bool,
}

/// An admitted client.
pub struct Member {
    peer: Arc<Peer>,
    listening: Vec<Listening>,
    sender: Sender,
    /// Since when its token is no longer honoured.
    until: Option<SystemTime>,
    /// Why its connection was closed, once it was.
    closed: Cell<Option<CloseReason>>,
    _place: Option<UserPlace>,
}

/// What became of an event, and every step on the way.
#[derive(Debug)]
pub struct Ruling {
    /// The steps.
    pub steps: Vec<Step>,
    /// What it came to.
    pub outcome: Result<Relayed, Denial>,
    /// What would have refused it, were every check enforced.
    pub observed: Vec<Denial>,
    /// What an acknowledgement says; `None` where nobody is left to hear it.
    pub answer: Option<Value>,
    /// Why the connection is closed after it.
    pub closes: Option<CloseReason>,
}

/// An event that is relayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relayed {
    /// The name that members hear.
    pub emit: String,
    /// The JSON text that they hear.
    pub payload: String,
    /// The rooms it goes to.
    pub rooms: Vec<Arc<str>>,
    /// Whether the sender may hear it too.
    pub echo: bool,
    /// Those of the members who hear it, in their order.
    pub recipients: Vec<PeerId>,
}

impl Trial {
    /// A trial of this policy that begins at `now`, for who brings claims or nothing.
    ///
    /// # Errors
    /// See [`Verifier::new`].
    pub fn new(policy: Arc<Policy>, now: Now) -> Result<Self, VerifierError> {
        let metrics = Arc::new(Metrics::new());
        let log = Arc::new(DecisionLog::off(metrics.clone()));
        let users = Arc::<Users>::default();
        let auth = keys::throw_away(&policy.auth)?;
        let verifier = Verifier::new(&auth)?;
        Ok(Trial {
            issuers: auth.issuers,
            vouching: admission(policy.clone(), verifier, users.clone(), &metrics),
            verifying: None,
            sessions: Sessions::new(metrics.clone(), log),
            pipeline: Pipeline::counting(policy.clone(), Vec::new(), now, &metrics.events),
            users,
            metrics,
            policy,
        })
    }

    /// Also for who brings a token, which is verified with the policy's keys. Those behind an address are not fetched unless
    /// the caller has the [`Trial::verifier`] start.
    ///
    /// # Errors
    /// See [`Verifier::new`].
    pub fn verifying(mut self) -> Result<Self, VerifierError> {
        let verifier = Verifier::new(&self.policy.auth)?;
        let (policy, users) = (self.policy.clone(), self.users.clone());
        self.verifying = Some(admission(policy, verifier, users, &self.metrics));
        Ok(self)
    }

    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// What verifies tokens, where somebody brings one.
    pub fn verifier(&self) -> Option<&Verifier> {
        self.verifying.as_ref().map(Admission::verifier)
    }

    /// What becomes of a client that connects.
    pub async fn admit(&self, arrival: &Arrival, now: Now) -> Handshake {
        let mut steps = Vec::new();
        let mut signature = Signature::None;
        let outcome = self.enter(arrival, now, &mut steps, &mut signature).await;
        if outcome.is_err() && steps.len() == 1 && signature != Signature::None {
            signature = Signature::Refused;
        }
        Handshake { steps, signature, outcome }
    }

    async fn enter(
        &self,
        arrival: &Arrival,
        now: Now,
        steps: &mut Vec<Step>,
        signature: &mut Signature,
    ) -> Result<Member, Denial> {
        let (token, admission) = self.identify(&arrival.bearer, now.wall, steps, signature).await?;
        let mut headers = HeaderMap::new();
        let mut auth = arrival.auth.clone();
        if let Some(token) = token {
            self.carry(&token, &mut auth, &mut headers);
        }
        let session = self.sessions.open(arrival.address, headers, Box::new(()));
        let auth = Value::Object(auth);
        let admitted = admission.admit(session.id(), &session, Some(&auth), now.wall).await;
        let Admitted { peer, place, .. } = admitted.map_err(|denied| steps::refuse(denied, steps))?;
        steps::without_token(&peer, steps);
        steps::admitted(&peer, steps);
        let peer = Arc::new(peer);
        let listening = admission.listens(&peer, now.wall);
        steps::rooms(&peer, &listening, steps);
        Ok(Member {
            until: peer.expires_at().map(|at| at + self.policy.auth.leeway),
            sender: self.pipeline.sender(peer.clone(), now),
            closed: Cell::new(None),
            _place: place,
            listening,
            peer,
        })
    }

    /// Judges what says who a client is. Gives the token that it is to carry, and who admits it.
    async fn identify(
        &self,
        bearer: &Bearer,
        now: SystemTime,
        steps: &mut Vec<Step>,
        signature: &mut Signature,
    ) -> Result<(Option<String>, &Admission), Denial> {
        if self.policy.auth.mode == AuthMode::Off {
            return Ok((None, &self.vouching));
        }
        match (bearer, &self.verifying) {
            (Bearer::Nothing, _) => Ok((None, &self.vouching)),
            (Bearer::Claims(claims), _) => {
                *signature = Signature::Claims;
                let claims = claims::granted(claims.clone(), &self.issuers, now);
                self.vouch(claims, Signature::Claims, now, steps).await
            }
            (Bearer::Token(token), Some(verifying)) => {
                *signature = Signature::Verified;
                match verifying.verifier().verify(token, now).await {
                    Ok(verified) => {
                        steps.push(steps::identified(&verified.issuer, Signature::Verified));
                        Ok((Some(token.clone()), verifying))
                    }
                    Err(TokenError::KeysUnavailable(issuer)) => {
                        *signature = Signature::NotChecked;
                        match claims::unverified(token) {
                            Some(claims) => self.vouch(claims, Signature::NotChecked, now, steps).await,
                            None => Err(self.not_verified(TokenError::KeysUnavailable(issuer), None, steps)),
                        }
                    }
                    Err(error) => Err(self.not_verified(error, claims::unverified(token), steps)),
                }
            }
            (Bearer::Token(_), None) => {
                let error = TokenError::KeysUnavailable("".into());
                Err(self.not_verified(error, None, steps))
            }
        }
    }

    /// Takes claims for those of a verified token.
    async fn vouch(
        &self,
        claims: Map<String, Value>,
        signature: Signature,
        now: SystemTime,
        steps: &mut Vec<Step>,
    ) -> Result<(Option<String>, &Admission), Denial> {
        let token = keys::sign(&claims);
        match self.vouching.verifier().verify(&token, now).await {
            Ok(verified) => {
                steps.push(steps::identified(&verified.issuer, signature));
                Ok((Some(token), &self.vouching))
            }
            Err(error) => Err(self.not_verified(error, Some(claims), steps)),
        }
    }

    /// The issuer that claims say they are of, as the key of the configuration is written.
    fn not_verified(
        &self,
        error: TokenError,
        claims: Option<Map<String, Value>>,
        steps: &mut Vec<Step>,
    ) -> Denial {
        let issuer = claims.and_then(|claims| claims::issuer_of(&claims, &self.policy.auth.issuers));
        steps::not_verified(&error, issuer.map(|issuer| &*issuer.name), steps)
    }

    /// Puts a token where the policy looks for it first.
    fn carry(&self, token: &str, auth: &mut Map<String, Value>, headers: &mut HeaderMap) {
        let text = |text: String| HeaderValue::try_from(text).ok();
        match self.policy.auth.token_from.first() {
            Some(TokenSource::Header) => {
                text(format!("Bearer {token}")).and_then(|value| headers.insert(AUTHORIZATION, value));
            }
            Some(TokenSource::Cookie(name)) => {
                text(format!("{name}={token}")).and_then(|value| headers.insert(COOKIE, value));
            }
            Some(TokenSource::Auth) | None => {
                auth.insert("token".into(), token.into());
            }
        }
    }

    /// What becomes of an event of this member's with this argument's JSON text, or none, where `members` may hear it.
    pub fn send<'m>(
        &self,
        member: &Member,
        name: &str,
        argument: Option<&str>,
        members: impl IntoIterator<Item = &'m Member>,
        now: Now,
    ) -> Ruling {
        if let Some(reason) = member.gone(now.wall) {
            return Ruling::of_closed(
                reason,
                "the connection was closed before, and nobody has opened another",
            );
        }
        let name = Value::from(name).to_string();
        let text = match argument {
            Some(argument) => format!("[{name},{argument}]"),
            None => format!("[{name}]"),
        };
        if EVENT_PREFIX + text.len() > self.policy.limits.payload.hard_max_bytes {
            member.closed.set(Some(CloseReason::BadPacket));
            let message = "the packet is larger than any may be, so the connection is closed";
            return Ruling::of_closed(CloseReason::BadPacket, message);
        }
        let trace = Trace::default();
        let mut ruling = match self.pipeline.explain(&member.sender, &text, now, &trace) {
            Ok(decision) => Ruling::of_decision(&decision, member, members, now),
            Err(refused) => {
                let closes = member.sender.note_refusal(now) == AfterRefusal::Close;
                let closes = closes.then_some(CloseReason::Refusals);
                member.closed.set(closes);
                let rule = refused.reject.rule.as_deref().map(str::to_owned);
                let answer = Answer::refused(&refused.reject, self.policy.refusal_detail);
                Ruling {
                    steps: Vec::new(),
                    outcome: Err(Denial {
                        code: refused.reject.code.as_str(),
                        rule,
                        closes: closes.is_some(),
                    }),
                    observed: Vec::new(),
                    answer: serde_json::to_value(answer).ok(),
                    closes,
                }
            }
        };
        ruling.steps = trace.into_steps();
        ruling
    }

    /// The event that is meant where none is named: the only one, or the one that PhotoFlow knows.
    pub fn usual_event(&self) -> &str {
        let mut names = self.policy.events.keys();
        match (names.next(), names.next()) {
            (Some(only), None) => only,
            _ => USUAL_EVENT,
        }
    }

    /// What is left of the limits that the member's events count against.
    pub fn budget(&self, member: &Member, now: Now) -> Vec<Budget> {
        self.pipeline.budget(&member.sender, now)
    }

    /// What a member hears in one of its rooms.
    pub fn hears(&self, member: &Member, room: &str, now: Now) -> Vec<Heard<'_>> {
        heard(&self.policy, &member.peer, room, now.wall)
    }
}

/// What is revoked is known to a server alone.
fn admission(policy: Arc<Policy>, verifier: Verifier, users: Arc<Users>, metrics: &Metrics) -> Admission {
    Admission::new(policy, verifier, users, Arc::new(Revocations::in_memory()), &metrics.audience)
}

impl Member {
    /// Who it is.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Where it listens.
    pub fn listening(&self) -> &[Listening] {
        &self.listening
    }

    /// Why its connection is closed at `now`, if it is.
    pub fn gone(&self, now: SystemTime) -> Option<CloseReason> {
        let expired = self.until.is_some_and(|until| now >= until);
        self.closed.get().or(expired.then_some(CloseReason::TokenExpired))
    }

    /// Its client goes.
    pub fn leave(&self) {
        self.closed.set(Some(CloseReason::Client));
    }

    /// Whether this event of `sender`'s is delivered to it.
    fn receives(&self, decision: &Decision<'_>, sender: &Member, now: SystemTime) -> bool {
        let own = self.peer.id() == sender.peer.id();
        let mut reached = self.listening.iter().filter(|listening| decision.teams.contains(&&listening.room));
        (decision.echo || !own)
            && self.gone(now).is_none()
            && reached.any(|listening| listening.hears.judge(&decision.topic).is_heard())
    }
}

impl Ruling {
    fn of_decision<'m>(
        decision: &Decision<'_>,
        sender: &Member,
        members: impl IntoIterator<Item = &'m Member>,
        now: Now,
    ) -> Self {
        let receives = |member: &&Member| member.receives(decision, sender, now.wall);
        let recipients = members.into_iter().filter(receives).map(|member| member.peer.id()).collect();
        let observed = |refused: &crate::reject::Refused| Denial {
            code: refused.reject.code.as_str(),
            rule: refused.reject.rule.as_deref().map(str::to_owned),
            closes: false,
        };
        Ruling {
            steps: Vec::new(),
            outcome: Ok(Relayed {
                emit: decision.emit.to_string(),
                payload: decision.payload.to_string(),
                rooms: decision.teams.iter().map(|&team| team.clone()).collect(),
                echo: decision.echo,
                recipients,
            }),
            observed: decision.observed.iter().map(observed).collect(),
            answer: serde_json::to_value(Answer::accepted(
                &EventId::next().to_string(),
                decision.over.is_some(),
            ))
            .ok(),
            closes: None,
        }
    }

    fn of_closed(reason: CloseReason, message: &'static str) -> Self {
        let (steps, denial) = steps::closed(reason, message);
        Ruling { steps, outcome: Err(denial), observed: Vec::new(), answer: None, closes: Some(reason) }
    }
}
