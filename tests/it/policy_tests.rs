//! `flowgate test`: the shipped policies keep their promises, a broken one is seen, and a file that cannot be understood is
//! said to be so.

use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::{Value, json};

use crate::harness::process::flowgate;

const POLICY: &str = r#"
[[auth.issuers]]
name = "app"
algorithms = ["HS256"]
secret_env = "NOT_SET_ANYWHERE"

[[events.database-change.types]]
match = "comment-*"

[[rules]]
name = "small ids"
on = ["task-*"]
allow_if = 'has(event.taskId) && event.taskId < 100'
mode = "observe"

[[audience]]
name = "comments are internal"
on = ["comment-*"]
hear_if = '!("client" in peer.roles)'
"#;

const TESTS: &str = r#"
policy = ["policy.toml"]

[[peers]]
name = "anna"
claims = { sub = "anna", teams = ["red"] }

[[peers]]
name = "cleo"
claims = { sub = "cleo", teams = ["red"], roles = ["client"] }

[[tests]]
name = "comments are internal"
from = "anna"
event = { payload = { type = "comment-added" } }
expect = { recipients = ["anna"] }

[[tests]]
name = "large ids are only observed"
from = "cleo"
event = { payload = { type = "task-updated", taskId = 700 } }
expect = { observed = ["not_allowed"], recipients = ["cleo", "anna"], relayed = { type = "task-updated", taskId = 700 } }

[[tests]]
name = "old news"
from = "anna"
steps = [
    { event = { payload = { type = "task-created", timestamp = 2026-03-01T12:00:00Z } }, expect = { decision = "accepted" } },
    { at = "5m", event = { payload = { type = "task-created", timestamp = 2026-03-01T12:00:00Z } }, expect = { decision = "accepted" } },
    { at = "5m 1s", event = { payload = { type = "task-created", timestamp = 2026-03-01T12:00:00Z } }, expect = { code = "stale_timestamp" } },
]
"#;

/// A folder with this policy and these tests of it.
fn folder(policy: &str, tests: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("policy.toml"), policy).unwrap();
    fs::write(folder.path().join("policy.test.toml"), tests).unwrap();
    folder
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = flowgate(&["test"]);
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    // Neither of them counts.
    command.env("FLOWGATE__LIMITS__EVENTS__PER_SOCKET", "1/h").env("TZ", "Asia/Tokyo");
    command.output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn the_shipped_policies_keep_their_promises() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = run(root, &["config"]);
    assert_eq!(code(&output), 0, "{}{}", stdout(&output), stderr(&output));
    for file in ["default", "strict", "photoflow"] {
        let passed = stdout(&output).matches(&format!("ok      config/{file}.test.toml: ")).count();
        assert!(passed > 5, "{file}: {passed}");
    }
}

/// Each shipped policy with one promise taken back.
#[test]
fn a_shipped_policy_that_breaks_a_promise_is_seen() {
    let shipped = |name: &str| {
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)).unwrap()
    };
    for (name, from, to, broken) in [
        ("strict", "timestamp = { presence = \"required\" }", "", "every event needs its time"),
        (
            "strict",
            "unknown_fields = \"reject\"",
            "unknown_fields = \"pass\"",
            "what nobody declared is refused",
        ),
        (
            "strict",
            "match = \"task-created\"\ntask_id = \"required\"",
            "match = \"task-created\"\ntask_id = \"optional\"",
            "every type needs its task id",
        ),
        ("photoflow", "mode = \"off\"", "mode = \"optional\"", "everybody comes in, into the one room"),
        ("photoflow", "payload = \"any\"", "payload = \"typed\"", "any payload is relayed as it came"),
        ("photoflow", "detail = \"full\"", "detail = \"code\"", "another event is told so, with the reason"),
    ] {
        let policy = shipped(&format!("{name}.toml"));
        assert_eq!(policy.matches(from).count(), 1, "{from}");
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(format!("{name}.toml")), policy.replace(from, to)).unwrap();
        fs::write(folder.path().join(format!("{name}.test.toml")), shipped(&format!("{name}.test.toml")))
            .unwrap();
        let output = run(folder.path(), &[]);
        let failed = format!("FAILED  ./{name}.test.toml: {broken}\n");
        assert_eq!(code(&output), 1, "{to}");
        assert!(stdout(&output).contains(&failed), "{failed}\n{}", stdout(&output));
    }
}

