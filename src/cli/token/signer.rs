//! The key that signs a minted token.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Map, Value};

use super::mint::MintArgs;
use super::{FAILED, Failure, USAGE, read_file};
use crate::config::key_material::{KeyKind, KeyMaterial, VerifyingKey};
use crate::config::policy::Issuer;
use crate::connect::token::MAX_TOKEN_BYTES;

/// A key that signs, and the algorithm it signs with.
pub(super) enum Signer<'a> {
    Secret(&'a VerifyingKey, Algorithm),
    OwnSecret(KeyMaterial, Algorithm),
    Private(EncodingKey, Algorithm),
}

pub(super) fn signer<'a>(args: &MintArgs, issuer: Option<&'a Issuer>) -> Result<Signer<'a>, Failure> {
    if let Some(name) = &args.secret_env {
        let secret = std::env::var_os(name).ok_or_else(|| {
            Failure::new(USAGE, format!("--secret-env {name}: there is no such environment variable"))
        })?;
        return own_secret(args, issuer, secret.into_encoded_bytes(), &format!("--secret-env {name}"));
    }
    if let Some(path) = &args.secret_file {
        let option = format!("--secret-file {}", path.display());
        return own_secret(args, issuer, read_file(path, &option)?, &option);
    }
    if let Some(path) = &args.private_key_file {
        let option = format!("--private-key-file {}", path.display());
        return private_key(args, issuer, &read_file(path, &option)?, &option);
    }
    let Some(issuer) = issuer else {
        return Err(Failure::new(USAGE, "give --issuer, --secret-env, --secret-file or --private-key-file"));
    };
    configured_secret(args, issuer)
}

fn configured_secret<'a>(args: &MintArgs, issuer: &'a Issuer) -> Result<Signer<'a>, Failure> {
    let secret = match &issuer.key {
        KeyMaterial::Keys(keys) => keys.iter().find(|key| key.kind() == KeyKind::Secret),
        KeyMaterial::Endpoint(_) => None,
    };
    let Some(secret) = secret else {
        return Err(Failure::new(
            USAGE,
            format!(
                "--issuer {:?} is configured with public keys, which cannot sign: add --private-key-file",
                issuer.name
            ),
        ));
    };
    let Some(algorithm) = args.algorithm.or_else(|| secret.algorithms().next()) else {
        return Err(Failure::new(FAILED, "this secret may be used with no algorithm"));
    };
    Ok(Signer::Secret(secret, algorithm))
}

fn own_secret<'a>(
    args: &MintArgs,
    issuer: Option<&Issuer>,
    secret: Vec<u8>,
    option: &str,
) -> Result<Signer<'a>, Failure> {
    let usual = |issuer: &Issuer| {
        issuer.algorithms.iter().copied().find(|algorithm| KeyKind::Secret.algorithms().contains(algorithm))
    };
    let algorithm = args.algorithm.or_else(|| issuer.and_then(usual)).unwrap_or(Algorithm::HS256);
    let material = KeyMaterial::from_secret(secret, &[algorithm])
        .map_err(|error| Failure::new(USAGE, format!("{option}: {error}")))?;
    Ok(Signer::OwnSecret(material, algorithm))
}

/// A parser of one kind of private key.
type ParsePem = fn(&[u8]) -> jsonwebtoken::errors::Result<EncodingKey>;

