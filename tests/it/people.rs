//! `flowgate tail`, `flowgate send` and `flowgate completions`: the real binary as a client of the real sidecar.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::process::{Process, flowgate};
use crate::harness::websocket::RawSocket;
use crate::harness::{Sidecar, member, mint, until};

const TYPED: &str = "[events.database-change]\npayload = \"typed\"\n[refusals]\ndetail = \"full\"";

fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

/// Runs to its end, with this token on standard input.
async fn run(mut command: Command, token: &str) -> Said {
    let token = token.to_owned();
    let run = move || {
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = pipes.spawn().unwrap();
        // One that wants no token may have ended.
        let _ = child.stdin.take().unwrap().write_all(token.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

fn send(public: SocketAddr, arguments: &[&str]) -> Command {
    let mut command = flowgate(&["send", "--url", &url(public)]);
    command.args(arguments);
    command
}

/// A `flowgate tail` that goes on; killed with this value.
struct Tail {
    child: Child,
    lines: Option<BufReader<ChildStdout>>,
}

impl Tail {
    fn start(public: SocketAddr, token: &str, arguments: &[&str]) -> Self {
        let mut command = flowgate(&["tail", "--url", &url(public), "--token-env", "TOKEN"]);
        command.args(arguments).env("TOKEN", token).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let lines = Some(BufReader::new(child.stdout.take().unwrap()));
        Tail { child, lines }
    }

    async fn line(&mut self) -> String {
        let mut lines = self.lines.take().unwrap();
        let read = move || {
            let mut line = String::new();
            lines.read_line(&mut line).unwrap();
            (lines, line)
        };
        let (lines, line) = tokio::task::spawn_blocking(read).await.unwrap();
        self.lines = Some(lines);
        line.trim_end().to_owned()
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn an_event_is_sent_and_its_answer_shown() {
    let sidecar = Sidecar::start(TYPED).await;
    let mut ann = RawSocket::join(sidecar.public, &member("ann", &["red"])).await;
    let token = mint(json!({ "sub": "ben", "teams": ["red"] }));
    let payload = r#"{"type":"task-updated","taskId": 7}"#;
    let said = run(send(sidecar.public, &[payload]), &token).await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.out.starts_with("accepted  id="), "{}", said.out);
    assert_eq!(ann.event().await, payload);

    let refused = run(send(sidecar.public, &[r#"{"type":"no-such"}"#]), &token).await;
    assert_eq!(refused.code, Some(1));
    assert!(refused.out.starts_with("refused  code=unknown_type  field=type"), "{}", refused.out);

    let stamped = run(send(sidecar.public, &["--now", "--json", r#"{"type":"task-created"}"#]), &token).await;
    assert_eq!(serde_json::from_str::<Value>(&stamped.out).unwrap()["ok"], true, "{}", stamped.err);
    let heard: Value = serde_json::from_str(&ann.event().await).unwrap();
    assert!(heard["timestamp"].is_string(), "{heard}");
}

#[tokio::test]
async fn what_arrives_is_printed_until_enough_was() {
    let sidecar = Sidecar::start("").await;
    let mut ann = RawSocket::join(sidecar.public, &member("ann", &["red"])).await;
    let token = mint(json!({ "sub": "ben", "teams": ["red"] }));
    let mut tail = Tail::start(sidecar.public, &token, &["--count", "2"]);
    let mut tools = Tail::start(sidecar.public, &token, &["--json"]);
    sidecar.until("flowgate_peers", 3.0).await;
    // What a client sends must not move an operator's cursor.
    ann.ask("{\"a\":  1.0, \"b\":\"\u{9b}2J\"}").await;
    let line = tail.line().await;
    assert!(line.ends_with(" database-changed {\"a\":  1.0, \"b\":\"\\u{9b}2J\"}"), "{line:?}");
    let line = tools.line().await;
    assert!(is_harmless(&line) && line.contains("\\u009b2J"), "{line:?}");
    let line: Value = serde_json::from_str(&line).unwrap();
    let arguments = json!([{ "a": 1.0, "b": "\u{9b}2J" }]);
    assert_eq!((&line["event"], &line["arguments"]), (&json!("database-changed"), &arguments));
    ann.ask("2").await;
    assert!(tail.line().await.ends_with(" 2"));
    until("it ends", async || tail.child.try_wait().unwrap().is_some_and(|status| status.success())).await;
    sidecar.until("flowgate_peers", 2.0).await;
}

#[tokio::test]
async fn teams_are_chosen_and_changes_filtered() {
    let sidecar = Sidecar::start(TYPED).await;
    let mut ann = RawSocket::join(sidecar.public, &member("ann", &["red"])).await;
    let token = mint(json!({ "sub": "ben", "teams": ["red", "blue"] }));
    let undecided = run(send(sidecar.public, &[r#"{"type":"task-created"}"#]), &token).await;
    assert!(undecided.out.contains("code=no_room"), "{}{}", undecided.out, undecided.err);
    let mut tail = Tail::start(sidecar.public, &token, &["--filter", r#"{"types":["task-deleted"]}"#]);
    sidecar.until("flowgate_peers", 2.0).await;
    for payload in [r#"{"type":"task-created"}"#, r#"{"type":"task-deleted","taskId":1}"#] {
        let said = run(send(sidecar.public, &["--team", "red", payload]), &token).await;
        assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
        assert_eq!(ann.event().await, payload);
    }
    assert!(tail.line().await.ends_with(r#"{"type":"task-deleted","taskId":1}"#));
}

#[tokio::test]
async fn a_refusal_is_final_and_says_its_code() {
    let sidecar = Sidecar::start("").await;
    let expired = mint(json!({ "sub": "ben", "iat": 1000, "exp": 2000 }));
    for command in ["tail", "send"] {
        let mut command = flowgate(&[command, "--url", &url(sidecar.public)]);
        command.env("NO_PROXY", "*");
        let said = run(command, &expired).await;
        assert_eq!((said.code, &*said.out), (Some(1), ""), "{}", said.err);
        assert!(said.err.ends_with("flowgate: refused: token_expired\n"), "{}", said.err);
    }
    let path = run(send(sidecar.public, &["--path", "/elsewhere/", "--no-token"]), "").await;
    assert_eq!(path.code, Some(1));
    assert!(path.err.contains("refused: HTTP 404"), "{}", path.err);
}

#[tokio::test]
async fn it_comes_back_when_the_server_does() {
    let old = Process::serve("");
    let public = old.public;
    let token = mint(json!({ "sub": "ben", "teams": ["red"] }));
    let mut tail = Tail::start(public, &token, &[]);
    until("it is in", async || old.log().contains("subject=\"ben\"")).await;
    drop(old);
    let new = Process::serve(&format!("[server]\nlisten = \"{public}\""));
    until("it is back", async || new.log().contains("subject=\"ben\"")).await;
    let mut ann = RawSocket::join(public, &member("ann", &["red"])).await;
    ann.ask("1").await;
    assert!(tail.line().await.ends_with(" 1"));
}

#[tokio::test]
async fn mistakes_are_told_and_no_token_stands_in_an_argument() {
    let sidecar = Sidecar::start("").await;
    let token = mint(json!({}));
    let in_json = format!("{{\"token\":\"{token}\"}}");
    for (arguments, expected) in [
        (vec!["{no json}"], "this is not JSON"),
        (vec!["--now", "7"], "a payload that is an object"),
        (vec![], "there is no token"),
        (vec![&*in_json], "tokens are not given as arguments"),
        (vec!["--token-env", "NO_SUCH"], "no such text in the environment"),
    ] {
        let said = run(send(sidecar.public, &arguments), "").await;
        assert_eq!(said.code, Some(2), "{arguments:?}: {}", said.err);
        assert!(said.err.contains(expected) && !said.err.contains(&token), "{arguments:?}: {}", said.err);
    }
    let said = run(flowgate(&["send", "--url", "ftp://x", "--no-token"]), "").await;
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("an address such as"), "{}", said.err);
    let nobody = run(send("127.0.0.1:1".parse().unwrap(), &["--no-token"]), "").await;
    assert_eq!(nobody.code, Some(1));
    assert!(nobody.err.contains("cannot connect to http://127.0.0.1:1/"), "{}", nobody.err);
}

/// A server that is none of ours: it opens a connection, and says these packets, each after the client has said one.
async fn stranger(packets: &'static [&'static str]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let mut socket = tokio_tungstenite::accept_async(tcp).await.unwrap();
            let open = r#"0{"sid":"s","upgrades":[],"pingInterval":25000,"pingTimeout":20000}"#;
            socket.send(Message::text(open)).await.unwrap();
            for packet in packets {
                socket.next().await;
                socket.send(Message::text(*packet)).await.unwrap();
            }
            // Until the client has gone.
            while let Some(Ok(_)) = socket.next().await {}
        }
    });
    address
}

/// Whether a terminal would obey nothing in it, and show it in the order in which it stands.
fn is_harmless(text: &str) -> bool {
    let obeyed = |c: char| c != '\n' && (c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c));
    !text.chars().any(obeyed)
}

#[tokio::test]
async fn a_terminal_obeys_no_server() {
    let refusing = stranger(&[r#"44{"message":"a\u001b]0;b\u0007\u009b2J\u202e\nc"}"#]).await;
    for command in ["send", "tail"] {
        let said = run(flowgate(&[command, "--url", &url(refusing), "--no-token"]), "").await;
        assert_eq!((said.code, &*said.out), (Some(1), ""), "{}", said.err);
        assert!(is_harmless(&said.err), "{:?}", said.err);
        let expected = "flowgate: refused: a\\u{1b}]0;b\\u{7}\\u{9b}2J\\u{202e}\\nc\n";
        assert!(said.err.ends_with(expected), "{:?}", said.err);
    }

    let answering = stranger(&[
        r#"40{"sid":"x"}"#,
        "430[{\"ok\":false,\"code\":\"a\u{9b}2J\",\"field\":\"\\u001b[2J\",\"rule\":\"\u{202e}\",\"message\":\"\u{2028}\"}]",
    ])
    .await;
    let said = run(send(answering, &["--no-token", "1"]), "").await;
    let expected = "refused  code=a\\u{9b}2J  field=\\u{1b}[2J  rule=\\u{202e}  message=\\u{2028}\n";
    assert_eq!((said.code, &*said.out), (Some(1), expected), "{}", said.err);
    let said = run(send(answering, &["--no-token", "--json", "1"]), "").await;
    assert!(is_harmless(&said.out), "{:?}", said.out);
    let answer: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&answer["code"], &answer["rule"]), (&json!("a\u{9b}2J"), &json!("\u{202e}")));
}

#[tokio::test]
async fn a_terminal_obeys_no_code_of_an_http_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        // The request comes whole or not at all as far as this goes: what is answered does not hang on it.
        let _ = tcp.read(&mut [0; 4096]).await;
        let body = r#"{"code":"\u001b[2J\u009b"}"#;
        let head = format!("HTTP/1.1 403 Forbidden\r\nContent-Length: {}\r\n\r\n", body.len());
        tcp.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        let _ = tcp.read(&mut [0; 1]).await;
    });
    let said = run(send(address, &["--no-token"]), "").await;
    assert!(is_harmless(&said.err), "{:?}", said.err);
    assert!(said.err.ends_with("refused: HTTP 403, \\u{1b}[2J\\u{9b}\n"), "{:?}", said.err);
}

#[tokio::test]
async fn what_stands_before_the_host_is_never_shown() {
    for address in ["http://grace:hunter2@127.0.0.1:1", "https://hunter2@127.0.0.1:1"] {
        for command in ["send", "tail"] {
            let mut command = flowgate(&[command, "--url", address, "--no-token"]);
            command.args(if command.get_args().any(|word| word == "tail") { &["--once"][..] } else { &[] });
            let said = run(command, "").await;
            assert_eq!(said.code, Some(1), "{}", said.err);
            assert!(said.err.contains("://127.0.0.1:1/:"), "{}", said.err);
            assert!(!said.err.contains("hunter2") && !said.err.contains("grace"), "{}", said.err);
        }
    }
    let said = run(flowgate(&["send", "--url", "http://grace:hunter2@[", "--no-token"]), "").await;
    assert_eq!((said.code, said.err.contains("hunter2")), (Some(2), false), "{}", said.err);
    let mut help = flowgate(&["tail", "--help"]);
    help.env("FLOWGATE_URL", "http://grace:hunter2@127.0.0.1:1");
    let said = run(help, "").await;
    assert!(said.out.contains("FLOWGATE_URL") && !said.out.contains("hunter2"), "{}", said.out);
}

#[test]
fn shells_can_complete_it() {
    for (shell, sign) in
        [("bash", "complete -F _flowgate"), ("zsh", "#compdef flowgate"), ("fish", "complete -c flowgate")]
    {
        let output = flowgate(&["completions", shell]).output().unwrap();
        assert!(output.status.success());
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(script.contains(sign) && script.contains("explain"), "{shell}:\n{script}");
    }
}
