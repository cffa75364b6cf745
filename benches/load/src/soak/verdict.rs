//! What was right and what was not, with the figures.

use std::fmt::Write as _;

use super::gauges::{Gauges, MUST_FADE, MUST_HAPPEN, MUST_RETURN, MUST_VANISH};
use super::server;
use super::stage::Stage;

/// Memory may have grown by so much, in percent, between the two times at which only the honest were there.
const GROWTH_PERCENT: f64 = 10.0;

/// Flowgate at one moment.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    /// What it says of itself.
    pub gauges: Gauges,
    /// Its resident memory in bytes, as the kernel says.
    pub memory: u64,
}

/// All that a soak has read.
#[derive(Debug, Default)]
pub struct Readings {
    /// Before anybody came.
    pub start: Reading,
    /// With the honest, before the first attack.
    pub calm: Reading,
    /// With the honest again, after the warm-up.
    pub begin: Reading,
    /// With the honest again, after the mix.
    pub end: Reading,
    /// After everybody had left.
    pub after: Reading,
    /// Conditions that were waited for in vain.
    pub stuck: Vec<String>,
    /// How flowgate ended after SIGTERM: `None` if it did not.
    pub exit: Option<std::process::ExitStatus>,
}

/// One thing that must be so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    what: &'static str,
    passed: bool,
    figures: String,
}

/// Judges a soak.
#[must_use]
pub fn judge(stage: &Stage, readings: &Readings) -> Vec<Check> {
    let mut checks = honest(stage);
    checks.push(memory(readings.begin.memory, readings.end.memory));
    checks.extend(nothing_left(&readings.start.gauges, &readings.after.gauges));
    checks.push(mixed(stage, &readings.after.gauges));
    checks.push(Check {
        what: "every phase came to rest",
        passed: readings.stuck.is_empty(),
        figures: if readings.stuck.is_empty() { "yes".into() } else { readings.stuck.join("; ") },
    });
    let exit = readings.exit.map_or("it did not end".to_owned(), |status| status.to_string());
    checks.push(Check {
        what: "ends with 0 on SIGTERM",
        passed: readings.exit.is_some_and(|status| status.success()),
        figures: exit,
    });
    let (complaints, first) = server::complaints();
    checks.push(Check {
        what: "no panic or error in the log",
        passed: complaints == 0,
        figures: format!("{complaints} {}", first.join(" | ")),
    });
    checks
}

fn honest(stage: &Stage) -> Vec<Check> {
    let books = stage.books.borrow();
    let faults = &books.faults;
    let none =
        |what, count: u64, of: String| Check { what, passed: count == 0, figures: format!("{count}{of}") };
    let deliveries = format!(" of {} deliveries", books.heard);
    let acks = format!(" of {} events", books.sent);
    vec![
        none("no honest client disconnected", faults.disconnects, String::new()),
        none("no delivery lost", faults.lost, deliveries.clone()),
        none("none reordered", faults.reordered, deliveries.clone()),
        none("none duplicated", faults.duplicated, deliveries.clone()),
        none("none to a wrong team", faults.misrouted, deliveries.clone()),
        none("none altered", faults.altered, deliveries),
        none("no honest event refused", faults.refused, acks.clone()),
        none("each acknowledged", faults.unanswered, acks.clone()),
        none("each ack after its echo, in order", faults.bad_acks, acks),
        none("no bad token let in", stage.let_in.get(), String::new()),
        Check {
            what: "the honest were at work",
            passed: books.heard > 0 && books.answered > 0,
            figures: format!("{} acks collected", books.answered),
        },
    ]
}

fn memory(begin: u64, end: u64) -> Check {
    let growth = 100.0 * (end as f64 - begin as f64) / begin as f64;
    Check {
        what: "memory within 10% of its beginning",
        passed: begin > 0 && growth <= GROWTH_PERCENT,
        figures: format!("{} → {} ({growth:+.1}%)", mebibytes(begin), mebibytes(end)),
    }
}

fn nothing_left(start: &Gauges, after: &Gauges) -> Vec<Check> {
    let figure = |value: Option<f64>| value.map_or("not exposed".to_owned(), |value| value.to_string());
    let mut checks = Vec::new();
    for what in MUST_VANISH.into_iter().chain([MUST_FADE]) {
        let passed = after.get(what) == Some(0.0);
        let figures = format!("{} → {}", figure(start.get(what)), figure(after.get(what)));
        checks.push(Check { what, passed, figures });
    }
    for what in MUST_RETURN {
        let passed = after.get(what).is_some() && after.get(what) <= start.get(what);
        let figures = format!("{} → {}", figure(start.get(what)), figure(after.get(what)));
        checks.push(Check { what, passed, figures });
    }
    checks
}

