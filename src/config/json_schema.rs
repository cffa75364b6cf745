//! A JSON Schema for the payloads of one type (<https://json-schema.org>), cut down to what takes a bounded time.
//!
//! The `jsonschema` crate checks payloads. What a schema may say is surveyed first: nothing outside of its own file, nothing
//! that refers to itself, no more schemas in all than [`MAX_COST`]. So what a payload costs is bounded by its length times
//! that. Patterns are those of the `regex` crate, which takes linear time and so knows no backreferences and no looking
//! around.

mod survey;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use jsonschema::error::{ValidationError, ValidationErrorKind};
use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

pub use survey::{MAX_COST, MAX_DEPTH};

use crate::unique_json;

/// The largest schema; bytes.
pub const MAX_BYTES: usize = 64 << 10;

/// What one pattern may take when it is compiled; bytes. A class of all letters takes some 50 KiB.
const MAX_PATTERN: usize = 256 << 10;

/// The longest part of a place in a schema, or of the crate's own words, that is repeated; characters.
const ENOUGH: usize = 120;

const NOTHING: &str = "the schema allows nothing here";
const KIND: &str = "the schema wants another kind of value here";

/// A schema that was checked.
pub struct JsonSchema {
    validator: Validator,
}

/// Why a schema cannot be: where in it, as a JSON pointer, what was found there, and what to write instead.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub found: String,
    pub mend: String,
    pub did_you_mean: Option<String>,
}

impl Fault {
    /// Said of this place in the schema.
    fn at(pointer: &str, found: impl fmt::Display, mend: impl Into<String>) -> Self {
        let from = pointer.char_indices().rev().nth(ENOUGH).map_or(0, |(at, _)| at);
        let place = match pointer.get(from..) {
            Some("") | None => "at its top".to_owned(),
            Some(place) if from > 0 => format!("…{place}"),
            Some(place) => place.to_owned(),
        };
        Fault { found: format!("{place}: {found}"), mend: mend.into(), did_you_mean: None }
    }
}

/// What is wrong with a payload. No text of the payload is in it but names of fields.
#[derive(Debug, PartialEq, Eq)]
pub struct Misfit {
    /// A sentence for the developer of the client.
    pub message: &'static str,
    /// The place, as names and indices with slashes between; empty for the payload as a whole. Names may be the client's
    /// own.
    pub place: String,
}

/// A schema, and what in it deserves a second look.
pub(super) struct Read {
    pub schema: JsonSchema,
    pub doubts: Vec<Fault>,
}

impl JsonSchema {
    /// Reads and checks.
    pub(super) fn read(text: &[u8]) -> Result<Read, Fault> {
        let document = unique_json::read(text).map_err(|error| Fault {
            found: format!("not JSON: {error}"),
            mend: "write a JSON Schema, such as { \"type\": \"object\" }".into(),
            did_you_mean: None,
        })?;
        let doubts = survey::survey(&document)?;
        let validator = jsonschema::options()
            .with_pattern_options(PatternOptions::regex().size_limit(MAX_PATTERN).dfa_size_limit(MAX_PATTERN))
            // What is written has an effect, whatever the draft makes of it by itself.
            .should_validate_formats(true)
            .should_ignore_unknown_formats(false)
            .build(&document)
            .map_err(|error| refused(&error))?;
        Ok(Read { schema: JsonSchema { validator }, doubts })
    }

    /// Whether the payload fits, or the first reason that it does not.
    pub fn check(&self, payload: &Value) -> Result<(), Misfit> {
        // Whatever a client can make of a payload must not end its connection's task; the crate is not ours.
        let checked = catch_unwind(AssertUnwindSafe(|| {
            self.validator.validate(payload).map_err(|error| misfit(&error))
        }));
        let broken = Misfit { message: "the schema cannot be checked", place: String::new() };
        checked.unwrap_or(Err(broken))
    }

    /// What is wrong with this field of a payload, or with the payload for being an object, whatever else it holds.
    pub(super) fn misfit_of(&self, field: &str, payload: &Value) -> Option<&'static str> {
        let mut misfits = self.validator.iter_errors(payload).map(|error| misfit(&error));
        let of_object =
            |misfit: &Misfit| misfit.place.is_empty() && [KIND, NOTHING].contains(&misfit.message);
        misfits.find(|misfit| misfit.place == field || of_object(misfit)).map(|misfit| misfit.message)
    }
}

impl fmt::Debug for JsonSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JsonSchema")
    }
}

/// What the crate says of a schema that it refuses.
fn refused(error: &ValidationError<'_>) -> Fault {
    let pointer = error.instance_path().to_string();
    let why: String = error.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let cut = why.char_indices().nth(ENOUGH).map_or(why.len(), |(at, _)| at);
    let (why, more) = (&why[..cut], if cut < why.len() { "…" } else { "" });
    let mend = if pointer.ends_with("/pattern") || pointer.contains("/patternProperties") {
        "write a pattern without backreferences and looking around, as https://docs.rs/regex has it, and not too large"
    } else {
        "write what the draft of JSON Schema that `$schema` names has there; without it, 2020-12"
    };
    Fault::at(&pointer, format_args!("{why}{more}"), mend)
}

fn misfit(error: &ValidationError<'_>) -> Misfit {
    let mut place = error.instance_path().to_string().trim_start_matches('/').to_owned();
    let mut inside = |name: &str| {
        if !place.is_empty() {
            place.push('/');
        }
        place.push_str(name);
    };
    use ValidationErrorKind as Kind;
    let message = match error.kind() {
        Kind::Required { property } => {
            inside(property.as_str().unwrap_or_default());
            "the schema requires this field"
        }
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            inside(unexpected.first().map(String::as_str).unwrap_or_default());
            "the schema has no such field"
        }
        Kind::FalseSchema => NOTHING,
        Kind::Type { .. } => KIND,
        Kind::Constant { .. } | Kind::Enum { .. } => "the schema allows other values here",
        Kind::MinLength { .. } | Kind::MinItems { .. } | Kind::MinProperties { .. } => {
            "this is shorter than the schema allows"
        }
        Kind::MaxLength { .. }
        | Kind::MaxItems { .. }
        | Kind::MaxProperties { .. }
        | Kind::AdditionalItems { .. }
        | Kind::UnevaluatedItems { .. } => "this is longer than the schema allows",
        Kind::Minimum { .. } | Kind::ExclusiveMinimum { .. } => "this is less than the schema allows",
        Kind::Maximum { .. } | Kind::ExclusiveMaximum { .. } => "this is more than the schema allows",
        Kind::Pattern { .. } => "this does not match the schema's pattern",
        Kind::Format { .. } => "this has not the format that the schema names",
        _ => "this is not as the schema describes it",
    };
    Misfit { message, place }
}

#[cfg(test)]
mod tests;
