//! `[decision_log]`.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::Report;
use crate::config::key_path::KeyPath;
use crate::config::policy::DecisionLog;
use crate::config::raw;
use crate::config::values::{self, Fault};

/// Smaller, and the writer's batches would not fit.
const SMALLEST: usize = 64 << 10;

/// More files than anybody looks at.
const MOST_KEPT: u32 = 1000;

/// `Some(None)` where none is asked for, `None` where it cannot be had.
pub(super) fn compile(raw: &raw::DecisionLog, report: &mut Report<'_>) -> Option<Option<DecisionLog>> {
    let at = KeyPath::of("decision_log");
    let sample = report.take(&at.key("sample"), share(raw.sample));
    let max_bytes = report.take(&at.key("max_bytes"), max_bytes(&raw.max_bytes));
    let keep = report.take(&at.key("keep"), values::count(raw.keep, MOST_KEPT));
    let Some(path) = &raw.path else {
        return sample.and(max_bytes).and(keep).map(|_| None);
    };
    let at = at.key("path");
    let path = report.folder(&at).join(path);
    let path = report.take(&at, writable(path));
    Some(Some(DecisionLog {
        path: path?,
        origin: at.origin(report.context.tree, crate::config::BUILT_IN),
        sample: sample?,
        max_bytes: max_bytes? as u64,
        keep: keep?,
    }))
}

fn share(number: f64) -> Result<f64, Fault> {
    match (0.0..=1.0).contains(&number) {
        true => Ok(number),
        false => Err(Fault::new(format!("found {number}"), "write a share from 0 to 1, such as 0.01")),
    }
}

fn max_bytes(size: &raw::Size) -> Result<usize, Fault> {
    match values::size(size)? {
        bytes if bytes < SMALLEST => {
            let found = format!("{bytes} bytes hold few lines");
            Err(Fault::new(found, "write at least \"64KiB\""))
        }
        bytes => Ok(bytes),
    }
}

/// Whether the file can be written and turned over. Nothing is made here: who checks a configuration may be somebody else
/// than who serves with it, and the file would be theirs.
pub(super) fn writable(path: PathBuf) -> Result<PathBuf, Fault> {
    let shown = path.display();
    let folder = match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => return Err(Fault::new(format!("{shown} is a folder"), "name a file in it")),
    };
    if !folder.is_dir() {
        let found = format!("there is no folder {}", folder.display());
        return Err(Fault::new(found, "make it, or write into another"));
    }
    if let Ok(there) = path.metadata()
        && !there.is_file()
    {
        return Err(Fault::new(
            format!("{shown} is not a regular file"),
            "name one, or one that is not there yet",
        ));
    }
    let mend = "let this user write there, or write elsewhere";
    let not_allowed =
        |what: &Path, error| Fault::new(format!("cannot write {}: {error}", what.display()), mend);
    access(folder, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| not_allowed(folder, error))?;
    match access(&path, Access::READ_OK | Access::WRITE_OK) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(error) => return Err(not_allowed(&path, error)),
    }
    Ok(path)
}
