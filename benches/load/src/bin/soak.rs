//! `soak [SECONDS]`: honest clients among hostile ones. Started by the `soak` script beside the crate, which builds what it needs.

use std::process::ExitCode;

use anyhow::{Context, Result};
use flowgate_load::pinning::{self, Cores};
use flowgate_load::soak::run::{Plan, soak};
use flowgate_load::soak::server::Flowgate;
use flowgate_load::soak::target::epoch_seconds;
use flowgate_load::soak::verdict;
use flowgate_load::token::{DEFAULT_SECRET, SECRET_VARIABLE};

const HELP: &str = "usage: benches/load/soak [SECONDS [SEED]]

Soaks flowgate for SECONDS (600) in honest load, floods, stalls, churn and garbage, and says what it cost the honest
and what was left behind. A tenth of the time, at least 10 s, is warm-up. SEED repeats the choices of an earlier run.
The exit code is 0 when every check passed, 1 when one failed, 2 for a command line that is not understood.
";
const SECONDS: u64 = 600;
/// Shorter than this, no token expires within the mix.
const LEAST_SECONDS: u64 = 20;
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let Some(plan) = plan(&arguments) else {
        eprintln!(
            "benches/load/soak takes a number of seconds, at least {LEAST_SECONDS}, and a seed; not {arguments:?}"
        );
        return ExitCode::from(USAGE);
    };
    match run(plan) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the soak could not go on: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn plan(arguments: &[String]) -> Option<Plan> {
    let number = |at: usize, default: u64| arguments.get(at).map_or(Some(default), |text| text.parse().ok());
    let seconds = number(0, SECONDS)?;
    let seed = number(1, epoch_seconds())?;
    (seconds >= LEAST_SECONDS && arguments.len() <= 2).then(|| Plan::of(seconds, seed))
}

fn run(plan: Plan) -> Result<bool> {
    let cores = pinning::pin().unwrap_or_else(|why| {
        eprintln!("{why}");
        Cores::default()
    });
    let secret = std::env::var(SECRET_VARIABLE).unwrap_or_else(|_| DEFAULT_SECRET.to_owned());
    eprintln!(
        "a soak of {} s of warm-up and {} s of mix, seed {}",
        plan.warm_up.as_secs(),
        plan.mix.as_secs(),
        plan.seed
    );
    let mut flowgate = Flowgate::start(cores.server, &secret)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("making a runtime")?;
    let (stage, readings) = runtime.block_on(soak(plan, &mut flowgate, &secret))?;
    let checks = verdict::judge(&stage, &readings);
    print!("{}", verdict::render(&stage, &readings, &checks));
    Ok(verdict::passed(&checks))
}
