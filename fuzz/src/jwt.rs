//! Tokens: as they arrive, and signed by a key that is believed, so that what they claim is reached.

use std::sync::LazyLock;
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flowgate::config::key_material::{KeyMaterial, algorithm_named};
use flowgate::config::policy::{Auth, AuthMode, ClaimPaths, Issuer, TokenSource};
use flowgate::connect::claims::{self, ClaimPath};
use flowgate::connect::source::{Found, find_token};
use flowgate::connect::token::{TokenError, Verified, Verifier};
use flowgate::event::fixtures::NOON;
use flowgate::name::{MAX_IDENTIFIER_BYTES, MAX_NAME_BYTES, ROLES, TEAMS};
use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderValue};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Map, Value};

/// Who may sign with a secret; tokens without `iss` are of this kind too. Public: it verifies nothing but fuzzed tokens.
const SECRET: &[u8] = b"a secret of the fuzz targets, which is known to everybody who can read";

const LEEWAY: Duration = Duration::from_secs(5);
const MAX_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// A token; or the claims of one; or a header's line and then the claims. What is no whole token is signed here.
///
/// Promised: only what a configured key signed is accepted, only in its time, and only with names within bounds; an
/// altered token is not; an error never repeats the claims, and fits a line of the log.
pub fn jwt(data: &[u8]) {
    carried(data);
    claims_alone(data);
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = check(text);
    let (header, claims) = text.split_once('\n').unwrap_or((r#"{"alg":"HS256"}"#, text));
    for header in [header, r#"{"alg":"HS256","typ":"JWT"}"#] {
        let token = signed(header, claims);
        if check(&token).is_some() {
            altered(&token);
        }
    }
}

/// What a verifier says, its promises checked.
fn check(token: &str) -> Option<Verified> {
    match verify(token) {
        Ok(verified) => {
            accepted(token, &verified);
            Some(verified)
        }
        Err(error) => {
            let text = error.to_string();
            assert!(crate::is_one_line(&text) && text.len() < 1024, "{text:?}");
            assert!(!matches!(error, TokenError::KeysUnavailable(_)), "no key has to be fetched");
            None
        }
    }
}

fn verify(token: &str) -> Result<Verified, TokenError> {
    let now = UNIX_EPOCH + Duration::from_secs(NOON);
    // Only fetched keys make a verifier wait, and here there are none.
    crate::at_once(VERIFIER.verify(token, now))
}

fn accepted(token: &str, verified: &Verified) {
    let parts: Vec<Vec<u8>> = token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap()).collect();
    let [header, claims, _] = parts.as_slice() else { panic!("{} parts", parts.len()) };
    let header: Map<String, Value> = serde_json::from_slice(header).expect("a header");
    let claims: Map<String, Value> = serde_json::from_slice(claims).expect("claims");
    assert!(!header.contains_key("crit"), "{header:?}");

    let algorithm = header["alg"].as_str().and_then(algorithm_named).expect("an algorithm");
    let issuer = AUTH.issuers.iter().find(|issuer| issuer.name == verified.issuer).expect("an issuer");
    assert!(issuer.algorithms.contains(&algorithm), "{algorithm:?}");
    if let Some(iss) = &issuer.issuer {
        assert_eq!(claims["iss"], iss.as_str());
    }
    if let [audience] = issuer.audience.as_slice() {
        let ours = Value::from(audience.as_str());
        assert!(claims["aud"] == ours || claims["aud"].as_array().is_some_and(|all| all.contains(&ours)));
    }

    // A second's part is lost in a double of this size, so a second of tolerance is allowed.
    let (now, leeway) = (NOON as f64, LEEWAY.as_secs_f64() + 1.0);
    let exp = claims["exp"].as_f64().expect("exp");
    assert!(exp + leeway > now, "expired");
    let start = claims.get("iat").map_or(now + LEEWAY.as_secs_f64(), |iat| iat.as_f64().expect("iat"));
    assert!(exp - start <= MAX_LIFETIME.as_secs_f64() + 1.0, "valid for too long");
    for ahead in ["iat", "nbf"].iter().filter_map(|name| claims.get(*name)) {
        assert!(ahead.as_f64().expect("a number") <= now + leeway, "not yet valid");
    }

    assert_eq!(claims["sub"], &*verified.subject);
    assert!(
        (1..=MAX_IDENTIFIER_BYTES).contains(&verified.subject.len()) && crate::is_one_line(&verified.subject)
    );
    if let Some(id) = &verified.token_id {
        assert!((1..=MAX_IDENTIFIER_BYTES).contains(&id.len()) && crate::is_one_line(id));
    }
    for (names, most) in [(&verified.teams, TEAMS.most), (&verified.roles, ROLES.most)] {
        assert!(names.len() <= most);
        for (at, name) in names.iter().enumerate() {
            assert!((1..=MAX_NAME_BYTES).contains(&name.len()) && crate::is_one_line(name));
            assert!(!names[..at].contains(name));
        }
    }
    assert!(verified.teams.iter().all(|team| !team.contains([':', '*'])));
}

/// A good token in which one character is another is good no more. The last one is left: its low bits say nothing.
fn altered(token: &str) {
    for at in [0, token.len() / 3, token.len() / 2, token.len() - 2] {
        let mut altered = token.as_bytes().to_vec();
        altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
        let altered = String::from_utf8(altered).expect("ASCII");
        assert!(verify(&altered).is_err(), "{altered}");
    }
}

/// A token of this header and these claims, signed with the key that the header asks for, or else with the secret.
fn signed(header: &str, claims: &str) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let wanted = serde_json::from_str::<Map<String, Value>>(header).ok();
    let wanted = wanted.as_ref().and_then(|header| header.get("alg")?.as_str().and_then(algorithm_named));
    let signer = |algorithm| SIGNERS.iter().find(|signer| signer.algorithms.contains(&algorithm));
    let (algorithm, signer) = wanted
        .and_then(|algorithm| Some((algorithm, signer(algorithm)?)))
        .unwrap_or((Algorithm::HS256, &SIGNERS[0]));
    let signature =
        jsonwebtoken::crypto::sign(message.as_bytes(), &signer.key, algorithm).expect("a signature");
    format!("{message}.{signature}")
}

