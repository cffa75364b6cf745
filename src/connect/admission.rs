//! Who comes in, and as whom.

use std::sync::Arc;
use std::time::SystemTime;

use serde_json::Value;

use super::audience::Audience;
use super::rooms::{self, EVERYONE};
use super::source::{Found, find_token};
use super::token::{Verified, Verifier};
use super::users::{UserPlace, Users};
use crate::config::expression::{Claims, MAX_CLAIMS};
use crate::config::policy::{AuthMode, Policy};
use crate::filter::Filter;
use crate::hears::Listening;
use crate::link::session::Session;
use crate::metrics::{AudienceCounters, CloseReason};
use crate::peer::{Peer, PeerId, Standing};
use crate::reject::Code;

/// The handshake's field that names the team to send to.
const TEAM: &str = "team";

/// The handshake's field that says what the client wants to hear.
const FILTER: &str = "filter";

/// Decides on sockets by one policy.
pub struct Admission {
    policy: Arc<Policy>,
    verifier: Verifier,
    users: Arc<Users>,
    audience: Audience,
}

/// A peer that may come in, and its place under its subject.
pub struct Admitted {
    /// Who it is.
    pub peer: Peer,
    /// Freed when the socket goes.
    pub place: Option<UserPlace>,
}

/// Why a socket is not let in. The distinction decides whether a stock client comes back by itself.
#[derive(Debug)]
pub enum Denied {
    /// A `connect_error` with this code: the client gives up. The text is for the log.
    Final(Code, String),
    /// The transport is closed: the client tries again, as this may pass.
    Later(CloseReason, String),
}

impl Admission {
    /// Admission by this policy's `[auth]`, `[rooms]`, `[[audience]]` and `limits.connections.per_user`, of which `users` are
    /// counted. What audience rules decide is counted in `counters`.
    pub fn new(
        policy: Arc<Policy>,
        verifier: Verifier,
        users: Arc<Users>,
        counters: &AudienceCounters,
    ) -> Self {
        let audience = Audience::new(&policy, counters);
        Admission { policy, verifier, users, audience }
    }

    /// Where an admitted peer listens, and what it hears there.
    pub fn listens(&self, peer: &Peer, now: SystemTime) -> Vec<Listening> {
        self.audience.listens(peer, &rooms::of(peer, &self.policy.rooms), now)
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
            return Ok(self.without_token(id, session, Standing::Open, filter(auth)?));
        }
        match find_token(&self.policy.auth.token_from, auth, &headers) {
            Found::Token(token) => {
                let verified =
                    self.verifier.verify(&token, now).await.map_err(|error| match error.code() {
                        Some(code) => Denied::Final(code, error.to_string()),
                        None => Denied::Later(CloseReason::KeysUnavailable, error.to_string()),
                    })?;
                self.with_token(id, session, verified, auth)
            }
            Found::Unusable(why) => Err(Denied::Final(Code::TokenInvalid, why.to_string())),
            Found::Nothing if mode == AuthMode::Optional => {
                Ok(self.without_token(id, session, Standing::Anonymous, filter(auth)?))
            }
            Found::Nothing => {
                Err(Denied::Final(Code::TokenMissing, "no token where auth.token_from looks".into()))
            }
        }
    }

    fn without_token(
        &self,
        id: PeerId,
        session: &Session,
        standing: Standing,
        filter: Option<Arc<Filter>>,
    ) -> Admitted {
        let teams = match standing {
            Standing::Open => vec![EVERYONE.into()],
            Standing::Verified | Standing::Anonymous => vec![],
        };
        let peer = Peer {
            id,
            standing,
            subject: None,
            teams: teams.into(),
            roles: [].into(),
            claims: None,
            chosen_team: None,
            filter,
            address: session.address(),
            expires_at: None,
        };
        Admitted { peer, place: None }
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

    fn with_token(
        &self,
        id: PeerId,
        session: &Session,
        verified: Verified,
        auth: Option<&Value>,
    ) -> Result<Admitted, Denied> {
        let no_team = |why: &str| Denied::Final(Code::NoTeam, why.to_owned());
        if verified.teams.is_empty() && !self.policy.rooms.admit_without_team {
            return Err(no_team("the claims hold no team, and rooms.without_team is \"reject\""));
        }
        let chosen_team = match auth.and_then(|auth| auth.get(TEAM)) {
            None | Some(Value::Null) => None,
            Some(Value::String(name)) => {
                let held = verified.teams.iter().find(|team| ***team == **name);
                Some(
                    held.cloned()
                        .ok_or_else(|| no_team("auth.team names a team that the claims do not hold"))?,
                )
            }
            Some(_) => return Err(no_team("auth.team is not text")),
        };
        let filter = filter(auth)?;
        let claims = self.claims_for_rules(&verified)?;
        let Some(place) = self.users.take(&verified.subject, self.policy.limits.connections.per_user) else {
            let why = format!("{} has limits.connections.per_user sockets", verified.subject);
            return Err(Denied::Later(CloseReason::UserCap, why));
        };
        let peer = Peer {
            id,
            standing: Standing::Verified,
            subject: Some(verified.subject),
            teams: verified.teams,
            roles: verified.roles,
            claims,
            chosen_team,
            filter,
            address: session.address(),
            expires_at: Some(verified.expires_at),
        };
        Ok(Admitted { peer, place: Some(place) })
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
