//! What `serve --dev` sets beneath the files: a throw-away issuer, and browsers from localhost.

/// The name under which the throw-away secret is found; the variable need not be set.
pub const DEV_SECRET: &str = "FLOWGATE_DEV_SECRET";

/// How messages name these settings.
pub(super) const ORIGIN: &str = "serve --dev";

/// The ports are those that Vite (5173, 4173 for its preview), Express and Next (3000), and static servers (8000, 8080)
/// take by default, and our own playground's (3001).
pub(super) const SETTINGS: &str = r#"
[server]
allowed_origins = [
    "http://localhost:5173", "http://localhost:4173", "http://localhost:3000", "http://localhost:3001",
    "http://localhost:8000", "http://localhost:8080",
    "http://127.0.0.1:5173", "http://127.0.0.1:4173", "http://127.0.0.1:3000", "http://127.0.0.1:3001",
    "http://127.0.0.1:8000", "http://127.0.0.1:8080",
]

[refusals]
detail = "full"

[[auth.issuers]]
name = "dev"
issuer = "flowgate-dev"
algorithms = ["HS256"]
secret_env = "FLOWGATE_DEV_SECRET"
"#;
