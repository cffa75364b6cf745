//! Tokens: JSON Web Tokens in compact form (RFC 7515, RFC 7519), verified after RFC 8725.
//!
//! In this order: bounds, form, header, the choice of the issuer by the unverified `iss`, the signature with a key of
//! that issuer, and only then what the claims say.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::de::{Deserialize, Deserializer, IgnoredAny};
use serde_json::{Map, Value};
use url::Url;

use super::claims::{self, ClaimPath};
use super::evidence::Evidence;
use super::jwks::{Jwks, JwksRefresher, Lookup, Timing};
use super::keys::{self, Match, try_keys};
use crate::config::key_material::{
    KeyError, KeyId, KeyMaterial, MAX_KID_BYTES, VerifyingKey, algorithm_named,
};
use crate::config::policy::{Auth, Issuer};
use crate::name::{ROLES, TEAMS};
use crate::reject::Code;
use crate::revocation::Token;

/// Tokens with many claims have 2 KiB; HTTP servers take 8 KiB of headers in all.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// How much of a text from outside a log line shows.
const MAX_QUOTED_CHARS: usize = 64;

/// What a verified token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The configured name of the issuer, not its `iss`.
    pub issuer: Arc<str>,
    /// The subject claim.
    pub subject: Arc<str>,
    /// The teams, each once.
    pub teams: Box<[Arc<str>]>,
    /// The roles, each once.
    pub roles: Box<[Arc<str>]>,
    /// The whole claims set, as it was signed.
    pub claims: Map<String, Value>,
    /// `exp`, without leeway.
    pub expires_at: SystemTime,
    /// `iat`.
    pub issued_at: Option<SystemTime>,
    /// `jti`.
    pub token_id: Option<Arc<str>>,
    /// What it takes to judge it again.
    pub evidence: Evidence,
}

/// What revocations look at beside whom a token is for and which teams it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The configured name of the issuer.
    pub issuer: Arc<str>,
    /// `jti`.
    pub token_id: Option<Arc<str>>,
    /// `iat`.
    pub issued_at: Option<SystemTime>,
}

impl Verified {
    /// What revocations look at.
    pub fn token(&self) -> Token<'_> {
        Token {
            issuer: &self.issuer,
            subject: &self.subject,
            teams: &self.teams,
            id: self.token_id.as_deref(),
            issued_at: self.issued_at,
        }
    }
}

/// Why a token is not accepted. The text is for the log and `flowgate token verify`; it holds neither the token nor
/// private claims, and clients never see it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Longer than [`MAX_TOKEN_BYTES`].
    #[error("the token is {0} bytes long; at most {MAX_TOKEN_BYTES} are read")]
    TooLong(usize),
    /// Not three parts.
    #[error("a token has three parts with dots between; this has {0}")]
    Parts(usize),
    /// A part that is not unpadded base64url.
    #[error("its {0} is not unpadded base64url")]
    Encoding(&'static str),
    /// A header that is not acceptable.
    #[error("its header {0}")]
    Header(String),
    /// No issuer is configured for its `iss`.
    #[error("{0}")]
    Issuer(String),
    /// The issuer, or the key that the token names, may not be used with this algorithm.
    #[error("its algorithm is {algorithm:?}, which the keys of issuer {issuer:?} may not be used with")]
    Algorithm {
        /// The token's.
        algorithm: Algorithm,
        /// The issuer's configured name.
        issuer: Arc<str>,
    },
    /// No such key.
    #[error("issuer {issuer:?} has no key with the kid {kid}")]
    UnknownKey {
        /// The issuer's configured name.
        issuer: Arc<str>,
        /// Quoted and shortened.
        kid: String,
    },
    /// No key of the issuer made the signature.
    #[error("its signature is of no key of issuer {0:?}")]
    Signature(Arc<str>),
    /// A key of the issuer had made the signature, and is not configured any more.
    #[error("it was signed with a key that issuer {0:?} does not have any more")]
    KeyWithdrawn(Arc<str>),
    /// Signed, but a claim is missing or not acceptable.
    #[error("{0}")]
    Claim(String),
    /// Signed and acceptable, but over.
    #[error("it expired {} ago", humantime::format_duration(*.0))]
    Expired(Duration),
    /// The issuer's keys are not known now, which is no fault of the token.
    #[error("the keys of issuer {0:?} are not to be had now; see the log for why")]
    KeysUnavailable(Arc<str>),
}