#[test]
fn a_failure_says_what_differs_and_how_it_came_to_that() {
    let folder = folder(&POLICY.replace("mode = \"observe\"", ""), TESTS);
    let output = run(folder.path(), &[]);
    let text = stdout(&output);
    assert_eq!(code(&output), 1);
    for expected in [
        "ok      ./policy.test.toml: comments are internal\nFAILED  ./policy.test.toml: large ids are only observed\n",
        "    step 1, at 0s, cleo sends database-change {\"taskId\":700,\"type\":\"task-updated\"}\n",
        "    - recipients = [\"anna\",\"cleo\"]  (expected)\n    + recipients = []\n",
        "  refuses       rules       not_allowed: a rule of the policy does not allow it  [rules.small ids, from ./policy.toml]\n",
        "FAILED  ./policy.test.toml: old news\n",
        "\n1 passed, 2 failed\n",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "{text}");
    let output = run(folder.path(), &["--json", "--filter", "large"]);
    let said: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((code(&output), &said["passed"], &said["failed"]), (1, &json!(0), &json!(1)));
    let failure = &said["tests"][0]["failure"];
    assert_eq!(
        (&failure["step"], &failure["from"], &failure["at_ms"]),
        (&json!(1), &json!("cleo"), &json!(0))
    );
    let relayed =
        json!({ "key": "relayed", "expected": { "type": "task-updated", "taskId": 700 }, "got": null });
    assert!(failure["differences"].as_array().unwrap().contains(&relayed), "{failure:#}");
    assert!(!failure["differences"].as_array().unwrap().iter().any(|one| one["key"] == "decision"));
}

