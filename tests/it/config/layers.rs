//! How files, environment and flags lie over each other.

use std::time::Duration;

use flowgate::config::policy::{AllowedOrigins, Presence, RefusalDetail};

use super::Given;

#[test]
fn folders_are_read_in_name_order() {
    let mut given = Given::file("");
    let folder = given.folder.path().join("conf.d");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("20.toml"), "server.path = \"/twenty\"").unwrap();
    std::fs::write(folder.join("10.toml"), "server.path = \"/ten\"\ndrain.spread = \"1s\"").unwrap();
    std::fs::write(folder.join("30.txt"), "server.path = \"/thirty\"").unwrap();
    given.sources.paths.push(folder);
    let policy = given.policy();
    assert_eq!(policy.server.path, "/twenty/");
    assert_eq!(policy.drain.spread, Duration::from_secs(1));
}

#[test]
fn texts_rank_above_files_and_below_the_environment() {
    let mut given =
        Given::file("server.path = \"/file\"\ndrain.spread = \"1s\"\nlimits.payload.max_depth = 3")
            .env("FLOWGATE__DRAIN__SPREAD", "3s");
    let text = "server.path = \"/text\"\ndrain.spread = \"2s\"";
    given.sources.texts.push(("the text".into(), text.into()));
    let policy = given.policy();
    assert_eq!((policy.server.path.as_str(), policy.limits.payload.max_depth), ("/text/", 3));
    assert_eq!(policy.drain.spread, Duration::from_secs(3));
    given.sources.texts.push(("another".into(), "server.pth = 1".into()));
    assert!(given.problems().starts_with("another: server.pth: "), "{}", given.problems());
}

#[test]
fn layers_merge_by_key_and_by_name() {
    let given = Given::file(
        r#"
        server.transports = ["websocket"]
        limits.events.per_socket = { burst = 7 }
        limits.events.per_user = "9/m"
        [[auth.issuers]]
        name = "app"
        issuer = "https://app.example"
        [[events.database-change.types]]
        match = "task-created"
        task_id = "forbidden"
        [[events.database-change.types]]
        match = "comment-*"
        "#,
    )
    .and(
        "later.toml",
        "limits.events.per_user = { burst = 3 }\n[[auth.issuers]]\nname = \"app\"\naudience = [\"a\"]",
    );
    let policy = given.policy();
    assert!(policy.server.websocket && !policy.server.polling);
    assert_eq!(
        (policy.limits.events.per_socket.rate.count.get(), policy.limits.events.per_socket.rate.burst.get()),
        (20, 7)
    );
    assert_eq!(
        (policy.limits.events.per_user.rate.count.get(), policy.limits.events.per_user.rate.burst.get()),
        (9, 3)
    );
    assert_eq!(policy.limits.events.per_user.rate.per, Duration::from_secs(60));
    let [app] = policy.auth.issuers.as_slice() else { panic!("one issuer") };
    assert_eq!(app.issuer.as_deref(), Some("https://app.example"));
    assert_eq!(app.audience, ["a"]);
    let typed = policy.events["database-change"].typed.as_ref().unwrap();
    assert_eq!(typed.exact_types["task-created"].task_id, Presence::Forbidden);
    assert_eq!(typed.exact_types["task-deleted"].task_id, Presence::Required);
    assert_eq!(typed.glob_types[0].0.as_str(), "comment-*");
    // A plain rate over a table replaces it, so the burst is the count again.
    let policy = Given::file("limits.events.per_socket = \"5/h\"").policy();
    assert_eq!(policy.limits.events.per_socket.rate.burst.get(), 5);
    // An empty array clears, and a later file fills again.
    let given = Given::file("events.database-change.types = []")
        .and("b.toml", "[[events.database-change.types]]\nmatch = \"x\"");
    assert_eq!(given.policy().events["database-change"].typed.as_ref().unwrap().exact_types.len(), 1);
}

#[test]
fn new_events_begin_with_the_shared_defaults() {
    let text = "[events.chat]\nemit = \"chatted\"\nteam_field = \"room\"\n[[events.chat.types]]\nmatch = \"*\"\n\
                [events.chat.fields.text]\nkind = \"string\"\npresence = \"required\"\nmax_length = 500";
    let policy = Given::file(text).policy();
    let chat = &policy.events["chat"];
    assert!(chat.echo);
    assert_eq!(chat.team_field.as_deref(), Some("room"));
    let typed = chat.typed.as_ref().unwrap();
    assert_eq!(typed.timestamp.max_age, Duration::from_secs(300));
    assert!(typed.exact_types.is_empty());
    assert_eq!(typed.fields["text"].max_length, Some(500));
    assert_eq!(&*typed.fields["text"].rule, "events.chat.fields.text");
    assert_eq!(policy.events.len(), 2);
}

#[test]
fn new_events_follow_the_known_one_through_all_files() {
    let policy = Given::file("[events.chat]\nemit = \"chatted\"\ntimestamp = { max_age = \"1m\" }")
        .and(
            "strict.toml",
            "[events.database-change]\nsender = \"exclude\"\ntimestamp = { presence = \"required\" }",
        )
        .policy();
    let chat = &policy.events["chat"];
    let timestamp = chat.typed.as_ref().unwrap().timestamp;
    assert!(!chat.echo);
    assert_eq!((timestamp.presence, timestamp.max_age), (Presence::Required, Duration::from_secs(60)));
}