impl TokenError {
    /// What the client is told. `None` is what passes by itself: the connection is closed so that the client retries.
    pub fn code(&self) -> Option<Code> {
        match self {
            TokenError::Expired(_) => Some(Code::TokenExpired),
            TokenError::KeysUnavailable(_) => None,
            _ => Some(Code::TokenInvalid),
        }
    }
}

/// Why a verifier cannot be made of a policy.
#[derive(Debug, thiserror::Error)]
pub enum VerifierError {
    /// An issuer's endpoint cannot serve its algorithms.
    #[error("auth.issuers {issuer:?}: {error}")]
    Key {
        /// The issuer's configured name.
        issuer: Arc<str>,
        /// Why.
        error: KeyError,
    },
    /// The HTTP client for an issuer's endpoint cannot be made.
    #[error("auth.issuers {issuer:?}: cannot make an HTTPS client: {error}")]
    Client {
        /// The issuer's configured name.
        issuer: Arc<str>,
        /// Why.
        error: reqwest::Error,
    },
}

/// Verifies tokens of all configured issuers.
#[derive(Debug)]
pub struct Verifier {
    issuers: Vec<KnownIssuer>,
    leeway: Duration,
    subject: ClaimPath,
    teams: ClaimPath,
    roles: ClaimPath,
}

#[derive(Debug)]
struct KnownIssuer {
    name: Arc<str>,
    issuer: Option<String>,
    audience: Vec<String>,
    algorithms: Vec<Algorithm>,
    max_lifetime: Duration,
    keys: Keys,
}

#[derive(Debug)]
enum Keys {
    Fixed(Arc<[VerifyingKey]>),
    /// The endpoint, by what it is known again, and its keys.
    Fetched(KeyId, Arc<Jwks>),
}

/// The background work of a verifier; it ends with the last handle that has it.
#[derive(Debug, Default)]
#[must_use = "fetching keys ends when the handle is dropped"]
pub struct Refreshers {
    tasks: Vec<(Arc<Jwks>, Arc<JwksRefresher>)>,
}

/// How one issuer's keys are, for readiness and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyHealth {
    /// The issuer's configured name.
    pub issuer: Arc<str>,
    /// Tokens of this issuer can be verified.
    pub has_keys: bool,
    /// How long ago its keys were fetched; `None` for configured keys and before the first success.
    pub age: Option<Duration>,
}

/// The parts of the JOSE header that matter. `jku`, `x5u`, `jwk` and `x5c` are not even read (RFC 8725 §3.10).
#[derive(serde::Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    #[serde(default, deserialize_with = "present")]
    crit: bool,
}

/// True for whatever stands there, `null` too.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

/// A token in its parts, nothing of it verified.
struct Unverified<'a> {
    algorithm: Algorithm,
    kid: Option<String>,
    payload: Vec<u8>,
    claims: Map<String, Value>,
    message: &'a [u8],
    signature: Vec<u8>,
}

impl Verifier {
    /// A verifier for this policy. Endpoints are not asked before [`Verifier::start`].
    ///
    /// # Errors
    /// An endpoint that cannot serve its issuer's algorithms, or a machine on which no HTTPS client can be made.
    pub fn new(auth: &Auth) -> Result<Self, VerifierError> {
        Self::with_timing(auth, Timing::default())
    }

    /// As [`Verifier::new`], with endpoints asked in another rhythm.
    ///
    /// # Errors
    /// As [`Verifier::new`].
    pub fn with_timing(auth: &Auth, timing: Timing) -> Result<Self, VerifierError> {
        Self::of(auth, &|issuer, url| new_endpoint(issuer, url, timing))
    }

    /// The verifier of another policy that takes this one's place. What has been fetched from an endpoint that both have
    /// need not be fetched again.
    ///
    /// # Errors
    /// As [`Verifier::new`].
    pub fn successor(&self, auth: &Auth) -> Result<Self, VerifierError> {
        Self::of(auth, &|issuer, url| {
            let fetched = self.issuers.iter().filter_map(|known| match &known.keys {
                Keys::Fetched(_, jwks) => Some(jwks),
                Keys::Fixed(_) => None,
            });
            let same = |jwks: &&Arc<Jwks>| jwks.serves(&issuer.name, url, &issuer.algorithms);
            match fetched.clone().find(same) {
                Some(jwks) => Ok(jwks.clone()),
                None => new_endpoint(issuer, url, Timing::default()),
            }
        })
    }

