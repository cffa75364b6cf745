//! The file in which revocations outlive the process: a redb database of one table.
//!
//! It is read once, at the start, and written before a change counts. A file that cannot be trusted is not opened, since
//! what it has forgotten would be honoured again.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::backends::FileBackend;
use redb::{Builder, Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::entry::{Revocation, RevocationId};
use super::index::Index;

/// Each revocation as JSON under its id.
const REVOCATIONS: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("revocations");

/// Revocations are few and are read once.
const CACHE_BYTES: usize = 1 << 20;

/// Only its owner may read it: it names users.
const MODE: u32 = 0o600;

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it open.
    #[error("another process uses it")]
    InUse,
    /// It leads to a file that is not there. Made anew in the link's place it would not be where it is looked for.
    #[error("it is a symbolic link to a file that is not there")]
    Dangling,
    /// Somebody has removed or replaced it: what is written to the one that is open would be lost.
    #[error("the file at {} is no longer the one that flowgate opened", .0.display())]
    Replaced(PathBuf),
    /// What is in it cannot be trusted.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// There is no space left for it.
    #[error("no space is left for it: {0}")]
    Full(io::Error),
    /// It cannot be read or written.
    #[error("it cannot be read or written: {0}")]
    Io(io::Error),
}

impl StoreError {
    /// What can be done about it, as a phrase.
    pub fn mend(&self) -> &'static str {
        match self {
            StoreError::InUse => "end that process, or give each a file of its own",
            StoreError::Dangling => "put the file back to where the link leads, or remove the link",
            StoreError::Replaced(_) => {
                "put it back or restart, after which only what is in the file there counts"
            }
            StoreError::Damaged(_) => {
                "put a copy back in its place, or move it away, after which every token that was revoked counts again"
            }
            StoreError::Full(_) => "make room on its disk",
            StoreError::Io(_) => "let this user read and write it, or name another file",
        }
    }
}

/// What is to be written, all of it or nothing.
#[derive(Debug, Default)]
pub struct Change {
    /// Those that are new, or other than before.
    pub add: Vec<Arc<Revocation>>,
    /// Those that are no more.
    pub remove: Vec<RevocationId>,
}

/// The open file.
pub struct Store {
    path: PathBuf,
    /// Absent after a failure: redb takes nothing more until the file is opened anew.
    database: Option<Database>,
    /// The open file's device and number.
    identity: (u64, u64),
}

impl Store {
    /// Opens the file, or makes one where there is none. Blocks.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn open(path: &Path) -> Result<(Self, Vec<Revocation>), StoreError> {
        if !path.try_exists().map_err(of_io)? {
            if path.is_symlink() {
                return Err(StoreError::Dangling);
            }
            create(path)?;
            tracing::warn!(
                path = %path.display(),
                "revocation.store: there was no file, so a new one is made; what was revoked in another counts again"
            );
        }
        let (database, identity) = open(path)?;
        let revocations = guarded(|| read(&database))?;
        Ok((Store { path: path.to_owned(), database: Some(database), identity }, revocations))
    }

    /// Makes a change durable. `known` is what holds without it. Blocks until the disk has it.
    ///
    /// # Errors
    /// Nothing of the change counts then. What a failed write may have left in the file is taken out of it as soon as the
    /// file can be written again.
    pub fn write(&mut self, change: &Change, known: &Index) -> Result<(), StoreError> {
        self.check_in_place()?;
        let database = match self.database.take() {
            Some(database) => database,
            None => {
                let (database, identity) = open(&self.path)?;
                guarded(|| reconcile(&database, known))?;
                self.identity = identity;
                database
            }
        };
        guarded(|| apply(&database, change))?;
        self.database = Some(database);
        Ok(())
    }

    /// Whether the path still leads to the file that is open, which alone is found at the next start.
    fn check_in_place(&self) -> Result<(), StoreError> {
        match std::fs::metadata(&self.path) {
            Ok(there) if identity(&there) == self.identity => Ok(()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(of_io(error)),
            _ => Err(StoreError::Replaced(self.path.clone())),
        }
    }
}

fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// Makes a file with an empty table under another name, and only then gives it its own: a file that is there is whole.
fn create(path: &Path) -> Result<(), StoreError> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(of_io(error)),
        _ => {}
    }
    let file =
        OpenOptions::new().read(true).write(true).create_new(true).mode(MODE).open(&new).map_err(of_io)?;
    guarded(|| {
        let database = Builder::new().create_with_backend(FileBackend::new(file)?)?;
        apply(&database, &Change::default())
    })?;
    std::fs::rename(&new, path).map_err(of_io)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all()).map_err(of_io)
}

/// Opens a file that is there, every page of it checked; and says which file that is.
fn open(path: &Path) -> Result<(Database, (u64, u64)), StoreError> {
    let there = std::fs::metadata(path).map_err(of_io)?;
    if there.len() == 0 {
        return Err(StoreError::Damaged("it is empty".into()));
    }
    let database = guarded(|| {
        let mut builder = Builder::new();
        Ok(builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true).open(path)?)
    })?;
    Ok((database, identity(&there)))
}

fn read(database: &Database) -> Result<Vec<Revocation>, redb::Error> {
    let reading = database.begin_read()?;
    let table = reading.open_table(REVOCATIONS)?;
    table
        .iter()?
        .map(|entry| {
            let (id, json) = entry?;
            let revocation: Revocation = serde_json::from_slice(json.value())
                .map_err(|error| redb::Error::Corrupted(format!("an entry is no revocation: {error}")))?;
            if revocation.id.bits() != id.value() {
                return Err(redb::Error::Corrupted("an entry stands in another's place".into()));
            }
            Ok(revocation)
        })
        .collect()
}

