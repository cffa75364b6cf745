//! What stands in a schema, before anything is made of it: its bounds, and what has no place in one.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::Fault;
use crate::config::problem::{any_of, closest};

/// Schemas that may stand inside each other, with what they refer to. A payload is checked by functions that call each other
/// for each, on the stack of a connection's task.
pub const MAX_DEPTH: usize = 32;

/// Schemas in all, each counted as often as something refers to it. A payload is looked at by each of them at most once in
/// each of its places.
pub const MAX_COST: usize = 1000;

/// What counts more than once: these look again at what the schemas beside them have looked at.
const UNEVALUATED: [&str; 2] = ["unevaluatedItems", "unevaluatedProperties"];
const LOOKED_AT_AGAIN: usize = 3;

/// Keywords whose value is a schema, or a list of them.
const SCHEMAS: [&str; 16] = [
    "additionalItems",
    "additionalProperties",
    "allOf",
    "anyOf",
    "contains",
    "contentSchema",
    "else",
    "if",
    "items",
    "not",
    "oneOf",
    "prefixItems",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
];

/// Keywords whose value has a schema for each name.
const NAMED: [&str; 4] = ["dependencies", "dependentSchemas", "patternProperties", "properties"];

/// Keywords whose value has schemas that count only where something refers to them.
const DEFINITIONS: [&str; 2] = ["$defs", "definitions"];

/// The other keywords, of all drafts.
const PLAIN: [&str; 37] = [
    "$anchor",
    "$comment",
    "$id",
    "$ref",
    "$schema",
    "$vocabulary",
    "const",
    "contentEncoding",
    "contentMediaType",
    "default",
    "dependentRequired",
    "deprecated",
    "description",
    "enum",
    "examples",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "id",
    "maxContains",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minContains",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "pattern",
    "readOnly",
    "required",
    "title",
    "type",
    "uniqueItems",
    "writeOnly",
];

/// Keywords that refer to whatever the one that refers has around it, so that what is looked at cannot be counted.
const DYNAMIC: [&str; 4] = ["$dynamicAnchor", "$dynamicRef", "$recursiveAnchor", "$recursiveRef"];

/// Formats that are checked in a time that their text's length bounds.
const FORMATS: [&str; 13] = [
    "date",
    "date-time",
    "duration",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "json-pointer",
    "relative-json-pointer",
    "time",
    "uri",
    "uri-reference",
    "uuid",
];

/// Looks through the schema. What comes back is what nobody checks though somebody may have meant it to be.
pub(super) fn survey(document: &Value) -> Result<Vec<Fault>, Fault> {
    let mut survey = Survey {
        document,
        anchors: HashMap::new(),
        open: Vec::new(),
        read: HashSet::new(),
        known: HashMap::new(),
        doubts: Vec::new(),
    };
    survey.read(document, "", 0)?;
    let cost = survey.cost(document, "")?;
    if cost > MAX_COST {
        let found = format!(
            "{cost} schemas, each counted as often as something refers to it; at most {MAX_COST} are checked"
        );
        return Err(Fault::at("", found, "leave out what need not be checked"));
    }
    Ok(survey.doubts)
}

struct Survey<'a> {
    document: &'a Value,
    /// Where `$anchor`s stand.
    anchors: HashMap<&'a str, &'a Value>,
    /// The schemas within which the present one is looked at, by their address.
    open: Vec<*const Value>,
    /// What has been looked at, by its address.
    read: HashSet<*const Value>,
    /// What has been counted, likewise.
    known: HashMap<*const Value, usize>,
    doubts: Vec<Fault>,
}

impl<'a> Survey<'a> {
    /// Looks at every schema once, whether something refers to it or not.
    fn read(&mut self, schema: &'a Value, at: &str, depth: usize) -> Result<(), Fault> {
        let Value::Object(keywords) = schema else { return Ok(()) };
        self.read.insert(schema);
        for (keyword, value) in keywords {
            self.keyword(keyword, value, at)?;
            if keyword == "$anchor"
                && let Some(name) = value.as_str()
            {
                self.anchors.insert(name, schema);
            }
        }
        for (inner, pointer) in inside(keywords, at, true) {
            if depth == MAX_DEPTH {
                return Err(too_deep(&pointer));
            }
            self.read(inner, &pointer, depth + 1)?;
        }
        Ok(())
    }

