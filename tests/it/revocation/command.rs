//! `flowgate revoke`, the real binary against the real process.

use std::process::{Output, Stdio};

use serde_json::{Value, json};

use super::{Operator, TOKEN, VARIABLE, knock, revoked, token};
use crate::harness::http::get;
use crate::harness::mint;
use crate::harness::process::{Process, flowgate};
use crate::harness::websocket::RawSocket;

/// What a command said and how it ended.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

async fn run(mut command: std::process::Command) -> Said {
    let running = tokio::task::spawn_blocking(move || command.stdin(Stdio::null()).output().unwrap());
    let Output { status, stdout, stderr } = running.await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: status.code(), out: text(stdout), err: text(stderr) }
}

/// `flowgate revoke` with the admin token in its environment.
async fn revoke(process: &Process, arguments: &[&str]) -> Said {
    let mut command = flowgate(&["revoke"]);
    command.args(arguments).args(["--internal", &format!("http://{}", process.internal)]);
    command.env(VARIABLE, TOKEN);
    run(command).await
}

fn serve() -> Process {
    Process::serve_in("", &[(VARIABLE, TOKEN)])
}

#[tokio::test]
async fn it_revokes_lists_and_undoes() {
    let process = serve();
    let socket = RawSocket::join(process.public, &token(json!({ "sub": "ann" }))).await;
    let said = revoke(&process, &["--subject", "ann", "--reason", "laptop stolen"]).await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(
        said.out.contains("subject \"ann\", issued before 20") && said.out.contains("laptop stolen"),
        "{}",
        said.out
    );
    assert!(said.out.contains("closed 1 live socket\n"), "{}", said.out);
    assert!(said.err.contains("not kept across restarts"), "{}", said.err);
    socket.closed().await;
    assert_eq!(knock(process.public, json!({ "sub": "ann" })).await, revoked());

    let listed = revoke(&process, &["list"]).await;
    assert_eq!((listed.code, listed.out.lines().count()), (Some(0), 1), "{}", listed.out);
    assert!(listed.out.contains("subject \"ann\"") && listed.err.contains("not kept"), "{}", listed.out);
    let id = listed.out.split_whitespace().next().unwrap();
    let undone = revoke(&process, &["undo", id]).await;
    assert_eq!((undone.code, undone.out), (Some(0), format!("undone {id}\n")), "{}", undone.err);
    assert_eq!(knock(process.public, json!({ "sub": "ann" })).await, Ok(()));
    let again = revoke(&process, &["undo", id]).await;
    assert_eq!((again.code, again.out.as_str()), (Some(1), ""));
    assert!(again.err.contains("there is no revocation of this id"), "{}", again.err);
}

#[tokio::test]
async fn every_kind_of_it_reaches_the_server() {
    let process = serve();
    for (arguments, expected) in [
        (&["--token-id", "t-1"][..], json!({ "tokenId": "t-1" })),
        (&["--subject", "ann", "--issuer", "app"], json!({ "subject": "ann", "issuer": "app" })),
        (&["--team", "red", "--for", "30d"], json!({ "team": "red" })),
        (&["--issued-before", "2026-01-02T03:04:05Z"], json!({ "issuedBefore": "2026-01-02T03:04:05.000Z" })),
        (&["--issued-before", "now"], json!({ "reason": null })),
        (
            &["--subject", "bob", "--issued-before", "2026-01-02T03:04:05+01:00", "--reason", "x"],
            json!({ "subject": "bob", "issuedBefore": "2026-01-02T02:04:05.000Z", "reason": "x" }),
        ),
    ] {
        let said = revoke(&process, &[arguments, &["--json"]].concat()).await;
        assert_eq!((said.code, &*said.err), (Some(0), ""), "{arguments:?}");
        let answer: Value = serde_json::from_str(&said.out).unwrap();
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(&answer["revocations"][0][key], value, "{arguments:?}");
        }
    }
    let listed = revoke(&process, &["list", "--json"]).await;
    let lines: Vec<Value> = listed.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(json!(lines), json!(Operator(process.internal).list().await));
}

/// More than a page.
#[tokio::test]
async fn it_lists_all_of_many() {
    const MANY: usize = 2001;
    let process = serve();
    let operator = Operator(process.internal);
    let wanted: Vec<Value> = (0..MANY).map(|number| json!({ "tokenId": format!("t-{number}") })).collect();
    for some in wanted.chunks(1000) {
        operator.revoke(json!(some)).await;
    }
    let listed = revoke(&process, &["list"]).await;
    assert_eq!((listed.code, listed.out.lines().count()), (Some(0), MANY));
}

