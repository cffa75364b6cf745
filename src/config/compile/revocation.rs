//! `[revocation]`: where revocations are kept, and how many there may be.

use super::Report;
use super::decision_log::writable;
use crate::config::key_path::KeyPath;
use crate::config::policy::{Revocation, RevocationStore};
use crate::config::raw;
use crate::config::values::{self, Fault};

/// So many take some 300 MB of memory.
const MOST: u32 = 1_000_000;

pub(super) fn compile(raw: &raw::Revocation, report: &mut Report<'_>) -> Option<Revocation> {
    let at = KeyPath::of("revocation");
    let capacity = report.take(&at.key("capacity"), values::count(raw.capacity, MOST));
    let store = match &raw.store {
        None => None,
        Some(text) => Some(store(text, &at.key("store"), report)?),
    };
    Some(Revocation { store, capacity: capacity? as usize })
}

/// A file that is there or can be made. What is in it is looked at when it is opened.
fn store(text: &str, at: &KeyPath, report: &mut Report<'_>) -> Option<RevocationStore> {
    if text.trim().is_empty() {
        let fault =
            Fault::new("found an empty text", "name a file, such as \"revocations.redb\", or leave it out");
        return report.take(at, Err(fault));
    }
    let path = report.folder(at).join(text);
    let path = report.take(at, writable(path))?;
    Some(RevocationStore { path, origin: at.origin(report.context.tree, crate::config::BUILT_IN) })
}