#[test]
fn the_environment_ranks_above_files_and_below_flags() {
    let given = Given::file("server.path = \"/file\"\nlimits.payload.max_depth = 3\ndrain.spread = \"2s\"")
        .env("FLOWGATE__SERVER__PATH", "/environment")
        .env("flowgate__limits__payload__max_depth", " 4 ")
        .env("FLOWGATE__LIMITS__PAYLOAD__MAX_BYTES", "2000")
        .env("FLOWGATE__LIMITS__EVENTS__PER_SOCKET", "{ rate = \"3/s\", burst = 9 }")
        .env("FLOWGATE__LIMITS__EVENTS__PER_USER__BURST", "8")
        .env("FLOWGATE__SERVER__ALLOW_MISSING_ORIGIN", "FALSE")
        .env("FLOWGATE__SERVER__TRANSPORTS", "websocket, polling")
        .env("FLOWGATE__SERVER__ALLOWED_ORIGINS", "[\"https://a.example\"]")
        .env("FLOWGATE__EVENTS__DATABASE_CHANGE__SENDER", "exclude")
        .env("FLOWGATE__EVENTS__DATABASE_CHANGE__TYPES__TASK_CREATED__TASK_ID", "required")
        .env("FLOWGATE__AUTH__ISSUERS__APP__AUDIENCE", "a,b")
        .env("FLOWGATE_JWT_SECRET", "no setting")
        .flag("--path", "server.path", "/flag");
    let policy = given.policy();
    assert_eq!(policy.server.path, "/flag/");
    assert_eq!(policy.limits.payload.max_depth, 4);
    assert_eq!(policy.limits.payload.max_bytes, 2000);
    assert_eq!(policy.limits.events.per_socket.rate.burst.get(), 9);
    assert_eq!(
        (policy.limits.events.per_user.rate.count.get(), policy.limits.events.per_user.rate.burst.get()),
        (50, 8)
    );
    assert!(!policy.server.allow_missing_origin && policy.server.polling && policy.server.websocket);
    assert_eq!(policy.server.allowed_origins, AllowedOrigins::List(vec!["https://a.example".into()]));
    let event = &policy.events["database-change"];
    assert!(!event.echo);
    assert_eq!(event.typed.as_ref().unwrap().exact_types["task-created"].task_id, Presence::Required);
    assert_eq!(policy.auth.issuers[0].audience, ["a", "b"]);
    assert_eq!(policy.drain.spread, Duration::from_secs(2));
}

#[test]
fn the_environment_alone_can_add_an_issuer() {
    let issuers = r#"[{ name = "app", algorithms = ["HS256"], secret_env = "APP_SECRET" }]"#;
    let given = Given::nothing().env("APP_SECRET", &"s".repeat(32)).env("FLOWGATE__AUTH__ISSUERS", issuers);
    assert_eq!(&*given.policy().auth.issuers[0].name, "app");
}

#[test]
fn the_cors_alias_ranks_below_files() {
    let both = "http://localhost:5173, https://a.example";
    let origins = |given: Given| given.policy().server.allowed_origins;
    assert_eq!(
        origins(Given::file("").env("VITE_CORS_ORIGIN", both)),
        AllowedOrigins::List(vec!["http://localhost:5173".into(), "https://a.example".into()])
    );
    let file = "server.allowed_origins = [\"https://b.example\"]";
    for overruled in [both, "*", "nonsense"] {
        let given = Given::file(file).env("VITE_CORS_ORIGIN", overruled);
        assert_eq!(given.warnings().lines().count(), 1, "{}", given.warnings());
        assert_eq!(origins(given), AllowedOrigins::List(vec!["https://b.example".into()]));
    }
    assert_eq!(origins(Given::file("").env("VITE_CORS_ORIGIN", "")), AllowedOrigins::List(Vec::new()));
    let wrong = Given::file("").env("VITE_CORS_ORIGIN", "https://a.example/").problems();
    let place = "environment variable VITE_CORS_ORIGIN: server.allowed_origins[0]: ";
    assert!(wrong.starts_with(place) && wrong.contains("write \"https://a.example\""), "{wrong}");
}

#[test]
fn the_cors_alias_opens_to_all_only_where_nobody_is_asked() {
    let asked = Given::file("").env("VITE_CORS_ORIGIN", "*");
    assert!(asked.warnings().starts_with(
        "environment variable VITE_CORS_ORIGIN: server.allowed_origins: its `*` does not count"
    ));
    assert_eq!(asked.policy().server.allowed_origins, AllowedOrigins::List(Vec::new()));
    let open = Given::nothing().and("app.toml", "auth.mode = \"off\"").env("VITE_CORS_ORIGIN", "*");
    assert_eq!(open.policy().server.allowed_origins, AllowedOrigins::Any);
    assert!(!open.warnings().contains("VITE_CORS_ORIGIN"), "{}", open.warnings());
}

#[test]
fn dev_needs_nothing_and_ranks_below_files() {
    let mut given = Given::nothing();
    given.sources.dev_secret = Some("d".repeat(32));
    let policy = given.policy();
    assert_eq!(&*policy.auth.issuers[0].name, "dev");
    assert_eq!(policy.refusal_detail, RefusalDetail::Full);
    assert_eq!(policy.server.allowed_origins, AllowedOrigins::Loopback);
    let shown = given.load().unwrap().effective.to_toml();
    assert!(shown.contains("# from serve --dev") && !shown.contains("dddd"), "{shown}");
    let given = given.and("app.toml", "refusals.detail = \"code\"");
    assert_eq!(given.policy().refusal_detail, RefusalDetail::Code);
    let given = given.and("pages.toml", "server.allowed_origins = [\"https://app.example\"]");
    let listed = AllowedOrigins::List(vec!["https://app.example".into()]);
    assert_eq!(given.policy().server.allowed_origins, listed);
}