#[tokio::test]
async fn what_is_no_order_is_refused_before_anybody_is_asked() {
    let process = serve();
    let whole = mint(json!({}));
    for arguments in [
        &[][..],
        &["--reason", "x"],
        &["--for", "1h"],
        &["--issuer", "app"],
        &["--issued-before", "yesterday"],
        &["--issued-before", "now", "--for", "1h"],
        &["--token-id", "t", "--subject", "s"],
        &["--token-id", "t", "--issued-before", "now"],
        &["--subject", "s", "--for", "long"],
        &["--subject", "s", "--reason", "two\nlines"],
        &["undo"],
        &["undo", "x"],
        &["list", "x"],
        &["--token-id", &whole],
    ] {
        let said = revoke(&process, arguments).await;
        assert_eq!((said.code, &*said.out), (Some(2), ""), "{arguments:?}: {}", said.err);
        assert!(!said.err.contains(&whole), "{}", said.err);
    }
    assert_eq!(Operator(process.internal).list().await, Vec::<Value>::new());
    // What only the server can know.
    let said = revoke(&process, &["--subject", "s", "--issuer", "nobody"]).await;
    assert_eq!((said.code, &*said.out), (Some(1), ""));
    assert!(said.err.contains("invalid_revocation: no issuer in auth.issuers"), "{}", said.err);
}

#[tokio::test]
async fn it_says_what_is_amiss_with_server_and_token() {
    let process = serve();
    let internal = format!("http://{}", process.internal);
    let with = async |arguments: &[&str], token: Option<&str>| {
        let mut command = flowgate(&["revoke", "list"]);
        command.args(arguments).envs(token.map(|token| (VARIABLE, token)));
        run(command).await
    };
    let said = with(&["--internal", &internal], None).await;
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains(VARIABLE) && said.err.contains("--admin-token-file"), "{}", said.err);
    let said = with(&["--internal", &internal], Some("another-token-than-this")).await;
    assert_eq!(said.code, Some(1));
    let wrong =
        format!("unauthorized: the token in {VARIABLE} is not the one with which flowgate was started");
    assert!(said.err.contains(&wrong) && !said.err.contains("another-token"), "{}", said.err);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let said = with(&["--internal", &internal, "--admin-token-file", file.to_str().unwrap()], None).await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    let said = with(&["--internal", &internal, "--admin-token-file", "no-such-file"], Some(TOKEN)).await;
    assert_eq!(said.code, Some(2));
    let said = with(&["--internal", &internal, "--admin-token-file", "/dev/zero"], None).await;
    assert_eq!(said.code, Some(2), "{}", said.err);
    // The public port is not it.
    let said = with(&["--internal", &format!("http://{}", process.public)], Some(TOKEN)).await;
    assert_eq!(said.code, Some(1), "{}", said.out);
    assert!(said.err.contains("is not the internal port of a flowgate"), "{}", said.err);
    let mut command =
        flowgate(&["revoke", "--subject", "ann", "--internal", &format!("http://{}", process.public)]);
    command.env(VARIABLE, TOKEN);
    let said = run(command).await;
    assert!(said.code == Some(1) && said.err.ends_with(". Nothing was done\n"), "{}", said.err);
    let said = with(&["--internal", &format!("https://{}", process.internal)], Some(TOKEN)).await;
    assert!(said.code == Some(1) && said.err.contains("speaks plain HTTP: write http://"), "{}", said.err);
    // Whoever tries too often hears for how long, and what is wrong.
    let wrong = folder.path().join("wrong");
    std::fs::write(&wrong, "another-token-than-this").unwrap();
    let wrong = wrong.to_str().unwrap();
    loop {
        while get(process.internal, "/api/status", &[]).await.status != 429 {}
        let said = with(&["--internal", &internal, "--admin-token-file", wrong], None).await;
        assert_eq!(said.code, Some(1));
        assert!(said.err.contains(&format!("the token in {wrong} is not the one")), "{}", said.err);
        if said.err.contains("too_many_attempts") {
            assert!(said.err.contains("; try again in ") && said.err.contains(" s, "), "{}", said.err);
            break;
        }
    }
    drop(process);
    for command in [&["--subject", "ann"][..], &["list"], &["undo", "0123456789abcdef"]] {
        let mut gone = flowgate(&["revoke"]);
        gone.args(command).args(["--internal", &internal]).env(VARIABLE, TOKEN);
        let said = run(gone).await;
        assert_eq!((said.code, &*said.out), (Some(1), ""), "{command:?}");
        assert!(said.err.contains(&internal) && said.err.contains("--internal"), "{command:?}: {}", said.err);
        assert_eq!(said.err.contains("Nothing was done"), command[0] != "list", "{}", said.err);
    }
}