    fn keyword(&mut self, keyword: &str, value: &Value, at: &str) -> Result<(), Fault> {
        let pointer = format!("{at}/{}", escaped(keyword));
        let text = value.as_str().unwrap_or_default();
        if DYNAMIC.contains(&keyword) {
            let mend = "write `$ref`, which refers to the same schema wherever it stands";
            return Err(Fault::at(&pointer, format_args!("`{keyword}` is not supported"), mend));
        }
        if matches!(keyword, "$id" | "id") && !at.is_empty() && value.is_string() {
            let mend = "leave it out, and refer to it by its place, as in \"#/$defs/title\"";
            return Err(Fault::at(&pointer, "a document within the document", mend));
        }
        if keyword == "$ref" && !text.starts_with('#') {
            let mend = "put it under `$defs` here, and write \"#/$defs/NAME\"";
            return Err(Fault::at(&pointer, format_args!("{text:?} is not in this file"), mend));
        }
        if keyword == "format" && !FORMATS.contains(&text) {
            let mut fault = Fault::at(
                &pointer,
                format_args!("{text:?} is no format that is checked"),
                format!("write {}, or a `pattern`", any_of(FORMATS)),
            );
            fault.did_you_mean = closest(text, FORMATS);
            return Err(fault);
        }
        let known = || SCHEMAS.iter().chain(&NAMED).chain(&DEFINITIONS).chain(&PLAIN).copied();
        if !known().any(|known| known == keyword) && !keyword.starts_with("x-") {
            let mut fault = Fault::at(
                &pointer,
                format_args!("{keyword:?} is no keyword of JSON Schema, so it checks nothing"),
                "name it x-… if it is meant for people",
            );
            fault.did_you_mean = closest(keyword, known());
            self.doubts.push(fault);
        }
        Ok(())
    }

    /// How many schemas look at a payload where this one does, with all that it refers to.
    fn cost(&mut self, schema: &'a Value, at: &str) -> Result<usize, Fault> {
        let Value::Object(keywords) = schema else { return Ok(1) };
        let address: *const Value = schema;
        if self.open.contains(&address) {
            let mend = "write out how deep it goes: what refers to itself has no bound";
            return Err(Fault::at(at, "it refers to a schema that it is a part of", mend));
        }
        if let Some(&cost) = self.known.get(&address) {
            return Ok(cost);
        }
        if self.open.len() > MAX_DEPTH {
            return Err(too_deep(at));
        }
        if !self.read.contains(&address) {
            // A reference may lead to what stands at no place for schemas.
            self.read(schema, at, 0)?;
        }
        self.open.push(address);
        let mut cost = 1_usize;
        for (inner, pointer) in inside(keywords, at, false) {
            cost = cost.saturating_add(self.cost(inner, &pointer)?);
        }
        if let Some(reference) = keywords.get("$ref").and_then(Value::as_str) {
            let pointer = format!("{at}/$ref");
            let Some(target) = self.target(reference) else {
                let mend = "refer to what is there, as in \"#/$defs/title\"";
                return Err(Fault::at(&pointer, format_args!("{reference:?} refers to nothing"), mend));
            };
            cost = cost.saturating_add(self.cost(target, &pointer)?);
        }
        if UNEVALUATED.iter().any(|keyword| keywords.contains_key(*keyword)) {
            cost = cost.saturating_mul(LOOKED_AT_AGAIN);
        }
        self.open.pop();
        self.known.insert(address, cost);
        Ok(cost)
    }

    /// What `#`, `#/a/pointer` or `#anchor` refers to.
    fn target(&self, reference: &str) -> Option<&'a Value> {
        let fragment = reference.strip_prefix('#')?;
        if fragment.is_empty() || fragment.starts_with('/') {
            // A pointer in a reference is percent-encoded.
            let pointer = percent_decoded(fragment)?;
            return self.document.pointer(&pointer);
        }
        self.anchors.get(fragment).copied()
    }
}

fn too_deep(at: &str) -> Fault {
    let found = format!("more than {MAX_DEPTH} schemas inside each other");
    Fault::at(at, found, "describe less of what stands so deep")
}

/// The schemas within one, each with its place. Definitions are only looked at with `definitions`.
fn inside<'a>(keywords: &'a Map<String, Value>, at: &str, definitions: bool) -> Vec<(&'a Value, String)> {
    let mut schemas = Vec::new();
    for (keyword, value) in keywords {
        let keyword = keyword.as_str();
        let pointer = format!("{at}/{}", escaped(keyword));
        let named = NAMED.contains(&keyword) || definitions && DEFINITIONS.contains(&keyword);
        match value {
            Value::Object(each) if named => {
                let each = each.iter().map(|(name, schema)| (schema, format!("{pointer}/{}", escaped(name))));
                schemas.extend(each);
            }
            Value::Array(each) if SCHEMAS.contains(&keyword) => {
                schemas.extend(
                    each.iter().enumerate().map(|(index, schema)| (schema, format!("{pointer}/{index}"))),
                );
            }
            _ if SCHEMAS.contains(&keyword) => schemas.push((value, pointer)),
            _ => {}
        }
    }
    schemas
}

/// A name as JSON pointers write it (RFC 6901).
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}
