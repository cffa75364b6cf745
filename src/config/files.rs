//! Files and folders of settings, read into TOML.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::content::Look;
use super::problem::Problem;

/// No key, set of keys or certificate is larger; a path that names a device would otherwise be read without end. Bytes.
pub(super) const LARGEST_KEY_FILE: usize = 1 << 20;

/// No file of settings is larger, and no more of any file is read. Bytes.
const LARGEST_SETTINGS_FILE: usize = 16 << 20;

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

/// Reads a file, or a folder's `*.toml` in name order. What stood in each is noted in `look`.
pub(super) fn read(path: &Path, look: &mut Look, problems: &mut Vec<Problem>) -> Vec<SettingsFile> {
    let files = listed(path).unwrap_or_else(|problem| {
        problems.push(*problem);
        Vec::new()
    });
    files.iter().filter_map(|file| read_file(file, look, problems)).collect()
}

/// The file, or a folder's `*.toml` in name order.
///
/// # Errors
/// A folder that cannot be read, or has none.
pub(super) fn listed(path: &Path) -> Result<Vec<PathBuf>, Box<Problem>> {
    if path.is_dir() { toml_files(path) } else { Ok(vec![path.to_owned()]) }
}

fn toml_files(folder: &Path) -> Result<Vec<PathBuf>, Box<Problem>> {
    let entries = std::fs::read_dir(folder).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
    let mut files: Vec<PathBuf> = match entries {
        Ok(entries) => entries.into_iter().map(|entry| entry.path()).collect(),
        Err(error) => {
            let found = format!("this folder cannot be read: {error}");
            return Err(about_file(folder, found, "make it readable").into());
        }
    };
    let is_settings = |name: &str| name.ends_with(".toml") && !name.ends_with(TESTS);
    files.retain(|file| {
        file.file_name().is_some_and(|name| is_settings(&name.to_string_lossy())) && file.is_file()
    });
    files.sort();
    if files.is_empty() {
        let mend = "put one there, or name another file or folder with --config";
        return Err(about_file(folder, "this folder holds no *.toml".into(), mend).into());
    }
    Ok(files)
}

/// Reads one file, and notes in `look` what stood in it.
pub(super) fn read_file(path: &Path, look: &mut Look, problems: &mut Vec<Problem>) -> Option<SettingsFile> {
    let content = read_some(path);
    look.note(path, content.as_deref().ok());
    if content.as_ref().is_ok_and(|content| content.len() > LARGEST_SETTINGS_FILE) {
        let found = format!("this file is larger than {}MiB", LARGEST_SETTINGS_FILE >> 20);
        problems.push(about_file(path, found, "name a file of settings with --config"));
        return None;
    }
    let text = match content.map(String::from_utf8) {
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

/// The content of a file with certificates; never empty. Blocks.
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
fn read_bounded(path: &Path, most: usize) -> Result<Vec<u8>, String> {
    bounded(path, read_some(path), most)
}

/// What [`read_bounded`] says of a file in which this was found.
pub(super) fn bounded(path: &Path, content: io::Result<Vec<u8>>, most: usize) -> Result<Vec<u8>, String> {
    match content {
        Err(error) => Err(format!("{} cannot be read: {error}", path.display())),
        Ok(content) if content.is_empty() => Err(format!("{} is empty", path.display())),
        Ok(content) if content.len() > most => {
            Err(format!("{} is larger than {}KiB", path.display(), most >> 10))
        }
        Ok(content) => Ok(content),
    }
}

/// What stands in a file, up to a byte more than [`LARGEST_SETTINGS_FILE`]. Blocks.
pub(super) fn read_some(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(LARGEST_SETTINGS_FILE as u64 + 1).read_to_end(&mut content)?;
    Ok(content)
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
