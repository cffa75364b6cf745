//! `flowgate test`: runs the tests that stand beside a policy.
//!
//! Nothing but files is looked at: no environment, no keys, no clock, so that a test comes to the same everywhere.

mod report;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use self::report::{Report, Tested};
use super::paint::Paint;
use super::token::{Failure, finish_with};
use super::{BAD_CONFIGURATION, ConfigPaths, USAGE, failed};
use crate::config::{self, Loaded, Problem, Problems, Sources};
use crate::trial::suite::{self, FILE_END, Suite};

/// Runs the tests of a policy.
#[derive(Args, Debug)]
pub struct TestArgs {
    /// Files of tests, or folders whose *.test.toml are run; by default those beside the --config files, else in this folder
    #[arg(value_name = "PATH")]
    tests: Vec<PathBuf>,
    #[command(flatten)]
    config: ConfigPaths,
    /// Runs only the tests whose names contain this
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Print JSON, for tools
    #[arg(long)]
    json: bool,
}

/// Exit codes: 0 all as expected, 1 a test failed, 2 usage, 78 a policy or a file of tests that cannot be used.
pub fn run(args: &TestArgs) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    finish_with(runtime.block_on(test(args)))
}

/// What is to be printed, and the exit code.
async fn test(args: &TestArgs) -> Result<(String, u8), Failure> {
    let suites = read(&files(args)?)?;
    let mut loaded = Vec::new();
    let mut problems = Vec::new();
    for suite in &suites {
        match load(suite, &args.config) {
            Ok(policy) => loaded.push(policy),
            Err(more) => problems.extend(more.0),
        }
    }
    if !problems.is_empty() {
        // Several files may test one policy, whose faults are said once.
        let mut once: Vec<Problem> = Vec::new();
        for problem in problems {
            if !once.contains(&problem) {
                once.push(problem);
            }
        }
        return Err(Failure::new(BAD_CONFIGURATION, Problems(once)));
    }
    let mut report = Report::default();
    for (suite, Loaded { policy, effective, .. }) in suites.iter().zip(loaded) {
        let policy = Arc::new(policy);
        for test in suite.tests.iter().filter(|test| is_wanted(&test.name, args)) {
            let failure = suite::run::run(suite, test, &policy)
                .await
                .map_err(|error| Failure::new(BAD_CONFIGURATION, error))?;
            let effective = failure.is_some().then(|| effective.clone());
            report.tests.push(Tested {
                file: suite.origin.clone(),
                name: test.name.clone(),
                failure,
                effective,
            });
        }
    }
    if report.tests.is_empty() {
        return Err(Failure::new(USAGE, "no test has such a name: there is nothing to run"));
    }
    let text = match args.json {
        true => format!("{:#}", report.json()),
        false => report.text(Paint::of_stdout()),
    };
    Ok((text, u8::from(report.failed() > 0)))
}

fn is_wanted(name: &str, args: &TestArgs) -> bool {
    args.filter.as_ref().is_none_or(|filter| name.contains(filter.as_str()))
}

/// The files to run, in the order of the arguments; those of a folder by name.
fn files(args: &TestArgs) -> Result<Vec<PathBuf>, Failure> {
    let mut places = args.tests.clone();
    if places.is_empty() {
        places = args.config.paths.iter().map(|path| folder_of(path)).collect();
    }
    if places.is_empty() {
        places.push(PathBuf::from("."));
    }
    let mut files: Vec<PathBuf> = Vec::new();
    for place in places {
        for file in at(&place)? {
            if !files.contains(&file) {
                files.push(file);
            }
        }
    }
    match files.is_empty() {
        true => Err(Failure::new(USAGE, format!("no *{FILE_END} there: name a file or a folder of tests"))),
        false => Ok(files),
    }
}

/// The folder in which tests of this part of a policy stand.
fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        _ if path.is_dir() => path.to_owned(),
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn at(place: &Path) -> Result<Vec<PathBuf>, Failure> {
    let unreadable = |error| Failure::new(USAGE, format!("{} cannot be read: {error}", place.display()));
    if !std::fs::metadata(place).map_err(unreadable)?.is_dir() {
        return Ok(vec![place.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(place).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let is_one = path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(FILE_END));
        if is_one && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Reads all files, and says everything that is wrong with any of them.
fn read(files: &[PathBuf]) -> Result<Vec<Suite>, Failure> {
    let mut problems = Vec::new();
    let mut suites = Vec::new();
    for file in files {
        match suite::read(file) {
            Ok(suite) => suites.push(suite),
            Err(more) => problems.extend(more.0),
        }
    }
    match problems.is_empty() {
        true => Ok(suites),
        false => Err(Failure::new(BAD_CONFIGURATION, Problems(problems))),
    }
}

/// The policy that a file of tests is about. Its keys are not needed, since tests say what tokens would.
fn load(suite: &Suite, config: &ConfigPaths) -> Result<Loaded, Problems> {
    let paths = match &suite.policy {
        Some(paths) => paths.clone(),
        None if config.paths.is_empty() => {
            return Err(Problems(vec![Problem {
                origin: suite.origin.clone(),
                key: "policy".into(),
                found: "it names no policy, and there is no --config".into(),
                mend: "write policy = [\"team.toml\"], or give --config; policy = [] is the defaults alone"
                    .into(),
                did_you_mean: None,
            }]));
        }
        None => config.paths.clone(),
    };
    config::load(&Sources { paths, without_keys: true, ..Sources::default() })
}
