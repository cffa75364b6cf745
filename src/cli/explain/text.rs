//! An explanation for people.

use std::fmt::Write;

use super::json::wanted;
use super::{Explained, Sent};
use crate::cli::harmless::{harmless, harmless_lines};
use crate::cli::paint::Paint;
use crate::config::policy::{AudienceRule, Mode};
use crate::config::{Effective, Setting};
use crate::connect::audience::{Ears, Heard, Said};
use crate::event::rate_limit::Budget;
use crate::event::trace::{Step, Verdict};
use crate::trial::{Denial, Member, Relayed, Signature, rules};

/// Settings behind one refusal that are shown; `--json` has all.
const MOST_SETTINGS: usize = 12;

pub(super) fn of(explained: &Explained<'_>, paint: Paint) -> String {
    let Explained { effective, arrival, now, handshake, event, budget, .. } = explained;
    let at = humantime::format_rfc3339_millis(now.wall);
    let mut text = format!("handshake from {}, at {at}\n", arrival.address);
    steps(&mut text, &handshake.steps, effective, paint);
    match &handshake.outcome {
        Ok(member) => hears(&mut text, member, explained, paint),
        Err(Denial { code, closes: true, .. }) => {
            let _ = writeln!(text, "\nthe client sees its connection closed ({code}), and tries again");
        }
        Err(Denial { code, .. }) => {
            let _ = writeln!(text, "\nthe client sees connect_error {code:?}, and gives up");
        }
    }
    if let Some(sent) = event {
        one_event(&mut text, sent, explained, paint);
    }
    if !budget.is_empty() {
        let _ = writeln!(text, "\nleft of the rates{}", if event.is_some() { " after it" } else { "" });
        budget.iter().for_each(|rate| one_rate(&mut text, rate, effective, paint));
    }
    let verdict = match explained.code() {
        None => paint.good("allowed"),
        Some(code) => paint.bad(&format!("denied: {code}")),
    };
    let _ = write!(text, "\n{verdict}");
    if handshake.signature == Signature::NotChecked {
        let warning = "whoever made the token: its signature was not checked, since its keys are at a jwks_url. \
                       Add --online to fetch them";
        let _ = write!(text, ", {}", paint.doubtful(warning));
    }
    text
}

/// Beneath the message of a step.
const INDENT: &str = "                            ";

/// Steps one below the other, each with the key that spoke and where that was set.
pub(in crate::cli) fn steps(text: &mut String, steps: &[Step], effective: &Effective, paint: Paint) {
    steps.iter().for_each(|step| one_step(text, step, effective, paint));
}

fn one_step(text: &mut String, step: &Step, effective: &Effective, paint: Paint) {
    let (word, code) = (word(step.verdict), step.code.map(|code| format!("{code}: ")).unwrap_or_default());
    let word = match step.verdict {
        Verdict::Passed => paint.good(word),
        Verdict::Observed => paint.doubtful(word),
        Verdict::Refused => paint.bad(word),
    };
    let settings = step.rule.as_deref().map(|rule| behind(rule, effective)).unwrap_or_default();
    let _ = write!(text, "  {word}  {:<11} {code}{}", step.stage, harmless(&step.message));
    if let Some(field) = &step.field {
        let _ = write!(text, " ({})", harmless(field));
    }
    if let Some(rule) = &step.rule {
        let origin = match settings.as_slice() {
            [] => String::new(),
            settings => format!(", from {}", Setting::origins(settings)),
        };
        let _ = write!(text, "{}", paint.faint(&format!("  [{rule}{origin}]")));
    }
    text.push('\n');
    if let Some(wait) = step.retry_after {
        let _ = writeln!(text, "{INDENT}it may be sent again after {} ms", wait.as_millis() + 1);
    }
    if step.verdict != Verdict::Passed {
        for Setting { key, value, origin } in settings.iter().take(MOST_SETTINGS) {
            let _ = writeln!(text, "{INDENT}{key} = {value}{}", paint.faint(&format!("  # from {origin}")));
        }
        if settings.len() > MOST_SETTINGS {
            let _ = writeln!(text, "{INDENT}and {} more", settings.len() - MOST_SETTINGS);
        }
    }
}

/// All of one width.
fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "passes      ",
        Verdict::Observed => "would refuse",
        Verdict::Refused => "refuses     ",
    }
}

/// The settings that a person wants to see behind a rule: of many alike, what tells them apart.
fn behind(rule: &str, effective: &Effective) -> Vec<Setting> {
    let mut settings = effective.behind(rule);
    let only = match rule {
        "events" => ".emit",
        rule if rule.ends_with(".types") => ".match",
        _ => return settings,
    };
    settings.retain(|setting| setting.key.ends_with(only));
    settings
}

/// What the client hears in its rooms.
fn hears(text: &mut String, member: &Member, explained: &Explained<'_>, paint: Paint) {
    text.push_str("\nhears\n");
    if member.listening().is_empty() {
        text.push_str("  nothing\n");
    }
    for listening in member.listening() {
        let room = &*listening.room;
        let heard = explained.trial.hears(member, room, explained.now);
        let less: Vec<&Heard<'_>> = heard.iter().filter(|heard| is_worth_a_line(heard, member)).collect();
        let _ = writeln!(
            text,
            "  in {}: everything{}",
            harmless(room),
            if less.is_empty() { "" } else { ", except" }
        );
        for heard in less {
            one_type(text, heard, member, explained, paint);
        }
    }
}

