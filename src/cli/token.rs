//! `flowgate token mint` and `flowgate token verify`.
//!
//! A token or a secret is never taken from an argument, because every process of the machine can read those.

use std::fmt;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{ArgGroup, Args};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Map, Value};

use crate::config::key_material::{KeyKind, KeyMaterial, VerifyingKey, algorithm_named};
use crate::config::policy::{Issuer, Policy};
use crate::connect::claims::{ROLES, TEAMS};
use crate::connect::token::{MAX_TOKEN_BYTES, TokenError, Verified, Verifier};

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const BAD_CONFIG: u8 = 78;
/// A key endpoint may be asked for its first answer this long; somebody is sitting there.
const WAIT_FOR_KEYS: Duration = Duration::from_secs(15);
/// Key and token files are small; anything larger is the wrong file.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Loads the policy from these files and folders, the environment and the defaults; the error is ready to print.
pub type LoadPolicy<'a> = &'a dyn Fn(&[PathBuf]) -> Result<Policy, String>;

/// `flowgate token mint`.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("key").args(["secret_env", "secret_file", "private_key_file"]))]
pub struct MintArgs {
    /// Configuration files or folders, for --issuer
    #[arg(long, value_name = "PATH", env = "FLOWGATE_CONFIG", value_delimiter = ':')]
    pub config: Vec<PathBuf>,
    /// The configured issuer whose secret, iss, aud and claim paths are used; the only one need not be named
    #[arg(long, value_name = "NAME", required_unless_present_any = ["key", "config"])]
    pub issuer: Option<String>,
    /// Sign with the secret in this environment variable
    #[arg(long, value_name = "NAME")]
    pub secret_env: Option<String>,
    /// Sign with the secret in this file
    #[arg(long, value_name = "PATH")]
    pub secret_file: Option<PathBuf>,
    /// Sign with the private key (PKCS#8 PEM) in this file
    #[arg(long, value_name = "PATH")]
    pub private_key_file: Option<PathBuf>,
    /// The algorithm, such as HS256 or ES256; the key's usual one when left out
    #[arg(long, value_parser = parse_algorithm)]
    pub algorithm: Option<Algorithm>,
    /// The subject: who the token is for
    #[arg(long)]
    pub sub: String,
    /// A team; may be repeated
    #[arg(long)]
    pub team: Vec<String>,
    /// A role; may be repeated
    #[arg(long)]
    pub role: Vec<String>,
    /// How long the token is valid
    #[arg(long, default_value = "1h", value_parser = humantime::parse_duration)]
    pub ttl: Duration,
    /// The iss claim; the configured issuer's when left out
    #[arg(long, value_name = "TEXT")]
    pub issuer_claim: Option<String>,
    /// The aud claim; the configured issuer's first when left out
    #[arg(long, value_name = "TEXT")]
    pub audience: Option<String>,
    /// A further claim, its value in JSON; may be repeated
    #[arg(long, value_name = "NAME=JSON", value_parser = parse_claim)]
    pub claim: Vec<(String, Value)>,
    /// The key's name in the header
    #[arg(long)]
    pub kid: Option<String>,
}

/// `flowgate token verify`.
#[derive(Args, Debug)]
pub struct VerifyArgs {
    /// Configuration files or folders
    #[arg(long, value_name = "PATH", env = "FLOWGATE_CONFIG", value_delimiter = ':')]
    pub config: Vec<PathBuf>,
    /// Read the token from this file instead of standard input
    #[arg(long, value_name = "PATH", conflicts_with = "token_env")]
    pub token_file: Option<PathBuf>,
    /// Read the token from this environment variable instead of standard input
    #[arg(long, value_name = "NAME")]
    pub token_env: Option<String>,
}

/// Why a command ends early: what to print, and the exit code.
#[derive(Debug)]
struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    fn new(code: u8, message: impl fmt::Display) -> Self {
        Failure { code, message: message.to_string() }
    }
}

/// Prints a freshly signed token, and nothing else, to standard output.
///
/// Exit codes: 0 printed, 1 could not sign, 2 usage, 78 bad configuration.
pub fn mint(args: &MintArgs, load: LoadPolicy<'_>) -> ExitCode {
    finish(mint_token(args, load, SystemTime::now()))
}

/// Verifies a token as the sidecar would, and prints what it says or why it is refused.
///
/// Exit codes: 0 accepted, 1 refused, 2 usage, 78 bad configuration.
pub fn verify(args: &VerifyArgs, load: LoadPolicy<'_>) -> ExitCode {
    finish(verify_token(args, load, SystemTime::now(), &mut std::io::stdin()))
}

