//! Rules as files say them, over events as clients send them.

use std::sync::Arc;

use crate::config::{Sources, load};
use crate::event::fixtures::{noon, peer};
use crate::event::now::Now;
use crate::event::pipeline::{Decision, Pipeline, Refused};
use crate::event::sender::Sender;
use crate::event_id::EventId;
use crate::metrics::{EventCounters, RuleCounts};
use crate::reject::Code;

const SETTINGS: &str = r#"
[[auth.issuers]]
name = "app"
algorithms = ["HS256"]
secret_env = "APP_SECRET"
[[events.database-change.types]]
match = "comment-*"
[events.database-change]
unknown_fields = "strip"
task_id = { kinds = ["integer"], max_length = 64 }
[events.database-change.fields.title]
kind = "string"
"#;

/// A pipeline that acts on some rules, and senders of the team `red`.
struct World {
    pipeline: Pipeline,
    counters: EventCounters,
    now: Now,
    viewer: Sender,
    editor: Sender,
}

impl World {
    fn new(rules: &str) -> Self {
        let sources = Sources {
            texts: vec![("rules.toml".into(), format!("{SETTINGS}{rules}"))],
            environment: vec![("APP_SECRET".into(), "s".repeat(64))],
            ..Sources::default()
        };
        let policy = load(&sources).unwrap_or_else(|problems| panic!("{problems}")).policy;
        let (counters, now) = (EventCounters::default(), noon());
        let pipeline = Pipeline::counting(Arc::new(policy), Vec::new(), now, &counters);
        let viewer = pipeline.sender(Arc::new(peer(&["red"])), now);
        let mut editor = peer(&["red"]);
        editor.roles = ["editor".into()].into();
        let editor = pipeline.sender(Arc::new(editor), now);
        World { pipeline, counters, now, viewer, editor }
    }

    fn decide<'e>(&'e self, sender: &'e Sender, text: &'e str) -> Result<Decision<'e>, Refused> {
        self.pipeline.decide(sender, text, EventId::next(), self.now)
    }

    /// Whether the viewer's event passes.
    fn passes(&self, payload: &str) -> bool {
        let text = format!(r#"["database-change",{payload}]"#);
        let decided = self.decide(&self.viewer, &text);
        if let Err(refused) = &decided {
            assert_eq!((refused.stage, refused.reject.code), ("rules", Code::NotAllowed), "{refused:?}");
        }
        decided.is_ok()
    }

    /// Allowed, refused, observed, error.
    fn counts(&self, rule: &str) -> [u64; 4] {
        let RuleCounts { allowed, refused, observed, error } = self.counters.rules.of(rule);
        [allowed, refused, observed, error].map(|counter| counter.get())
    }
}

const DELETED: &str = r#"["database-change",{"type":"task-deleted","taskId":1}]"#;
const UPDATED: &str = r#"["database-change",{"type":"task-updated","taskId":1}]"#;

fn only_editors_delete(mode: &str) -> String {
    format!(
        "[[rules]]\nname = \"only editors delete\"\non = [\"task-deleted\"]\nallow_if = '\"editor\" in peer.roles'\nmode = \"{mode}\""
    )
}

#[test]
fn an_enforced_rule_refuses_what_it_does_not_allow() {
    let world = World::new(&only_editors_delete("enforce"));
    let refused = world.decide(&world.viewer, DELETED).unwrap_err();
    assert_eq!((refused.stage, refused.reject.code), ("rules", Code::NotAllowed));
    assert_eq!(refused.reject.rule.as_deref(), Some("rules.only editors delete"));
    assert_eq!(refused.reject.message, "a rule of the policy does not allow it");
    assert!(world.decide(&world.editor, DELETED).is_ok());
    assert!(world.decide(&world.viewer, UPDATED).is_ok());
    assert_eq!(world.counts("only editors delete"), [1, 1, 0, 0]);
}

#[test]
fn an_observed_rule_changes_nothing() {
    let (without, observing) = (World::new(""), World::new(&only_editors_delete("observe")));
    for (text, observed) in [(DELETED, vec!["rules.only editors delete"]), (UPDATED, vec![])] {
        let mut decision = observing.decide(&observing.viewer, text).unwrap();
        let said = std::mem::take(&mut decision.observed);
        assert!(said.iter().all(|refused| refused.stage == "rules"));
        assert_eq!(
            said.iter().map(|refused| refused.reject.rule.as_deref().unwrap()).collect::<Vec<_>>(),
            observed
        );
        assert_eq!(decision, without.decide(&without.viewer, text).unwrap());
    }
    assert!(observing.decide(&observing.editor, DELETED).is_ok());
    assert_eq!(observing.counts("only editors delete"), [1, 0, 1, 0]);
}

