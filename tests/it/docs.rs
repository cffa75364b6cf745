//! The documentation is held to the code: what it must name, what it names, and what it shows to be copied.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flowgate::config::policy::Label;
use flowgate::config::{Loaded, Problems, Sources, load};
use flowgate::metrics::{CloseReason, Metrics};
use flowgate::reject::Code;

use crate::harness::process::{flowgate, run};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every page, by its path from the root.
fn pages() -> Vec<(PathBuf, String)> {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages =
        docs.chain([root().join("README.md")]).filter(|path| path.extension().is_some_and(|e| e == "md"));
    pages
        .map(|path| (path.strip_prefix(root()).unwrap().to_owned(), fs::read_to_string(&path).unwrap()))
        .collect()
}

/// Fails with all the `names` that do not stand in backquotes in `text`.
#[track_caller]
fn names_all<'a>(page: &str, text: &str, names: impl IntoIterator<Item = &'a str>) {
    let absent: Vec<&str> = names.into_iter().filter(|name| !text.contains(&format!("`{name}`"))).collect();
    assert!(absent.is_empty(), "{page} does not name {absent:?}");
}

#[test]
fn every_code_and_reason_is_explained() {
    let codes: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    let reasons = CloseReason::ALL.iter().map(|reason| reason.as_str());
    names_all("README.md", &read("README.md"), codes.iter().copied());
    names_all("docs/protocol.md", &read("docs/protocol.md"), codes.iter().copied().chain(reasons));
}

#[test]
fn every_command_is_listed() {
    let help = String::from_utf8(run(&["--help"]).stdout).unwrap();
    let commands =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let commands =
        commands.filter_map(|line| line.split_whitespace().next()).filter(|command| *command != "help");
    let commands: Vec<String> = commands.map(|command| format!("flowgate {command}")).collect();
    assert!(commands.len() > 8, "{commands:?}");
    names_all("README.md", &read("README.md"), commands.iter().map(String::as_str));
}

#[test]
fn every_setting_is_explained() {
    let page = read("docs/configuration.md");
    let loaded = app("").unwrap_or_else(|problems| panic!("{problems}"));
    let settings = loaded.effective.to_json();
    let keys: BTreeSet<&str> = settings
        .as_object()
        .unwrap()
        .keys()
        .map(|path| path.rsplit('.').next().unwrap())
        .filter(|key| key.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        .collect();
    assert!(keys.len() > 40, "{keys:?}");
    names_all("docs/configuration.md", &page, keys);
}

#[test]
fn every_metric_is_explained_and_nothing_else() {
    let metrics = Metrics::new();
    // Those have series once a policy has names for them.
    metrics.events.of(&Label { event: "e".into(), kind: "t".into() });
    metrics.events.observed(&Label { event: "e".into(), kind: "t".into() }, Code::RateLimited);
    metrics.events.rules.of("r");
    metrics.events.refused_at("s", Code::RateLimited);
    metrics.events.over_limit("k");
    metrics.audience.of("a");
    metrics.published.count("p", true);
    metrics.surveyed.sessions("s", "t", 1);
    metrics.surveyed.limit("k", 1);
    metrics.surveyed.not_ready("w", true);
    metrics.surveyed.keys("i", true, Some(Duration::from_secs(1)));
    metrics.policy_in_force("", "h", std::time::SystemTime::now());
    let text = metrics.render().unwrap();
    // Counters' samples end in `_total`, their families do not (OpenMetrics 1.0, "Counter").
    let series: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|(name, kind)| match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        })
        .collect();
    assert!(series.contains("flowgate_refusals_total"), "{series:?}");
    let page = read("docs/metrics.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let explained: BTreeSet<String> = rows.map(str::to_owned).collect();
    assert_eq!(explained, series);
}

#[test]
fn every_source_file_that_is_named_exists() {
    let mut named = 0;
    for (page, text) in pages() {
        for quoted in text.split('`').skip(1).step_by(2) {
            let is_source =
                ["src/", "tests/", "config/", "examples/", "benches/"].iter().any(|d| quoted.starts_with(d));
            if is_source && !quoted.contains([' ', '\n', '*']) {
                assert!(
                    root().join(quoted).exists(),
                    "{} names {quoted}, which does not exist",
                    page.display()
                );
                named += 1;
            }
        }
    }
    assert!(named > 40, "{named}");
}

