use serde_json::json;

use super::*;

fn schema(document: Value) -> JsonSchema {
    let text = document.to_string();
    let read = JsonSchema::read(text.as_bytes()).unwrap_or_else(|fault| panic!("{document}: {fault:?}"));
    assert_eq!(read.doubts, [], "{document}");
    read.schema
}

fn fault(text: &str) -> Fault {
    match JsonSchema::read(text.as_bytes()) {
        Ok(_) => panic!("{text} should be refused"),
        Err(fault) => fault,
    }
}

/// As many schemas inside each other.
fn nested(levels: usize) -> Value {
    (1..levels).fold(json!({ "type": "object" }), |inner, _| json!({ "properties": { "a": inner } }))
}

#[test]
fn payloads_are_checked() {
    let schema = schema(json!({
        "type": "object",
        "properties": {
            "type": { "const": "task-updated" },
            "title": { "$ref": "#/$defs/title" },
            "tags": { "type": "array", "items": { "$ref": "#short" }, "maxItems": 2, "uniqueItems": true },
            "due": { "type": "string", "format": "date-time" },
            "estimate": { "type": "integer", "minimum": 0, "maximum": 40 },
            "by": { "type": "object", "required": ["id"], "additionalProperties": false, "properties": { "id": {} } },
        },
        "required": ["type", "title"],
        "additionalProperties": false,
        "$defs": {
            "title": { "type": "string", "minLength": 1, "pattern": "^\\p{L}" },
            "short": { "$anchor": "short", "maxLength": 3 },
        },
    }));
    let with = |field: &str, value: Value| {
        let mut payload = json!({ "type": "task-updated", "title": "größe" });
        payload[field] = value;
        schema.check(&payload).map_err(|misfit| (misfit.place, misfit.message))
    };
    for (field, value) in [
        ("tags", json!(["abc", "d"])),
        ("due", json!("2026-03-01T12:00:00Z")),
        ("estimate", json!(40)),
        ("by", json!({ "id": null })),
    ] {
        assert_eq!(with(field, value), Ok(()), "{field}");
    }
    for (field, value, place, message) in [
        ("title", json!(1), "title", "the schema wants another kind of value here"),
        ("title", json!(""), "title", "this is shorter than the schema allows"),
        ("title", json!("1"), "title", "this does not match the schema's pattern"),
        ("type", json!("task-moved"), "type", "the schema allows other values here"),
        ("tags", json!(["abcd"]), "tags/0", "this is longer than the schema allows"),
        ("tags", json!([1, 2, 3]), "tags", "this is longer than the schema allows"),
        ("tags", json!([1, 1]), "tags", "this is not as the schema describes it"),
        ("due", json!("tomorrow"), "due", "this has not the format that the schema names"),
        ("estimate", json!(-1), "estimate", "this is less than the schema allows"),
        ("estimate", json!(41), "estimate", "this is more than the schema allows"),
        ("by", json!({}), "by/id", "the schema requires this field"),
        ("by", json!({ "id": 1, "x": 2 }), "by/x", "the schema has no such field"),
        ("titel", json!("x"), "titel", "the schema has no such field"),
    ] {
        assert_eq!(with(field, value), Err((place.into(), message)), "{field}");
    }
    let misfit = schema.check(&json!({ "type": "task-updated" })).unwrap_err();
    assert_eq!((&*misfit.place, misfit.message), ("title", "the schema requires this field"));
    assert_eq!(schema.check(&json!([])).unwrap_err().place, "");
}

#[test]
fn a_schema_may_say_which_draft_it_is_of() {
    let draft =
        |name: &str| json!({ "$schema": name, "properties": { "a": { "items": [{ "type": "null" }] } } });
    let seventh = schema(draft("http://json-schema.org/draft-07/schema#"));
    assert!(
        seventh.check(&json!({ "a": [1] })).is_err() && seventh.check(&json!({ "a": [null, 1] })).is_ok()
    );
    // There the list is called prefixItems.
    assert!(
        fault(&draft("https://json-schema.org/draft/2020-12/schema").to_string())
            .found
            .starts_with("/properties/a/items: ")
    );
}

#[test]
fn formats_are_checked_in_every_draft() {
    for draft in ["http://json-schema.org/draft-07/schema#", "https://json-schema.org/draft/2020-12/schema"] {
        let schema = schema(json!({ "$schema": draft, "format": "date" }));
        assert!(
            schema.check(&json!("2026-03-01")).is_ok() && schema.check(&json!("March")).is_err(),
            "{draft}"
        );
    }
}

