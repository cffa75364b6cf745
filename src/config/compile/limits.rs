//! `[limits]`.

use super::{MODES, Report};
use crate::config::key_path::KeyPath;
use crate::config::policy::{
    ConnectionLimits, DisconnectAfter, EventLimit, EventLimits, Limits, Mode, OnLimit, PayloadLimits, Rate,
    SlowReader,
};
use crate::config::raw;
use crate::config::values;

/// More connections than one process can have file descriptors for.
const MOST_CONNECTIONS: u32 = 10_000_000;

/// Deeper nesting serves nobody and would exhaust the stack of parsers that recurse; serde_json's own limit is 128.
const DEEPEST: u32 = 100;

/// As many as are counted: who writes it wants nobody disconnected.
const MOST_REFUSALS: u32 = u32::MAX;

const ON_LIMIT: &[(&str, OnLimit)] = &[("refuse", OnLimit::Refuse), ("coalesce", OnLimit::Coalesce)];

pub(super) fn compile(raw: &raw::Limits, report: &mut Report<'_>) -> Option<Limits> {
    let at = KeyPath::of("limits");
    let connections = connections(&raw.connections, &at.key("connections"), report);
    let events = events(&raw.events, &at.key("events"), report);
    let payload = payload(&raw.payload, &at.key("payload"), report);
    let slow_reader = slow_reader(&raw.slow_reader, payload, &at.key("slow_reader"), report);
    Some(Limits { connections: connections?, events: events?, payload: payload?, slow_reader: slow_reader? })
}

fn connections(raw: &raw::Connections, at: &KeyPath, report: &mut Report<'_>) -> Option<ConnectionLimits> {
    let mut count = |key: &str, number| report.take(&at.key(key), values::count(number, MOST_CONNECTIONS));
    let total = count("total", raw.total);
    let per_ip = count("per_ip", raw.per_ip);
    let per_user = count("per_user", raw.per_user);
    let handshakes_per_ip = rate(&raw.handshakes_per_ip, &at.key("handshakes_per_ip"), report);
    let handshakes_total = rate(&raw.handshakes_total, &at.key("handshakes_total"), report);
    Some(ConnectionLimits {
        total: total?,
        per_ip: per_ip?,
        per_user: per_user?,
        handshakes_per_ip: handshakes_per_ip?,
        handshakes_total: handshakes_total?,
    })
}

fn events(raw: &raw::EventRates, at: &KeyPath, report: &mut Report<'_>) -> Option<EventLimits> {
    let per_socket = event_limit(&raw.per_socket, &at.key("per_socket"), report);
    let per_user = event_limit(&raw.per_user, &at.key("per_user"), report);
    let per_address = event_limit(&raw.per_address, &at.key("per_address"), report);
    let per_team = event_limit(&raw.per_team, &at.key("per_team"), report);
    let on_limit = report.choice(&at.key("on_limit"), &raw.on_limit, ON_LIMIT);
    let at = at.key("disconnect_after");
    let refusals = values::count(raw.disconnect_after.refusals, MOST_REFUSALS);
    let refusals = report.take(&at.key("refusals"), refusals);
    let per = report.positive_duration(&at.key("per"), &raw.disconnect_after.per);
    let mode = report.choice(&at.key("mode"), &raw.disconnect_after.mode, MODES);
    Some(EventLimits {
        per_socket: per_socket?,
        per_user: per_user?,
        per_address: per_address?,
        per_team: per_team?,
        on_limit: on_limit?,
        disconnect_after: DisconnectAfter { refusals: refusals?, per: per?, mode: mode? },
    })
}

fn event_limit(raw: &raw::Rate, at: &KeyPath, report: &mut Report<'_>) -> Option<EventLimit> {
    let mode = match raw {
        raw::Rate::Table(raw::RateTable { mode: Some(mode), .. }) => {
            report.choice(&at.key("mode"), mode, MODES)
        }
        _ => Some(Mode::Enforce),
    };
    let rate = rate(raw, at, report);
    Some(EventLimit { rate: rate?, mode: mode? })
}

fn rate(raw: &raw::Rate, at: &KeyPath, report: &mut Report<'_>) -> Option<Rate> {
    match raw {
        raw::Rate::Plain(text) => report.take(at, values::rate(text, None)),
        raw::Rate::Table(raw::RateTable { rate: Some(text), burst, .. }) => {
            // Each half is read alone first, so that a fault is said of the half that has it.
            let rate = report.take(&at.key("rate"), values::rate(text, None))?;
            match burst {
                None => Some(rate),
                Some(_) => report.take(&at.key("burst"), values::rate(text, *burst)),
            }
        }
        raw::Rate::Table(raw::RateTable { rate: None, .. }) => {
            report.missing(at, "no rate", "write { rate = \"20/s\", burst = 40 }");
            None
        }
    }
}

fn payload(raw: &raw::PayloadSize, at: &KeyPath, report: &mut Report<'_>) -> Option<PayloadLimits> {
    let max_bytes = report.take(&at.key("max_bytes"), values::size(&raw.max_bytes));
    let hard_max_bytes = report.take(&at.key("hard_max_bytes"), values::size(&raw.hard_max_bytes));
    let max_depth = report.take(&at.key("max_depth"), values::count(raw.max_depth, DEEPEST));
    let (max_bytes, hard_max_bytes, max_depth) = (max_bytes?, hard_max_bytes?, max_depth? as usize);
    if max_bytes > hard_max_bytes {
        report.refuse_beside(
            &at.key("max_bytes"),
            &at.key("hard_max_bytes"),
            format!("{max_bytes} bytes are more than hard_max_bytes, {hard_max_bytes}, which closes the connection"),
            "lower it, or raise limits.payload.hard_max_bytes to at least as much",
        );
        return None;
    }
    Some(PayloadLimits { max_bytes, hard_max_bytes, max_depth })
}

fn slow_reader(
    raw: &raw::SlowReader,
    payload: Option<PayloadLimits>,
    at: &KeyPath,
    report: &mut Report<'_>,
) -> Option<SlowReader> {
    let max_queued = report.take(&at.key("max_queued"), values::size(&raw.max_queued));
    let max_stall = report.positive_duration(&at.key("max_stall"), &raw.max_stall);
    let (max_queued, max_stall) = (max_queued?, max_stall?);
    if let Some(payload) = payload
        && max_queued < payload.max_bytes
    {
        report.refuse_beside(
            &at.key("max_queued"),
            &KeyPath::of("limits.payload.max_bytes"),
            format!(
                "{max_queued} bytes hold less than one event of limits.payload.max_bytes, {}",
                payload.max_bytes
            ),
            "write several times that, or every such event disconnects whoever hears it",
        );
        return None;
    }
    Some(SlowReader { max_queued, max_stall })
}
