//! `flowgate send`: sends one event as a client would, and shows the answer.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Args;
use serde_json::{Map, Value};

use super::harmless::{harmless, harmless_json};
use super::paint::Paint;
use super::socket::{Arrival, Dial, SocketArgs, Trouble, json_argument};
use super::{USAGE, failed};

/// An answer comes at once or not at all: policies do not wait.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Arguments of `flowgate send`.
#[derive(Args, Debug)]
pub struct SendArgs {
    #[command(flatten)]
    socket: SocketArgs,
    /// The event's name
    #[arg(long, value_name = "NAME", default_value = "database-change")]
    event: String,
    /// Put the present time into the payload's field `timestamp`
    #[arg(long)]
    now: bool,
    /// The answer as it came, for tools
    #[arg(long)]
    json: bool,
    /// What to send, such as {"type": "task-updated", "taskId": 7}; without it, an event of no payload
    #[arg(value_name = "JSON", value_parser = json_argument)]
    payload: Option<String>,
}

/// Sends, and waits for the answer. Exit codes: 0 accepted, 1 refused or no answer, 2 usage.
pub fn run(args: &SendArgs) -> ExitCode {
    let payload = match args.payload() {
        Ok(payload) => payload,
        Err(why) => {
            eprintln!("flowgate: {why}");
            return ExitCode::from(USAGE);
        }
    };
    let dial = match args.socket.dial(None) {
        Ok(dial) => dial,
        Err(code) => return code,
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    match runtime.block_on(send(&dial, &args.event, payload.as_deref())) {
        Ok(answer) => show(&answer, args.json),
        Err(trouble) => {
            eprintln!("flowgate: {trouble}");
            ExitCode::FAILURE
        }
    }
}

impl SendArgs {
    fn payload(&self) -> Result<Option<String>, &'static str> {
        if !self.now {
            return Ok(self.payload.clone());
        }
        const NO_OBJECT: &str = "--now puts a field into a payload that is an object, and this is none";
        let text = self.payload.as_deref().unwrap_or("{}");
        let mut fields: Map<String, Value> = serde_json::from_str(text).map_err(|_| NO_OBJECT)?;
        let now = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        fields.insert("timestamp".into(), now.into());
        Ok(Some(Value::Object(fields).to_string()))
    }
}

async fn send(dial: &Dial, event: &str, payload: Option<&str>) -> Result<Value, Trouble> {
    const NUMBER: u64 = 0;
    let mut connection = dial.connect().await?;
    connection.emit(event, payload, NUMBER).await?;
    let answer = async {
        loop {
            if let Arrival::Ack(NUMBER, arguments) = connection.next().await? {
                let first = arguments.first().map_or("null", |argument| argument.get());
                return Ok(serde_json::from_str(first).unwrap_or_default());
            }
        }
    };
    let answer = match tokio::time::timeout(ANSWER_WITHIN, answer).await {
        Ok(answer) => answer?,
        Err(_) => return Err(Trouble::Passing("the event was sent, and no answer has come".into())),
    };
    connection.close().await;
    Ok(answer)
}

fn show(answer: &Value, json: bool) -> ExitCode {
    let accepted = answer["ok"] == true;
    if json {
        println!("{}", harmless_json(answer));
    } else {
        let paint = Paint::of_stdout();
        let mut words = vec![if accepted { paint.good("accepted") } else { paint.bad("refused") }];
        for key in ["code", "field", "rule", "message", "id"] {
            words.extend(answer[key].as_str().map(|text| format!("{key}={}", harmless(text))));
        }
        words.extend(answer["retryAfterMs"].as_u64().map(|wait| format!("again in {wait} ms")));
        println!("{}", words.join("  "));
    }
    if accepted { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
