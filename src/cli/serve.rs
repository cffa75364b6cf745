//! `flowgate serve`: the main job.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::dev::ThrowAway;
use super::log::LogArgs;
use super::{ConfigPaths, USAGE, address, bad_configuration, failed, log};
use crate::config::admin_token::AdminToken;
use crate::config::policy::Policy;
use crate::config::{self, Flag, Loaded, Problem, Problems, Reading};
use crate::process;
use crate::reload::{Origin, Reloader, Trigger};
use crate::server::{Builder, Server};

/// Tasks that are still running when everything has been drained get this long to notice.
const RUNTIME_GRACE: Duration = Duration::from_secs(1);

/// Arguments of `flowgate serve`.
#[derive(Args, Debug)]
pub struct ServeArgs {
    #[command(flatten)]
    config: ConfigPaths,
    /// Try it out: a playground page, a throw-away key, ready-to-paste tokens, pages of this machine admitted, refusals
    /// explained
    #[arg(long)]
    dev: bool,
    /// Where clients connect; overrides server.listen
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    listen: Option<SocketAddr>,
    /// Where health and metrics are; overrides internal.listen
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    internal_listen: Option<SocketAddr>,
    #[command(flatten)]
    log: LogArgs,
}

/// Serves until SIGTERM or SIGINT. Exit code 0 after a drain.
pub fn run(args: &ServeArgs) -> ExitCode {
    if let Err(error) = log::start(&args.log) {
        eprintln!("error: {error}");
        return ExitCode::from(USAGE);
    }
    let mut sources = args.config.sources();
    sources.flags = flags(args);
    let dev = match args.dev.then(ThrowAway::make).transpose() {
        Ok(dev) => dev,
        Err(error) => return failed(&error),
    };
    if let Some(dev) = &dev {
        sources.dev_secret = Some(dev.secret.clone());
        sources.dev_admin_token = Some(dev.admin_token.clone());
    }
    let Reading { result, files, look } = config::read(&sources);
    let Loaded { policy, content, warnings, .. } = match result {
        Ok(loaded) => loaded,
        Err(problems) => return bad_configuration(&problems),
    };
    warn_of(&warnings);
    process::raise_descriptor_limit();
    warn_of_few_descriptors(&policy);
    match serve(policy, Origin { sources, content, files, look }, dev.as_ref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => match error.downcast::<Problems>() {
            Ok(problems) => bad_configuration(&problems),
            Err(error) => failed(&error),
        },
    }
}

fn flags(args: &ServeArgs) -> Vec<Flag> {
    let flag = |flag: &str, key: &str, address: Option<SocketAddr>| {
        address.map(|address| Flag { flag: flag.into(), key: key.into(), value: address.to_string().into() })
    };
    let listen = flag("--listen", "server.listen", args.listen);
    let internal = flag("--internal-listen", "internal.listen", args.internal_listen);
    listen.into_iter().chain(internal).collect()
}

fn warn_of(warnings: &[Problem]) {
    for warning in warnings {
        tracing::warn!("{warning}");
    }
}

/// Nothing breaks when there are too few, but clients are turned away before the policy says so.
fn warn_of_few_descriptors(policy: &Policy) {
    let wanted = u64::from(policy.limits.connections.total);
    let Some(limit) = process::descriptor_limit() else { return };
    let most = process::descriptors_for_clients(limit);
    if most < wanted {
        tracing::warn!(
            "limits.connections.total: {wanted}, but this process may have {limit} files open, which is enough for \
             {most} connections; raise the limit (LimitNOFILE of systemd, ulimits of a container, `ulimit -Hn`), or \
             write total = {most}"
        );
    }
}

fn serve(policy: Policy, origin: Origin, dev: Option<&ThrowAway>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(async {
        let path = policy.server.path.clone();
        let admin_token = policy.internal.admin_token.clone();
        // Before the listeners: a signal that comes while they are bound is not lost.
        let shutdown = shutdown_signal()?;
        // Before anybody can know that it runs: until then it ends a process.
        let hangups = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
        let builder = Builder::new(policy).origin(origin);
        let builder = match dev {
            Some(dev) => builder.playground(dev.mint()),
            None => builder,
        };
        let server = builder.bind().await?;
        let reloading = server.reloader().map(|reloader| tokio::spawn(reload_on(hangups, reloader.clone())));
        announce(&server, &path, admin_token.as_ref(), dev)?;
        server.run(shutdown).await;
        if let Some(reloading) = reloading {
            reloading.abort();
        }
        anyhow::Ok(())
    });
    runtime.shutdown_timeout(RUNTIME_GRACE);
    served
}

/// Standard output carries these lines and nothing else: scripts wait for them.
fn announce(
    server: &Server,
    path: &str,
    admin_token: Option<&AdminToken>,
    dev: Option<&ThrowAway>,
) -> anyhow::Result<()> {
    println!("listening on {}://{}", server.scheme(), server.public_addr());
    println!("internal on http://{}", server.internal_addr());
    if let Some(dev) = dev {
        // An operator's own is known to the operator.
        let is_ours = admin_token.is_some_and(|token| token.is(dev.admin_token.as_bytes()));
        println!("{}", dev.welcome(server, path, is_ours)?);
    }
    Ok(())
}

/// SIGHUP is what process supervisors send for a reload (`ExecReload` of systemd).
async fn reload_on(mut hangups: Signal, reloader: Arc<Reloader>) {
    while hangups.recv().await.is_some() {
        reloader.reload(Trigger::Hangup).await;
    }
}

/// Ends with the first SIGTERM (what process supervisors send) or SIGINT (Ctrl-C).
fn shutdown_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
