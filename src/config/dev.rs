//! What `serve --dev` sets beneath the files: a throw-away issuer, and browsers from localhost.

use config::Value;

use super::BUILT_IN;
use super::key_path::KeyPath;

/// The name under which the throw-away secret is found; the variable need not be set.
pub const DEV_SECRET: &str = "FLOWGATE_DEV_SECRET";

/// How messages name these settings.
pub(super) const ORIGIN: &str = "serve --dev";

/// The `iss` of the throw-away issuer, by which it can be told from those that files add.
pub const DEV_ISSUER: &str = "flowgate-dev";

/// Pages of this machine are admitted at any port, unless something above these settings lists origins.
pub(super) const SETTINGS: &str = r#"
[server]
allowed_origins = ["http://localhost"]

[refusals]
detail = "full"

[[auth.issuers]]
name = "dev"
issuer = "flowgate-dev"
algorithms = ["HS256"]
secret_env = "FLOWGATE_DEV_SECRET"
"#;

/// Whether nothing above these settings said which pages may connect.
pub(super) fn decides_origins(tree: &Value) -> bool {
    KeyPath::of("server.allowed_origins").origin(tree, BUILT_IN) == ORIGIN
}