fn finish(outcome: Result<String, Failure>) -> ExitCode {
    match outcome {
        Ok(text) => match writeln!(std::io::stdout(), "{text}") {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(FAILED),
        },
        Err(Failure { code, message }) => {
            // There is nowhere left to say that standard error is closed.
            let _ = writeln!(std::io::stderr(), "{message}");
            ExitCode::from(code)
        }
    }
}

fn mint_token(args: &MintArgs, load: LoadPolicy<'_>, now: SystemTime) -> Result<String, Failure> {
    let policy = match (&args.issuer, args.config.is_empty()) {
        (None, true) => None,
        _ => Some(load(&args.config).map_err(|text| Failure::new(BAD_CONFIG, text))?),
    };
    let issuer = match (&args.issuer, &policy) {
        (Some(name), Some(policy)) => Some(issuer_named(name, policy)?),
        // Where there is but one issuer, it need not be named.
        (None, Some(policy)) => match &*policy.auth.issuers {
            [only] => Some(only),
            _ => None,
        },
        (_, None) => None,
    };
    let signer = signer(args, issuer)?;
    let claims = claims(args, issuer, policy.as_ref(), now)?;
    signer.token(args.kid.as_deref(), &claims)
}

fn issuer_named<'a>(name: &str, policy: &'a Policy) -> Result<&'a Issuer, Failure> {
    let issuers = &policy.auth.issuers;
    issuers.iter().find(|issuer| *issuer.name == *name).ok_or_else(|| {
        let known: Vec<_> = issuers.iter().map(|issuer| &*issuer.name).collect();
        Failure::new(
            USAGE,
            format!("--issuer {name:?}: the configuration has no such issuer, only: {}", known.join(", ")),
        )
    })
}

/// A key that signs, and the algorithm it signs with.
enum Signer<'a> {
    Secret(&'a VerifyingKey, Algorithm),
    OwnSecret(KeyMaterial, Algorithm),
    Private(EncodingKey, Algorithm),
}

fn signer<'a>(args: &MintArgs, issuer: Option<&'a Issuer>) -> Result<Signer<'a>, Failure> {
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

    fn token(&self, kid: Option<&str>, claims: &Map<String, Value>) -> Result<String, Failure> {
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

fn claims(
    args: &MintArgs,
    issuer: Option<&Issuer>,
    policy: Option<&Policy>,
    now: SystemTime,
) -> Result<Map<String, Value>, Failure> {
    if args.team.len() > TEAMS.most || args.role.len() > ROLES.most {
        return Err(Failure::new(
            USAGE,
            format!("at most {} teams and {} roles are read", TEAMS.most, ROLES.most),
        ));
    }
    let issued = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut claims = Map::new();
    claims.insert("iat".into(), issued.into());
    claims.insert("exp".into(), issued.saturating_add(args.ttl.as_secs()).into());
    let iss = args.issuer_claim.as_ref().or_else(|| issuer.and_then(|issuer| issuer.issuer.as_ref()));
    if let Some(iss) = iss {
        claims.insert("iss".into(), iss.as_str().into());
    }
    let aud = args.audience.as_ref().or_else(|| issuer.and_then(|issuer| issuer.audience.first()));
    if let Some(aud) = aud {
        claims.insert("aud".into(), aud.as_str().into());
    }
    let paths = policy.map(|policy| &policy.auth.claims);
    let path = |configured: Option<&Vec<String>>, usual: &str| {
        configured.cloned().unwrap_or_else(|| vec![usual.to_owned()])
    };
    put(&mut claims, &path(paths.map(|paths| &paths.subject), "sub"), args.sub.as_str().into())?;
    if !args.team.is_empty() {
        put(&mut claims, &path(paths.map(|paths| &paths.teams), "teams"), args.team.clone().into())?;
    }
    if !args.role.is_empty() {
        put(&mut claims, &path(paths.map(|paths| &paths.roles), "roles"), args.role.clone().into())?;
    }
    for (name, value) in &args.claim {
        claims.insert(name.clone(), value.clone());
    }
    Ok(claims)
}

/// Puts a value at a dotted path. A name that is an address keeps its dots: it is put as one literal name, which
/// verification looks for first.
fn put(claims: &mut Map<String, Value>, path: &[String], value: Value) -> Result<(), Failure> {
    let literal = path.join(".");
    let Some((last, parents)) = path.split_last().filter(|_| !literal.contains("://")) else {
        claims.insert(literal, value);
        return Ok(());
    };
    let mut object = claims;
    for parent in parents {
        let below = object.entry(parent.clone()).or_insert_with(|| Value::Object(Map::new()));
        let Value::Object(below) = below else {
            return Err(Failure::new(
                BAD_CONFIG,
                format!("auth.claims: the paths {literal:?} and {parent:?} cannot both be in one token"),
            ));
        };
        object = below;
    }
    object.insert(last.clone(), value);
    Ok(())
}

fn verify_token(
    args: &VerifyArgs,
    load: LoadPolicy<'_>,
    now: SystemTime,
    input: &mut dyn Read,
) -> Result<String, Failure> {
    let token = read_token(args, input)?;
    let policy = load(&args.config).map_err(|text| Failure::new(BAD_CONFIG, text))?;
    let verifier = Verifier::new(&policy.auth).map_err(|error| Failure::new(BAD_CONFIG, error))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(FAILED, format!("cannot start: {error}")))?;
    let verified = runtime.block_on(async {
        let _refreshers = verifier.start();
        wait_for_keys(&verifier, token.trim(), now).await
    });
    match verified {
        Ok(verified) => Ok(describe(&verified, now)),
        Err(error) => {
            let code = error.code().map_or("not now", |code| code.as_str());
            Err(Failure::new(FAILED, format!("refused ({code}): {error}")))
        }
    }
}

