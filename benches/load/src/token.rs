//! Tokens for the load: HS256 (RFC 7519, RFC 7515) under a shared secret, one distinct user each.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The environment variable that hands the secret to every server, as flowgate.toml names it.
pub const SECRET_VARIABLE: &str = "FLOWGATE_JWT_SECRET";
/// The secret when the environment sets none: it guards nothing but benchmark servers on the loopback address.
pub const DEFAULT_SECRET: &str = "a-secret-for-benchmarks-on-loopback-only";
/// The issuer that flowgate.toml and the hardened Node peer demand.
pub const ISSUER: &str = "https://bench.example";

/// Tokens outlive any run, and stay far below flowgate's default `max_lifetime`.
const LIFETIME_SECONDS: u64 = 4 * 3600;

/// Mints tokens under one secret.
pub struct Mint {
    key: Hmac<Sha256>,
    header: String,
    issued: u64,
}

impl Mint {
    /// A mint for `secret`, whose tokens are all issued now.
    ///
    /// # Errors
    /// When the system clock stands before 1970.
    pub fn new(secret: &str) -> Result<Self> {
        let key = Hmac::new_from_slice(secret.as_bytes()).context("the secret does not fit HMAC-SHA256")?;
        let issued =
            SystemTime::now().duration_since(UNIX_EPOCH).context("the clock stands before 1970")?.as_secs();
        Ok(Self { key, header: URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#), issued })
    }

    /// A token for `user`, member of `team`. Neither may need JSON escapes.
    #[must_use]
    pub fn token(&self, user: &str, team: &str) -> String {
        self.token_between(user, team, self.issued, self.issued + LIFETIME_SECONDS)
    }

    /// The same with the times of `iat` and `exp`, in seconds since 1970.
    #[must_use]
    pub fn token_between(&self, user: &str, team: &str, issued: u64, expires: u64) -> String {
        let claims = format!(
            r#"{{"iss":"{ISSUER}","aud":"flowgate","sub":"{user}","teams":["{team}"],"roles":["editor"],"iat":{issued},"exp":{expires}}}"#
        );
        let signed = format!("{}.{}", self.header, URL_SAFE_NO_PAD.encode(claims));
        let signature = self.key.clone().chain_update(&signed).finalize().into_bytes();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_covers_header_and_claims() {
        let token = Mint::new(DEFAULT_SECRET).unwrap().token("user-1", "team-1");
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let mac = Hmac::<Sha256>::new_from_slice(DEFAULT_SECRET.as_bytes()).unwrap().chain_update(signed);
        mac.verify_slice(&URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
        let claims = URL_SAFE_NO_PAD.decode(signed.split_once('.').unwrap().1).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!(claims["teams"], serde_json::json!(["team-1"]));
    }
}
