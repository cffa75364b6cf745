//! `[relay]`.

use std::time::Duration;

use super::Report;
use crate::config::key_path::KeyPath;
use crate::config::policy::Relay;
use crate::config::raw;
use crate::config::values;

/// Longer would be felt as lag, and what a peer sent would outlive the peer's own end, which takes effect within a second.
const LONGEST_WINDOW: Duration = Duration::from_secs(1);

pub(super) fn compile(raw: &raw::Relay, report: &mut Report<'_>) -> Option<Relay> {
    let at = KeyPath::of("relay").key("coalesce").key("window");
    let window = report.take(&at, values::duration(&raw.coalesce.window))?;
    if window > LONGEST_WINDOW {
        let found = format!("{:?} would keep every change back for so long", raw.coalesce.window);
        report.refuse(&at, found, "write at most \"1s\", such as \"50ms\", or \"0s\" to turn it off");
        return None;
    }
    Some(Relay { coalesce: (!window.is_zero()).then_some(window) })
}