/// Tries each kind of private key, and of its algorithms the usual one first.
fn private_key<'a>(
    args: &MintArgs,
    issuer: Option<&Issuer>,
    pem: &[u8],
    option: &str,
) -> Result<Signer<'a>, Failure> {
    let unusable = |why: &str| Failure::new(USAGE, format!("{option}: {why}"));
    let text = String::from_utf8_lossy(pem);
    if text.contains("-----BEGIN EC PRIVATE KEY-----") {
        return Err(unusable(
            "this is a SEC1 key: write it as PKCS#8, as `openssl pkcs8 -topk8 -nocrypt -in KEY` prints it",
        ));
    }
    if !text.contains("PRIVATE KEY-----") {
        return Err(unusable(
            "this is not a private key in PEM, which begins with -----BEGIN PRIVATE KEY-----",
        ));
    }
    let parsers: [(ParsePem, &[Algorithm]); 3] = [
        (EncodingKey::from_rsa_pem, KeyKind::Rsa(0).algorithms()),
        (EncodingKey::from_ec_pem, &[Algorithm::ES256, Algorithm::ES384]),
        (EncodingKey::from_ed_pem, KeyKind::Ed25519.algorithms()),
    ];
    let wanted = |algorithm: &Algorithm| match (args.algorithm, issuer) {
        (Some(named), _) => named == *algorithm,
        (None, Some(issuer)) => issuer.algorithms.contains(algorithm),
        (None, None) => true,
    };
    for (parse, algorithms) in parsers {
        let Ok(key) = parse(pem) else { continue };
        // Whether an EC key is on the algorithm's curve shows only when it signs.
        let signs = |algorithm: &Algorithm| jsonwebtoken::crypto::sign(b"", &key, *algorithm).is_ok();
        if let Some(&algorithm) = algorithms.iter().filter(|algorithm| wanted(algorithm)).find(|a| signs(a)) {
            return Ok(Signer::Private(key, algorithm));
        }
    }
    Err(unusable(match (args.algorithm, issuer) {
        (Some(_), _) => "this key cannot sign with --algorithm",
        (None, Some(_)) => "this key cannot sign with any of the issuer's algorithms",
        (None, None) => "this is no RSA key of at least 2048 bits, EC key on P-256 or P-384, or Ed25519 key",
    }))
}

impl Signer<'_> {
    fn algorithm(&self) -> Algorithm {
        match self {
            Signer::Secret(_, algorithm)
            | Signer::OwnSecret(_, algorithm)
            | Signer::Private(_, algorithm) => *algorithm,
        }
    }

    /// The signature, in base64url.
    fn sign(&self, message: &[u8]) -> Option<String> {
        let with = |key: &VerifyingKey| {
            key.sign(self.algorithm(), message).map(|signature| URL_SAFE_NO_PAD.encode(signature))
        };
        match self {
            Signer::Secret(key, _) => with(key),
            Signer::OwnSecret(KeyMaterial::Keys(keys), _) => keys.first().and_then(with),
            Signer::OwnSecret(KeyMaterial::Endpoint(_), _) => None,
            Signer::Private(key, algorithm) => jsonwebtoken::crypto::sign(message, key, *algorithm).ok(),
        }
    }

    pub(super) fn token(&self, kid: Option<&str>, claims: &Map<String, Value>) -> Result<String, Failure> {
        let token =
            compact(self.algorithm(), kid, claims, |message| self.sign(message)).ok_or_else(|| {
                Failure::new(FAILED, format!("this key cannot sign with {:?}", self.algorithm()))
            })?;
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Failure::new(
                FAILED,
                format!(
                    "the token would be {} bytes long; flowgate reads at most {MAX_TOKEN_BYTES}",
                    token.len()
                ),
            ));
        }
        Ok(token)
    }
}

/// The JWS compact form (RFC 7515 §7.1); `sign` gives the signature in base64url.
fn compact(
    algorithm: Algorithm,
    kid: Option<&str>,
    claims: &Map<String, Value>,
    sign: impl Fn(&[u8]) -> Option<String>,
) -> Option<String> {
    let mut header = Map::new();
    header.insert("alg".into(), format!("{algorithm:?}").into());
    header.insert("typ".into(), "JWT".into());
    if let Some(kid) = kid {
        header.insert("kid".into(), kid.into());
    }
    let part = |object: &Map<String, Value>| URL_SAFE_NO_PAD.encode(Value::from(object.clone()).to_string());
    let message = format!("{}.{}", part(&header), part(claims));
    sign(message.as_bytes()).map(|signature| format!("{message}.{signature}"))
}
