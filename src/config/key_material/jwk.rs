//! JSON Web Key Sets (RFC 7517), as far as they verify signatures.

use std::sync::Arc;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::signature::RsaPublicKeyComponents;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::{KeyError, VerifyingKey, algorithm_named, least_secret_bytes};

/// A large provider's set is some 10 KiB; above this it is no key set, or an attack on memory.
pub const MAX_JWKS_BYTES: usize = 256 * 1024;
/// Providers publish two to ten keys.
pub const MAX_JWKS_KEYS: usize = 100;
/// A longer `kid` is never looked up, so that what is remembered about them stays bounded.
pub(crate) const MAX_KID_BYTES: usize = 256;

/// Where a set came from, which decides what is accepted in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JwkOrigin {
    /// A file of the operator's: it may hold secrets, and a damaged key is an error.
    File,
    /// An endpoint: a secret in it would be a secret no more, and a damaged key must not cost the good ones.
    Endpoint,
}

/// What a set held.
#[derive(Debug)]
pub struct JwkSet {
    /// The usable keys, in the set's order.
    pub keys: Vec<VerifyingKey>,
    /// Why each of the others was left out, for the log.
    pub left_out: Vec<String>,
}

#[derive(Deserialize)]
struct RawSet<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

/// One JWK; members that do not matter for verifying are ignored (RFC 7517 §4).
#[derive(Deserialize)]
struct RawJwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    k: Option<String>,
    d: Option<IgnoredAny>,
}

/// Why one key is not used.
enum Unused {
    /// It is for something else: not our concern (RFC 7517 §5 says to ignore it).
    NotForUs(String),
    /// Somebody should mend it.
    Faulty(String),
}

/// Reads a set and keeps what can verify one of `algorithms`.
///
/// # Errors
/// A document that is too large, is no key set, has too many keys, or (in a file) has a faulty key.
pub fn parse_jwks(document: &[u8], algorithms: &[Algorithm], origin: JwkOrigin) -> Result<JwkSet, KeyError> {
    if document.len() > MAX_JWKS_BYTES {
        return Err(KeyError(format!(
            "the JWKS is {} bytes long; at most {MAX_JWKS_BYTES} are read",
            document.len()
        )));
    }
    let raw: RawSet<'_> = serde_json::from_slice(document).map_err(|error| {
        // The text of a data error quotes the document, which in a file may hold secrets.
        let place = format!("line {} column {}", error.line(), error.column());
        KeyError(format!("this is not a JWKS, {{\"keys\": [...]}} (RFC 7517): it fails at {place}"))
    })?;
    if raw.keys.len() > MAX_JWKS_KEYS {
        return Err(KeyError(format!(
            "the JWKS has {} keys; at most {MAX_JWKS_KEYS} are read",
            raw.keys.len()
        )));
    }
    let mut set = JwkSet { keys: Vec::new(), left_out: Vec::new() };
    for (at, text) in raw.keys.iter().enumerate() {
        match key(text.get(), algorithms, origin) {
            Ok(key) => set.keys.push(key),
            Err(Unused::NotForUs(why)) => set.left_out.push(format!("keys[{at}]: {why}")),
            Err(Unused::Faulty(why)) if origin == JwkOrigin::File => {
                return Err(KeyError(format!("keys[{at}]: {why}")));
            }
            Err(Unused::Faulty(why)) => set.left_out.push(format!("keys[{at}]: {why}")),
        }
    }
    Ok(set)
}

fn key(text: &str, algorithms: &[Algorithm], origin: JwkOrigin) -> Result<VerifyingKey, Unused> {
    let jwk: RawJwk = serde_json::from_str(text).map_err(|_| {
        Unused::Faulty("not a JWK: an object with the text kty, and text members after RFC 7517".into())
    })?;
    let kid = match &jwk.kid {
        Some(kid) if kid.len() > MAX_KID_BYTES => {
            return Err(Unused::Faulty(format!("its kid is longer than {MAX_KID_BYTES} bytes")));
        }
        Some(kid) => Some(Arc::from(kid.as_str())),
        None => None,
    };
    let algorithms = allowed(&jwk, algorithms)?;
    match jwk.kty.as_str() {
        // Whoever publishes these has lost them; using them would make the loss ours.
        "RSA" | "EC" | "OKP" if jwk.d.is_some() => Err(Unused::Faulty(
            "it is a private key: publish the public half only, and replace the key".into(),
        )),
        "oct" if origin == JwkOrigin::Endpoint => {
            Err(Unused::Faulty("it is a shared secret (oct), which is never taken from an endpoint".into()))
        }
        "oct" => secret(kid, &jwk, &algorithms),
        "RSA" => public(kid, &rsa_der(&jwk)?, &algorithms),
        "EC" => public(kid, &ec_point(&jwk)?, &algorithms),
        "OKP" => public(kid, &ed25519_point(&jwk)?, &algorithms),
        _ => Err(Unused::NotForUs("its kty is none of RSA, EC, OKP, oct".into())),
    }
}

