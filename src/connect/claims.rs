//! Claims: parsed with nothing said twice, found by path, and bounded before anything is made of them.

use std::sync::Arc;

use serde_json::error::Category;
use serde_json::{Map, Value};

use crate::unique_json;

use crate::name::{NameRules, check_identifier};

/// Why claims are refused. It names the claim and never quotes a value, since claims may be private.
pub type Fault = String;

/// Parses a JWT's claims set (RFC 7519 §4): one JSON object, in which no object has the same name twice.
///
/// Of two equal names each parser picks another one, and what the issuer meant is then anybody's guess.
pub fn parse(payload: &[u8]) -> Result<Map<String, Value>, Fault> {
    match unique_json::read(payload) {
        Ok(Value::Object(claims)) => Ok(claims),
        Ok(_) => Err("the claims are not a JSON object".into()),
        // Its message repeats the name, and names within claims may be as private as values.
        Err(error) if error.classify() == Category::Data => Err("an object has the same name twice".into()),
        Err(error) => Err(format!("the claims are not proper JSON: {error}")),
    }
}

/// A dotted path into the claims, made once from the policy.
///
/// Names may hold dots themselves, as in `https://app.example/teams`: at each level the longest name that exists is
/// taken, so the whole path as one literal name ranks first.
#[derive(Clone, Debug)]
pub struct ClaimPath {
    text: String,
    /// For each segment: the names that begin there, the longest first, with the segment after each.
    names: Vec<Vec<(String, usize)>>,
}

impl ClaimPath {
    /// The path of these segments.
    pub fn new(segments: &[String]) -> Self {
        let names_from = |from: usize| {
            let ends = (from + 1..=segments.len()).rev();
            ends.filter_map(|to| Some((segments.get(from..to)?.join("."), to))).collect()
        };
        ClaimPath { text: segments.join("."), names: (0..segments.len()).map(names_from).collect() }
    }

    /// The path as it is written in the configuration.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What stands there; `null` counts as nothing.
    pub fn find<'a>(&self, claims: &'a Map<String, Value>) -> Option<&'a Value> {
        self.find_from(0, claims).filter(|value| !value.is_null())
    }

    fn find_from<'a>(&self, segment: usize, object: &'a Map<String, Value>) -> Option<&'a Value> {
        self.names.get(segment)?.iter().find_map(|(name, next)| {
            let value = object.get(name)?;
            if *next == self.names.len() { Some(value) } else { self.find_from(*next, value.as_object()?) }
        })
    }
}

/// The subject at `path`: text, not empty, bounded, without control characters.
pub fn subject(claims: &Map<String, Value>, path: &ClaimPath) -> Result<Arc<str>, Fault> {
    let value = path.find(claims).ok_or_else(|| format!("it has no {}", path.as_str()))?;
    identifier(value).map_err(|why| format!("its {} {why}", path.as_str()))
}

/// The token's id (`jti`, RFC 7519 §4.1.7), if it has one. A number would be an id that cannot be revoked as written.
pub fn token_id(claims: &Map<String, Value>) -> Result<Option<Arc<str>>, Fault> {
    match claims.get("jti") {
        None | Some(Value::Null) => Ok(None),
        Some(value) => identifier(value).map(Some).map_err(|why| format!("its jti {why}")),
    }
}

fn identifier(value: &Value) -> Result<Arc<str>, &'static str> {
    let text = value.as_str().ok_or("is not text")?;
    check_identifier(text)?;
    Ok(text.into())
}

/// The names at `path`, each once: text or an array of text, within `rules`. Nothing there is no names.
///
/// # Errors
/// Anything else refuses the token: half of somebody's teams would be a guess.
pub fn names(
    claims: &Map<String, Value>,
    path: &ClaimPath,
    rules: NameRules,
) -> Result<Box<[Arc<str>]>, Fault> {
    let fault = |why: &str| format!("its {} {why}", path.as_str());
    let values = match path.find(claims) {
        None => &[],
        Some(Value::Array(values)) => values.as_slice(),
        Some(value) => std::slice::from_ref(value),
    };
    if values.len() > rules.most {
        return Err(fault(&format!("has {} entries; at most {} are read", values.len(), rules.most)));
    }
    let mut names: Vec<Arc<str>> = Vec::with_capacity(values.len());
    for value in values {
        let name = name(value, rules).map_err(fault)?;
        if !names.iter().any(|known| **known == *name) {
            names.push(name.into());
        }
    }
    Ok(names.into())
}

