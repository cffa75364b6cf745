//! What the configuration says of Redis, as the driver wants it.

use super::redis::{Address, Config, Password, Servers, Tls};
use crate::config::bus::{Redis, RedisAddress};

/// The driver's configuration.
///
/// # Errors
/// What is wrong with certificates, as a phrase.
pub fn driver(redis: &Redis) -> Result<Config, String> {
    let address = |server: &RedisAddress| Address { host: server.host.clone(), port: server.port };
    let mut servers = redis.servers.iter().map(address);
    let servers = match (redis.cluster, servers.next()) {
        (false, Some(address)) => Servers::One { address, database: redis.database },
        (_, first) => Servers::Cluster(first.into_iter().chain(servers).collect()),
    };
    let tls = redis.tls.as_ref().map(|tls| {
        let client = tls.client.as_ref().map(|client| (&*client.certificate, client.key.expose()));
        Tls::new(tls.authorities.as_deref(), client)
    });
    let password = redis.password.as_ref();
    Ok(Config {
        servers,
        tls: tls.transpose()?,
        username: redis.username.clone(),
        password: password.map(|secret| Password::new(String::from_utf8_lossy(secret.expose()).into_owned())),
        connect_timeout: redis.connect_timeout,
        response_timeout: redis.response_timeout,
    })
}
