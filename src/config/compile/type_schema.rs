//! `schema` of a type: the JSON Schema that its payloads are checked by.

use serde_json::{Value, json};

use super::Report;
use crate::config::json_schema::{Fault, JsonSchema, MAX_BYTES};
use crate::config::key_path::KeyPath;
use crate::config::policy::{Presence, TypePolicy, TypeSchema, TypedPayload};

/// Reads the schema of one type. `None` where it is wrong, `Some(None)` where there is none.
pub(super) fn load(path: Option<&str>, at: &KeyPath, report: &mut Report<'_>) -> Option<Option<TypeSchema>> {
    let Some(path) = path else { return Some(None) };
    let at = at.key("schema");
    let text = match report.named_file(&at, path, MAX_BYTES, true) {
        Ok(text) => text,
        Err(found) => {
            let mend = "name a readable JSON Schema; its path is relative to the file that names it";
            report.refuse(&at, found, mend);
            return None;
        }
    };
    let said = |Fault { found, mend, did_you_mean }, report: &Report<'_>| {
        let mut problem = report.problem(&at, format!("{path}: {found}"), mend);
        problem.did_you_mean = did_you_mean;
        problem
    };
    match JsonSchema::read(&text) {
        Ok(read) => {
            for doubt in read.doubts {
                let problem = said(doubt, report);
                report.warnings.push(problem);
            }
            let rule = at.to_string().into();
            Some(Some(TypeSchema { rule, schema: read.schema.into() }))
        }
        Err(fault) => {
            let problem = said(fault, report);
            report.problems.push(problem);
            None
        }
    }
}

/// Says what keeps every event of a type, or every one that carries a field which it may, from fitting its schema. `kind` is
/// the type's name; nothing is known of it where that is a glob.
pub(super) fn against_policy(
    kind: Option<&str>,
    policy: &TypePolicy,
    payload: &TypedPayload,
    team_field: Option<&str>,
    at: &KeyPath,
    report: &mut Report<'_>,
) {
    let Some(TypeSchema { schema, .. }) = &policy.schema else { return };
    let at = at.key("schema");
    let ids = [(payload.task_id.integer, json!(1)), (payload.task_id.string, json!("1"))];
    let ids = ids.into_iter().filter(|(right, _)| *right).map(|(_, id)| id).collect();
    let times = vec![json!("2026-03-01T12:00:00Z"), json!(1_772_366_400_000_u64)];
    let fields = [
        ("type", Presence::Required, kind.map(|kind| vec![json!(kind)]).unwrap_or_default()),
        ("taskId", policy.task_id, ids),
        ("timestamp", payload.timestamp.presence, times),
        (
            team_field.unwrap_or_default(),
            Presence::Optional,
            team_field.map(|_| vec![json!("design")]).unwrap_or_default(),
        ),
    ];
    for (field, presence, values) in fields {
        if presence == Presence::Forbidden {
            continue;
        }
        let refused: Vec<&str> =
            values.iter().filter_map(|value| refusal(schema, kind, field, value)).collect();
        let [why, ..] = refused.as_slice() else { continue };
        if refused.len() < values.len() {
            continue;
        }
        let mend = format!(
            "describe `{field}` in the schema's `properties`; the schema is for the payload as a whole"
        );
        if presence == Presence::Required {
            report.refuse(&at, format!("no event of this type fits, because of its `{field}`: {why}"), mend);
        } else {
            report.warn(&at, format!("no event with `{field}`, which the policy allows, fits: {why}"), mend);
        }
    }
}

/// What the schema says against this value of a field, whatever else is missing.
fn refusal(schema: &JsonSchema, kind: Option<&str>, field: &str, value: &Value) -> Option<&'static str> {
    let mut sample = json!({ field: value });
    if let Some(kind) = kind {
        sample["type"] = json!(kind);
    }
    schema.misfit_of(field, &sample)
}
