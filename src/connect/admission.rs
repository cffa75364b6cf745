//! Who comes in, and as whom.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::Value;

use super::audience::Audience;
use super::evidence::Evidence;
use super::rooms::{self, EVERYONE};
use super::source::{Found, find_token};
use super::token::{TokenError, Verified, Verifier};
use super::users::{UserPlace, Users};
use crate::config::expression::{Claims, MAX_CLAIMS};
use crate::config::policy::{AuthMode, Policy};
use crate::filter::Filter;
use crate::hears::Listening;
use crate::link::session::Session;
use crate::metrics::{AudienceCounters, CloseReason};
use crate::peer::{Peer, PeerId, Standing};
use crate::reject::Code;
use crate::relay::since::Since;
use crate::revocation::{Index, Revocation, Revocations, Token};

/// The handshake's field that names the team to send to.
const TEAM: &str = "team";

/// The handshake's field that says how far a client that comes back has heard.
const SINCE: &str = "since";

/// The handshake's field that says what the client wants to hear.
const FILTER: &str = "filter";

/// Decides on sockets by one policy.
pub struct Admission {
    policy: Arc<Policy>,
    verifier: Verifier,
    users: Arc<Users>,
    revocations: Arc<Revocations>,
    audience: Audience,
}

/// A peer that may come in, and its place under its subject.
pub struct Admitted {
    /// Who it is.
    pub peer: Peer,
    /// Freed when the socket goes.
    pub place: Option<UserPlace>,
    /// For when another policy asks.
    pub grounds: Grounds,
    /// How far it has heard, if it says so.
    pub since: Option<Since>,
}

/// On what grounds a socket is in: what it brought, whatever its policy made of that.
#[derive(Debug)]
pub enum Grounds {
    /// `auth.mode = "off"`: it may have had a token, for which nobody looked.
    NotAsked,
    /// It had none.
    NoToken,
    /// A token that was verified.
    Token {
        /// What it said.
        evidence: Evidence,
        /// The team that `auth.team` named beside it.
        chosen: Option<Arc<str>>,
    },
}

/// Why a socket is not let in. The distinction decides whether a stock client comes back by itself.
#[derive(Debug)]
pub enum Denied {
    /// A `connect_error` with this code: the client gives up. The text is for the log.
    Final(Code, String),
    /// The transport is closed: the client tries again, as this may pass.
    Later(CloseReason, String),
}

impl Denied {
    /// For the log.
    pub fn why(&self) -> &str {
        match self {
            Denied::Final(_, why) | Denied::Later(_, why) => why,
        }
    }

    /// Why a socket that was in is closed for it. Always the transport, so that the client comes back and is told at CONNECT
    /// what holds for it then.
    pub fn close_reason(&self) -> CloseReason {
        match self {
            Denied::Final(Code::TokenExpired, _) => CloseReason::TokenExpired,
            Denied::Final(Code::TokenRevoked, _) => CloseReason::TokenRevoked,
            Denied::Final(..) => CloseReason::PolicyChanged,
            Denied::Later(reason, _) => *reason,
        }
    }
}

impl Admission {
    /// Admission by this policy's `[auth]`, `[rooms]`, `[[audience]]` and `limits.connections.per_user`, of which `users` are
    /// counted. Tokens of these `revocations` are not honoured. What audience rules decide is counted in `counters`.
    pub fn new(
        policy: Arc<Policy>,
        verifier: Verifier,
        users: Arc<Users>,
        revocations: Arc<Revocations>,
        counters: &AudienceCounters,
    ) -> Self {
        let audience = Audience::new(&policy, counters);
        Admission { policy, verifier, users, revocations, audience }
    }

    /// Admission by another policy that takes this one's place. Who is in, and what is revoked, stays.
    pub fn successor(&self, policy: Arc<Policy>, verifier: Verifier, counters: &AudienceCounters) -> Self {
        Self::new(policy, verifier, self.users.clone(), self.revocations.clone(), counters)
    }

    /// Where an admitted peer listens, and what it hears there.
    pub fn listens(&self, peer: &Peer, now: SystemTime) -> Vec<Listening> {
        self.audience.listens(peer, &self.rooms(peer), now)
    }

    /// The rooms in which this peer listens, each once.
    pub fn rooms(&self, peer: &Peer) -> Vec<Arc<str>> {
        rooms::of(peer, &self.policy.rooms)
    }

    /// The keys and their state, for readiness.
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// Who has admitted sockets.
    pub fn users(&self) -> &Arc<Users> {
        &self.users
    }

