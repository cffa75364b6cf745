//! The file that lines go to: only ever added to, turned over when it is full, found again when somebody has moved it.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::config::policy::DecisionLog as Settings;

/// Who may read it beside its owner: nobody. It tells who was where and when.
const MODE: u32 = 0o600;

/// A decision log's file, open.
#[derive(Debug)]
pub struct LogFile {
    settings: Settings,
    file: File,
}

/// Not all lines could be written.
#[derive(Debug)]
pub(super) struct Unwritten {
    /// How many were.
    pub kept: u64,
    /// Why.
    pub error: io::Error,
}

impl LogFile {
    /// Opens it to add to, or makes it. A last line that a crash cut off is ended, so that the next one is whole.
    pub(super) fn open(settings: &Settings) -> io::Result<Self> {
        let file = open(&settings.path)?;
        Ok(LogFile { settings: settings.clone(), file })
    }

    /// The share of accepted events that is written.
    pub(super) fn sample(&self) -> f64 {
        self.settings.sample
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.settings.path
    }

    /// Adds whole lines, which stay together in one file. When it fails, nothing of a line is left half written.
    pub(super) fn append(&mut self, lines: &[u8]) -> Result<(), Unwritten> {
        let none = |error| Unwritten { kept: 0, error };
        let size = self.ready_for(lines.len() as u64).map_err(none)?;
        let mut written = 0;
        while written < lines.len() {
            match self.file.write(&lines[written..]) {
                Ok(0) => return Err(self.take_back(lines, written, size, ErrorKind::WriteZero.into())),
                Ok(more) => written += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.take_back(lines, written, size, error)),
            }
        }
        Ok(())
    }

    /// Waits until what was written is on the disk itself.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Sees to it that the file is where it should be and has room for so many bytes; its size.
    fn ready_for(&mut self, bytes: u64) -> io::Result<u64> {
        let mine = self.file.metadata()?;
        let there = match fs::metadata(&self.settings.path) {
            Ok(there) => Some(there),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let mut size = mine.len();
        // Moved or removed, by logrotate or by hand: what comes now belongs where the path leads now.
        if !there.is_some_and(|there| is_same(&there, &mine)) {
            self.file = open(&self.settings.path)?;
            size = self.file.metadata()?.len();
        }
        if size > 0 && size + bytes > self.settings.max_bytes {
            self.turn_over()?;
            size = 0;
        }
        Ok(size)
    }

    /// Puts the file aside under the next number, all others one further, and the last one away.
    fn turn_over(&mut self) -> io::Result<()> {
        let Settings { path, keep, .. } = &self.settings;
        // More than are kept were kept by an earlier configuration.
        for number in *keep.. {
            match fs::remove_file(numbered(path, number)) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::NotFound && number == *keep => {}
                Err(error) if error.kind() == ErrorKind::NotFound => break,
                Err(error) => return Err(error),
            }
        }
        for number in (1..*keep).rev() {
            rename(&numbered(path, number), &numbered(path, number + 1))?;
        }
        rename(path, &numbered(path, 1))?;
        self.file = open(path)?;
        Ok(())
    }

    /// After a write that failed in the middle: whole lines stay, the rest of a line goes.
    fn take_back(&self, lines: &[u8], written: usize, before: u64, error: io::Error) -> Unwritten {
        let whole = lines[..written].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let end = before + written as u64;
        // Unless somebody else has added to it meanwhile, whose lines are not ours to cut.
        if whole < written && self.file.metadata().is_ok_and(|now| now.len() == end) {
            // Where even that fails, the next start ends the line.
            let _ = self.file.set_len(before + whole as u64);
        }
        Unwritten { kept: count(&lines[..whole]), error }
    }
}

/// Opens a regular file to add to, and has its last line end.
fn open(path: &Path) -> io::Result<File> {
    // A pipe would be waited for, and neither it nor a device can be turned over.
    match fs::metadata(path) {
        Ok(there) if !there.is_file() => {
            return Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file"));
        }
        _ => {}
    }
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(MODE).open(path)?;
    if file.seek(SeekFrom::End(0))? > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    Ok(file)
}

fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// Renames what is there.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