#[test]
fn a_rule_that_is_off_judges_nothing() {
    let world = World::new(&only_editors_delete("off"));
    assert!(world.decide(&world.viewer, DELETED).is_ok());
    assert_eq!(world.counts("only editors delete"), [0; 4]);
}

#[test]
fn a_rule_may_be_on_a_part_of_a_glob() {
    let world =
        World::new("[[rules]]\nname = \"r\"\non = [\"comment-added\", \"*-moved\"]\nallow_if = 'false'");
    for (kind, passes) in [
        ("comment-added", false),
        ("comment-moved", false),
        ("comment-read", true),
        ("comment-added-", true),
        ("task-moved", false),
        ("task-updated", true),
    ] {
        assert_eq!(world.passes(&format!(r#"{{"type":"{kind}","taskId":1}}"#)), passes, "{kind}");
    }
    assert_eq!(world.counts("r"), [0, 3, 0, 0]);
}

#[test]
fn a_rule_without_an_answer_refuses_and_is_counted_apart() {
    let rule = |mode| {
        format!(
            "[[rules]]\nname = \"r\"\non = [\"comment-*\"]\nallow_if = 'int(event.payload.title) > 1'\nmode = \"{mode}\""
        )
    };
    let world = World::new(&rule("enforce"));
    assert!(world.passes(r#"{"type":"comment-added","title":"2"}"#));
    assert!(!world.passes(r#"{"type":"comment-added","title":"1"}"#));
    assert!(!world.passes(r#"{"type":"comment-added","title":"two"}"#));
    assert!(!world.passes(r#"{"type":"comment-added"}"#));
    assert_eq!(world.counts("r"), [1, 1, 0, 2]);
    let world = World::new(&rule("observe"));
    for title in ["\"2\"", "\"1\"", "\"two\""] {
        assert!(world.passes(&format!(r#"{{"type":"comment-added","title":{title}}}"#)));
    }
    assert_eq!(world.counts("r"), [1, 0, 1, 1]);
}

#[test]
fn rules_speak_in_the_order_of_the_file() {
    let rule = |name: &str, on: &str, allow_if: &str| {
        format!("[[rules]]\nname = \"{name}\"\non = [\"{on}\"]\nallow_if = '{allow_if}'\n")
    };
    let rules = rule("first", "task-*", "event.type != \"task-created\" && event.taskId < 3")
        + &rule("second", "task-updated", "event.taskId < 2");
    let world = World::new(&rules);
    let rule_of = |text| world.decide(&world.viewer, text).unwrap_err().reject.rule.unwrap().to_string();
    assert_eq!(rule_of(r#"["database-change",{"type":"task-updated","taskId":9}]"#), "rules.first");
    assert_eq!(rule_of(r#"["database-change",{"type":"task-updated","taskId":2}]"#), "rules.second");
    assert!(world.passes(r#"{"type":"task-moved","taskId":2}"#));
    assert_eq!((world.counts("first"), world.counts("second")), ([2, 1, 0, 0], [0, 1, 0, 0]));
}

#[test]
fn a_rule_sees_what_will_be_relayed() {
    let rule = "[[rules]]\nname = \"r\"\non = [\"*\"]\nallow_if = 'size(event.payload) == 2'";
    let world = World::new(rule);
    assert!(world.passes(r#"{"type":"task-updated","taskId":1,"stripped":{"a":1,"a":2}}"#));
    assert!(!world.passes(r#"{"type":"task-updated","taskId":1,"title":"t"}"#));
}

#[test]
fn types_without_rules_have_none_to_look_at() {
    let world = World::new(&only_editors_delete("enforce"));
    let event = &world.pipeline.policy().events["database-change"];
    let types = &event.typed.as_ref().unwrap().exact_types;
    let judged: Vec<&str> =
        types.iter().filter(|(_, policy)| policy.rules.is_some()).map(|(name, _)| &**name).collect();
    assert_eq!(judged, ["task-deleted"]);
    assert!(types["task-deleted"].rules.as_ref().unwrap().rules[0].always);
}
