use jsonwebtoken::Algorithm::{self, *};
use serde_json::{Value, json};

use super::*;

macro_rules! key {
    ($name:literal) => {
        include_bytes!(concat!("../../../tests/fixtures/keys/", $name))
    };
}

fn secret(length: usize, algorithms: &[Algorithm]) -> Result<KeyMaterial, KeyError> {
    KeyMaterial::from_secret(vec![b's'; length], algorithms)
}

fn fault<T>(outcome: Result<T, KeyError>) -> String {
    match outcome {
        Ok(_) => panic!("it should have been refused"),
        Err(KeyError(text)) => text,
    }
}

#[test]
fn secrets_are_as_long_as_the_hash() {
    for (algorithm, least) in [(HS256, 32), (HS384, 48), (HS512, 64)] {
        assert!(secret(least, &[algorithm]).is_ok());
        let text = fault(secret(least - 1, &[algorithm]));
        assert!(
            text.contains(&format!("{} bytes", least - 1)) && text.contains(&least.to_string()),
            "{text}"
        );
    }
    assert!(fault(secret(32, &[HS256, HS512])).contains("HS512"));
    assert!(fault(secret(0, &[HS256])).contains("0 bytes"));
}

#[test]
fn one_trailing_newline_is_not_part_of_a_secret() {
    let signed = |text: &[u8]| {
        let material = KeyMaterial::from_secret(text.to_vec(), &[HS256]).unwrap();
        let KeyMaterial::Keys(keys) = material else { unreachable!() };
        keys[0].sign(HS256, b"message").unwrap()
    };
    let plain = [b's'; 40];
    let with = |tail: &[u8]| [plain.as_slice(), tail].concat();
    assert_eq!(signed(&plain), signed(&with(b"\n")));
    assert_eq!(signed(&plain), signed(&with(b"\r\n")));
    assert_ne!(signed(&plain), signed(&with(b"\n\n")));
    assert_ne!(signed(&plain), signed(&with(b" ")));
    // The newline does not help a short secret over the bar either.
    assert!(KeyMaterial::from_secret([[b's'; 31].as_slice(), b"\n"].concat(), &[HS256]).is_err());
}

