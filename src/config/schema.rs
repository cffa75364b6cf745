//! Every setting there is: one description for the unknown-key check, for merging, for text from the environment and
//! for `config show`. [`super::raw`] holds the same keys as types; a test keeps the two alike.

/// What may stand at a place.
#[derive(Debug)]
pub(super) enum Shape {
    /// A string.
    Text,
    /// A whole number.
    Integer,
    /// A number, with a fraction or without.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A string such as `"16KiB"`, or whole bytes.
    Size,
    /// A list of strings, replaced as a whole.
    Texts,
    /// One string or a list of them, replaced as a whole.
    TextOrTexts,
    /// `"20/s"` or a table with these keys: `{ rate = "20/s", burst = 40 }`.
    Rate(Keys),
    /// A table with these keys.
    Table(Keys),
    /// A table whose keys are names that the user chooses, and what each stands for.
    Named(&'static Shape),
    /// An array of tables, merged by the value of one of their keys.
    Entries {
        /// The key by which entries merge; every entry has it.
        by: &'static str,
        /// What one entry is.
        entry: &'static Shape,
    },
}

/// The keys of a table, in the order in which people read them.
pub(super) type Keys = &'static [(&'static str, Shape)];

use Shape::{Boolean, Entries, Integer, Named, Number, Rate, Size, Table, Text, TextOrTexts, Texts};

/// The whole configuration.
pub(super) static ROOT: Shape = Table(SECTIONS);

/// A rate of the edge's, which is always enforced.
const RATE: Shape = Rate(&[("rate", Text), ("burst", Integer)]);

/// A rate of events.
const EVENT_RATE: Shape = Rate(&[("rate", Text), ("burst", Integer), ("mode", Text)]);

const SECTIONS: Keys = &[
    ("server", Table(SERVER)),
    ("internal", Table(&[("listen", Text), ("admin_token_env", Text)])),
    ("auth", Table(AUTH)),
    ("revocation", Table(&[("store", Text), ("capacity", Integer)])),
    ("rooms", Table(&[("without_team", Text), ("multi_team", Text), ("anonymous", Text)])),
    ("limits", Table(LIMITS)),
    ("relay", Table(RELAY)),
    ("refusals", Table(&[("detail", Text)])),
    ("events", Named(&Table(EVENT))),
    ("rules", Entries { by: "name", entry: &Table(RULE) }),
    ("audience", Entries { by: "name", entry: &Table(AUDIENCE) }),
    ("publish", Table(PUBLISH)),
    ("bus", Table(BUS)),
    ("decision_log", Table(DECISION_LOG)),
    ("reload", Table(&[("watch", Boolean)])),
    ("drain", Table(&[("spread", Text), ("deadline", Text)])),
];

const RELAY: Keys = &[
    ("coalesce", Table(&[("window", Text)])),
    ("meta", Boolean),
    ("resync_on_connect", Boolean),
    ("history", Table(&[("store", Text), ("count", Integer), ("age", Text), ("bytes", Size)])),
];

const SERVER: Keys = &[
    ("listen", Text),
    ("path", Text),
    ("transports", Texts),
    ("allowed_origins", Texts),
    ("allow_missing_origin", Boolean),
    ("trusted_proxies", Texts),
    ("bind_sessions_to_address", Boolean),
    ("tls", Table(&[("certificate_file", Text), ("key_file", Text)])),
];

const AUTH: Keys = &[
    ("mode", Text),
    ("token_from", Texts),
    ("leeway", Text),
    ("max_lifetime", Text),
    ("asymmetric_only", Boolean),
    ("refresh", Boolean),
    ("claims", Table(&[("subject", Text), ("teams", Text), ("roles", Text)])),
    ("issuers", Entries { by: "name", entry: &Table(ISSUER) }),
];

const ISSUER: Keys = &[
    ("name", Text),
    ("issuer", Text),
    ("audience", Texts),
    ("algorithms", Texts),
    ("secret_env", TextOrTexts),
    ("secret_file", TextOrTexts),
    ("public_key_file", TextOrTexts),
    ("jwks_file", Text),
    ("jwks_url", Text),
    ("insecure_http", Boolean),
    ("max_lifetime", Text),
];

const LIMITS: Keys = &[
    ("connections", Table(CONNECTIONS)),
    ("events", Table(EVENT_RATES)),
    ("payload", Table(&[("max_bytes", Size), ("hard_max_bytes", Size), ("max_depth", Integer)])),
    ("slow_reader", Table(&[("max_queued", Size), ("max_stall", Text)])),
];

const CONNECTIONS: Keys = &[
    ("total", Integer),
    ("per_ip", Integer),
    ("per_user", Integer),
    ("handshakes_per_ip", RATE),
    ("handshakes_total", RATE),
];

const EVENT_RATES: Keys = &[
    ("per_socket", EVENT_RATE),
    ("per_user", EVENT_RATE),
    ("per_address", EVENT_RATE),
    ("per_team", EVENT_RATE),
    ("on_limit", Text),
    ("disconnect_after", Table(&[("refusals", Integer), ("per", Text), ("mode", Text)])),
];

const EVENT: Keys = &[
    ("emit", Text),
    ("sender", Text),
    ("payload", Text),
    ("validation", Text),
    ("unknown_fields", Text),
    ("team_field", Text),
    ("timestamp", Table(&[("presence", Text), ("max_age", Text), ("max_ahead", Text)])),
    ("replay", Table(&[("by", Text), ("field", Text), ("mode", Text)])),
    ("task_id", Table(&[("kinds", Texts), ("max_length", Integer)])),
    ("fields", Named(&Table(&[("kind", Text), ("presence", Text), ("max_length", Integer)]))),
    (
        "types",
        Entries { by: "match", entry: &Table(&[("match", Text), ("task_id", Text), ("schema", Text)]) },
    ),
];

