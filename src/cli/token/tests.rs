use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use jsonwebtoken::Algorithm;
use serde_json::Value;

use super::mint::mint_token;
use super::verify::verify_token;
use super::*;
use crate::config::key_material::KeyMaterial;
use crate::config::policy::{Auth, AuthMode, ClaimPaths, Issuer};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Mint(Box<MintArgs>),
    Verify(VerifyArgs),
}

const SECRET: &[u8] = b"a secret of the tests: 0123456789";

fn keys(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/keys").join(name)
}

/// The issuer "app" with the secret, "ec" with a public key, and nested claim paths.
fn policy() -> Policy {
    let issuer = |name: &str, algorithm, key| Issuer {
        name: name.into(),
        issuer: Some(format!("https://{name}.example")),
        audience: vec!["flowgate".into(), "other".into()],
        algorithms: vec![algorithm],
        max_lifetime: Duration::from_secs(86_400),
        key,
    };
    let secret = KeyMaterial::from_secret(SECRET.to_vec(), &[Algorithm::HS256]).unwrap();
    let pem = std::fs::read(keys("p256.pub.pem")).unwrap();
    let public = KeyMaterial::from_public_pem(&pem, &[Algorithm::ES256]).unwrap();
    let path = |text: &str| text.split('.').map(str::to_owned).collect();
    crate::event::fixtures::policy(|policy| {
        policy.auth = Auth {
            mode: AuthMode::Required,
            token_from: vec![],
            refresh: false,
            leeway: Duration::from_secs(5),
            max_lifetime: Duration::from_secs(86_400),
            issuers: vec![issuer("app", Algorithm::HS256, secret), issuer("ec", Algorithm::ES256, public)],
            claims: ClaimPaths {
                subject: path("sub"),
                teams: path("app.member.teams"),
                roles: path("https://app.example/roles"),
            },
        };
    })
}

fn load(paths: &[PathBuf]) -> Result<Policy, String> {
    if paths.iter().any(|path| path.ends_with("bad.toml")) {
        return Err("bad.toml: it is bad".into());
    }
    Ok(policy())
}

fn mint_with(line: &str) -> Result<String, Failure> {
    let line = format!("flowgate mint {line}");
    match Cli::try_parse_from(line.split_whitespace()) {
        Ok(Cli { command: Command::Mint(args) }) => mint_token(&args, &load, SystemTime::now()),
        Ok(_) => unreachable!(),
        Err(error) => Err(Failure::new(USAGE, error)),
    }
}

fn verify_with(line: &str, input: &str, now: SystemTime) -> Result<String, Failure> {
    let line = format!("flowgate verify {line}");
    match Cli::try_parse_from(line.split_whitespace()) {
        Ok(Cli { command: Command::Verify(args) }) => verify_token(&args, &load, now, &mut input.as_bytes()),
        Ok(_) => unreachable!(),
        Err(error) => Err(Failure::new(USAGE, error)),
    }
}

fn claims_of(token: &str) -> Value {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice(&payload).unwrap()
}

#[test]
fn a_configured_issuer_mints_what_the_sidecar_accepts() {
    let token = mint_with("--issuer app --sub u-1 --team red --team blue --role editor --ttl 2h").unwrap();
    let claims = claims_of(&token);
    assert_eq!(claims["iss"], "https://app.example");
    assert_eq!(claims["aud"], "flowgate");
    assert_eq!(claims["app"]["member"]["teams"], serde_json::json!(["red", "blue"]));
    assert_eq!(claims["https://app.example/roles"], serde_json::json!(["editor"]));
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 7200);

    let text = verify_with("", &format!("{token}\n"), SystemTime::now()).unwrap();
    assert!(text.ends_with("\nnote     revocations are not looked at: flowgate revoke list"), "{text}");
    for line in [
        "accepted",
        "issuer   app",
        "subject  u-1",
        "teams    red, blue",
        "roles    editor",
        "expires  in 1h 59m",
    ] {
        assert!(text.contains(line), "{text}");
    }
    let later = SystemTime::now() + Duration::from_secs(7300);
    let failure = verify_with("", &token, later).unwrap_err();
    assert_eq!(failure.code, FAILED);
    assert!(
        failure.message.contains("token_expired") && failure.message.contains("1m 40s ago"),
        "{}",
        failure.message
    );
}

#[test]
fn private_keys_mint_too() {
    for (name, algorithm) in
        [("rsa2048", "RS256"), ("p256", "ES256"), ("p384", "ES384"), ("ed25519", "EdDSA")]
    {
        let path = keys(&format!("{name}.pem"));
        let token = mint_with(&format!("--private-key-file {} --sub u-1 --kid k-1", path.display())).unwrap();
        let header = jsonwebtoken::decode_header(&token).unwrap();
        assert_eq!((format!("{:?}", header.alg).as_str(), header.kid.as_deref()), (algorithm, Some("k-1")));
        assert_eq!(claims_of(&token)["sub"], "u-1");
    }
    let rsa = keys("rsa2048.pem");
    let token =
        mint_with(&format!("--private-key-file {} --algorithm PS512 --sub u", rsa.display())).unwrap();
    assert_eq!(jsonwebtoken::decode_header(&token).unwrap().alg, Algorithm::PS512);
    // With an issuer, its iss, aud and paths are used, and its algorithms count.
    let p256 = keys("p256.pem");
    let line = format!("--issuer ec --private-key-file {} --sub u-2 --team red", p256.display());
    let token = mint_with(&line).unwrap();
    assert!(verify_with("", &token, SystemTime::now()).unwrap().contains("issuer   ec"));
    let line = format!("--issuer ec --private-key-file {} --sub u-2", rsa.display());
    assert!(mint_with(&line).unwrap_err().message.contains("any of the issuer's algorithms"));
}

