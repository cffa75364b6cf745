//! The sidecar inside another program, with a rule of its own: at night only the night shift is disturbed.
//!
//! ```sh
//! cargo run --example quiet_hours -- examples/team.toml
//! ```
//!
//! Its arguments are configuration files, as for `flowgate serve --config`; the environment counts too.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use flowgate::config::{Sources, load};
use flowgate::event::{Context, Stage};
use flowgate::message::Event;
use flowgate::reject::{Code, Reject};
use flowgate::server::Builder;

/// The team that is awake.
const NIGHT_SHIFT: &str = "night";

/// Who may do at night what may be done by day.
const ON_CALL: &str = "on-call";

/// Between two hours of the day (UTC) an event goes to the night shift only, and nothing is deleted. Whoever is on call
/// is free of both.
pub struct QuietHours {
    /// The first quiet hour, 0 to 23.
    pub from: u64,
    /// The first hour that is no longer quiet. Equal to `from`: there are none. 24: until midnight.
    pub to: u64,
}

impl QuietHours {
    /// Whether this moment is quiet.
    pub fn cover(&self, time: SystemTime) -> bool {
        let hour = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / 3600 % 24;
        if self.from <= self.to {
            (self.from..self.to).contains(&hour)
        } else {
            hour >= self.from || hour < self.to
        }
    }
}

/// A stage sees events that passed the built-in ones: small, within the rates, well formed, from somebody who may send.
/// It is called in the connection's own task, so it must not block or wait.
impl Stage for QuietHours {
    fn name(&self) -> &'static str {
        "quiet_hours"
    }

    fn check(&self, event: &mut Event<'_>, cx: &Context<'_>) -> Result<(), Reject> {
        // The event's time was read once; a stage that asks for it again could differ from the others.
        if !self.cover(cx.now.wall) || cx.peer.roles().iter().any(|role| **role == *ON_CALL) {
            return Ok(());
        }
        if event.payload.kind.as_deref() == Some("task-deleted") {
            return Err(
                Reject::new(Code::NotAllowed, "nothing is deleted in quiet hours").rule("quiet_hours")
            );
        }
        // This takes teams away and never adds one: a sender who is not of the night shift reaches nobody (`no_room`).
        event.narrow(vec![NIGHT_SHIFT.into()]);
        Ok(())
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let paths = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let loaded = load(&Sources::from_process(paths))?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let server = Builder::new(loaded.policy).stage(QuietHours { from: 22, to: 6 }).bind().await?;
    println!("listening on http://{}", server.public_addr());
    let mut interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())
        .context("cannot listen for Ctrl-C")?;
    server
        .run(async move {
            interrupt.recv().await;
        })
        .await;
    Ok(())
}
