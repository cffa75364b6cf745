//! What `flowgate check` and `flowgate config show` tell.

use super::Given;

#[test]
fn check_says_fine_or_everything() {
    let run = |given: &Given| {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = flowgate::cli::check::check(&given.sources, &mut out, &mut err);
        (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    };
    let (code, out, err) = run(&Given::file("internal.listen = \"0.0.0.0:1\""));
    assert_eq!(code, 0, "{err}");
    assert!(
        out.starts_with("The configuration is fine, 1 warning.")
            && out.contains("auth required, issuers: app"),
        "{out}"
    );
    assert!(err.starts_with("warning: ") && err.contains("internal.listen"), "{err}");
    let (code, out, err) = run(&Given::file("server.listen = \"x\"\nserver.path = \"x\""));
    assert_eq!((code, out.as_str()), (78, ""));
    assert!(
        err.contains("server.listen") && err.contains("server.path") && err.contains("2 problems"),
        "{err}"
    );
}

#[test]
fn show_tells_values_and_origins_and_no_secrets() {
    let given = Given::file(
        "limits.events.per_socket.burst = 7\n[[auth.issuers]]\nname = \"idp\"\nissuer = \"https://i.example\"\n\
         algorithms = [\"ES256\"]\njwks_url = \"https://me:hunter2@i.example/jwks?key=hunter3\"",
    )
    .env("FLOWGATE__SERVER__PATH", "/p")
    .flag("--listen", "server.listen", "127.0.0.1:0");
    let show = |json| {
        let mut out = Vec::new();
        assert_eq!(flowgate::cli::config::show(&given.sources, json, &mut out, &mut Vec::new()), 0);
        String::from_utf8(out).unwrap().replace(&format!("{}/", given.folder.path().display()), "")
    };
    let text = show(false);
    for line in [
        "path = \"/p\"  # from environment variable FLOWGATE__SERVER__PATH",
        "listen = \"127.0.0.1:0\"  # from flag --listen",
        "mode = \"required\"  # from config/default.toml (built in)",
        "per_socket = { rate = \"20/s\", burst = 7, mode = \"enforce\" }  # from app.toml and config/default.toml (built in)",
        "[[auth.issuers]]\nname = \"idp\"  # from app.toml",
        "jwks_url = \"https://***@i.example/jwks?***\"  # from app.toml",
        "[events.database-change.timestamp]",
        "secret_env = \"APP_SECRET\"  # from issuer.toml",
    ] {
        assert!(text.contains(line), "wants {line}\nhas {text}");
    }
    let json: serde_json::Value = serde_json::from_str(&show(true)).unwrap();
    assert_eq!(json["limits.events.per_socket"]["value"]["burst"], 7);
    assert_eq!(json["auth.issuers[name=\"app\"].secret_env"]["origin"], "issuer.toml");
    assert_eq!(json["server.transports"]["value"][1], "websocket");
    for output in [text.clone(), json.to_string()] {
        assert!(!output.contains("hunter") && !output.contains("ssss"), "{output}");
    }
    // What is shown can be read again, and means the same.
    let again = Given::nothing().env("APP_SECRET", &"s".repeat(64)).and("shown.toml", &text);
    let policies = (format!("{:?}", again.policy().limits), format!("{:?}", given.policy().limits));
    assert_eq!(policies.0, policies.1);
}

#[test]
fn show_tells_what_was_erased() {
    let given = Given::file("events.database-change.types = []");
    let effective = given.load().unwrap().effective;
    let text = effective.to_toml();
    let line = "types = []  # from ";
    assert!(text.contains(line) && !text.contains("[[events.database-change.types]]"), "{text}");
    assert_eq!(effective.to_json()["events.database-change.types"]["value"], serde_json::json!([]));
    let again = Given::nothing().env("APP_SECRET", &"s".repeat(64)).and("shown.toml", &text).policy();
    assert!(again.events["database-change"].typed.as_ref().unwrap().exact_types.is_empty());
}
