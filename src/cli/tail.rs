//! `flowgate tail`: prints what arrives, as a member of a team hears it.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Args;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::harmless::{harmless, harmless_json};
use super::paint::Paint;
use super::socket::{Arrival, Connection, Dial, SocketArgs, Trouble, json_argument};

/// Between two attempts to come back, doubled up to the second: what stock clients wait.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Arguments of `flowgate tail`.
#[derive(Args, Debug)]
pub struct TailArgs {
    #[command(flatten)]
    socket: SocketArgs,
    /// Ask for some changes only, as `auth.filter` does: {"types": ["task-*"], "taskIds": [7]}
    #[arg(long, value_name = "JSON", value_parser = json_argument)]
    filter: Option<String>,
    /// End after so many events
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Do not come back when the connection ends
    #[arg(long)]
    once: bool,
    /// One JSON object a line, for tools
    #[arg(long)]
    json: bool,
}

/// Prints until Ctrl-C, or `--count`. Exit codes: 0 fine, 1 refused or cut off, 2 usage.
pub fn run(args: &TailArgs) -> ExitCode {
    let filter = args.filter.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok());
    let dial = match args.socket.dial(filter.map(|filter| ("filter", filter))) {
        Ok(dial) => dial,
        Err(code) => return code,
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return super::failed(&error.into()),
    };
    runtime.block_on(async {
        let mut printer = Printer { json: args.json, paint: Paint::of_stdout(), left: args.count };
        tokio::select! {
            outcome = follow(&dial, args.once, &mut printer) => match outcome {
                Ok(()) => ExitCode::SUCCESS,
                Err(trouble) => {
                    eprintln!("flowgate: {trouble}");
                    ExitCode::FAILURE
                }
            },
            // Somebody has seen enough.
            _ = tokio::signal::ctrl_c() => ExitCode::SUCCESS,
        }
    })
}

/// Connects, prints, and comes back, until enough was printed or there is no use in coming back.
async fn follow(dial: &Dial, once: bool, printer: &mut Printer) -> Result<(), Trouble> {
    let mut wait = FIRST_WAIT;
    loop {
        let outcome = match dial.connect().await {
            Ok(connection) => {
                note(&format!("connected to {}", dial.target()));
                wait = FIRST_WAIT;
                print_all(connection, printer).await
            }
            Err(trouble) => Err(trouble),
        };
        match outcome {
            Err(Trouble::Passing(why)) if !once => {
                note(&format!("{why}; trying again in {}", humantime::format_duration(wait)));
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(LONGEST_WAIT);
            }
            outcome => return outcome,
        }
    }
}

async fn print_all(mut connection: Connection, printer: &mut Printer) -> Result<(), Trouble> {
    loop {
        if printer.left == Some(0) {
            connection.close().await;
            return Ok(());
        }
        if let Arrival::Event(name, arguments) = connection.next().await? {
            printer.print(&name, &arguments)?;
        }
    }
}

/// On standard error, so that standard output has events and nothing else.
fn note(text: &str) {
    let text = harmless(text);
    if std::io::stderr().is_terminal() {
        eprintln!("-- {text}");
    } else {
        eprintln!("{text}");
    }
}

struct Printer {
    json: bool,
    paint: Paint,
    left: Option<u64>,
}

impl Printer {
    /// # Errors
    /// Standard output takes nothing any more, as when a pager was left.
    fn print(&mut self, name: &str, arguments: &[Box<RawValue>]) -> Result<(), Trouble> {
        let at = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        let line = if self.json {
            harmless_json(&json!({ "at": at, "event": name, "arguments": arguments }))
        } else {
            // The day is known to who sits there.
            let time = at.get(11..23).unwrap_or(&at);
            let arguments: Vec<String> = arguments.iter().map(|argument| harmless(argument.get())).collect();
            format!("{} {} {}", self.paint.faint(time), self.paint.good(&harmless(name)), arguments.join(" "))
        };
        let mut out = std::io::stdout();
        let written = writeln!(out, "{line}").and_then(|()| out.flush());
        written.map_err(|_| Trouble::Refused("nobody reads what is printed".into()))?;
        self.left = self.left.map(|left| left - 1);
        Ok(())
    }
}