    fn of(auth: &Auth, endpoint: &EndpointOf<'_>) -> Result<Self, VerifierError> {
        let issuers = auth.issuers.iter().map(|issuer| KnownIssuer::new(issuer, endpoint));
        Ok(Verifier {
            issuers: issuers.collect::<Result<_, _>>()?,
            leeway: auth.leeway,
            subject: ClaimPath::new(&auth.claims.subject),
            teams: ClaimPath::new(&auth.claims.teams),
            roles: ClaimPath::new(&auth.claims.roles),
        })
    }

    /// Begins to fetch the keys of issuers with an endpoint, on the caller's Tokio runtime.
    pub fn start(&self) -> Refreshers {
        self.go_on(&Refreshers::default())
    }

    /// As [`Verifier::start`], but what `before` fetches already goes on undisturbed.
    pub fn go_on(&self, before: &Refreshers) -> Refreshers {
        let fetched = self.issuers.iter().filter_map(|issuer| match &issuer.keys {
            Keys::Fixed(_) => None,
            Keys::Fetched(_, jwks) => Some(jwks.clone()),
        });
        let task = |jwks: &Arc<Jwks>| {
            let running = before.tasks.iter().find(|(other, _)| Arc::ptr_eq(other, jwks));
            running.map_or_else(|| Arc::new(jwks.start()), |(_, task)| task.clone())
        };
        Refreshers { tasks: fetched.map(|jwks| (jwks.clone(), task(&jwks))).collect() }
    }

    /// Waits for the first keys of every endpoint that was not asked `before`, and names the issuers of those that had none
    /// to give in time.
    pub async fn first_keys(&self, before: &Refreshers) -> Vec<Arc<str>> {
        let mut without = Vec::new();
        for issuer in &self.issuers {
            let Keys::Fetched(_, jwks) = &issuer.keys else { continue };
            let is_new = !before.tasks.iter().any(|(other, _)| Arc::ptr_eq(other, jwks));
            if is_new && jwks.first_ring().await.is_none() {
                without.push(issuer.name.clone());
            }
        }
        without
    }

    /// Whether every issuer has keys. False only before the first fetch of an endpoint has succeeded.
    pub fn has_keys(&self) -> bool {
        self.issuers.iter().all(|issuer| issuer.keys.health().0)
    }

    /// How each issuer's keys are.
    pub fn key_health(&self) -> Vec<KeyHealth> {
        let health = |issuer: &KnownIssuer| {
            let (has_keys, age) = issuer.keys.health();
            KeyHealth { issuer: issuer.name.clone(), has_keys, age }
        };
        self.issuers.iter().map(health).collect()
    }

    /// Verifies `token` as of `now`.
    ///
    /// Only a `kid` that a fetched set lacks, or the first fetch, makes this wait, and at most [`Timing::max_wait`].
    ///
    /// # Errors
    /// See [`TokenError`]. [`TokenError::Expired`] is only said of a token that would be accepted otherwise.
    pub async fn verify(&self, token: &str, now: SystemTime) -> Result<Verified, TokenError> {
        let unverified = Unverified::parse(token)?;
        let issuer = self.issuer_of(&unverified.claims)?;
        let key = issuer.check_signature(&unverified).await?;
        let evidence = Evidence::new(key, unverified.algorithm, unverified.payload);
        self.accept(unverified.claims, evidence, issuer, now)
    }

    /// Judges again, as of `now`, what a verifier before this one has verified.
    ///
    /// # Errors
    /// As [`Verifier::verify`], but that it waits for no key; and [`TokenError::KeyWithdrawn`].
    pub fn verify_again(&self, evidence: &Evidence, now: SystemTime) -> Result<Verified, TokenError> {
        let claims = evidence.claims().map_err(TokenError::Claim)?;
        let issuer = self.issuer_of(&claims)?;
        if !issuer.still_has(evidence) {
            return Err(TokenError::KeyWithdrawn(issuer.name.clone()));
        }
        self.accept(claims, evidence.clone(), issuer, now)
    }