fn name(value: &Value, rules: NameRules) -> Result<&str, &'static str> {
    let name = value.as_str().ok_or("is not text or an array of text")?;
    rules.check(name)?;
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::{MAX_NAME_BYTES, TEAMS};
    use serde_json::json;

    fn path(text: &str) -> ClaimPath {
        ClaimPath::new(&text.split('.').map(str::to_owned).collect::<Vec<_>>())
    }

    fn teams(value: Value) -> Result<Vec<String>, Fault> {
        let Value::Object(claims) = json!({ "teams": value }) else { unreachable!() };
        names(&claims, &path("teams"), TEAMS).map(|names| names.iter().map(|name| name.to_string()).collect())
    }

    #[test]
    fn nothing_is_said_twice() {
        assert!(parse(br#"{"a":1,"b":{"c":[{"d":null}]}}"#).is_ok());
        for twice in [r#"{"a":1,"a":1}"#, r#"{"b":{"c":1,"c":2}}"#, r#"{"b":[{"c":1,"\u0063":2}]}"#] {
            assert!(parse(twice.as_bytes()).unwrap_err().contains("twice"), "{twice}");
        }
        for other in ["[]", "1", "\"secret\"", "null", "", "{", "{} {}", "{\"a\":1e400}", "\u{feff}{}"] {
            let fault = parse(other.as_bytes()).unwrap_err();
            assert!(!fault.contains("secret"), "{fault}");
        }
        assert!(parse("[".repeat(100_000).as_bytes()).is_err());
    }

    #[test]
    fn paths_descend_and_prefer_literal_names() {
        let claims = parse(
            br#"{"a":{"b":"nested","x":null},"c.d":"literal","c":{"d":"nested"},
                "https://app.example/claims":{"teams":"url"},"e":[1]}"#,
        )
        .unwrap();
        for (text, found) in [
            ("a.b", Some("nested")),
            ("c.d", Some("literal")),
            ("https://app.example/claims.teams", Some("url")),
            ("a.x", None),
            ("a.b.c", None),
            ("e.0", None),
            ("nowhere", None),
        ] {
            assert_eq!(path(text).find(&claims).and_then(Value::as_str), found, "{text}");
        }
    }

    #[test]
    fn names_are_text_or_arrays_of_text_each_once() {
        assert_eq!(teams(json!("red")).unwrap(), ["red"]);
        assert_eq!(teams(json!(["red", "blue", "red"])).unwrap(), ["red", "blue"]);
        assert_eq!(teams(json!([])).unwrap(), [""; 0]);
        assert_eq!(teams(json!(null)).unwrap(), [""; 0]);
        assert_eq!(teams(json!("équipe 1")).unwrap(), ["équipe 1"]);
    }

    #[test]
    fn names_are_bounded() {
        let many = |count: usize| json!((0..count).map(|n| format!("team-{n}")).collect::<Vec<_>>());
        assert_eq!(teams(many(TEAMS.most)).unwrap().len(), TEAMS.most);
        assert!(teams(many(TEAMS.most + 1)).unwrap_err().contains("257"));
        assert!(teams(json!("x".repeat(MAX_NAME_BYTES))).is_ok());
        assert!(teams(json!("x".repeat(MAX_NAME_BYTES + 1))).is_err());
        for bad in [
            json!(7),
            json!(true),
            json!({"a": 1}),
            json!([7]),
            json!([["red"]]),
            json!([{"name": "red"}]),
            json!([null]),
            json!(""),
            json!("a:b"),
            json!("*"),
            json!("a\nb"),
            json!("a\u{0}"),
            json!("a\u{85}b"),
        ] {
            assert!(teams(bad.clone()).is_err(), "{bad}");
        }
    }
}