#[test]
fn every_link_leads_somewhere() {
    for (page, text) in pages() {
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            if link.starts_with("http") || file.is_empty() {
                continue;
            }
            let path = root().join(&page).parent().unwrap().join(file);
            assert!(path.exists(), "{} links to {link}", page.display());
        }
    }
}

/// The blocks of a page that are fenced as this language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("\n```{language}\n");
    let bodies = text.split(&fence).skip(1);
    bodies.map(|rest| rest.split("\n```").next().unwrap_or_default()).collect()
}

/// Loads this TOML over an issuer of the tests'. TOML that says who its issuers are, or needs none, stands alone.
fn app(toml: &str) -> Result<Loaded, Problems> {
    const ISSUER: &str = "[[auth.issuers]]\nname = \"tests\"\nalgorithms = [\"HS256\"]\nsecret_env = \"FLOWGATE_JWT_SECRET\"\n";
    let folder = tempfile::tempdir().unwrap();
    let alone = toml.contains("[[auth.issuers]]") || toml.contains("mode = \"off\"");
    let mut paths = Vec::new();
    for (name, text) in [("1.toml", ISSUER), ("2.toml", toml)].into_iter().skip(usize::from(alone)) {
        paths.push(folder.path().join(name));
        fs::write(folder.path().join(name), text).unwrap();
    }
    fs::copy(root().join("tests/fixtures/keys/p256.pub.pem"), folder.path().join("jwt.pub.pem")).unwrap();
    let secrets = ["FLOWGATE_JWT_SECRET", "APP_SECRET_NEW", "APP_SECRET_OLD"];
    let environment = secrets.iter().map(|name| (name.to_string(), "s".repeat(64))).collect();
    load(&Sources { paths, environment, ..Sources::default() })
}

#[test]
fn every_configuration_shown_loads() {
    let mut shown = 0;
    for (page, text) in pages() {
        for toml in blocks(&text, "toml").into_iter().filter(|toml| !is_test(toml)) {
            if let Err(problems) = app(toml) {
                panic!("in {}:\n{toml}\n{problems}", page.display());
            }
            shown += 1;
        }
    }
    assert!(shown > 10, "{shown}");
}

/// Whether it is a file of tests rather than of settings.
fn is_test(toml: &str) -> bool {
    toml.contains("[[tests]]")
}

#[test]
fn every_policy_test_shown_passes() {
    let mut shown = 0;
    for (page, text) in pages() {
        let mut policy = "";
        for toml in blocks(&text, "toml") {
            if !is_test(toml) {
                policy = toml;
                continue;
            }
            // It is about the policy that is shown before it.
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("policy.toml"), policy).unwrap();
            fs::write(folder.path().join("policy.test.toml"), toml).unwrap();
            let output = flowgate(&["test"]).arg(folder.path()).output().unwrap();
            let said = [output.stdout, output.stderr].concat();
            assert!(output.status.success(), "in {}:\n{}", page.display(), String::from_utf8_lossy(&said));
            shown += 1;
        }
    }
    assert!(shown > 8, "{shown}");
}

#[test]
fn the_team_policy_loads_and_is_the_one_shown() {
    let text = read("examples/team.toml");
    let Loaded { policy, warnings, .. } = app(&text).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(warnings, []);
    assert_eq!((policy.events.len(), policy.limits.events.per_socket.rate.burst.get()), (2, 20));
    let typed = policy.events["database-change"].typed.as_ref().unwrap();
    assert_eq!((typed.exact_types.len(), typed.glob_types.len()), (4, 1));
    assert!(
        blocks(&read("README.md"), "toml").contains(&text.trim_end()),
        "README.md shows another examples/team.toml"
    );
}

#[test]
fn the_client_shown_is_the_example() {
    let text = read("examples/client.mjs");
    for page in ["README.md", "docs/clients.md"] {
        assert!(
            blocks(&read(page), "js").contains(&text.trim_end()),
            "{page} shows another examples/client.mjs"
        );
    }
}
