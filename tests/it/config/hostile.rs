//! Nothing that a file or a variable may hold makes the loader panic.

use super::Given;

/// Values of any kind, under keys that are known and unknown alike.
fn any_value() -> impl proptest::strategy::Strategy<Value = toml::Value> {
    use proptest::prelude::*;
    let texts = prop_oneof![
        Just("20/s"),
        Just("16KiB"),
        Just("30s"),
        Just("*"),
        Just("typed"),
        Just("off"),
        Just("HS256"),
        Just("cookie:é"),
        Just("https://a.example"),
        Just("APP_SECRET"),
        Just("0.0.0.0:1"),
        Just("1e400/s"),
        Just("9999999999GiB"),
    ];
    let leaf = prop_oneof![
        any::<i64>().prop_map(toml::Value::Integer),
        any::<f64>().prop_map(toml::Value::Float),
        any::<bool>().prop_map(toml::Value::Boolean),
        texts.prop_map(|text| toml::Value::String(text.to_owned())),
        any::<String>().prop_map(toml::Value::String),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(toml::Value::Array),
            prop::collection::vec((any_key(), inner), 0..6)
                .prop_map(|pairs| toml::Value::Table(pairs.into_iter().collect())),
        ]
    })
}

fn any_key() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    const KNOWN: &[&str] = &[
        "server",
        "listen",
        "path",
        "auth",
        "issuers",
        "name",
        "algorithms",
        "secret_env",
        "limits",
        "events",
        "per_socket",
        "rate",
        "burst",
        "payload",
        "database-change",
        "types",
        "match",
        "fields",
        "kind",
        "emit",
    ];
    prop_oneof![4 => prop::sample::select(KNOWN).prop_map(str::to_owned), 1 => any::<String>()]
}

/// Whatever is refused is refused in words for people, and never because schema and types disagree.
fn loads_or_says_why(given: &Given) {
    if let Err(problems) = given.load() {
        assert!(!problems.0.is_empty());
        let text = problems.to_string();
        assert!(!text.contains("please report"), "{text}");
    }
}

proptest::proptest! {
    #[test]
    fn no_toml_makes_the_loader_panic(values in proptest::collection::vec((any_key(), any_value()), 0..6)) {
        let settings: toml::Table = values.into_iter().collect();
        loads_or_says_why(&Given::file(&settings.to_string()));
    }

    #[test]
    fn no_text_makes_the_loader_panic(text in "(\\PC|[\\[\\]=\"'.,{}\n #])*") {
        loads_or_says_why(&Given::file(&text));
    }

    #[test]
    fn no_environment_makes_the_loader_panic(
        name in proptest::collection::vec(any_key(), 0..5),
        text in "\\PC*",
        value in any_value(),
    ) {
        let name = format!("FLOWGATE__{}", name.join("__").to_uppercase());
        loads_or_says_why(&Given::file("").env(&name, &text).env("FLOWGATE__SERVER", &value.to_string()));
    }
}