/// Whether each attack took place and met what it was to meet: a mix that does nothing proves nothing.
fn mixed(stage: &Stage, after: &Gauges) -> Check {
    let mut missing = Vec::new();
    for attack in super::hostile::ATTACKS {
        if stage.tallies().get(attack.name).is_none_or(|tally| tally.turns == 0) {
            missing.push(attack.name);
        }
    }
    for (family, labels) in MUST_HAPPEN {
        let counted = after.family(family);
        missing.extend(labels.iter().filter(|label| counted.iter().all(|(counted, _)| counted != *label)));
    }
    if stage.returns.get() == 0 {
        missing.push("an honest client that returns");
    }
    if stage.expiries.get() == 0 {
        missing.push("an honest client whose token expires");
    }
    let figures = if missing.is_empty() { "yes".into() } else { format!("never: {}", missing.join(", ")) };
    Check { what: "the mix met every defence", passed: missing.is_empty(), figures }
}

/// Whether all of them passed.
#[must_use]
pub fn passed(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.passed)
}

/// The report: what was done, what flowgate counted, and each check.
#[must_use]
pub fn render(stage: &Stage, readings: &Readings, checks: &[Check]) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_report(&mut text, stage, readings, checks);
    text
}

fn write_report(text: &mut String, stage: &Stage, readings: &Readings, checks: &[Check]) -> std::fmt::Result {
    let books = stage.books.borrow();
    writeln!(text, "\nHonest clients")?;
    writeln!(text, "  {:<38}{:>10}", "events sent", books.sent)?;
    writeln!(text, "  {:<38}{:>10}", "acknowledgements collected", books.answered)?;
    writeln!(text, "  {:<38}{:>10}", "deliveries checked", books.heard)?;
    writeln!(text, "  {:<38}{:>10}", "deliveries of hostile members' events", stage.hostile_heard.get())?;
    writeln!(text, "  {:<38}{:>10}", "went away and returned", stage.returns.get())?;
    writeln!(text, "  {:<38}{:>10}", "returned with a new token", stage.expiries.get())?;
    writeln!(text, "  {:<38}{:>10}", "knocked again", stage.retries.get())?;

    writeln!(text, "\n{:<30}{:>10}{:>10}{:>10}{:>10}", "Attacks", "turns", "stopped", "left", "outlasted")?;
    for (name, tally) in stage.tallies() {
        let (turns, stopped, left, outlasted) = (tally.turns, tally.stopped, tally.left, tally.outlasted);
        writeln!(text, "  {name:<28}{turns:>10}{stopped:>10}{left:>10}{outlasted:>10}")?;
    }
    for (title, (family, _)) in ["Refused, by code", "Closed, by reason"].into_iter().zip(MUST_HAPPEN) {
        let counted = readings.after.gauges.family(family);
        let counted: Vec<_> = counted.iter().map(|(label, count)| format!("{label} {count}")).collect();
        writeln!(text, "\n{title}: {}", counted.join(", "))?;
    }

    writeln!(text, "\nResident memory")?;
    for (when, reading) in [
        ("before anybody came", &readings.start),
        ("with the honest, before any attack", &readings.calm),
        ("with the honest, after the warm-up", &readings.begin),
        ("with the honest, after the mix", &readings.end),
        ("after everybody had left", &readings.after),
    ] {
        writeln!(text, "  {when:<38}{:>10}", mebibytes(reading.memory))?;
    }

    writeln!(text, "\nChecks")?;
    for Check { what, passed, figures } in checks {
        writeln!(text, "  {} {what:<38}{figures}", if *passed { "ok    " } else { "FAILED" })?;
    }
    for told in &books.faults.told {
        writeln!(text, "    {told}")?;
    }
    let verdict = if self::passed(checks) { "The soak passed." } else { "The soak FAILED." };
    writeln!(text, "\n{verdict}")
}

/// For people.
#[must_use]
pub fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_may_grow_by_a_tenth_and_shrink_by_any() {
        assert!(memory(100, 110).passed && memory(100, 50).passed);
        assert!(!memory(1000, 1101).passed && !memory(0, 0).passed);
    }

    #[test]
    fn a_gauge_that_is_left_or_not_exposed_fails() {
        let gauges = |text: &str| Gauges::parse(text);
        let all: String = MUST_VANISH.iter().map(|name| format!("{name} 0\n")).collect();
        let start = gauges(&format!("{all}{MUST_FADE} 0\nflowgate_runtime_tasks 5\nprocess_open_fds 12\n"));
        assert!(nothing_left(&start, &start).iter().all(|check| check.passed));
        let left = gauges(&format!("{all}{MUST_FADE} 1\nflowgate_runtime_tasks 6\n"));
        let failed: Vec<_> = nothing_left(&start, &left).into_iter().filter(|check| !check.passed).collect();
        let named: Vec<_> = failed.iter().map(|check| check.what).collect();
        assert_eq!(named, [MUST_FADE, "flowgate_runtime_tasks", "process_open_fds"]);
    }
}