/// The issuer's algorithms as far as the JWK's `use`, `key_ops` and `alg` let them through.
fn allowed(jwk: &RawJwk, algorithms: &[Algorithm]) -> Result<Vec<Algorithm>, Unused> {
    if jwk.usage.as_deref().is_some_and(|usage| usage != "sig") {
        return Err(Unused::NotForUs("its use is not sig".into()));
    }
    if jwk.key_ops.as_ref().is_some_and(|operations| !operations.iter().any(|name| name == "verify")) {
        return Err(Unused::NotForUs("its key_ops lack verify".into()));
    }
    let Some(name) = &jwk.alg else { return Ok(algorithms.to_vec()) };
    match algorithm_named(name) {
        Some(algorithm) if algorithms.contains(&algorithm) => Ok(vec![algorithm]),
        _ => Err(Unused::NotForUs("its alg is none of the issuer's algorithms".into())),
    }
}

fn public(kid: Option<Arc<str>>, bytes: &[u8], algorithms: &[Algorithm]) -> Result<VerifyingKey, Unused> {
    let key =
        VerifyingKey::from_public(kid, bytes, algorithms).map_err(|KeyError(why)| Unused::Faulty(why))?;
    if key.algorithms().next().is_none() {
        return Err(Unused::NotForUs(format!(
            "it is {}, which serves none of the issuer's algorithms",
            key.kind()
        )));
    }
    Ok(key)
}

fn secret(kid: Option<Arc<str>>, jwk: &RawJwk, algorithms: &[Algorithm]) -> Result<VerifyingKey, Unused> {
    let secret = decode("k", jwk.k.as_deref())?;
    if let Some(&algorithm) =
        algorithms.iter().find(|&&algorithm| secret.len() < least_secret_bytes(algorithm))
    {
        return Err(Unused::Faulty(format!(
            "its secret is {} bytes long and {algorithm:?} needs at least {} (RFC 7518 §3.2)",
            secret.len(),
            least_secret_bytes(algorithm)
        )));
    }
    let key = VerifyingKey::from_secret(kid, &secret, algorithms);
    if key.algorithms().next().is_none() {
        return Err(Unused::NotForUs(
            "it is a shared secret, which serves none of the issuer's algorithms".into(),
        ));
    }
    Ok(key)
}

/// RFC 7518 §6.3.1, rewritten as the DER that the PEM path reads too, so that one check judges both.
fn rsa_der(jwk: &RawJwk) -> Result<Vec<u8>, Unused> {
    let n = decode("n", jwk.n.as_deref())?;
    let e = decode("e", jwk.e.as_deref())?;
    let components = RsaPublicKeyComponents { n: without_leading_zeros(&n), e: without_leading_zeros(&e) };
    let der = components.as_der().map_err(|_| Unused::Faulty("its n and e are no RSA key".into()))?;
    Ok(der.as_ref().to_vec())
}

/// Some issuers write the sign byte of their bignum library, which RFC 7518 §2 forbids and which changes nothing.
fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|&&byte| byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

/// RFC 7518 §6.2.1: both coordinates have the curve's full length. The result is an uncompressed SEC 1 point.
fn ec_point(jwk: &RawJwk) -> Result<Vec<u8>, Unused> {
    let length = match jwk.crv.as_deref() {
        Some("P-256") => 32,
        Some("P-384") => 48,
        _ => return Err(Unused::NotForUs("its crv is neither P-256 nor P-384".into())),
    };
    let x = decode("x", jwk.x.as_deref())?;
    let y = decode("y", jwk.y.as_deref())?;
    if x.len() != length || y.len() != length {
        return Err(Unused::Faulty("its x and y do not have the length of its crv".into()));
    }
    let mut point = vec![0x04];
    point.extend_from_slice(&x);
    point.extend_from_slice(&y);
    Ok(point)
}

/// RFC 8037 §2.
fn ed25519_point(jwk: &RawJwk) -> Result<Vec<u8>, Unused> {
    if jwk.crv.as_deref() != Some("Ed25519") {
        return Err(Unused::NotForUs("its crv is not Ed25519".into()));
    }
    let x = decode("x", jwk.x.as_deref())?;
    if x.len() != 32 {
        return Err(Unused::Faulty("its x does not have the 32 bytes of Ed25519".into()));
    }
    Ok(x)
}

fn decode(member: &str, value: Option<&str>) -> Result<Vec<u8>, Unused> {
    let value = value.ok_or_else(|| Unused::Faulty(format!("its member {member} is missing")))?;
    URL_SAFE_NO_PAD
        .decode(value)
        .map_err(|_| Unused::Faulty(format!("its member {member} is not unpadded base64url")))
}