fn is_worth_a_line(heard: &Heard<'_>, member: &Member) -> bool {
    heard.rules.iter().any(|(_, said)| *said != Said::Hears) || !wanted(heard, member)
}

fn one_type(text: &mut String, heard: &Heard<'_>, member: &Member, explained: &Explained<'_>, paint: Paint) {
    let what = match heard.hears() {
        Ears::Open => "heard",
        Ears::Partly => "heard in part",
        Ears::Shut => "not heard",
    };
    let what = match (heard.hears(), wanted(heard, member)) {
        (Ears::Open | Ears::Partly, false) => "not wanted, by auth.filter",
        _ => what,
    };
    let _ = writeln!(text, "      {} of {}: {what}", heard.kind.unwrap_or("anything"), heard.event);
    for (rule, said) in heard.rules.iter().filter(|(_, said)| *said != Said::Hears) {
        let says = match (rule.mode, said) {
            (Mode::Enforce, Said::NoAnswer(failure)) => {
                format!("withheld, for want of an answer: {}", failure.as_str())
            }
            (_, Said::NoAnswer(failure)) => {
                format!("would be withheld, for want of an answer: {}", failure.as_str())
            }
            (Mode::Enforce, _) => "withheld".to_owned(),
            _ => "would be withheld".to_owned(),
        };
        let _ = writeln!(text, "        {says} by {}", audience(rule, explained.effective, paint));
    }
}

/// A rule with its condition and its file.
fn audience(rule: &AudienceRule, effective: &Effective, paint: Paint) -> String {
    let settings = effective.behind(&rule.key);
    let condition = Setting::text_of(&settings, ".hear_if").unwrap_or_default();
    let from = paint.faint(&format!("  [{}, from {}]", rule.key, Setting::origins(&settings)));
    format!("{:?}, hear_if {condition}{from}", &*rule.name)
}

fn one_event(text: &mut String, sent: &Sent, explained: &Explained<'_>, paint: Paint) {
    let Sent { event, ruling } = sent;
    let payload = event.payload.as_deref();
    let shown = harmless_lines(payload.unwrap_or("without an argument"));
    let _ = writeln!(text, "\nevent {} {}", harmless(&event.name), shown);
    steps(text, &ruling.steps, explained.effective, paint);
    let said = rules::said(explained.trial.policy(), ruling, &event.name, payload);
    if !said.is_empty() {
        text.push_str("\nrules\n");
    }
    for (rule, said) in said {
        let settings = explained.effective.behind(&rule.key);
        let condition = Setting::text_of(&settings, ".allow_if").unwrap_or_default();
        let from = paint.faint(&format!("  [{}, from {}]", rule.key, Setting::origins(&settings)));
        let word = match said {
            rules::Said::Allows => paint.good("allows      "),
            rules::Said::WouldRefuse => paint.doubtful("would refuse"),
            rules::Said::Refuses => paint.bad("refuses     "),
            rules::Said::NotOnType => "not on it   ".into(),
            rules::Said::Off => "off         ".into(),
            rules::Said::NotAsked => "not asked   ".into(),
        };
        let _ = writeln!(text, "  {word}  {:?}, allow_if {condition}{from}", &*rule.name);
    }
    if let Ok(relayed) = &ruling.outcome {
        heard_by(text, relayed, sent, explained, paint);
    }
    for denial in &ruling.observed {
        let rule = denial.rule.as_deref().unwrap_or("a check");
        let line = format!("it would be refused ({}) if {rule} did more than observe", denial.code);
        let _ = writeln!(text, "\n{}", paint.doubtful(&line));
    }
    match &ruling.answer {
        Some(answer) => {
            let answer = harmless(&answer.to_string());
            let _ = writeln!(text, "\nthe client is answered {answer}, if it asks");
        }
        None => text.push_str("\nthe client hears nothing\n"),
    }
    if let Some(reason) = ruling.closes {
        let _ = writeln!(text, "its connection is closed ({})", reason.as_str());
    }
}

fn heard_by(text: &mut String, relayed: &Relayed, sent: &Sent, explained: &Explained<'_>, paint: Paint) {
    let _ = writeln!(text, "\nheard as {}, saying {}", relayed.emit, harmless_lines(&relayed.payload));
    for room in &relayed.rooms {
        let rules: Vec<String> = sent
            .audience(room, explained)
            .map(|rule| {
                let rule_text = audience(rule, explained.effective, paint);
                let enforced = rule.mode == Mode::Enforce;
                format!(
                    "      {} {rule_text}",
                    if enforced { "as far as" } else { "and would only be, as far as" }
                )
            })
            .collect();
        let _ = writeln!(text, "  by all in {}{}", harmless(room), if rules.is_empty() { "" } else { "," });
        for rule in rules {
            let _ = writeln!(text, "{rule}");
        }
    }
    let itself = match (relayed.recipients.is_empty(), relayed.echo) {
        (false, _) => "by the sender too",
        (true, false) => "not by the sender (sender = \"exclude\")",
        (true, true) => "not by the sender, who does not hear it",
    };
    let _ = writeln!(text, "  {itself}");
}

fn one_rate(text: &mut String, rate: &Budget, effective: &Effective, paint: Paint) {
    let what = match &rate.team {
        Some(team) => format!("{} of {}", rate.rule, harmless(team)),
        None => rate.rule.to_owned(),
    };
    let from = Setting::origins(&effective.behind(rate.rule));
    let from = paint.faint(&format!("  [from {from}]"));
    let _ = writeln!(text, "  {:>6} of {:<6} {what}{from}", rate.left, rate.burst);
}
