//! The operators' port: who may use its API, and how it says no.

use serde_json::Value;

use crate::harness::http::{Answer, Http, get};
use crate::harness::process::Process;
use crate::harness::{BASE, SECRET_VARIABLE, Sidecar, code_of, secret, until};

/// The variable of `internal.admin_token_env`.
const VARIABLE: &str = "FLOWGATE_ADMIN_TOKEN";

const TOKEN: &str = "an-admin-token-of-the-tests";

fn message(answer: &Answer) -> String {
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    body["message"].as_str().unwrap().to_owned()
}

/// The answer to a request with this `Authorization`, if any.
async fn ask(process: &Process, authorization: Option<&str>) -> Answer {
    let headers: Vec<_> = authorization.map(|value| ("Authorization", value)).into_iter().collect();
    get(process.internal, "/api/no-such-thing", &headers).await
}

#[tokio::test]
async fn without_a_token_set_the_api_is_closed_and_says_which_variable_opens_it() {
    let process = Process::serve("");
    for authorization in [None, Some("Bearer "), Some("Bearer an-admin-token-of-the-tests")] {
        let answer = ask(&process, authorization).await;
        assert_eq!((answer.status, &*code_of(&answer)), (403, "admin_disabled"));
        assert!(message(&answer).contains(VARIABLE), "{answer:?}");
    }
    for open in ["/live", "/ready", "/version", "/metrics"] {
        assert_eq!(get(process.internal, open, &[]).await.status, 200, "{open}");
    }
}

#[tokio::test]
async fn the_api_needs_the_whole_token_and_nothing_shows_it() {
    let process = Process::serve_in("", &[(VARIABLE, TOKEN)]);
    let right = format!("Bearer {TOKEN}");
    let longer = format!("{right}x");
    let basic = format!("Basic {TOKEN}");
    for wrong in
        [None, Some("Bearer"), Some(&right[..right.len() - 1]), Some(&longer), Some(&basic), Some(TOKEN)]
    {
        let answer = ask(&process, wrong).await;
        assert_eq!((answer.status, &*code_of(&answer)), (401, "unauthorized"), "{wrong:?}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"flowgate\""));
    }
    let answer = ask(&process, Some(&right)).await;
    assert_eq!((answer.status, &*code_of(&answer)), (404, "not_found"));
    // A page elsewhere may know the token's owner, not his machine's name.
    let mut http = Http::to(process.internal).await;
    http.send_raw(format!("GET /api/x HTTP/1.1\r\nHost: evil.test\r\nAuthorization: {right}\r\n\r\n")).await;
    let answer = http.answer().await.unwrap();
    assert_eq!((answer.status, &*code_of(&answer)), (403, "host"));
    let metrics = get(process.internal, "/metrics", &[]).await.body;
    assert!(metrics.contains("flowgate_admin_unauthorized_total 6"), "{metrics}");
    until("the log tells of it", async || process.log().contains("without the admin token")).await;
    assert!(!process.log().contains(TOKEN) && !metrics.contains(TOKEN));
}

#[tokio::test]
async fn guesses_are_turned_away_and_never_the_right_token() {
    let process = Process::serve_in("", &[(VARIABLE, TOKEN)]);
    let mut turned_away = 0;
    for guess in 0..200 {
        let answer = ask(&process, Some(&format!("Bearer guess-number-{guess}-of-many"))).await;
        match (answer.status, &*code_of(&answer)) {
            (401, "unauthorized") => {}
            (429, "too_many_attempts") => {
                turned_away += 1;
                assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
                assert_eq!(ask(&process, Some(&format!("Bearer {TOKEN}"))).await.status, 404);
            }
            _ => panic!("{answer:?}"),
        }
    }
    assert!(turned_away > 0);
    // The log is not the guesser's to fill.
    let said = process.log().matches("without the admin token").count();
    assert!(said <= 200 - turned_away, "{said}");
}

