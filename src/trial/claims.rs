//! Claims that nobody signed: read from a token without verifying it, or made whole.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::config::policy::Issuer;
use crate::connect::claims::parse;

/// What a token says, whoever made it. For who tries a policy; nobody is admitted by it.
pub(super) fn unverified(token: &str) -> Option<Map<String, Value>> {
    let payload = token.split('.').nth(1)?;
    parse(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

/// The issuer whose rules apply to claims: the one with this `iss`, else the one that asks for none.
pub(super) fn issuer_of<'p>(claims: &Map<String, Value>, issuers: &'p [Issuer]) -> Option<&'p Issuer> {
    let said = claims.get("iss").and_then(Value::as_str);
    let named = issuers.iter().find(|issuer| issuer.issuer.is_some() && issuer.issuer.as_deref() == said);
    named.or_else(|| issuers.iter().find(|issuer| issuer.issuer.is_none()))
}

/// The claims with what every issuer writes by itself, where it is left out: `iss` of the first issuer, `aud`, `iat` of
/// now, and `exp` as late as it may be. What is there stays, and is judged as in a token.
pub(super) fn granted(
    mut claims: Map<String, Value>,
    issuers: &[Issuer],
    now: SystemTime,
) -> Map<String, Value> {
    let first = issuers.first().and_then(|issuer| issuer.issuer.clone());
    if let Some(iss) = first {
        claims.entry("iss").or_insert(iss.into());
    }
    let Some(issuer) = issuer_of(&claims, issuers) else { return claims };
    if let Some(audience) = issuer.audience.first() {
        claims.entry("aud").or_insert(audience.as_str().into());
    }
    if !claims.contains_key("exp") {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let issued = claims.entry("iat").or_insert(now.into()).as_u64().unwrap_or(now);
        claims.insert("exp".into(), issued.saturating_add(issuer.max_lifetime.as_secs()).into());
    }
    claims
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::config::key_material::KeyMaterial;

    fn issuer(iss: Option<&str>) -> Issuer {
        Issuer {
            name: "app".into(),
            issuer: iss.map(Into::into),
            audience: vec!["flowgate".into()],
            algorithms: Vec::new(),
            max_lifetime: Duration::from_secs(60),
            key: KeyMaterial::none(),
        }
    }

    fn of(claims: Value, issuers: &[Issuer]) -> Value {
        let Value::Object(claims) = claims else { unreachable!() };
        granted(claims, issuers, UNIX_EPOCH + Duration::from_millis(100_500)).into()
    }

    #[test]
    fn what_an_issuer_writes_is_added_where_it_is_left_out() {
        let issuers = [issuer(Some("https://a.example")), issuer(None)];
        let whole = json!({ "iss": "https://a.example", "aud": "flowgate", "iat": 100, "exp": 160 });
        assert_eq!(of(json!({}), &issuers), whole);
        assert_eq!(of(json!({ "exp": 5 }), &issuers)["iat"], Value::Null);
        assert_eq!(of(json!({ "iat": 90 }), &issuers)["exp"], 150);
        for own in
            [json!({ "iss": "x" }), json!({ "aud": "x" }), json!({ "iat": "x" }), json!({ "exp": null })]
        {
            let (name, value) = own.as_object().unwrap().iter().next().unwrap();
            assert_eq!(&of(own.clone(), &issuers)[name], value);
        }
        assert_eq!(of(json!({}), &[issuer(None)])["iss"], Value::Null);
        assert_eq!(of(json!({ "sub": "ann" }), &[]), json!({ "sub": "ann" }));
    }
}