    /// Decides on one CONNECT, whose `auth` payload is `auth` and whose peer, if admitted, is to be `id`.
    pub async fn admit(
        &self,
        id: PeerId,
        session: &Session,
        auth: Option<&Value>,
        now: SystemTime,
    ) -> Result<Admitted, Denied> {
        let headers = session.take_credentials();
        let mode = self.policy.auth.mode;
        if mode == AuthMode::Off {
            let peer = without_token(id, session.address(), Standing::Open, filter(auth)?);
            return Ok(Admitted { peer, place: None, grounds: Grounds::NotAsked, since: since(auth)? });
        }
        match find_token(&self.policy.auth.token_from, auth, &headers) {
            Found::Token(token) => {
                let verified = self.verify(&token, now).await?;
                let evidence = verified.evidence.clone();
                let (chosen, filter, since) = (chosen_team(auth)?, filter(auth)?, since(auth)?);
                let peer = self.with_token(id, session.address(), verified, chosen, filter)?;
                let place = Some(self.place(&peer)?);
                let grounds = Grounds::Token { evidence, chosen: peer.chosen_team.clone() };
                Ok(Admitted { peer, place, grounds, since })
            }
            Found::Unusable(why) => Err(Denied::Final(Code::TokenInvalid, why.to_string())),
            Found::Nothing if mode == AuthMode::Optional => {
                let peer = without_token(id, session.address(), Standing::Anonymous, filter(auth)?);
                Ok(Admitted { peer, place: None, grounds: Grounds::NoToken, since: since(auth)? })
            }
            Found::Nothing => {
                Err(Denied::Final(Code::TokenMissing, "no token where auth.token_from looks".into()))
            }
        }
    }

    /// Verifies a token that a client has sent, which must not be revoked either.
    ///
    /// # Errors
    /// It is not honoured, or nobody can tell now.
    pub async fn verify(&self, token: &str, now: SystemTime) -> Result<Verified, Denied> {
        let verified = self.verifier.verify(token, now).await?;
        self.check_revoked(&verified, now)?;
        Ok(verified)
    }

    fn check_revoked(&self, verified: &Verified, now: SystemTime) -> Result<(), Denied> {
        self.revocations.find(&verified.token(), now).map_or(Ok(()), |revocation| Err(revoked(&revocation)))
    }

    /// Whether a peer's token has been revoked since it was verified.
    ///
    /// # Errors
    /// It has.
    pub fn check_still(&self, peer: &Peer, grounds: &Grounds, now: SystemTime) -> Result<(), Denied> {
        if self.revocations.is_empty() {
            return Ok(());
        }
        let found = self.revoked_by(&self.revocations.index(), peer, grounds, now);
        found.map_or(Ok(()), |revocation| Err(revoked(&revocation)))
    }

    /// The one of these that holds for an admitted peer's token, if any does. What they look at is read anew from what is
    /// kept of the token, where they may mean it at all: it is asked rarely, and no connection need keep it twice.
    pub fn revoked_by(
        &self,
        these: &Index,
        peer: &Peer,
        grounds: &Grounds,
        now: SystemTime,
    ) -> Option<Arc<Revocation>> {
        let Grounds::Token { evidence, .. } = grounds else { return None };
        let (subject, teams) = (peer.subject()?, peer.teams());
        if !these.may_mean(subject, teams) {
            return None;
        }
        // A token of which no issuer is left is closed for that by whoever took the issuer away.
        let mark = self.verifier.mark(evidence).ok()?;
        let id = mark.token_id.as_deref();
        these
            .find(&Token { issuer: &mark.issuer, subject, teams, id, issued_at: mark.issued_at }, now)
            .cloned()
    }

    /// What a live socket stays on, instead of what it came in on, when its client has brought another token.
    ///
    /// # Errors
    /// It came in without one, or the other is not of the same issuer and subject.
    pub fn renewed(&self, peer: &Peer, grounds: &Grounds, token: Verified) -> Result<Grounds, Denied> {
        let Grounds::Token { evidence, chosen } = grounds else {
            return Err(Denied::Final(Code::NotAllowed, "it came in without a token".into()));
        };
        let before = self.verifier.mark(evidence)?;
        if before.issuer != token.issuer || peer.subject() != Some(&*token.subject) {
            let why = "it is of another issuer or subject than the one that the socket came in with";
            return Err(Denied::Final(Code::TokenInvalid, why.into()));
        }
        Ok(Grounds::Token { evidence: token.evidence, chosen: chosen.clone() })
    }

    /// Decides again on a peer that an earlier policy has admitted on these grounds: who it is by this one.
    ///
    /// # Errors
    /// By this policy it would not have come in.
    pub fn admit_again(&self, peer: &Peer, grounds: &Grounds, now: SystemTime) -> Result<Peer, Denied> {
        let without_token = |standing| without_token(peer.id, peer.address, standing, peer.filter.clone());
        match (self.policy.auth.mode, grounds) {
            (AuthMode::Off, _) => Ok(without_token(Standing::Open)),
            (AuthMode::Optional, Grounds::NoToken) => Ok(without_token(Standing::Anonymous)),
            (AuthMode::Required, Grounds::NoToken) => {
                Err(Denied::Final(Code::TokenMissing, "it came in without a token".into()))
            }
            (_, Grounds::NotAsked) => {
                Err(Denied::Final(Code::TokenMissing, "it was not asked for a token when it came in".into()))
            }
            (_, Grounds::Token { evidence, chosen }) => {
                let verified = self.verifier.verify_again(evidence, now)?;
                self.check_revoked(&verified, now)?;
                self.with_token(peer.id, peer.address, verified, chosen.as_deref(), peer.filter.clone())
            }
        }
    }