#[test]
fn a_terminal_obeys_no_test() {
    let tests = TESTS
        .replace("name = \"old news\"", "name = \"old\\u001b[2J\\u202enews\"")
        .replace("relayed = { type = \"task-updated\"", "relayed = { type = \"\\u009b\\u2028\"");
    let folder = folder(&POLICY.replace("mode = \"observe\"", ""), &tests);
    let text = stdout(&run(folder.path(), &[]));
    let obeyed = |c: char| c != '\n' && (c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c));
    assert!(!text.chars().any(obeyed), "{text:?}");
    assert!(text.contains("FAILED  ./policy.test.toml: old\\u{1b}[2J\\u{202e}news\n"), "{text}");
    assert!(text.contains(r#""type":"\u009b\u2028""#), "{text}");
}

#[test]
fn tests_are_found_beside_the_policy_in_folders_and_by_name() {
    let folder = folder(POLICY, TESTS);
    let path = folder.path().to_str().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let policy = format!("{path}/policy.toml");
    for (at, arguments) in [
        (folder.path(), &[][..]),
        (folder.path(), &["policy.test.toml"]),
        (folder.path(), &["--config", "policy.toml"]),
        (elsewhere.path(), &[path]),
        (elsewhere.path(), &["--config", &policy]),
        (elsewhere.path(), &["--config", path]),
        (elsewhere.path(), &[path, path]),
    ] {
        let output = run(at, arguments);
        assert_eq!(code(&output), 0, "{arguments:?} {}{}", stdout(&output), stderr(&output));
        assert!(stdout(&output).ends_with("\n3 passed\n"), "{arguments:?} {}", stdout(&output));
    }
    // One that names no policy is about what --config names.
    fs::write(folder.path().join("policy.test.toml"), TESTS.replace("policy = [\"policy.toml\"]", ""))
        .unwrap();
    assert_eq!(code(&run(elsewhere.path(), &["--config", &policy])), 0);
    let output = run(folder.path(), &[]);
    assert_eq!(
        (code(&output), stderr(&output).contains("policy.test.toml: policy: it names no policy")),
        (78, true)
    );
    for arguments in [&[][..], &["/no/such/place"], &["--filter"], &["--nothing"]] {
        assert_eq!(code(&run(elsewhere.path(), arguments)), 2, "{arguments:?}");
    }
    assert_eq!(code(&run(folder.path(), &["--config", "policy.toml", "--filter", "no such test"])), 2);
}

#[test]
fn what_cannot_be_understood_is_said_with_file_key_and_mend() {
    let peer = "[[peers]]\nname = \"anna\"\nclaims = { sub = \"anna\", teams = [\"red\"] }\n";
    let test = |rest: &str| format!("policy = []\n{peer}[[tests]]\nname = \"one\"\n{rest}\n");
    let one = "policy.test.toml: tests[name=\"one\"]";
    for (tests, expected) in [
        (
            test("event = \"x\"\nexpect = { recipents = [] }"),
            format!("{one}.expect.recipents: unknown key; did you mean `recipients`?"),
        ),
        (test("event = \"x\"\nexpects = {}"), format!("{one}.expects: unknown key; did you mean `expect`?")),
        (test("event = \"x\""), format!("{one}: nothing is expected, so it cannot fail; add expect")),
        (test("event = \"x\"\nexpect = {}"), format!("{one}.expect: nothing is expected, so it cannot fail")),
        (
            test("event = \"x\"\nexpect = { code = \"rate_limitted\" }"),
            format!("{one}.expect.code: \"rate_limitted\" is not known; did you mean `rate_limited`?"),
        ),
        (
            test("event = \"x\"\nexpect = { recipients = [\"ana\"] }"),
            format!("{one}.expect.recipients: \"ana\" is not known; did you mean `anna`?"),
        ),
        (
            test("from = \"ana\"\nevent = \"x\"\nexpect = { code = \"no_room\" }"),
            format!("{one}.from: \"ana\" is not known; did you mean `anna`?"),
        ),
        (
            test("event = { name = \"x\", json = \"{\" }\nexpect = { code = \"no_room\" }"),
            format!("{one}.event.json: something else than wanted; write JSON, in a text"),
        ),
        (
            test("event = \"x\"\nexpect = { decision = \"yes\" }"),
            format!("{one}.expect.decision: something else than wanted; write \"accepted\" or \"refused\""),
        ),
        (
            test("expect = { recipients = [] }"),
            format!("{one}.expect.recipients: expected of an event, and there is none"),
        ),
        (
            test("at = \"soon\"\nevent = \"x\"\nexpect = { code = \"no_room\" }"),
            format!("{one}.at: something else than wanted"),
        ),
        (
            test(
                "steps = [{ at = \"2s\", event = \"x\", expect = { code = \"no_room\" } }, { at = \"1s\", event = \"x\", expect = { code = \"no_room\" } }]",
            ),
            format!("{one}.steps: 1s comes after 2s"),
        ),
        (test("steps = []"), format!("{one}.steps: no step")),
        (
            test(
                "event = \"x\"\nexpect = { code = \"no_room\" }\n[[tests]]\nname = \"one\"\nevent = \"x\"\nexpect = { code = \"no_room\" }",
            ),
            "policy.test.toml: tests: two tests of the name \"one\"".into(),
        ),
        (format!("policy = []\n{peer}"), "policy.test.toml: tests: no test".into()),
        ("policy = [\n".into(), "policy.test.toml:1:".into()),
        (
            test("event = \"x\"\nexpect = { code = \"no_room\" }")
                .replace("policy = []", "policy = [\"none.toml\"]"),
            "none.toml: this file cannot be read".into(),
        ),
    ] {
        let folder = folder("", &tests);
        let output = run(folder.path(), &["policy.test.toml"]);
        assert_eq!(code(&output), 78, "{tests}\n{}", stdout(&output));
        assert!(stderr(&output).contains(&expected), "{expected}\n{}", stderr(&output));
    }
    // A policy that is wrong is said to be so as `check` says it, once.
    let bad = folder("[sever]\n", TESTS);
    fs::copy(bad.path().join("policy.test.toml"), bad.path().join("second.test.toml")).unwrap();
    let output = run(bad.path(), &[]);
    assert_eq!(code(&output), 78);
    assert!(
        stderr(&output).contains("did you mean `server`?") && stderr(&output).contains("\n1 problem"),
        "{}",
        stderr(&output)
    );
}