    /// What revocations look at of a token that was verified once.
    ///
    /// # Errors
    /// None of the issuers is its own any more.
    pub fn mark(&self, evidence: &Evidence) -> Result<Mark, TokenError> {
        let claims = evidence.claims().map_err(TokenError::Claim)?;
        let issued_at = time_claim(&claims, "iat")?.map(|issued| instant("iat", issued)).transpose()?;
        let token_id = claims::token_id(&claims).map_err(TokenError::Claim)?;
        Ok(Mark { issuer: self.issuer_of(&claims)?.name.clone(), token_id, issued_at })
    }

    /// The issuer whose rules apply: the one with this `iss`, else the one that asks for none.
    fn issuer_of(&self, claims: &Map<String, Value>) -> Result<&KnownIssuer, TokenError> {
        let said = match claims.get("iss") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text),
            Some(_) => return Err(TokenError::Issuer("its iss is not text".into())),
        };
        let named = |issuer: &&KnownIssuer| issuer.issuer.is_some() && issuer.issuer.as_ref() == said;
        let found = self.issuers.iter().find(named);
        found.or_else(|| self.issuers.iter().find(|issuer| issuer.issuer.is_none())).ok_or_else(|| {
            TokenError::Issuer(match said {
                Some(iss) => format!("its iss is {}, which no issuer in auth.issuers has", quoted(iss)),
                None => "it has no iss, and every issuer in auth.issuers asks for one".into(),
            })
        })
    }

    /// Judges the claims, which are the issuer's by now.
    fn accept(
        &self,
        claims: Map<String, Value>,
        evidence: Evidence,
        issuer: &KnownIssuer,
        now: SystemTime,
    ) -> Result<Verified, TokenError> {
        issuer.check_audience(&claims)?;
        // A clock before 1970 makes every token come from the future, which refuses it.
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let expires = time_claim(&claims, "exp")?.ok_or_else(|| claim("it has no exp"))?;
        let issued = time_claim(&claims, "iat")?;
        for (name, at) in [("nbf", time_claim(&claims, "nbf")?), ("iat", issued)] {
            if let Some(ahead) = at.and_then(|at| at.checked_sub(now.saturating_add(self.leeway)))
                && !ahead.is_zero()
            {
                return Err(claim(format!("its {name} lies {} beyond the leeway ahead", rounded(ahead))));
            }
        }
        // Without iat it is measured by our own clock, which may differ from the issuer's.
        let began = issued.unwrap_or(now.saturating_add(self.leeway));
        let lifetime = expires.saturating_sub(began);
        if lifetime > issuer.max_lifetime {
            return Err(claim(format!(
                "it is valid for {}, longer than the {} that max_lifetime of issuer {:?} allows",
                rounded(lifetime),
                humantime::format_duration(issuer.max_lifetime),
                issuer.name
            )));
        }
        let verified = Verified {
            issuer: issuer.name.clone(),
            subject: claims::subject(&claims, &self.subject).map_err(TokenError::Claim)?,
            teams: claims::names(&claims, &self.teams, TEAMS).map_err(TokenError::Claim)?,
            roles: claims::names(&claims, &self.roles, ROLES).map_err(TokenError::Claim)?,
            expires_at: instant("exp", expires)?,
            issued_at: issued.map(|issued| instant("iat", issued)).transpose()?,
            token_id: claims::token_id(&claims).map_err(TokenError::Claim)?,
            claims,
            evidence,
        };
        // RFC 7519 §4.1.4: on or after exp it must not be accepted.
        if now >= expires.saturating_add(self.leeway) {
            return Err(TokenError::Expired(Duration::from_secs(now.saturating_sub(expires).as_secs())));
        }
        Ok(verified)
    }
}

impl KnownIssuer {
    fn new(issuer: &Issuer, endpoint: &EndpointOf<'_>) -> Result<Self, VerifierError> {
        let keys = match &issuer.key {
            KeyMaterial::Keys(keys) => Keys::Fixed(keys.clone()),
            KeyMaterial::Endpoint(url) => {
                KeyMaterial::check_endpoint(url, &issuer.algorithms)
                    .map_err(|error| VerifierError::Key { issuer: issuer.name.clone(), error })?;
                Keys::Fetched(KeyId::of_endpoint(url), endpoint(issuer, url)?)
            }
        };
        Ok(KnownIssuer {
            name: issuer.name.clone(),
            issuer: issuer.issuer.clone(),
            audience: issuer.audience.clone(),
            algorithms: issuer.algorithms.clone(),
            max_lifetime: issuer.max_lifetime,
            keys,
        })
    }

