//! `load`: runs the benchmark. Started by the `run` script beside the crate, which builds what it needs.

use std::fs;
use std::process::ExitCode;

use flowgate_load::options::{HELP, Options};
use flowgate_load::pinning::{self, Cores};
use flowgate_load::token::{DEFAULT_SECRET, SECRET_VARIABLE};
use flowgate_load::{report, runner};

/// The exit code for a command line that is not understood.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    // `load needs …` tells the run script what the run would need built or installed.
    let only_needs = arguments.first().is_some_and(|first| first == "needs");
    if only_needs {
        arguments.remove(0);
    }
    let options = match Options::parse(arguments) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(USAGE);
        }
    };
    if only_needs {
        options.peers.iter().filter_map(|peer| peer.needs()).for_each(|need| println!("{need}"));
        return ExitCode::SUCCESS;
    }
    run(&options)
}

fn run(options: &Options) -> ExitCode {
    let (cores, pinning) = match pinning::pin() {
        Ok(cores) => (cores, describe(cores)),
        Err(why) => (Cores::default(), why),
    };
    eprintln!("{pinning}");
    let secret = std::env::var(SECRET_VARIABLE).unwrap_or_else(|_| DEFAULT_SECRET.to_owned());
    let cells = runner::run(options, cores, &secret);

    let length = if options.quick {
        "quick windows: the numbers show that it works, not what it costs"
    } else {
        "full windows"
    };
    let setting = [machine(), pinning, format!("medians of {} repeats, {length}", options.repeats)];
    print!("{}", report::render(&cells, options, &setting));
    if cells.iter().flat_map(|cell| &cell.runs).any(Result::is_err) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn describe(cores: Cores) -> String {
    let core = |core: Option<usize>| core.map_or("any".to_owned(), |core| core.to_string());
    format!("servers on core {}, load on core {}", core(cores.server), core(cores.load))
}

fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown CPU", |(_, model)| model);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{model}, Linux {}", kernel.trim())
}
