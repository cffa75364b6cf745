//! What tests came to, for people and for tools.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::cli::explain::steps;
use crate::cli::harmless::{harmless, harmless_json};
use crate::cli::paint::Paint;
use crate::config::Effective;
use crate::trial::suite::run::{Difference, Failure};

/// All tests that were run.
#[derive(Default)]
pub(super) struct Report {
    pub tests: Vec<Tested>,
}

/// One test that was run.
pub(super) struct Tested {
    pub file: String,
    pub name: String,
    pub failure: Option<Failure>,
    /// The policy's settings, where it failed.
    pub effective: Option<Effective>,
}

impl Report {
    pub(super) fn failed(&self) -> usize {
        self.tests.iter().filter(|test| test.failure.is_some()).count()
    }

    pub(super) fn text(&self, paint: Paint) -> String {
        let mut text = String::new();
        for test in &self.tests {
            let word = if test.failure.is_none() { paint.good("ok    ") } else { paint.bad("FAILED") };
            let _ = writeln!(text, "{word}  {}: {}", harmless(&test.file), harmless(&test.name));
            if let Some(failure) = &test.failure {
                one_failure(&mut text, failure, test.effective.as_ref(), paint);
            }
        }
        let (failed, all) = (self.failed(), self.tests.len());
        let summary = match failed {
            0 => paint.good(&format!("{all} passed")),
            failed => format!("{} passed, {}", all - failed, paint.bad(&format!("{failed} failed"))),
        };
        let _ = write!(text, "\n{summary}");
        text
    }

    pub(super) fn json(&self) -> Value {
        let failed = self.failed();
        json!({
            "passed": self.tests.len() - failed,
            "failed": failed,
            "tests": self.tests.iter().map(one_test).collect::<Vec<_>>(),
        })
    }
}

fn one_failure(text: &mut String, failure: &Failure, effective: Option<&Effective>, paint: Paint) {
    let Failure { step, repeated, at, from, event, differences, steps: trace } = failure;
    let what = match event {
        Some(event) => format!("sends {}", harmless(event)),
        None => "connects".to_owned(),
    };
    let again = match repeated {
        0 => String::new(),
        repeated => format!(", for the {}th time", repeated + 1),
    };
    let from = harmless(from);
    let _ = writeln!(text, "    step {step}, at {}, {from} {what}{again}", humantime::format_duration(*at));
    for Difference { key, expected, got } in differences {
        let (expected, got) = (harmless_json(expected), harmless_json(got));
        let _ = writeln!(text, "    {}", paint.bad(&format!("- {key} = {expected}  (expected)")));
        let _ = writeln!(text, "    {}", paint.good(&format!("+ {key} = {got}")));
    }
    if let Some(effective) = effective {
        steps(text, trace, effective, paint);
    }
}

fn one_test(test: &Tested) -> Value {
    let Tested { file, name, failure, .. } = test;
    json!({ "file": file, "name": name, "passed": failure.is_none(), "failure": failure.as_ref().map(failed) })
}

fn failed(failure: &Failure) -> Value {
    let difference = |Difference { key, expected, got }: &Difference| json!({ "key": key, "expected": expected, "got": got });
    json!({
        "step": failure.step,
        "repeated": failure.repeated,
        "at_ms": failure.at.as_millis() as u64,
        "from": failure.from,
        "event": failure.event,
        "differences": failure.differences.iter().map(difference).collect::<Vec<_>>(),
    })
}