    /// Whether what verified a token is still configured for it. A key that was fetched need not be published any more: the
    /// endpoint is what is configured.
    fn still_has(&self, evidence: &Evidence) -> bool {
        let Evidence { key, algorithm, .. } = evidence;
        self.algorithms.contains(algorithm)
            && match &self.keys {
                Keys::Fixed(keys) => keys::holds(keys, *key, *algorithm),
                Keys::Fetched(endpoint, jwks) => {
                    endpoint == key || jwks.ring().is_some_and(|ring| ring.holds(*key, *algorithm))
                }
            }
    }

    /// What has verified it.
    async fn check_signature(&self, token: &Unverified<'_>) -> Result<KeyId, TokenError> {
        // Before any key is looked for, so that a token with a foreign algorithm never causes a fetch.
        if !self.algorithms.contains(&token.algorithm) {
            return Err(self.algorithm_not_allowed(token));
        }
        let kid = token.kid.as_deref();
        match &self.keys {
            Keys::Fixed(keys) => match token.try_against(keys) {
                Match::UnknownKid if keys.iter().any(|key| key.kid().is_none()) => {
                    Err(TokenError::Signature(self.name.clone()))
                }
                other => self.judge(other, token),
            },
            Keys::Fetched(endpoint, jwks) => {
                let Some(ring) = jwks.first_ring().await else {
                    return Err(TokenError::KeysUnavailable(self.name.clone()));
                };
                let first = ring.check(kid, token.algorithm, token.message, &token.signature);
                let outcome = match (first, kid) {
                    (Match::UnknownKid, Some(kid)) => match jwks.look_up(kid).await {
                        Lookup::Unknown => Match::UnknownKid,
                        Lookup::NotNow => return Err(TokenError::KeysUnavailable(self.name.clone())),
                        Lookup::Fetched => {
                            let ring = jwks.ring().unwrap_or(ring);
                            ring.check(Some(kid), token.algorithm, token.message, &token.signature)
                        }
                    },
                    _ => first,
                };
                self.judge(outcome, token).map(|_| *endpoint)
            }
        }
    }

    fn judge(&self, outcome: Match, token: &Unverified<'_>) -> Result<KeyId, TokenError> {
        match outcome {
            Match::Verified(key) => Ok(key),
            Match::BadSignature => Err(TokenError::Signature(self.name.clone())),
            Match::AlgorithmNotAllowed => Err(self.algorithm_not_allowed(token)),
            Match::UnknownKid => Err(TokenError::UnknownKey {
                issuer: self.name.clone(),
                kid: quoted(token.kid.as_deref().unwrap_or_default()),
            }),
        }
    }

    fn algorithm_not_allowed(&self, token: &Unverified<'_>) -> TokenError {
        TokenError::Algorithm { algorithm: token.algorithm, issuer: self.name.clone() }
    }

    /// RFC 7519 §4.1.3: text or an array of text, of which one must be ours. Not asked for when none is configured.
    fn check_audience(&self, claims: &Map<String, Value>) -> Result<(), TokenError> {
        if self.audience.is_empty() {
            return Ok(());
        }
        let ours =
            |value: &Value| value.as_str().is_some_and(|text| self.audience.iter().any(|ours| ours == text));
        let meant = match claims.get("aud") {
            None => return Err(claim(format!("it has no aud, and issuer {:?} asks for one", self.name))),
            Some(Value::Array(values)) => values.iter().any(ours),
            Some(value) => ours(value),
        };
        if meant {
            Ok(())
        } else {
            Err(claim(format!("its aud has none of the audiences of issuer {:?}", self.name)))
        }
    }
}

impl Keys {
    fn health(&self) -> (bool, Option<Duration>) {
        match self {
            Keys::Fixed(_) => (true, None),
            Keys::Fetched(_, jwks) => (jwks.ring().is_some(), jwks.age()),
        }
    }
}

/// Where the keys of an issuer with an endpoint come from.
type EndpointOf<'a> = dyn Fn(&Issuer, &Url) -> Result<Arc<Jwks>, VerifierError> + 'a;