#[test]
fn secrets_come_from_files_and_further_claims_are_json() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    std::fs::write(&path, [SECRET, b"\n"].concat()).unwrap();
    let line = format!(
        "--secret-file {} --sub u --issuer-claim https://app.example --audience other --claim admin=true --claim n=1.5",
        path.display()
    );
    let token = mint_with(&line).unwrap();
    assert_eq!(claims_of(&token)["admin"], true);
    assert_eq!(claims_of(&token)["n"], 1.5);
    let file = folder.path().join("token");
    std::fs::write(&file, &token).unwrap();
    assert!(verify_with(&format!("--token-file {}", file.display()), "", SystemTime::now()).is_ok());

    std::fs::write(&path, "short").unwrap();
    let failure = mint_with(&format!("--secret-file {} --sub u", path.display())).unwrap_err();
    assert_eq!(failure.code, USAGE);
    assert!(
        failure.message.contains("5 bytes") && !failure.message.contains("short\""),
        "{}",
        failure.message
    );
}

#[test]
fn what_cannot_be_minted_says_what_to_write() {
    let missing = keys("nothing.pem");
    let sec1 = keys("p256.sec1.pem");
    let public = keys("p256.pub.pem");
    let p256 = keys("p256.pem");
    for (line, code, words) in [
        ("--sub u".to_owned(), USAGE, "--issuer"),
        ("--issuer app".into(), USAGE, "--sub"),
        ("--issuer nobody --sub u".into(), USAGE, "app, ec"),
        ("--issuer ec --sub u".into(), USAGE, "--private-key-file"),
        ("--issuer app --config bad.toml --sub u".into(), BAD_CONFIG, "bad.toml"),
        ("--issuer app --sub u --algorithm RS256".into(), FAILED, "RS256"),
        ("--issuer app --sub u --algorithm none".into(), USAGE, "HS256"),
        ("--issuer app --sub u --ttl soon".into(), USAGE, "ttl"),
        ("--issuer app --sub u --claim x=y".into(), USAGE, "JSON"),
        ("--issuer app --sub u --claim x".into(), USAGE, "NAME=JSON"),
        (format!("--issuer app --sub u --claim x=\"{}\"", "x".repeat(9000)), FAILED, "at most"),
        ("--secret-env FLOWGATE_NO_SUCH_VARIABLE --sub u".into(), USAGE, "FLOWGATE_NO_SUCH_VARIABLE"),
        (format!("--private-key-file {} --sub u", missing.display()), USAGE, "nothing.pem"),
        (format!("--private-key-file {} --sub u", sec1.display()), USAGE, "pkcs8"),
        (format!("--private-key-file {} --sub u", public.display()), USAGE, "not a private key"),
        (format!("--private-key-file {} --sub u --algorithm ES384", p256.display()), USAGE, "--algorithm"),
        (format!("--private-key-file {} --secret-env X --sub u", p256.display()), USAGE, "cannot be used"),
    ] {
        let failure = mint_with(&line).unwrap_err();
        assert_eq!(failure.code, code, "{line}: {}", failure.message);
        assert!(failure.message.contains(words), "{line}: {}", failure.message);
    }
}

#[test]
fn what_is_refused_says_why() {
    let now = SystemTime::now();
    let failure = verify_with("", "a.b", now).unwrap_err();
    assert_eq!(failure.code, FAILED);
    assert!(failure.message.contains("token_invalid") && failure.message.contains("three parts"));
    assert_eq!(verify_with("--config bad.toml", "a.b.c", now).unwrap_err().code, BAD_CONFIG);
    assert_eq!(verify_with("--token-file /nowhere/at/all", "", now).unwrap_err().code, USAGE);
    assert_eq!(verify_with("--token-env FLOWGATE_NO_SUCH_VARIABLE", "", now).unwrap_err().code, USAGE);
    // A token in an argument could be read by every process of the machine.
    assert_eq!(verify_with("a.b.c", "", now).unwrap_err().code, USAGE);
}

#[test]
fn the_arguments_are_consistent() {
    Cli::command().debug_assert();
    assert!(Cli::from_arg_matches(&Cli::command().get_matches_from(["flowgate", "verify"])).is_ok());
}

#[test]
fn what_the_server_would_refuse_for_its_length_is_not_minted() {
    assert!(mint_with("--issuer app --sub u --ttl 24h").is_ok(), "exp - iat may be max_lifetime");
    for line in ["--issuer app --sub u --ttl 3d", "--issuer app --sub u --ttl 86401s"] {
        let failure = mint_with(line).unwrap_err();
        assert_eq!(failure.code, USAGE);
        for words in ["token_invalid", "max_lifetime of issuer \"app\" is 1day", "auth.max_lifetime"] {
            assert!(failure.message.contains(words), "{}", failure.message);
        }
    }
    let pem = keys("p256.pem");
    let own = format!("--config app.toml --private-key-file {} --sub u --ttl 3d", pem.display());
    let failure = mint_with(&own).unwrap_err();
    assert!(failure.message.contains("no issuer's max_lifetime is more than 1day"), "{}", failure.message);
    // Nobody knows which server it is for.
    let alone = format!("--private-key-file {} --sub u --ttl 3d", pem.display());
    assert!(mint_with(&alone).is_ok());
    // Somebody wants to see it refused, and is right about it.
    let token = mint_with("--issuer app --sub u --ttl 3d --claim exp=9999999999").unwrap();
    let failure = verify_with("", &token, SystemTime::now()).unwrap_err();
    assert!(failure.message.contains("token_invalid"), "{}", failure.message);
}