fn count(lines: &[u8]) -> u64 {
    lines.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;

    use super::*;

    fn settings(folder: &TempDir, max_bytes: u64, keep: u32) -> Settings {
        Settings { path: folder.path().join("log"), origin: "test".into(), sample: 0.0, max_bytes, keep }
    }

    fn read(folder: &TempDir, name: &str) -> Option<String> {
        fs::read_to_string(folder.path().join(name)).ok()
    }

    fn names(folder: &TempDir) -> Vec<String> {
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(name).collect();
        names.sort();
        names
    }

    /// A file that takes no byte, as a full disk does.
    fn full() -> LogFile {
        let folder = tempfile::tempdir().unwrap();
        let file = OpenOptions::new().append(true).open("/dev/full").unwrap();
        let mut settings = settings(&folder, 1 << 20, 1);
        settings.path = "/dev/full".into();
        LogFile { settings, file }
    }

    #[test]
    fn turns_over_by_size_and_keeps_so_many() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = LogFile::open(&settings(&folder, 12, 2)).unwrap();
        for line in ["one\n", "two\n", "three\n", "four\n", "five-five-five\n", "six\n", "seven\n"] {
            log.append(line.as_bytes()).unwrap();
        }
        // What is larger than a file stands alone in one.
        assert_eq!(names(&folder), ["log", "log.1", "log.2"]);
        assert_eq!(read(&folder, "log").unwrap(), "six\nseven\n");
        assert_eq!(read(&folder, "log.1").unwrap(), "five-five-five\n");
        assert_eq!(read(&folder, "log.2").unwrap(), "three\nfour\n");
    }

    #[test]
    fn fewer_are_kept_once_fewer_are_to_be() {
        let folder = tempfile::tempdir().unwrap();
        for number in 1..=5 {
            fs::write(folder.path().join(format!("log.{number}")), "old\n").unwrap();
        }
        let mut log = LogFile::open(&settings(&folder, 4, 1)).unwrap();
        log.append(b"one\n").unwrap();
        log.append(b"two\n").unwrap();
        assert_eq!(names(&folder), ["log", "log.1"]);
        assert_eq!(read(&folder, "log.1").unwrap(), "one\n");
    }

    #[test]
    fn goes_on_where_it_was_and_ends_a_line_that_was_cut() {
        let folder = tempfile::tempdir().unwrap();
        LogFile::open(&settings(&folder, 100, 1)).unwrap().append(b"one\n").unwrap();
        assert_eq!(fs::metadata(folder.path().join("log")).unwrap().permissions().mode() & 0o777, 0o600);
        LogFile::open(&settings(&folder, 100, 1)).unwrap().append(b"two\n").unwrap();
        assert_eq!(read(&folder, "log").unwrap(), "one\ntwo\n");
        fs::write(folder.path().join("log"), "one\n{\"time\":\"20").unwrap();
        LogFile::open(&settings(&folder, 100, 1)).unwrap().append(b"two\n").unwrap();
        assert_eq!(read(&folder, "log").unwrap(), "one\n{\"time\":\"20\ntwo\n");
    }

    #[test]
    fn follows_the_path_when_the_file_was_moved_removed_or_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut log = LogFile::open(&settings(&folder, 10, 3)).unwrap();
        log.append(b"one\n").unwrap();
        fs::rename(&path, folder.path().join("moved")).unwrap();
        log.append(b"two\n").unwrap();
        assert_eq!(
            (read(&folder, "moved").unwrap(), read(&folder, "log").unwrap()),
            ("one\n".into(), "two\n".into())
        );
        fs::remove_file(&path).unwrap();
        log.append(b"three\n").unwrap();
        assert_eq!(read(&folder, "log").unwrap(), "three\n");
        // As logrotate's copytruncate does.
        File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        log.append(b"four-four\n").unwrap();
        assert_eq!(read(&folder, "log").unwrap(), "four-four\n");
        assert_eq!(names(&folder), ["log", "moved"]);
    }

    #[test]
    fn a_folder_that_is_gone_is_an_error_until_it_is_back() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        fs::create_dir(&inner).unwrap();
        let mut settings = settings(&folder, 100, 1);
        settings.path = inner.join("log");
        let mut log = LogFile::open(&settings).unwrap();
        fs::remove_dir_all(&inner).unwrap();
        let unwritten = log.append(b"one\ntwo\n").unwrap_err();
        assert_eq!((unwritten.kept, unwritten.error.kind()), (0, ErrorKind::NotFound));
        fs::create_dir(&inner).unwrap();
        log.append(b"three\n").unwrap();
        assert_eq!(fs::read_to_string(&settings.path).unwrap(), "three\n");
    }

    #[test]
    fn a_full_disk_is_an_error() {
        let mut log = full();
        // Not a regular file, but the same one as the path leads to, so that it is written to.
        let unwritten = log.append(b"one\ntwo\nthree\n").unwrap_err();
        assert_eq!((unwritten.kept, unwritten.error.kind()), (0, ErrorKind::StorageFull));
    }

    #[test]
    fn half_a_line_is_taken_back_and_whole_ones_stay() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = LogFile::open(&settings(&folder, 1000, 1)).unwrap();
        log.append(b"zero\n").unwrap();
        // What a disk that becomes full leaves of a write.
        let lines = b"one\ntwo\nthree\n";
        log.file.write_all(&lines[..10]).unwrap();
        let unwritten = log.take_back(lines, 10, 5, ErrorKind::StorageFull.into());
        assert_eq!(unwritten.kept, 2);
        assert_eq!(read(&folder, "log").unwrap(), "zero\none\ntwo\n");
        // Not where somebody else has written behind it.
        log.file.write_all(b"th").unwrap();
        fs::OpenOptions::new().append(true).open(log.path()).unwrap().write_all(b"x\n").unwrap();
        log.take_back(b"three\n", 2, 13, ErrorKind::StorageFull.into());
        assert_eq!(read(&folder, "log").unwrap(), "zero\none\ntwo\nthx\n");
    }

    #[test]
    fn only_a_regular_file_will_do() {
        let folder = tempfile::tempdir().unwrap();
        for path in ["/dev/null".into(), folder.path().to_owned()] {
            let error = LogFile::open(&Settings { path, ..settings(&folder, 1, 1) }).unwrap_err();
            assert!(error.to_string().contains("not a regular file"), "{error}");
        }
    }
}