struct Signer {
    algorithms: &'static [Algorithm],
    key: EncodingKey,
}

/// The private halves of what [`AUTH`] believes. RSA is verified from the corpus only: to sign takes a millisecond.
static SIGNERS: LazyLock<[Signer; 4]> = LazyLock::new(|| {
    use Algorithm::{ES256, ES384, EdDSA, HS256, HS384, HS512};
    [
        Signer { algorithms: &[HS256, HS384, HS512], key: EncodingKey::from_secret(SECRET) },
        Signer {
            algorithms: &[EdDSA],
            key: EncodingKey::from_ed_pem(include_bytes!("../../tests/fixtures/keys/ed25519.pem")).unwrap(),
        },
        Signer {
            algorithms: &[ES256],
            key: EncodingKey::from_ec_pem(include_bytes!("../../tests/fixtures/keys/p256.pem")).unwrap(),
        },
        Signer {
            algorithms: &[ES384],
            key: EncodingKey::from_ec_pem(include_bytes!("../../tests/fixtures/keys/p384.pem")).unwrap(),
        },
    ]
});

/// An issuer of each kind: a secret and no `iss`; public keys of every kind; keys that go by their `kid`.
static AUTH: LazyLock<Auth> = LazyLock::new(|| {
    use Algorithm::{ES256, ES384, EdDSA, HS256, HS384, HS512, PS256, RS256};
    let hmac = [HS256, HS384, HS512];
    let public = [RS256, PS256, ES256, ES384, EdDSA];
    let pems = [
        include_str!("../../tests/fixtures/keys/rsa2048.pub.pem"),
        include_str!("../../tests/fixtures/keys/p256.pub.pem"),
        include_str!("../../tests/fixtures/keys/p384.pub.pem"),
        include_str!("../../tests/fixtures/keys/ed25519.pub.pem"),
    ]
    .join("\n");
    let key = |kid: &str, secret: &[u8]| {
        let k = URL_SAFE_NO_PAD.encode(secret);
        format!(r#"{{"kty":"oct","kid":"{kid}","k":"{k}"}}"#)
    };
    let set = format!(r#"{{"keys":[{},{}]}}"#, key("one", SECRET), key("two", &[7; 64]));
    let paths = |text: &str| vec![text.to_owned()];
    let issuer = |name: &str, iss: Option<&str>, audience: &[&str], algorithms: &[Algorithm], key| Issuer {
        name: name.into(),
        issuer: iss.map(Into::into),
        audience: audience.iter().map(|&text| text.into()).collect(),
        algorithms: algorithms.to_vec(),
        max_lifetime: MAX_LIFETIME,
        key,
    };
    Auth {
        mode: AuthMode::Required,
        token_from: SOURCES.to_vec(),
        leeway: LEEWAY,
        max_lifetime: MAX_LIFETIME,
        refresh: false,
        issuers: vec![
            issuer("any", None, &[], &hmac, KeyMaterial::from_secret(SECRET.to_vec(), &hmac).unwrap()),
            issuer(
                "public",
                Some("https://app.example"),
                &["flowgate"],
                &public,
                KeyMaterial::from_public_pem(pems.as_bytes(), &public).unwrap(),
            ),
            issuer(
                "kids",
                Some("https://kids.example"),
                &[],
                &hmac,
                KeyMaterial::from_jwks(set.as_bytes(), &hmac).unwrap(),
            ),
        ],
        claims: ClaimPaths { subject: paths("sub"), teams: paths("teams"), roles: paths("roles") },
    }
});

static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| Verifier::new(&AUTH).expect("a verifier"));

static SOURCES: LazyLock<[TokenSource; 3]> =
    LazyLock::new(|| [TokenSource::Auth, TokenSource::Header, TokenSource::Cookie("session".into())]);

/// The bytes as claims of their own, without signature: whatever is found there is within bounds.
fn claims_alone(data: &[u8]) {
    let Ok(claims) = claims::parse(data) else { return };
    let again: Value = serde_json::from_slice(data).expect("what are proper claims are JSON");
    assert_eq!(Value::Object(claims.clone()), again, "read differently");
    for path in [&["sub"][..], &["app", "teams"], &["a", "b", "c", "d"], &["https://app", "example"]] {
        let path = ClaimPath::new(&path.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
        for fault in [
            claims::subject(&claims, &path).err(),
            claims::token_id(&claims).err(),
            claims::names(&claims, &path, TEAMS).err(),
        ] {
            assert!(fault.is_none_or(|fault| crate::is_one_line(&fault) && fault.len() < 256));
        }
    }
}

/// The bytes where a handshake carries its token: the payload of CONNECT, lines of `Authorization`, lines of `Cookie`.
fn carried(data: &[u8]) {
    let auth: Option<Value> = serde_json::from_slice(data).ok();
    let lines = || data.split(|byte| *byte == b'\n').filter_map(|line| HeaderValue::from_bytes(line).ok());
    let mut headers = HeaderMap::new();
    for line in lines() {
        headers.append(AUTHORIZATION, line.clone());
        headers.append(COOKIE, line);
    }
    for source in &*SOURCES {
        let found = find_token(std::slice::from_ref(source), auth.as_ref(), &headers);
        if let Found::Token(token) = found {
            let said = match source {
                TokenSource::Auth => auth.as_ref().and_then(|auth| auth["token"].as_str()) == Some(&token),
                _ => {
                    data.windows(token.len().max(1)).any(|part| part == token.as_bytes()) || token.is_empty()
                }
            };
            assert!(said, "{token:?} was made up");
        }
    }
}
