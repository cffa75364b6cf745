//! Where a running flowgate is asked, for commands that need nothing else of a configuration.
//!
//! It serves by the configuration that it was started with, whatever has become of the files since. So nothing here is
//! refused, and neither secrets nor the files that settings name are looked at.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::content::Look;
use super::key_path::KeyPath;
use super::{BUILT_IN, Sources, Stack, files, text_at};

/// `internal.listen` where nothing that can be read says otherwise, as in config/default.toml.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 3001);

/// `internal.admin_token_env`, likewise.
const ADMIN_TOKEN_ENV: &str = "FLOWGATE_ADMIN_TOKEN";

/// What there is to know of the internal port.
#[derive(Debug)]
pub struct InternalPort {
    /// `internal.listen`.
    pub listen: SocketAddr,
    /// `internal.admin_token_env`.
    pub admin_token_env: String,
    /// What might have said otherwise and could not be used, each as a phrase that begins with its place.
    pub unusable: Vec<String>,
}

impl InternalPort {
    /// Reads the files among these sources, and the environment above them; blocks.
    pub fn of(sources: &Sources) -> Self {
        let mut problems = Vec::new();
        let (stack, _) = Stack::gather(sources, &mut Look::default(), &mut problems);
        let mut unusable = Vec::new();
        for path in &sources.paths {
            for file in files::listed(path).unwrap_or_else(|_| vec![path.clone()]) {
                let origin = file.display().to_string();
                if !stack.folders.contains_key(&origin) {
                    unusable.push(format!("{origin} cannot be read"));
                }
            }
        }
        let about_it = problems.iter().filter(|problem| {
            ["internal", "internal.listen", "internal.admin_token_env"].contains(&problem.key.as_str())
        });
        unusable.extend(
            about_it.map(|problem| format!("{}: {}: {}", problem.origin, problem.key, problem.found)),
        );
        let tree = stack.tree().unwrap_or_default();
        let at = KeyPath::of("internal.listen");
        let listen = text_at(&tree, &at).and_then(|text| {
            let address = text.parse().ok();
            if address.is_none() {
                unusable.push(format!("{}: {at}: {text:?} is no address", at.origin(&tree, BUILT_IN)));
            }
            address
        });
        let variable = text_at(&tree, &KeyPath::of("internal.admin_token_env"));
        InternalPort {
            listen: listen.unwrap_or(LISTEN),
            admin_token_env: variable
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| ADMIN_TOKEN_ENV.into()),
            unusable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, environment: &[(&str, &str)]) -> InternalPort {
        let environment = environment.iter().map(|(name, text)| ((*name).into(), (*text).into()));
        InternalPort::of(&Sources {
            texts: vec![("app.toml".into(), text.into())],
            environment: environment.collect(),
            ..Sources::default()
        })
    }

    #[test]
    fn what_is_wrong_elsewhere_does_not_matter() {
        let text = "colour = 1\n[auth]\nmode = \"no\"\n[[auth.issuers]]\nname = \"a\"\nsecret_env = \"UNSET\"\n\
                    [internal]\nlisten = \"127.0.0.1:4\"\nadmin_token_env = \"OPEN\"";
        let port = of(text, &[]);
        assert_eq!((port.listen.port(), &*port.admin_token_env), (4, "OPEN"));
        assert_eq!(port.unusable, Vec::<String>::new());
        let above = of(text, &[("FLOWGATE__INTERNAL__LISTEN", "[::1]:5"), ("FLOWGATE__NO", "1")]);
        assert_eq!((above.listen.port(), &*above.admin_token_env), (5, "OPEN"));
    }

    /// Without settings the constants hold, and they are what the shipped file says.
    #[test]
    fn what_cannot_be_used_is_said_and_the_defaults_hold() {
        assert_eq!(of("", &[]).unusable, Vec::<String>::new());
        for (text, words) in [
            ("[internal]\nlisten = \"x\"", "app.toml: internal.listen: \"x\" is no address"),
            ("[internal]\nlisten = 3001", "app.toml: internal.listen: "),
            ("internal = 1", "app.toml: internal: "),
        ] {
            let port = of(text, &[]);
            assert_eq!((port.listen, &*port.admin_token_env), (LISTEN, ADMIN_TOKEN_ENV));
            assert!(port.unusable.len() == 1 && port.unusable[0].starts_with(words), "{:?}", port.unusable);
        }
        let missing =
            InternalPort::of(&Sources { paths: vec!["/no/such.toml".into()], ..Sources::default() });
        assert_eq!((missing.listen, &*missing.admin_token_env), (LISTEN, ADMIN_TOKEN_ENV));
        assert_eq!(missing.unusable, ["/no/such.toml cannot be read"]);
        let shipped: toml::Table = super::super::DEFAULT_TOML.parse().unwrap();
        assert_eq!(shipped["internal"]["listen"].as_str(), Some(&*LISTEN.to_string()));
        assert_eq!(shipped["internal"]["admin_token_env"].as_str(), Some(ADMIN_TOKEN_ENV));
    }
}
