//! What the configuration says of JSON Schemas that cannot be, and of those that are doubtful.

use super::Given;

/// A file that names this schema for one of its types.
fn given(schema: &str, settings: &str) -> Given {
    let given = Given::file(&format!(
        "[[events.database-change.types]]\nmatch = \"task-updated\"\nschema = \"task.json\"\n{settings}"
    ));
    std::fs::write(given.folder.path().join("task.json"), schema).unwrap();
    given
}

#[test]
fn a_schema_that_cannot_be_does_not_start() {
    let key = r#"app.toml: events.database-change.types[match="task-updated"].schema: "#;
    for (schema, found) in [
        ("{", "task.json: not JSON: EOF while parsing an object at line 1 column 1; write a JSON Schema"),
        (
            r#"{"properties":{"a":{"type":"txt"}}}"#,
            "task.json: /properties/a/type: \"txt\" is not valid under any",
        ),
        (
            r#"{"properties":{"a":{"$ref":"https://app.example/a"}}}"#,
            "task.json: /properties/a/$ref: \"https://app.example/a\" is not in this file; put it under `$defs`",
        ),
        (r#"{"properties":{"a":{"pattern":"(?=a)"}}}"#, "task.json: /properties/a/pattern: "),
        (
            r#"{"additionalProperties":false,"properties":{"taskId":{}}}"#,
            "no event of this type fits, because of its `type`: the schema has no such field; describe `type`",
        ),
        (
            r#"{"properties":{"type":{"const":"task-moved"}}}"#,
            "no event of this type fits, because of its `type`: the schema allows other values here",
        ),
        (
            r#"{"properties":{"taskId":{"type":"boolean"}}}"#,
            "no event of this type fits, because of its `taskId`: the schema wants another kind",
        ),
        (
            r#"{"type":"array"}"#,
            "no event of this type fits, because of its `type`: the schema wants another kind",
        ),
        ("false", "no event of this type fits"),
    ] {
        let problems = given(schema, "").problems();
        assert!(
            problems.contains(key) && problems.contains(found),
            "{schema}\nwants {found}\nhas   {problems}"
        );
    }
    let problems =
        Given::file("[[events.database-change.types]]\nmatch = \"a\"\nschema = \"nowhere.json\"").problems();
    assert!(
        problems.contains("nowhere.json cannot be read: ")
            && problems.contains("name a readable JSON Schema"),
        "{problems}"
    );
    let large = format!(r#"{{"title":"{}"}}"#, "x".repeat(64 << 10));
    assert!(given(&large, "").problems().contains("task.json is larger than 64KiB"));
    // An id of either kind may be meant.
    assert_eq!(given(r#"{"properties":{"taskId":{"type":"string"}}}"#, "").load().unwrap().warnings, []);
}

#[test]
fn a_doubtful_schema_is_warned_of() {
    let warned = |schema: &str, settings: &str| given(schema, settings).warnings();
    let warnings = warned(r#"{"requird":["title"]}"#, "");
    assert!(
        warnings.contains("task.json: /requird: \"requird\" is no keyword of JSON Schema, so it checks nothing; did you mean `required`?"),
        "{warnings}"
    );
    let closed = r#"{"additionalProperties":false,"properties":{"type":{},"taskId":{}}}"#;
    let warnings = warned(closed, "");
    assert!(
        warnings.contains(
            "no event with `timestamp`, which the policy allows, fits: the schema has no such field"
        ),
        "{warnings}"
    );
    assert_eq!(
        given(closed, "[events.database-change.timestamp]\npresence = \"forbidden\"")
            .load()
            .unwrap()
            .warnings,
        []
    );
}