#[test]
fn what_cannot_be_a_schema_is_pointed_at() {
    let chain: String = (0..40).map(|at| format!(r##""d{at}":{{"$ref":"#/$defs/d{}"}},"##, at + 1)).collect();
    let chain = format!(r##"{{"$ref":"#/$defs/d0","$defs":{{{chain}"d40":{{}}}}}}"##);
    // Each is twice the next: two to the fifteenth in all.
    let laughs: String = (0..15)
        .map(|at| {
            format!(r##""d{at}":{{"allOf":[{{"$ref":"#/$defs/d{0}"}},{{"$ref":"#/$defs/d{0}"}}]}},"##, at + 1)
        })
        .collect();
    let laughs = format!(r##"{{"$ref":"#/$defs/d0","$defs":{{{laughs}"d15":{{}}}}}}"##);
    let looked_at_again =
        (0..9).fold(json!({}), |inner, _| json!({ "unevaluatedProperties": false, "allOf": [inner] }));
    let deep = nested(40).to_string();
    let deeper = "[".repeat(1000);
    let large = json!({ "pattern": "(\\w{100}){1000}" }).to_string();
    for (text, found, meant) in [
        ("", "not JSON: EOF while parsing a value at line 1 column 0", None),
        ("{\n  \"type\": }", "not JSON: expected value at line 2 column 11", None),
        ("{} {}", "not JSON: trailing characters at line 1 column 4", None),
        (&*deeper, "not JSON: recursion limit exceeded", None),
        (
            r#"{"properties":{},"properties":{}}"#,
            "not JSON: the key \"properties\" stands twice in one object at line 1",
            None,
        ),
        ("3", "at its top: ", None),
        (r#"{"type":"strin"}"#, "/type: \"strin\" is not valid", None),
        (
            r#"{"properties":{"a":{"maxLength":-1}}}"#,
            "/properties/a/maxLength: -1 is less than the minimum of 0",
            None,
        ),
        (r#"{"required":"title"}"#, "/required: \"title\" is not of type \"array\"", None),
        (r#"{"$schema":"http://app.example/mine"}"#, "at its top: ", None),
        (r#"{"pattern":"("}"#, "/pattern: ", None),
        (r#"{"pattern":"^(?=a)b"}"#, "/pattern: ", None),
        (r#"{"pattern":"(a)\\1"}"#, "/pattern: ", None),
        (r#"{"patternProperties":{"^(?!x)":{}}}"#, "/patternProperties/^(?!x): ", None),
        (&*large, "/pattern: ", None),
        (
            r#"{"$ref":"http://app.example/schema"}"#,
            "/$ref: \"http://app.example/schema\" is not in this file",
            None,
        ),
        (
            r#"{"properties":{"a/b":{"$ref":"other.json"}}}"#,
            "/properties/a~1b/$ref: \"other.json\" is not in this file",
            None,
        ),
        (
            r##"{"x-a":{"$ref":"file:///etc/passwd"},"$ref":"#/x-a"}"##,
            "/$ref/$ref: \"file:///etc/passwd\" is not in this file",
            None,
        ),
        (r##"{"items":{"$ref":"#/$defs/nope"}}"##, "/items/$ref: \"#/$defs/nope\" refers to nothing", None),
        (r##"{"$ref":"#nope"}"##, "/$ref: \"#nope\" refers to nothing", None),
        (r##"{"items":{"$ref":"#"}}"##, "/items/$ref: it refers to a schema that it is a part of", None),
        (
            r##"{"$ref":"#/$defs/a","$defs":{"a":{"not":{"$ref":"#/$defs/a"}}}}"##,
            "/$ref/not/$ref: it refers to a schema that it",
            None,
        ),
        (r##"{"$dynamicRef":"#a"}"##, "/$dynamicRef: `$dynamicRef` is not supported", None),
        (r##"{"$defs":{"a":{"$id":"b"}}}"##, "/$defs/a/$id: a document within the document", None),
        (
            r#"{"format":"date-tiem"}"#,
            "/format: \"date-tiem\" is no format that is checked",
            Some("date-time"),
        ),
        (r#"{"format":"regex"}"#, "/format: \"regex\" is no format that is checked", None),
        (&*chain, "more than 32 schemas inside each other", None),
        (&*laughs, "at its top: 131070 schemas, each counted", None),
        (&*looked_at_again.to_string(), "at its top: ", None),
        (&*deep, "more than 32 schemas inside each other", None),
    ] {
        let fault = fault(text);
        assert!(fault.found.contains(found), "{text:.80}\nwants {found}\nhas   {}", fault.found);
        assert_eq!(fault.did_you_mean.as_deref(), meant, "{text:.80}");
        assert!(!fault.mend.is_empty() && fault.found.chars().count() < 300, "{fault:?}");
    }
    assert!(JsonSchema::read(nested(32).to_string().as_bytes()).is_ok());
}

#[test]
fn what_checks_nothing_is_doubted() {
    let read =
        JsonSchema::read(br#"{"requird":["a"],"x-owner":"ann","properties":{"requird":{"nullable":true}}}"#)
            .unwrap();
    let doubts: Vec<_> =
        read.doubts.iter().map(|fault| (&*fault.found, fault.did_you_mean.as_deref())).collect();
    let nothing = "is no keyword of JSON Schema, so it checks nothing";
    assert_eq!(
        doubts,
        [
            (&*format!("/requird: \"requird\" {nothing}"), Some("required")),
            (&*format!("/properties/requird/nullable: \"nullable\" {nothing}"), None),
        ]
    );
}

/// A pattern that a backtracking engine would take until the end of the universe for.
#[test]
fn patterns_take_linear_time() {
    let schema = schema(json!({ "pattern": "^(a+)+$" }));
    assert!(schema.check(&json!("a".repeat(100_000) + "b")).is_err());
}