fn new_endpoint(issuer: &Issuer, url: &Url, timing: Timing) -> Result<Arc<Jwks>, VerifierError> {
    let jwks = Jwks::new(issuer.name.clone(), url.clone(), issuer.algorithms.clone(), timing);
    jwks.map_err(|error| VerifierError::Client { issuer: issuer.name.clone(), error: error.without_url() })
}

impl<'a> Unverified<'a> {
    fn parse(token: &'a str) -> Result<Self, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLong(token.len()));
        }
        let mut parts = token.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError::Parts(token.split('.').count()));
        };
        let (algorithm, kid) = read_header(&decode("header", header)?)?;
        let message = token.as_bytes().get(..header.len() + 1 + payload.len()).unwrap_or_default();
        let payload = decode("payload", payload)?;
        let claims = claims::parse(&payload).map_err(TokenError::Claim)?;
        Ok(Unverified {
            algorithm,
            kid,
            payload,
            claims,
            message,
            signature: decode("signature", signature)?,
        })
    }

    fn try_against(&self, keys: &[VerifyingKey]) -> Match {
        try_keys(keys, self.kid.as_deref(), self.algorithm, self.message, &self.signature)
    }
}

fn decode(part: &'static str, text: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Encoding(part))
}

fn read_header(json: &[u8]) -> Result<(Algorithm, Option<String>), TokenError> {
    let header: Header = serde_json::from_slice(json).map_err(|error| {
        TokenError::Header(format!(
            "is no object with the text alg, each name once: it fails at column {}",
            error.column()
        ))
    })?;
    // RFC 7515 §4.1.11: what is critical and not understood refuses the token; nothing critical is understood here.
    if header.crit {
        return Err(TokenError::Header("has crit, and no extension is supported".into()));
    }
    if let Some(typ) = header.typ.as_deref().filter(|typ| !is_jwt(typ)) {
        return Err(TokenError::Header(format!("says typ {}, which is neither JWT nor at+jwt", quoted(typ))));
    }
    if header.kid.as_ref().is_some_and(|kid| kid.len() > MAX_KID_BYTES) {
        return Err(TokenError::Header(format!("has a kid longer than {MAX_KID_BYTES} bytes")));
    }
    let algorithm = algorithm_named(&header.alg).ok_or_else(|| {
        let alg = &header.alg;
        TokenError::Header(if alg.eq_ignore_ascii_case("none") {
            "says alg none: it is not signed".into()
        } else {
            format!("says alg {}, which is not supported", quoted(alg))
        })
    })?;
    Ok((algorithm, header.kid))
}

/// RFC 7515 §4.1.9: a media type in any case, without `application/` where nothing else has a slash; RFC 9068 §2.1.
fn is_jwt(typ: &str) -> bool {
    let prefix = "application/";
    let short = match typ.get(..prefix.len()) {
        Some(start) if start.eq_ignore_ascii_case(prefix) => typ.get(prefix.len()..).unwrap_or_default(),
        _ => typ,
    };
    short.eq_ignore_ascii_case("JWT") || short.eq_ignore_ascii_case("at+jwt")
}

/// A NumericDate (RFC 7519 §2), as time since 1970: a number, also with a fraction.
fn time_claim(claims: &Map<String, Value>, name: &str) -> Result<Option<Duration>, TokenError> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let Value::Number(number) = value else { return Err(claim(format!("its {name} is not a number"))) };
    let time = match number.as_u64() {
        Some(seconds) => Some(Duration::from_secs(seconds)),
        None => number.as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
    };
    time.map(Some).ok_or_else(|| claim(format!("its {name} is no time after 1970")))
}

fn instant(name: &str, since_1970: Duration) -> Result<SystemTime, TokenError> {
    UNIX_EPOCH.checked_add(since_1970).ok_or_else(|| claim(format!("its {name} is beyond every clock")))
}

fn claim(why: impl Into<String>) -> TokenError {
    TokenError::Claim(why.into())
}

/// Whole seconds are enough to read, and a part of one is not nothing.
fn rounded(duration: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_secs(
        duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0)),
    ))
}

/// A text from outside, escaped and shortened, so that it can neither forge nor flood a log.
fn quoted(text: &str) -> String {
    let mut chars = text.chars();
    let start: String = chars.by_ref().take(MAX_QUOTED_CHARS).collect();
    if chars.next().is_some() { format!("{start:?}…") } else { format!("{start:?}") }
}
