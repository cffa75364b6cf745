//! Files and folders of settings, read into TOML.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::problem::Problem;

/// No key, set of keys or certificate is larger; a path that names a device would otherwise be read without end. Bytes.
const LARGEST_KEY_FILE: usize = 1 << 20;

/// A file of settings, its text parsed.
pub(super) struct SettingsFile {
    /// As the user named it, for messages.
    pub origin: String,
    /// The folder that paths inside it are relative to.
    pub folder: PathBuf,
    pub settings: toml::Table,
}

/// What a file of tests ends with. It stands beside a policy and is none.
pub const TESTS: &str = ".test.toml";

/// Reads a file, or a folder's `*.toml` in name order.
pub(super) fn read(path: &Path, problems: &mut Vec<Problem>) -> Vec<SettingsFile> {
    let files = match path.is_dir() {
        true => toml_files(path, problems),
        false => vec![path.to_owned()],
    };
    files.iter().filter_map(|file| read_file(file, problems)).collect()
}

fn toml_files(folder: &Path, problems: &mut Vec<Problem>) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
    let mut files: Vec<PathBuf> = match entries {
        Ok(entries) => entries.into_iter().map(|entry| entry.path()).collect(),
        Err(error) => {
            problems.push(about_file(
                folder,
                format!("this folder cannot be read: {error}"),
                "make it readable",
            ));
            return Vec::new();
        }
    };
    let is_settings = |name: &str| name.ends_with(".toml") && !name.ends_with(TESTS);
    files.retain(|file| {
        file.file_name().is_some_and(|name| is_settings(&name.to_string_lossy())) && file.is_file()
    });
    files.sort();
    if files.is_empty() {
        let mend = "put one there, or name another file or folder with --config";
        problems.push(about_file(folder, "this folder holds no *.toml".into(), mend));
    }
    files
}

/// Reads one file.
pub(super) fn read_file(path: &Path, problems: &mut Vec<Problem>) -> Option<SettingsFile> {
    let text = match std::fs::read(path).map(String::from_utf8) {
        Ok(Ok(text)) => text,
        Ok(Err(_)) => {
            problems.push(about_file(
                path,
                "this file is not UTF-8".into(),
                "save it as UTF-8, as TOML wants",
            ));
            return None;
        }
        Err(error) => {
            let mend = "name an existing, readable file or folder with --config";
            problems.push(about_file(path, format!("this file cannot be read: {error}"), mend));
            return None;
        }
    };
    let origin = path.display().to_string();
    let settings = parse(&origin, &text, problems)?;
    let folder = path.parent().map(Path::to_owned).unwrap_or_default();
    Some(SettingsFile { origin, folder, settings })
}

/// Parses TOML; every syntax error becomes a problem with line, column and the line itself.
pub(super) fn parse(origin: &str, text: &str, problems: &mut Vec<Problem>) -> Option<toml::Table> {
    // Some editors begin a file with a byte order mark, which is no part of it.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (_, mut errors) = toml::de::DeTable::parse_recoverable(text);
    for error in &mut errors {
        error.set_input(Some(text));
    }
    let settings = match text.parse::<toml::Table>() {
        Ok(settings) if errors.is_empty() => return Some(settings),
        Ok(_) => None,
        // Numbers out of range are only seen here.
        Err(mut error) if errors.is_empty() => {
            error.set_input(Some(text));
            Some(error)
        }
        Err(_) => None,
    };
    for error in errors.into_iter().chain(settings) {
        problems.push(syntax_error(origin, text, &error));
    }
    None
}

fn syntax_error(origin: &str, text: &str, error: &toml::de::Error) -> Problem {
    let place = error.span().map(|span| place(text, span.start)).unwrap_or_default();
    Problem {
        origin: format!("{origin}{place}"),
        key: String::new(),
        found: error.to_string().trim_end().to_owned(),
        mend: String::new(),
        did_you_mean: None,
    }
}

/// `:line:column` of a byte, both from one, as editors count.
fn place(text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!(":{line}:{column}")
}

/// The content of a file with keys or certificates; never empty. Blocks.
///
/// # Errors
/// What is wrong with it, as a phrase that begins with its path.
pub(super) fn read_key_file(path: &Path) -> Result<Vec<u8>, String> {
    read_bounded(path, LARGEST_KEY_FILE)
}

/// The content of a file that the settings name, of at most so many bytes; never empty. Blocks.
///
/// # Errors
/// As [`read_key_file`].
pub(super) fn read_bounded(path: &Path, most: usize) -> Result<Vec<u8>, String> {
    let mut content = Vec::new();
    let read = File::open(path).and_then(|file| file.take(most as u64 + 1).read_to_end(&mut content));
    match read {
        Err(error) => Err(format!("{} cannot be read: {error}", path.display())),
        Ok(0) => Err(format!("{} is empty", path.display())),
        Ok(size) if size > most => Err(format!("{} is larger than {}KiB", path.display(), most >> 10)),
        Ok(_) => Ok(content),
    }
}

fn about_file(path: &Path, found: String, mend: &str) -> Problem {
    Problem {
        origin: path.display().to_string(),
        key: String::new(),
        found,
        mend: mend.into(),
        did_you_mean: None,
    }
}