fn apply(database: &Database, change: &Change) -> Result<(), redb::Error> {
    let writing = database.begin_write()?;
    {
        let mut table = writing.open_table(REVOCATIONS)?;
        for revocation in &change.add {
            table.insert(revocation.id.bits(), json(revocation)?.as_slice())?;
        }
        for id in &change.remove {
            table.remove(id.bits())?;
        }
    }
    Ok(writing.commit()?)
}

/// Writes what is known and nothing else.
fn reconcile(database: &Database, known: &Index) -> Result<(), redb::Error> {
    let in_file = read(database)?;
    let change = Change {
        add: known.after(None).cloned().collect(),
        remove: in_file.iter().map(|one| one.id).filter(|id| known.get(*id).is_none()).collect(),
    };
    apply(database, &change)
}

fn json(revocation: &Revocation) -> Result<Vec<u8>, redb::Error> {
    // Texts, numbers and nothing that could fail.
    serde_json::to_vec(revocation).map_err(|error| redb::Error::Corrupted(error.to_string()))
}

/// Turns redb's errors into ours, and a panic, which a damaged file may cause, too.
fn guarded<T>(work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(of_redb),
        Err(_) => Err(StoreError::Damaged("reading it failed".into())),
    }
}

fn of_redb(error: redb::Error) -> StoreError {
    match error {
        redb::Error::DatabaseAlreadyOpen => StoreError::InUse,
        // What redb says of a file that is none of its own, and of one that lacks its end.
        redb::Error::Io(error)
            if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
        {
            StoreError::Damaged(error.to_string())
        }
        redb::Error::Io(error) => of_io(error),
        redb::Error::PreviousIo => of_io(io::Error::other("an earlier write failed")),
        other => StoreError::Damaged(other.to_string()),
    }
}

fn of_io(error: io::Error) -> StoreError {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    match error.kind() {
        StorageFull | QuotaExceeded | FileTooLarge => StoreError::Full(error),
        _ => StoreError::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::super::entry::Target;
    use super::*;

    fn revocation(number: u32) -> Arc<Revocation> {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        Arc::new(Revocation {
            id: RevocationId::at(at, number),
            target: Target::Subject(format!("user-{number}").into()),
            issuer: None,
            issued_before: Some(at),
            revoked_at: at,
            until: None,
            reason: None,
        })
    }

    #[test]
    fn what_a_failed_write_may_have_left_does_not_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.redb");
        let [counts, left, lost, next] = [1, 2, 3, 4].map(revocation);
        let (mut store, _) = Store::open(&path).unwrap();
        let add = vec![counts.clone(), left];
        store.write(&Change { add, remove: Vec::new() }, &Index::default()).unwrap();
        // As after a failure that was told of before the file had both, or neither.
        store.database = None;
        let known = Index::of([counts.clone(), lost.clone()].into_iter());
        store.write(&Change { add: vec![next.clone()], remove: Vec::new() }, &known).unwrap();
        drop(store);
        let (_, found) = Store::open(&path).unwrap();
        assert_eq!(found, [counts, lost, next].map(Arc::unwrap_or_clone));
    }

    #[test]
    fn a_file_that_was_removed_or_replaced_takes_nothing_until_it_is_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.redb");
        let [first, lost, last] = [1, 2, 3].map(revocation);
        let (mut store, _) = Store::open(&path).unwrap();
        let write = |store: &mut Store, one: &Arc<Revocation>| {
            store.write(&Change { add: vec![one.clone()], remove: Vec::new() }, &Index::default())
        };
        write(&mut store, &first).unwrap();
        let aside = folder.path().join("aside");
        std::fs::rename(&path, &aside).unwrap();
        let error = write(&mut store, &lost).unwrap_err();
        assert!(matches!(error, StoreError::Replaced(_)) && error.to_string().contains("r.redb"), "{error}");
        std::fs::copy(&aside, &path).unwrap();
        assert!(matches!(write(&mut store, &lost), Err(StoreError::Replaced(_))));
        std::fs::rename(&aside, &path).unwrap();
        write(&mut store, &last).unwrap();
        drop(store);
        assert_eq!(Store::open(&path).unwrap().1, [first, last].map(Arc::unwrap_or_clone));
    }

    #[test]
    fn an_entry_that_is_no_revocation_keeps_the_file_from_being_used() {
        let folder = tempfile::tempdir().unwrap();
        for (at, text) in [
            (7, "{}"),
            (7, "not json"),
            (7, "{\"id\":\"0000000000000007\",\"revokedAt\":\"2026-03-01T12:00:00Z\"}"),
            (8, "{\"id\":\"0000000000000007\",\"subject\":\"a\",\"revokedAt\":\"2026-03-01T12:00:00Z\"}"),
        ] {
            let path = folder.path().join("r.redb");
            let (store, _) = Store::open(&path).unwrap();
            let writing = store.database.as_ref().unwrap().begin_write().unwrap();
            writing.open_table(REVOCATIONS).unwrap().insert(at, text.as_bytes()).unwrap();
            writing.commit().unwrap();
            drop(store);
            assert!(matches!(Store::open(&path), Err(StoreError::Damaged(_))), "{text}");
            std::fs::remove_file(&path).unwrap();
        }
    }
}