    /// Decides again on a peer that an earlier policy has admitted and that is not seated yet.
    ///
    /// # Errors
    /// By this policy it would not have come in.
    pub fn take_over(&self, admitted: Admitted, now: SystemTime) -> Result<Admitted, Denied> {
        let peer = self.admit_again(&admitted.peer, &admitted.grounds, now)?;
        // Its place is its user's, whoever that is by this policy.
        let place = match (admitted.place, peer.subject()) {
            (Some(place), Some(subject)) if place.subject() == subject => Some(place),
            (_, Some(_)) => Some(self.place(&peer)?),
            (_, None) => None,
        };
        Ok(Admitted { peer, place, ..admitted })
    }

    /// A place for one more socket of this peer's subject.
    fn place(&self, peer: &Peer) -> Result<UserPlace, Denied> {
        let cap = self.policy.limits.connections.per_user;
        let subject = peer.subject.as_ref();
        subject.and_then(|subject| self.users.take(subject, cap)).ok_or_else(|| {
            let subject = peer.subject().unwrap_or_default();
            let why = format!("{subject} has limits.connections.per_user sockets");
            Denied::Later(CloseReason::UserCap, why)
        })
    }

    /// What rules may look at. A part of somebody's claims would be a guess, so those that take too much refuse the token.
    fn claims_for_rules(&self, verified: &Verified) -> Result<Option<Box<Claims>>, Denied> {
        let named = self.policy.claims_read();
        if named.is_empty() {
            return Ok(None);
        }
        let kept = Claims::keep(&verified.claims, named).map_err(|bytes| {
            let why = format!("the claims that rules read take {bytes} bytes; at most {MAX_CLAIMS} are kept");
            Denied::Final(Code::TokenInvalid, why)
        })?;
        Ok(Some(Box::new(kept)))
    }

    /// Who a verified token makes of a socket that has chosen this team.
    fn with_token(
        &self,
        id: PeerId,
        address: IpAddr,
        verified: Verified,
        chosen: Option<&str>,
        filter: Option<Arc<Filter>>,
    ) -> Result<Peer, Denied> {
        if verified.teams.is_empty() && !self.policy.rooms.admit_without_team {
            return Err(no_team("the claims hold no team, and rooms.without_team is \"reject\""));
        }
        let chosen_team = match chosen {
            None => None,
            Some(name) => {
                let held = verified.teams.iter().find(|team| ***team == *name).cloned();
                Some(held.ok_or_else(|| no_team("auth.team names a team that the claims do not hold"))?)
            }
        };
        let claims = self.claims_for_rules(&verified)?;
        Ok(Peer {
            id,
            standing: Standing::Verified,
            subject: Some(verified.subject),
            teams: verified.teams,
            roles: verified.roles,
            claims,
            chosen_team,
            filter,
            address,
            expires_at: Some(verified.expires_at),
        })
    }
}

impl From<TokenError> for Denied {
    fn from(error: TokenError) -> Self {
        match error.code() {
            Some(code) => Denied::Final(code, error.to_string()),
            None => Denied::Later(CloseReason::KeysUnavailable, error.to_string()),
        }
    }
}

/// Final, since only another token is of any use.
fn revoked(by: &Revocation) -> Denied {
    Denied::Final(Code::TokenRevoked, format!("revocation {} of {}", by.id, by.target))
}

fn no_team(why: &str) -> Denied {
    Denied::Final(Code::NoTeam, why.to_owned())
}

/// The team that a handshake names, not yet looked for among those that the claims hold.
fn chosen_team(auth: Option<&Value>) -> Result<Option<&str>, Denied> {
    match auth.and_then(|auth| auth.get(TEAM)) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(name)) => Ok(Some(name)),
        Some(_) => Err(no_team("auth.team is not text")),
    }
}

fn without_token(id: PeerId, address: IpAddr, standing: Standing, filter: Option<Arc<Filter>>) -> Peer {
    let teams = match standing {
        Standing::Open => vec![EVERYONE.into()],
        Standing::Verified | Standing::Anonymous | Standing::Publisher => vec![],
    };
    Peer {
        id,
        standing,
        subject: None,
        teams: teams.into(),
        roles: [].into(),
        claims: None,
        chosen_team: None,
        filter,
        address,
        expires_at: None,
    }
}

/// What the client wants to hear. One that is not understood is refused for good: the same client would say it again.
fn filter(auth: Option<&Value>) -> Result<Option<Arc<Filter>>, Denied> {
    match auth.and_then(|auth| auth.get(FILTER)).map(Filter::read) {
        None => Ok(None),
        Some(Ok(filter)) => Ok(filter.map(Arc::new)),
        Some(Err(why)) => Err(Denied::Final(Code::InvalidPayload, why.to_owned())),
    }
}

/// How far the client has heard. Likewise refused for good.
fn since(auth: Option<&Value>) -> Result<Option<Since>, Denied> {
    let since = auth.and_then(|auth| auth.get(SINCE)).map_or(Ok(None), Since::read);
    since.map_err(|why| Denied::Final(Code::InvalidPayload, why.to_owned()))
}