/// The configuration says where the port is and which variable opens it.
#[tokio::test]
async fn the_configuration_says_which_server_and_which_variable() {
    let process = Process::serve_in("[internal]\nadmin_token_env = \"OPEN_IT\"", &[("OPEN_IT", TOKEN)]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("app.toml");
    let settings = format!(
        "[internal]\nlisten = \"{}\"\nadmin_token_env = \"OPEN_IT\"\n[auth]\nmode = \"off\"\n[server]\nallowed_origins = []",
        process.internal
    );
    std::fs::write(&file, settings).unwrap();
    let mut command = flowgate(&["revoke", "--team", "red", "--config", file.to_str().unwrap()]);
    command.env("OPEN_IT", TOKEN);
    let said = run(command).await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(Operator(process.internal).list().await[0]["team"], "red");
}

/// A bad edit must not keep anybody from asking the flowgate that runs.
#[tokio::test]
async fn the_configuration_need_not_be_one_that_could_be_served() {
    let process = serve();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("app.toml");
    let address = process.internal.to_string();
    let internal = format!("[internal]\nlisten = {address:?}\n");
    let secret = "[[auth.issuers]]\nname = \"a\"\nalgorithms = [\"HS256\"]\nsecret_env = \"NO_SUCH_SECRET\"";
    for (settings, listen, note) in [
        (format!("{internal}[sever]\nlisten = 1\n"), None, false),
        (format!("{internal}{secret}"), None, false),
        (format!("{internal}listen ="), Some(&address), true),
    ] {
        std::fs::write(&file, &settings).unwrap();
        for arguments in [&["health"][..], &["revoke", "--team", "red"], &["revoke", "list"]] {
            let mut command = flowgate(arguments);
            command.arg("--config").arg(&file).env(VARIABLE, TOKEN);
            command.envs(listen.map(|listen| ("FLOWGATE__INTERNAL__LISTEN", listen)));
            let said = run(command).await;
            assert_eq!(said.code, Some(0), "{arguments:?} {settings}: {}", said.err);
            let expected = format!("{} cannot be read; asking {address}", file.display());
            assert_eq!(said.err.contains(&expected), note, "{}", said.err);
            assert_eq!(said.err.contains("cannot be read"), note, "{}", said.err);
        }
    }
    // Where the port is named, the file could only name the variable.
    let mut command = flowgate(&["revoke", "list", "--internal", &format!("http://{address}")]);
    command.arg("--config").arg(&file).env(VARIABLE, TOKEN);
    let said = run(command).await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.err.contains(&format!("the admin token is that in {VARIABLE}")), "{}", said.err);
}

/// Who did it, what, and how it ended.
#[tokio::test]
async fn the_decision_log_says_who_revoked_what() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("decisions.jsonl");
    let settings = format!("[decision_log]\npath = {:?}\n[revocation]\ncapacity = 1", log.to_str().unwrap());
    let mut process = Process::serve_in(&settings, &[(VARIABLE, TOKEN)]);
    let _socket = RawSocket::join(process.public, &token(json!({ "sub": "ann" }))).await;
    assert_eq!(revoke(&process, &["--subject", "ann", "--reason", "stolen"]).await.code, Some(0));
    assert_eq!(revoke(&process, &["--subject", "bob"]).await.code, Some(1));
    let id = Operator(process.internal).list().await[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(revoke(&process, &["undo", &id]).await.code, Some(0));
    process.signal("TERM");
    process.exit_code();
    let text = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |kind: &str| lines.iter().filter(|line| line["kind"] == kind).cloned().collect::<Vec<_>>();
    let found = of("revocation");
    found.iter().for_each(crate::decision_log::assert_described);
    let shown =
        |line: &Value| json!([line["outcome"], line["by"], line["code"], line["revocation"], line["closed"]]);
    assert_eq!(shown(&found[0]), json!(["accepted", "admin", "revoked", id, 1]));
    let why = found[0]["why"].as_str().unwrap();
    assert!(why.starts_with("subject \"ann\", issued before 20") && why.ends_with(": \"stolen\""), "{why}");
    assert_eq!(shown(&found[1]), json!(["refused", "admin", "too_many_revocations", null, null]));
    assert_eq!(shown(&found[2]), json!(["accepted", "admin", "undone", id, null]));
    assert_eq!((found.len(), of("close")[0]["code"].as_str()), (3, Some("token_revoked")));
    assert!(!text.contains(TOKEN) && !process.log().contains(TOKEN));
}
