//! `[events.NAME] replay`: by what an event is told from a replay of it.

use super::events::{OWN_FIELDS, unusable};
use super::{MODES, Report};
use crate::config::key_path::KeyPath;
use crate::config::policy::{FieldKind, Mode, Presence, ReplayBy, ReplayPolicy, TypedPayload, UnknownFields};
use crate::config::raw;

/// `replay.by`.
#[derive(Clone, Copy, PartialEq)]
enum By {
    Off,
    Id,
    Content,
}

const BY: &[(&str, By)] = &[("off", By::Off), ("content", By::Content), ("id", By::Id)];

/// `None` where it is wrong, `Some(None)` where it is off.
pub(super) fn compile(
    raw: &raw::Event,
    is_typed: Option<bool>,
    typed: Option<&TypedPayload>,
    at: &KeyPath,
    report: &mut Report<'_>,
) -> Option<Option<ReplayPolicy>> {
    let Some(replay) = &raw.replay else { return Some(None) };
    let key = at.key("replay");
    let by = report.choice(&key.key("by"), replay.by.as_deref().unwrap_or("off"), BY)?;
    let mode = report.choice(&key.key("mode"), replay.mode.as_deref().unwrap_or("enforce"), MODES)?;
    if by == By::Off {
        return Some(None);
    }
    let typed = typed?;
    if is_typed == Some(false) {
        let mend = "write payload = \"typed\", or replay.by = \"off\"";
        report.refuse(&key.key("by"), "no field is looked at with payload = \"any\"", mend);
        return None;
    }
    if typed.validation == Mode::Off {
        let mend = "write validation = \"enforce\" or \"observe\", or replay.by = \"off\"";
        report.refuse(&key.key("by"), "nothing has to be there with validation = \"off\"", mend);
        return None;
    }
    let by = match by {
        By::Content => by_content(replay, typed, at, report),
        _ => by_id(replay, raw.team_field.as_deref(), typed, &key, report),
    };
    let rule = key.to_string().into();
    by.map(|by| (mode != Mode::Off).then_some(ReplayPolicy { by, mode, rule }))
}

fn by_content(
    replay: &raw::Replay,
    typed: &TypedPayload,
    at: &KeyPath,
    report: &mut Report<'_>,
) -> Option<ReplayBy> {
    let key = at.key("replay");
    if replay.field.is_some() {
        let mend = "leave it out, or write by = \"id\"";
        report.refuse(&key.key("field"), "a field, which by = \"content\" does not ask for", mend);
        return None;
    }
    if typed.timestamp.presence != Presence::Required {
        report.refuse_beside(
            &key.key("by"),
            &at.key("timestamp").key("presence"),
            "without a timestamp two honest changes to one task look the same",
            "write timestamp.presence = \"required\", or by = \"id\"",
        );
        return None;
    }
    Some(ReplayBy::Content)
}

fn by_id(
    replay: &raw::Replay,
    team_field: Option<&str>,
    typed: &TypedPayload,
    key: &KeyPath,
    report: &mut Report<'_>,
) -> Option<ReplayBy> {
    let at = key.key("field");
    let Some(field) = replay.field.as_deref() else {
        report.missing(&at, "no field that holds the id", "write field = \"id\", or as clients name it");
        return None;
    };
    let declared = typed.fields.get(field);
    if let Some(fault) = unusable(field) {
        report.refuse(&at, fault, "write the field's name as it stands in the payload");
    } else if OWN_FIELDS.contains(&field) || team_field == Some(field) {
        let mend = "name a field that is another for each event";
        report.refuse(&at, format!("{field:?} has another meaning"), mend);
    } else if declared.is_none() && typed.unknown_fields == UnknownFields::Reject && !typed.schemas {
        let mend = "declare it in `fields`, with kind = \"string\" or \"integer\"";
        report.refuse(&at, format!("{field:?} is not declared, so no event may carry it"), mend);
    } else if declared.is_some_and(|field| field.presence == Presence::Forbidden) {
        report.refuse(
            &at,
            format!("{field:?} is forbidden, so no event may carry it"),
            "allow it in `fields`",
        );
    } else if declared.is_some_and(|field| !matches!(field.kind, FieldKind::String | FieldKind::Integer)) {
        let mend = "declare it with kind = \"string\" or \"integer\"";
        report.refuse(&at, format!("{field:?} is declared as neither text nor integer"), mend);
    } else {
        return Some(ReplayBy::Id(field.into()));
    }
    None
}