#[test]
fn keys_and_algorithms_fit_or_are_refused_with_a_mend() {
    let pem = |bytes: &[u8], algorithms: &[Algorithm]| KeyMaterial::from_public_pem(bytes, algorithms);
    assert!(pem(key!("rsa2048.pub.pem"), &[RS256, RS384, RS512, PS256, PS384, PS512]).is_ok());
    assert!(pem(key!("rsa2048.pkcs1.pub.pem"), &[RS256]).is_ok());
    assert!(pem(key!("p256.pub.pem"), &[ES256]).is_ok());
    assert!(pem(key!("p256.cert.pem"), &[ES256]).is_ok());
    assert!(pem(key!("p384.pub.pem"), &[ES384]).is_ok());
    assert!(pem(key!("ed25519.pub.pem"), &[EdDSA]).is_ok());

    for (bytes, algorithms, words) in [
        (key!("rsa2048.pub.pem").as_slice(), &[ES256][..], ["RSA key of 2048 bits", "RS256"]),
        (key!("p256.pub.pem"), &[ES384], ["P-256", "ES256"]),
        (key!("p256.pub.pem"), &[HS256], ["P-256", "ES256"]),
        (key!("p256.pub.pem"), &[ES256, RS256], ["RS256", "an RSA key"]),
        (key!("rsa1024.pub.pem"), &[RS256], ["1024 bits", "2048"]),
        (key!("p521.pub.pem"), &[ES384], ["P-521", "P-384"]),
        (key!("secp256k1.pub.pem"), &[ES256], ["secp256k1", "P-256"]),
        (b"", &[ES256], ["no PEM block", "BEGIN PUBLIC KEY"]),
        (
            b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
            &[ES256],
            ["no valid public key", "P-256"],
        ),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA", &[ES256], ["PEM", "BEGIN"]),
        (b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----", &[ES256], ["X509 CRL", "PUBLIC KEY"]),
        (
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
            &[ES256],
            ["certificate", "openssl"],
        ),
        (key!("p256.pub.pem"), &[], ["algorithms", "empty"]),
    ] {
        let text = fault(pem(bytes, algorithms));
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    }
    assert!(fault(secret(64, &[HS256, RS256])).contains("RS256"));
    let text = fault(KeyMaterial::from_secret(key!("rsa2048.pub.pem").to_vec(), &[HS256]));
    assert!(text.contains("PEM"), "{text}");
    let pem_alone = b"-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE".to_vec();
    assert!(fault(KeyMaterial::from_secret(pem_alone, &[HS256])).contains("public_key_file"));
}

#[test]
fn a_private_key_is_refused_and_not_echoed() {
    for bytes in
        [key!("p256.pem").as_slice(), key!("p256.sec1.pem"), key!("rsa2048.pem"), key!("ed25519.pem")]
    {
        let text = fault(KeyMaterial::from_public_pem(bytes, &[ES256]));
        assert!(text.contains("private key") && text.contains("-pubout"), "{text}");
        let body = std::str::from_utf8(bytes).unwrap().lines().nth(2).unwrap();
        assert!(!text.contains(&body[..8]));
    }
}

#[test]
fn old_and_new_keys_stand_in_one_file() {
    let both = [key!("p256.pub.pem").as_slice(), key!("p256-other.pub.pem")].concat();
    let KeyMaterial::Keys(keys) = KeyMaterial::from_public_pem(&both, &[ES256]).unwrap() else {
        unreachable!()
    };
    assert_eq!(keys.len(), 2);
    let many = key!("p256.pub.pem").repeat(9);
    assert!(fault(KeyMaterial::from_public_pem(&many, &[ES256])).contains('9'));
}

#[test]
fn nothing_that_is_printed_holds_a_secret() {
    let material =
        KeyMaterial::from_secret(b"hunter2-hunter2-hunter2-hunter2-hunter2".to_vec(), &[HS256]).unwrap();
    let text = format!("{material:?}");
    assert!(!text.contains("hunter2") && !text.contains("104, 117"), "{text}");
    let url = Url::parse("https://user:hunter2@keys.example/?k=hunter2").unwrap();
    assert!(!format!("{:?}", KeyMaterial::from_jwks_url(url)).contains("hunter2"));
}

#[test]
fn endpoints_serve_no_secrets() {
    let url = Url::parse("https://keys.example/jwks").unwrap();
    assert!(KeyMaterial::check_endpoint(&url, &[RS256, ES256]).is_ok());
    assert!(fault(KeyMaterial::check_endpoint(&url, &[RS256, HS256])).contains("HS256"));
    for odd in ["file:///etc/keys", "ftp://keys.example/", "data:,x"] {
        assert!(KeyMaterial::check_endpoint(&Url::parse(odd).unwrap(), &[RS256]).is_err(), "{odd}");
    }
}

/// RFC 7515 §A.1: an oct key.
const OCT: &str = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";

/// RFC 7515 §A.3: an EC key, with what `change` makes of it.
fn ec(change: Value) -> Value {
    let mut jwk = json!({
        "kty": "EC", "crv": "P-256", "kid": "ec",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    });
    for (name, value) in change.as_object().unwrap() {
        jwk[name] = value.clone();
    }
    jwk
}

/// RFC 7515 §A.2: an RSA key.
fn rsa(change: Value) -> Value {
    let mut jwk = json!({
        "kty": "RSA", "e": "AQAB", "kid": "rsa",
        "n": concat!(
            "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yR",
            "T-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXB",
            "dQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9ia",
            "GNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"
        ),
    });
    for (name, value) in change.as_object().unwrap() {
        jwk[name] = value.clone();
    }
    jwk
}

fn set(keys: &[Value]) -> Vec<u8> {
    json!({ "keys": keys }).to_string().into_bytes()
}

fn from_endpoint(keys: &[Value], algorithms: &[Algorithm]) -> JwkSet {
    parse_jwks(&set(keys), algorithms, JwkOrigin::Endpoint).unwrap()
}

#[test]
fn a_jwk_may_only_narrow_its_algorithms() {
    let all = [RS256, RS512, ES256, HS256];
    let algorithms = |jwk: Value| -> Vec<Algorithm> {
        from_endpoint(&[jwk], &all).keys.first().map(|key| key.algorithms().collect()).unwrap_or_default()
    };
    assert_eq!(algorithms(rsa(json!({}))), [RS256, RS512]);
    assert_eq!(algorithms(rsa(json!({"alg": "RS512"}))), [RS512]);
    assert_eq!(algorithms(rsa(json!({"use": "sig", "key_ops": ["verify"]}))), [RS256, RS512]);
    assert_eq!(algorithms(ec(json!({}))), [ES256]);
    for unfit in [
        rsa(json!({"alg": "RS384"})),
        rsa(json!({"alg": "ES256"})),
        rsa(json!({"alg": "HS256"})),
        rsa(json!({"alg": "none"})),
        rsa(json!({"alg": "RSA-OAEP"})),
        rsa(json!({"use": "enc"})),
        rsa(json!({"key_ops": ["encrypt"]})),
    ] {
        assert_eq!(algorithms(unfit.clone()), [], "{unfit}");
    }
}

#[test]
fn faulty_jwks_are_left_out_of_an_endpoints_set_and_refuse_a_file() {
    for faulty in [
        rsa(json!({"n": "AQAB"})),
        rsa(json!({"n": "not base64!"})),
        rsa(json!({"n": null})),
        rsa(json!({"e": ""})),
        rsa(json!({"d": "secret"})),
        ec(json!({"x": "AAAA"})),
        ec(json!({"y": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"})),
        ec(json!({"d": "secret"})),
        ec(json!({"kid": "k".repeat(MAX_KID_BYTES + 1)})),
        ec(json!({"kid": 7})),
        json!({"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}),
        json!("a key"),
        json!({}),
    ] {
        let sets = from_endpoint(&[faulty.clone(), ec(json!({"kid": "good"}))], &[RS256, ES256, EdDSA]);
        assert_eq!(sets.keys.len(), 1, "{faulty}");
        assert_eq!(sets.keys[0].kid(), Some("good"));
        assert_eq!(sets.left_out.len(), 1);
        assert!(!sets.left_out[0].contains("secret"));
        let text = fault(KeyMaterial::from_jwks(&set(&[faulty, rsa(json!({}))]), &[RS256]));
        assert!(text.contains("keys[0]"), "{text}");
    }
}

#[test]
fn secrets_come_from_files_and_never_from_endpoints() {
    let oct = json!({"kty": "oct", "k": OCT, "kid": "s"});
    assert!(KeyMaterial::from_jwks(&set(std::slice::from_ref(&oct)), &[HS256, HS512]).is_ok());
    assert!(from_endpoint(std::slice::from_ref(&oct), &[HS256]).keys.is_empty());
    let short = json!({"kty": "oct", "k": "AAAA"});
    let text = fault(KeyMaterial::from_jwks(&set(&[short]), &[HS256]));
    assert!(text.contains("3 bytes"), "{text}");
    // A document that is no set is not quoted, since it may hold the secret.
    let text = fault(KeyMaterial::from_jwks(format!("{{\"keys\": {OCT:?}}}").as_bytes(), &[HS256]));
    assert!(!text.contains(&OCT[..8]), "{text}");
}

#[test]
fn a_file_covers_every_algorithm_and_keys_for_others_are_left_out() {
    let keys = [rsa(json!({})), ec(json!({})), json!({"kty": "EC", "crv": "P-521"}), json!({"kty": "AKP"})];
    assert!(KeyMaterial::from_jwks(&set(&keys), &[RS256]).is_ok());
    assert!(KeyMaterial::from_jwks(&set(&keys), &[RS256, ES256]).is_ok());
    let text = fault(KeyMaterial::from_jwks(&set(&keys), &[RS256, EdDSA]));
    assert!(text.contains("EdDSA") && text.contains("Ed25519"), "{text}");
    let text = fault(KeyMaterial::from_jwks(&set(&keys[1..]), &[RS256]));
    assert!(text.contains("keys[0]"), "{text}");
    assert!(fault(KeyMaterial::from_jwks(&set(&[]), &[RS256])).contains("empty"));
}

#[test]
fn sets_are_bounded() {
    let keys = |count| set(&vec![ec(json!({})); count]);
    let parse = |document: &[u8]| parse_jwks(document, &[ES256], JwkOrigin::Endpoint);
    assert_eq!(parse(&keys(MAX_JWKS_KEYS)).unwrap().keys.len(), MAX_JWKS_KEYS);
    assert!(fault(parse(&keys(MAX_JWKS_KEYS + 1))).contains("101"));
    let mut large = keys(1);
    large.resize(MAX_JWKS_BYTES, b' ');
    assert!(parse(&large).is_ok());
    large.push(b' ');
    assert!(parse(&large).is_err());
    for rubbish in ["", "null", "[]", "{}", "{\"keys\":{}}", "<html>", "{\"keys\":[", "{\"keys\":[1]} x"] {
        assert!(parse(rubbish.as_bytes()).is_err(), "{rubbish}");
    }
    assert!(parse(format!("{{\"keys\":{}", "[".repeat(100_000)).as_bytes()).is_err());
}

proptest::proptest! {
    #[test]
    fn no_document_makes_the_parser_panic(
        bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..512),
        n in "[A-Za-z0-9_-]{0,60}",
    ) {
        let _ = parse_jwks(&bytes, &[RS256, ES256, EdDSA, HS256], JwkOrigin::File);
        let _ = KeyMaterial::from_public_pem(&bytes, &[RS256]);
        for jwk in [rsa(json!({ "n": n })), rsa(json!({ "e": n })), ec(json!({ "x": n }))] {
            let _ = parse_jwks(&set(&[jwk]), &[RS256, ES256, EdDSA, HS256], JwkOrigin::File);
        }
    }
}