#[tokio::test]
async fn other_methods_and_paths_are_said_in_json() {
    let sidecar = Sidecar::start("").await;
    let mut http = Http::to(sidecar.internal).await;
    for method in ["POST", "DELETE", "PUT"] {
        let answer = http.request(method, "/metrics", &[], "").await;
        assert_eq!((answer.status, &*code_of(&answer)), (405, "method_not_allowed"), "{method}");
        assert_eq!(answer.header("allow"), Some("GET,HEAD"));
    }
    let answer = http.request("GET", "/metric", &[], "").await;
    assert_eq!((answer.status, &*code_of(&answer)), (404, "not_found"));
    assert!(!message(&answer).is_empty());
}

#[tokio::test]
async fn a_path_that_cannot_be_decoded_is_said_in_json() {
    let process = Process::serve_in("", &[(VARIABLE, TOKEN)]);
    let bearer = format!("Bearer {TOKEN}");
    let mut http = Http::to(process.internal).await;
    for (method, path) in [
        ("GET", "/api/connections/%ff"),
        ("DELETE", "/api/connections/%ff"),
        ("GET", "/api/revocations/%c3%28"),
        ("DELETE", "/api/revocations/%ff"),
        ("GET", "/admin/%ff"),
    ] {
        let answer = http.request(method, path, &[("Authorization", &bearer)], "").await;
        assert_eq!((answer.status, &*code_of(&answer)), (400, "malformed"), "{method} {path}");
        assert!(message(&answer).contains("UTF-8"), "{}", answer.body);
    }
    // What can be decoded goes on to be looked up.
    let answer = http.request("GET", "/api/connections/%C3%BC", &[("Authorization", &bearer)], "").await;
    assert_eq!((answer.status, &*code_of(&answer)), (404, "not_found"));
}

#[tokio::test]
async fn dev_prints_a_throw_away_admin_token_unless_there_is_one() {
    const WORDS: &str = "The admin token of the internal port, until this ends:";
    const LAST: &str = "Run it twice";
    let lines = |process: &Process| {
        let mut lines = Vec::new();
        while lines.last().is_none_or(|line: &String| !line.starts_with(LAST)) {
            lines.push(process.line());
        }
        lines
    };
    let process = Process::serve_dev();
    let said = lines(&process);
    let at = said.iter().position(|line| line == WORDS).unwrap();
    let right = format!("Bearer {}", said[at + 1]);
    assert_eq!(ask(&process, Some(&right)).await.status, 404);
    assert_eq!(ask(&process, None).await.status, 401);
    assert!(!process.log().contains(&said[at + 1]));

    let process = Process::serve_dev_in(&[(VARIABLE, TOKEN)]);
    let said = lines(&process);
    assert!(!said.iter().any(|line| line == WORDS || line.contains(TOKEN)), "{said:#?}");
    assert_eq!(ask(&process, Some(&format!("Bearer {TOKEN}"))).await.status, 404);
}

#[test]
fn a_token_that_will_not_do_is_a_bad_configuration_and_is_not_repeated() {
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    std::fs::write(file.path(), BASE).unwrap();
    for (token, words) in [
        ("short-and-secret", None),
        ("short-n-secret1", Some("the token is 15 bytes long and 16 are the least")),
        ("", Some("the token is 0 bytes long")),
        ("a secret with spaces in it", Some("the token holds spaces")),
    ] {
        let mut check = crate::harness::process::flowgate(&["check", "--config"]);
        let output =
            check.arg(file.path()).env(SECRET_VARIABLE, secret()).env(VARIABLE, token).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        match words {
            None => assert_eq!(output.status.code(), Some(0), "{said}"),
            Some(words) => {
                assert_eq!(output.status.code(), Some(78), "{said}");
                assert!(said.contains("internal.admin_token_env") && said.contains(words), "{said}");
                assert!(token.is_empty() || !said.contains(token), "{said}");
            }
        }
    }
}
