//! The binary from outside: exit codes, what it prints, and `serve --dev`.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Output;

use serde_json::json;

use crate::harness::packets::EVENT;
use crate::harness::process::{Process, flowgate, run};
use crate::harness::websocket::RawSocket;
use crate::harness::{BASE, SECRET_VARIABLE, member, secret, until};

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// A command with one settings file, whose secret is in the environment.
fn with_settings(arguments: &[&str], settings: &str) -> Output {
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    std::fs::write(file.path(), settings).unwrap();
    flowgate(arguments).arg("--config").arg(file.path()).env(SECRET_VARIABLE, secret()).output().unwrap()
}

#[test]
fn version_and_help_are_fine() {
    let version = run(&["--version"]);
    assert_eq!(
        (code(&version), stdout(&version)),
        (0, concat!("flowgate ", env!("CARGO_PKG_VERSION"), "\n"))
    );
    let help = run(&["--help"]);
    assert_eq!(code(&help), 0);
    for command in ["serve", "check", "config", "explain", "test", "token", "health"] {
        assert!(stdout(&help).contains(command), "{command}");
        assert_eq!(code(&run(&[command, "--help"])), 0);
    }
}

#[test]
fn wrong_usage_is_2() {
    for arguments in [
        &[][..],
        &["sevre"],
        &["serve", "--prot", "1"],
        &["serve", "--listen", "nowhere"],
        &["serve", "--dev", "--log", "flowgate=loud"],
        &["config"],
        &["token"],
        &["check", "extra"],
    ] {
        let output = run(arguments);
        assert_eq!(code(&output), 2, "{arguments:?}");
        assert!(!stderr(&output).is_empty() && stdout(&output).is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_token_that_is_given_as_an_argument_is_not_repeated() {
    const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl";
    for arguments in [&["token", "verify", TOKEN][..], &["token", "verify", &format!("--token={TOKEN}")]] {
        let output = run(arguments);
        assert_eq!(code(&output), 2);
        assert!(stderr(&output).contains("standard input"), "{}", stderr(&output));
        assert!(!stderr(&output).contains("eyJ"), "{}", stderr(&output));
    }
}

#[test]
fn arguments_that_are_no_unicode_are_wrong_usage_like_others() {
    use std::os::unix::ffi::OsStrExt;
    let not_unicode = std::ffi::OsStr::from_bytes(b"--\xff");
    assert_eq!(code(&flowgate(&["serve"]).arg(not_unicode).output().unwrap()), 2);
}

#[test]
fn an_address_that_cannot_be_used_is_1() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    for (address, words) in [
        (taken.local_addr().unwrap().to_string(), "another process"),
        ("192.0.2.1:0".into(), "no such address"),
    ] {
        let output = run(&["serve", "--dev", "--internal-listen", "127.0.0.1:0", "--listen", &address]);
        assert_eq!(code(&output), 1);
        assert!(
            stderr(&output).contains(&format!("server.listen: cannot listen on {address}")),
            "{}",
            stderr(&output)
        );
        assert!(stderr(&output).contains(words), "{}", stderr(&output));
    }
}

#[test]
fn a_bad_configuration_is_78() {
    for (settings, words) in [
        ("[server", "toml"),
        ("[sever]\n", "did you mean `server`?"),
        ("[server]\nlisten = 1\n", "server.listen"),
        ("[limits.payload]\nmax_bytes = \"2MiB\"\n", "limits.payload"),
    ] {
        for arguments in [&["check"][..], &["serve"]] {
            let output = with_settings(arguments, settings);
            assert_eq!(code(&output), 78, "{arguments:?} {settings}: {}", stderr(&output));
            assert!(stderr(&output).to_lowercase().contains(words), "{}", stderr(&output));
            assert!(stdout(&output).is_empty(), "{}", stdout(&output));
        }
    }
    // The defaults alone have no issuer, a file may be missing, and a secret too.
    for arguments in [&["check"][..], &["serve"]] {
        assert_eq!(code(&run(arguments)), 78);
        assert_eq!(code(&run(&[arguments, &["--config", "/no/such/file.toml"]].concat())), 78);
    }
    let output = with_settings(&["check"], &BASE.replace(SECRET_VARIABLE, "NO_SUCH_SECRET"));
    assert_eq!(code(&output), 78);
    assert!(stderr(&output).contains("NO_SUCH_SECRET"), "{}", stderr(&output));
}

#[test]
fn a_good_configuration_is_0_and_shows_no_secret() {
    let check = with_settings(&["check"], BASE);
    assert_eq!(code(&check), 0, "{}", stderr(&check));
    let show = with_settings(&["config", "show"], BASE);
    assert_eq!(code(&show), 0, "{}", stderr(&show));
    let default = run(&["config", "default"]);
    assert_eq!((code(&default), stdout(&default)), (0, include_str!("../../config/default.toml")));
    for output in [&check, &show] {
        assert!(!stdout(output).contains(&secret()) && !stderr(output).contains(&secret()));
    }
}

#[test]
fn what_fails_is_1() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let serve = with_settings(&["serve", "--listen", &address], BASE);
    assert_eq!(code(&serve), 1);
    assert!(
        stderr(&serve).contains("server.listen") && stderr(&serve).contains(&address),
        "{}",
        stderr(&serve)
    );
    let serve = with_settings(&["serve", "--internal-listen", &address], BASE);
    assert_eq!(code(&serve), 1);
    assert!(stderr(&serve).contains("internal.listen"), "{}", stderr(&serve));
    // Nobody is there to ask for health.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let health = run(&["health", "--url", &format!("http://{free}")]);
    assert_eq!(code(&health), 1, "{}", stderr(&health));
}

#[test]
fn health_asks_the_internal_port() {
    let process = Process::serve("");
    let health = run(&["health", "--url", &format!("http://{}", process.internal)]);
    assert_eq!(code(&health), 0, "{}", stderr(&health));
    let by_environment = flowgate(&["health"])
        .env("FLOWGATE__INTERNAL__LISTEN", process.internal.to_string())
        .output()
        .unwrap();
    assert_eq!(code(&by_environment), 0, "{}", stderr(&by_environment));
}

#[test]
fn health_says_who_it_was_that_answered() {
    let process = Process::serve("");
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let (public, internal) = (process.public, process.internal);
    for (url, words) in [
        (format!("http://{public}"), "is not the internal port of a flowgate: name that with --url"),
        (format!("https://{internal}"), "speaks plain HTTP: write http://"),
        (internal.to_string(), "this is not a URL such as http://127.0.0.1:3001"),
        (format!("localhost:{}", internal.port()), "this is not a URL such as http://127.0.0.1:3001"),
    ] {
        let health = run(&["health", "--url", &url]);
        assert_eq!((code(&health), stdout(&health)), (1, ""), "{url}");
        assert!(stderr(&health).contains(words) && stderr(&health).contains(&url), "{}", stderr(&health));
    }
    let url = format!("http://{}/", other.local_addr().unwrap());
    let web = std::thread::spawn(move || {
        let (mut stream, _) = other.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]).unwrap();
        let page = "HTTP/1.1 404 Not Found\r\ncontent-length: 6\r\nconnection: close\r\n\r\n<html>";
        stream.write_all(page.as_bytes()).unwrap();
    });
    let health = run(&["health", "--url", &url]);
    web.join().unwrap();
    assert_eq!(code(&health), 1);
    let said = format!(
        "flowgate: {} is no flowgate: it answers 404 Not Found to GET /ready\n",
        &url[..url.len() - 1]
    );
    assert_eq!(stderr(&health), said);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dev_prints_three_tokens_and_a_snippet_that_work() {
    let mut process = Process::serve_dev();
    let last =
        "Run it twice, the second time with ben's token, and both hear each other; cleo hears neither.";
    let mut lines = Vec::new();
    while lines.last().is_none_or(|line| line != last) {
        lines.push(process.line());
    }
    let tokens: Vec<&String> =
        lines.iter().filter(|line| line.starts_with("ey") && line.matches('.').count() == 2).collect();
    assert_eq!(tokens.len(), 3, "{lines:#?}");
    let snippet = lines.join("\n");
    let call = format!(
        r#"io("http://{}", {{ path: "/socket.io/", auth: {{ token: "{}" }} }})"#,
        process.public, tokens[0]
    );
    assert!(snippet.contains(&call), "{snippet}");
    let mut sockets = Vec::new();
    for token in &tokens {
        sockets.push(RawSocket::join(process.public, &json!({ "token": token })).await);
    }
    // What the snippet sends: heard by the first two, not by the third.
    let change =
        format!(r#"{{"type":"task-updated","taskId":7,"timestamp":{}}}"#, 1000 * crate::harness::now());
    assert_eq!(sockets[0].ask(&change).await["ok"], true);
    assert_eq!(sockets[0].heard_until_now().await, std::slice::from_ref(&change));
    assert_eq!(sockets[1].heard_until_now().await, [change]);
    assert_eq!(sockets[2].heard_until_now().await, Vec::<String>::new());
    // Refusals explain themselves, pages of this machine come in and others do not.
    let refused = sockets[0].ask_as(EVENT, "{\"type\":\"x\"}").await;
    assert_eq!(refused["code"], "unknown_type");
    assert!(refused["message"].is_string() && refused["rule"].is_string(), "{refused}");
    let page = |origin| [("Origin", origin)];
    assert!(RawSocket::open_with(process.public, &page("http://localhost:5173")).await.is_ok());
    assert!(RawSocket::open_with(process.public, &page("https://evil.test")).await.is_err());
    // The tests' own key is none of this one.
    let mut stranger = RawSocket::open(process.public).await;
    assert_eq!(stranger.connect(&member("ann", &["design"])).await.unwrap_err(), "token_invalid");
    process.signal("TERM");
    assert_eq!(process.exit_code(), Some(0));
}

#[tokio::test]
async fn every_line_about_an_event_names_its_connection_and_its_id() {
    const RULES: &str = r#"
[events.database-change]
payload = "typed"
[[rules]]
name = "watched"
on = ["task-deleted"]
allow_if = "false"
mode = "observe"
[[rules]]
name = "unanswered"
on = ["task-moved"]
allow_if = '"x" in peer.claims.absent'
"#;
    let process = Process::serve_in(RULES, &[("FLOWGATE_LOG", "trace")]);
    let mut ann = RawSocket::join(process.public, &member("ann", &["red"])).await;
    let accepted = ann.ask(r#"{"type":"task-deleted","taskId":1}"#).await;
    assert_eq!(ann.ask(r#"{"type":"task-moved","taskId":1}"#).await["code"], "not_allowed");
    let id = |line: &str| {
        assert!(line.contains("connection=c1"), "{line}");
        line.split_once("event=").unwrap_or_else(|| panic!("{line}")).1.split(' ').next().unwrap().to_owned()
    };
    let line = async |words: &str| {
        let mut found = None;
        until(words, async || {
            found = process.log().lines().find(|line| line.contains(words)).map(id);
            found.is_some()
        })
        .await;
        found.unwrap()
    };
    let (relayed, observed) = (line("relayed").await, line("would have refused an event").await);
    assert_eq!((Some(relayed.as_str()), observed), (accepted["id"].as_str(), relayed.clone()));
    let (refused, complained) = (line("event refused").await, line("has no answer for an event").await);
    assert_eq!(refused, complained);
    assert_ne!(refused, relayed);
}