/// Tries again while keys are still being fetched.
async fn wait_for_keys(verifier: &Verifier, token: &str, now: SystemTime) -> Result<Verified, TokenError> {
    let deadline = tokio::time::Instant::now() + WAIT_FOR_KEYS;
    loop {
        match verifier.verify(token, now).await {
            Err(TokenError::KeysUnavailable(_)) if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            outcome => return outcome,
        }
    }
}

fn describe(verified: &Verified, now: SystemTime) -> String {
    let list = |names: &[std::sync::Arc<str>]| match names {
        [] => "none".to_owned(),
        names => names.join(", "),
    };
    let left = match verified.expires_at.duration_since(now) {
        Ok(left) => format!("in {}", humantime::format_duration(Duration::from_secs(left.as_secs()))),
        Err(_) => "now, within the leeway".into(),
    };
    format!(
        "accepted\nissuer   {}\nsubject  {}\nteams    {}\nroles    {}\nexpires  {left} ({})",
        verified.issuer,
        verified.subject,
        list(&verified.teams),
        list(&verified.roles),
        humantime::format_rfc3339_seconds(verified.expires_at),
    )
}

fn read_token(args: &VerifyArgs, input: &mut dyn Read) -> Result<String, Failure> {
    if let Some(path) = &args.token_file {
        let option = format!("--token-file {}", path.display());
        let bytes = read_file(path, &option)?;
        return String::from_utf8(bytes)
            .map_err(|_| Failure::new(USAGE, format!("{option}: this is not text")));
    }
    if let Some(name) = &args.token_env {
        return std::env::var(name).map_err(|_| {
            Failure::new(USAGE, format!("--token-env {name}: there is no such text in the environment"))
        });
    }
    let mut text = String::new();
    input.take(MAX_FILE_BYTES).read_to_string(&mut text).map_err(|error| {
        Failure::new(USAGE, format!("cannot read the token from standard input: {error}"))
    })?;
    Ok(text)
}

fn read_file(path: &Path, option: &str) -> Result<Vec<u8>, Failure> {
    let unreadable =
        |error: std::io::Error| Failure::new(USAGE, format!("{option}: cannot read it: {error}"));
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(Failure::new(
            USAGE,
            format!("{option}: longer than {MAX_FILE_BYTES} bytes; is it the right file?"),
        ));
    }
    Ok(bytes)
}

fn parse_algorithm(name: &str) -> Result<Algorithm, String> {
    algorithm_named(name).ok_or_else(|| {
        "write one of HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA"
            .into()
    })
}

fn parse_claim(text: &str) -> Result<(String, Value), String> {
    let (name, json) = text.split_once('=').ok_or("write NAME=JSON, such as admin=true or org='\"acme\"'")?;
    let value = serde_json::from_str(json).map_err(|error| {
        format!("the value of {name} is not JSON ({error}); text needs quotes, as in {name}='\"text\"'")
    })?;
    Ok((name.to_owned(), value))
}

#[cfg(test)]
mod tests;
