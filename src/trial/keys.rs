//! Keys with which nothing is protected: they let claims that nobody signed go the way of a token.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Map, Value};

use crate::config::key_material::KeyMaterial;
use crate::config::policy::{Auth, Issuer};
use crate::connect::token::VerifierError;

/// It signs and verifies within one trial and is of no use anywhere else, so that it need not be secret.
const THROW_AWAY: [u8; 32] = [0; 32];

/// How messages name the issuer of claims where the policy names none.
pub(super) const NO_ISSUER: &str = "no issuer";

/// `[auth]` as it stands, but with throw-away keys for all issuers, and with an issuer where there is none: claims are tried
/// also where the issuer is in a file that is not at hand.
pub(super) fn throw_away(auth: &Auth) -> Result<Auth, VerifierError> {
    let algorithms = vec![Algorithm::HS256];
    let key = |issuer: &str| {
        KeyMaterial::from_secret(THROW_AWAY.to_vec(), &algorithms)
            .map_err(|error| VerifierError::Key { issuer: issuer.into(), error })
    };
    let known = |issuer: &Issuer| {
        Ok(Issuer {
            name: issuer.name.clone(),
            issuer: issuer.issuer.clone(),
            audience: issuer.audience.clone(),
            algorithms: algorithms.clone(),
            max_lifetime: issuer.max_lifetime,
            key: key(&issuer.name)?,
        })
    };
    let mut issuers = auth.issuers.iter().map(known).collect::<Result<Vec<_>, _>>()?;
    if issuers.is_empty() {
        issuers.push(Issuer {
            name: NO_ISSUER.into(),
            issuer: None,
            audience: Vec::new(),
            algorithms: algorithms.clone(),
            max_lifetime: auth.max_lifetime,
            key: key(NO_ISSUER)?,
        });
    }
    Ok(Auth {
        mode: auth.mode,
        token_from: auth.token_from.clone(),
        leeway: auth.leeway,
        max_lifetime: auth.max_lifetime,
        refresh: auth.refresh,
        issuers,
        claims: auth.claims.clone(),
    })
}

/// A token with these claims that the keys of [`throw_away`] verify.
pub(super) fn sign(claims: &Map<String, Value>) -> String {
    // With a key of bytes and claims that are JSON already nothing can fail; no token verifies as an empty one.
    encode(&Header::default(), claims, &EncodingKey::from_secret(&THROW_AWAY)).unwrap_or_default()
}