const DECISION_LOG: Keys = &[("path", Text), ("sample", Number), ("max_bytes", Size), ("keep", Integer)];

const RULE: Keys = &[("name", Text), ("on", Texts), ("allow_if", Text), ("mode", Text)];

const AUDIENCE: Keys = &[("name", Text), ("on", Texts), ("teams", Texts), ("hear_if", Text), ("mode", Text)];

const PUBLISH: Keys = &[
    ("clients", Boolean),
    (
        "publishers",
        Entries {
            by: "name",
            entry: &Table(&[("name", Text), ("token_env", TextOrTexts), ("teams", Texts), ("types", Texts)]),
        },
    ),
];

const BUS: Keys = &[
    ("driver", Text),
    ("node", Text),
    ("max_queued", Size),
    ("required", Boolean),
    ("redis", Table(REDIS)),
    ("hmac", Table(&[("secret_env", TextOrTexts), ("secret_file", TextOrTexts)])),
    (
        "nodejs",
        Table(&[
            ("enabled", Boolean),
            ("key", Text),
            ("teams", Texts),
            ("types", Texts),
            ("everyone", Boolean),
        ]),
    ),
];

const REDIS: Keys = &[
    ("url", TextOrTexts),
    ("cluster", Boolean),
    ("prefix", Text),
    ("username", Text),
    ("password_env", Text),
    ("password_file", Text),
    ("ca_file", Text),
    ("certificate_file", Text),
    ("key_file", Text),
    ("connect_timeout", Text),
    ("response_timeout", Text),
];

impl Shape {
    /// Whether it is one setting, and no place for several.
    pub(super) fn is_leaf(&self) -> bool {
        !matches!(self, Shape::Table(_) | Shape::Named(_) | Shape::Entries { .. })
    }

    /// What to write at such a place, for people.
    pub(super) fn wanted(&self) -> &'static str {
        match self {
            Shape::Text => r#"write a string, in quotes: "…""#,
            Shape::Integer => "write a whole number, without quotes",
            Shape::Number => "write a number, without quotes",
            Shape::Boolean => "write true or false, without quotes",
            Shape::Size => r#"write a size such as "16KiB", or whole bytes"#,
            Shape::Texts => r#"write a list of strings: ["…", "…"]"#,
            Shape::TextOrTexts => r#"write a string "…", or a list of strings ["…", "…"]"#,
            Shape::Rate(_) => r#"write a rate such as "20/s", or { rate = "20/s", burst = 40 }"#,
            Shape::Table(_) | Shape::Named(_) => "write a table: [section] or { key = value }",
            Shape::Entries { .. } => "write an array of tables: [[…]] or [{ key = value }]",
        }
    }
}

/// The shape of one key of a table.
pub(super) fn find(keys: Keys, name: &str) -> Option<&'static Shape> {
    keys.iter().find(|(key, _)| *key == name).map(|(_, shape)| shape)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use config::Config;

    use super::*;
    use crate::config::layer::Layer;
    use crate::config::{DEFAULT_TOML, raw};

    /// The shipped file with the settings that stand there as comments.
    fn with_commented_settings() -> toml::Table {
        let is_setting = |line: &str| {
            let key = line.split(" = ").next().unwrap_or_default();
            (line.starts_with('[') && line.ends_with(']'))
                || (line.contains(" = ") && key.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        };
        let uncommented = DEFAULT_TOML.lines().map(|line| match line.strip_prefix("# ") {
            Some(setting) if is_setting(setting) => setting,
            _ => line,
        });
        uncommented.collect::<Vec<_>>().join("\n").parse().unwrap()
    }

    fn known(shape: &Shape, at: &str, keys: &mut BTreeSet<String>) {
        match shape {
            Table(table) => table.iter().for_each(|(key, shape)| known(shape, &format!("{at}.{key}"), keys)),
            Named(inner) => known(inner, &format!("{at}.NAME"), keys),
            Entries { entry, .. } => known(entry, &format!("{at}[]"), keys),
            _ => drop(keys.insert(at.to_owned())),
        }
    }

    fn written(value: &toml::Value, shape: &Shape, at: &str, keys: &mut BTreeSet<String>) {
        match (shape, value) {
            (Table(known), toml::Value::Table(table)) => {
                for (key, value) in table {
                    let shape = find(known, key).unwrap_or_else(|| panic!("{at}.{key} is not known"));
                    written(value, shape, &format!("{at}.{key}"), keys);
                }
            }
            (Named(inner), toml::Value::Table(table)) => {
                table.values().for_each(|value| written(value, inner, &format!("{at}.NAME"), keys));
            }
            (Entries { entry, .. }, toml::Value::Array(entries)) => {
                entries.iter().for_each(|value| written(value, entry, &format!("{at}[]"), keys));
            }
            _ => drop(keys.insert(at.to_owned())),
        }
    }

    #[test]
    fn every_key_stands_in_the_shipped_defaults_and_every_key_there_is_known() {
        let (mut in_schema, mut in_file) = (BTreeSet::new(), BTreeSet::new());
        known(&ROOT, "", &mut in_schema);
        written(&with_commented_settings().into(), &ROOT, "", &mut in_file);
        assert_eq!(in_schema, in_file);
    }

    #[test]
    fn the_types_know_every_key() {
        let mut problems = Vec::new();
        let layer = Layer::new("default.toml", with_commented_settings(), &mut problems);
        assert_eq!(problems, []);
        let merged = Config::builder().add_source(layer).build().unwrap();
        merged.try_deserialize::<raw::Raw>().unwrap();
    }
}
