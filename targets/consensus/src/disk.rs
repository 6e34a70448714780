//! Durable group commit.
//!
//! One thread owns the database. Changes are queued to it; it takes everything that is queued, runs it in one
//! transaction, makes that durable, and only then completes the changes, in order. A disk that needs 4 ms for a
//! durable commit therefore delays a change by at most two commits, however many changes are queued, and never
//! blocks a thread that serves clients or heartbeats.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;

use redb::{Database, Durability, ReadableDatabase, TableDefinition, WriteTransaction};
use tokio::sync::oneshot;

/// Entries of a log by index.
pub const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
/// Single records, by name.
pub const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
/// Keys and values, where a mode keeps them in the database.
pub const DATA: TableDefinition<&[u8], &[u8]> = TableDefinition::new("data");

const OWNER: &str = "owner";
const FORMAT: &str = "format";
/// The format of a folder that names none: the first programs did not write one.
const FORMAT_UNSAID: u32 = 1;
const CACHE_BYTES: usize = 16 << 20;

/// A data folder that cannot be used, or can no longer be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DiskError {
    /// The folder cannot be made.
    #[error("cannot make the data folder {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        cause: Arc<io::Error>,
    },
    /// The database cannot be opened: unwritable, held by another process, or damaged.
    #[error("cannot open the database {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: Arc<redb::Error>,
    },
    /// The thread that owns the database could not start.
    #[error("cannot start the thread that owns the database {}", path.display())]
    Thread {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: Arc<io::Error>,
    },
    /// A transaction failed.
    #[error("cannot {operation} the database {}", path.display())]
    Transaction {
        /// The operation that failed.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: Arc<redb::Error>,
    },
    /// A stored record is not one that this program writes.
    #[error("cannot decode record {record} in the database {}", path.display())]
    Record {
        /// The record.
        record: String,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: postcard::Error,
    },
    /// The folder belongs to another node or another cluster.
    #[error("the data folder {} belongs to \"{found}\", not to \"{expected}\"", path.display())]
    Owner {
        /// The folder.
        path: PathBuf,
        /// Its owner.
        found: String,
        /// The owner that opened it.
        expected: String,
    },
    /// Another version of this program wrote the folder.
    #[error(
        "the data folder {} has format {found}, and this program reads format {expected}: start the node in an empty \
         folder, or with the version that wrote this one",
        path.display()
    )]
    Format {
        /// The folder.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The format of this program.
        expected: u32,
    },
    /// The database was closed.
    #[error("the database is closed")]
    Closed,
}

/// When a commit is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syncing {
    /// Once it is on disk.
    Durable,
    /// Once the database has it in memory: it is lost with the process.
    Skipped,
}

type Change = Box<dyn FnOnce(&WriteTransaction) -> Result<(), redb::Error> + Send>;
type Completion = Box<dyn FnOnce(Result<(), DiskError>) + Send>;

enum Job {
    Commit(Change, Completion),
    Close(oneshot::Sender<()>),
}

/// A handle on the thread that owns a database. Cheap to clone.
#[derive(Clone)]
pub struct Disk {
    jobs: mpsc::Sender<Job>,
}

impl Disk {
    /// Opens the database in a data folder, making both if missing.
    ///
    /// `owner` is written into a new database and must match an old one's: a node that starts on the data of another
    /// would vote twice. `format`, the number of its records' encoding, is written and compared likewise: records of
    /// another encoding could be read as something else. `load` reads the contents before anything can change them.
    ///
    /// # Errors
    /// The folder or the database cannot be used, belongs to another owner, or has another format; or what `load` returns.
    pub fn open<T>(
        folder: &Path,
        owner: &str,
        format: u32,
        syncing: Syncing,
        load: impl FnOnce(&Contents<'_>) -> Result<T, DiskError>,
    ) -> Result<(Self, T), DiskError> {
        std::fs::create_dir_all(folder)
            .map_err(|cause| DiskError::Folder { path: folder.into(), cause: Arc::new(cause) })?;
        let path = folder.join("store.redb");
        if !path.exists() {
            create(folder, &path, owner, format)?;
        }
        let database = open_database(&path)?;
        let contents = Contents { database: &database, path: &path };
        check_owner(&contents, folder, owner)?;
        let found = contents.meta(FORMAT)?.unwrap_or(FORMAT_UNSAID);
        if found != format {
            return Err(DiskError::Format { path: folder.into(), found, expected: format });
        }
        let loaded = load(&contents)?;
        let (jobs, queue) = mpsc::channel();
        let durability = match syncing {
            Syncing::Durable => Durability::Immediate,
            Syncing::Skipped => Durability::None,
        };
        let thread_path = path.clone();
        thread::Builder::new()
            .name("disk".into())
            .spawn(move || run(database, &thread_path, durability, &queue))
            .map_err(|cause| DiskError::Thread { path, cause: Arc::new(cause) })?;
        Ok((Self { jobs }, loaded))
    }

    /// Queues a change; `completion` is called once it is durable, or has failed, on the database's thread.
    pub fn submit(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error> + Send + 'static,
        completion: impl FnOnce(Result<(), DiskError>) + Send + 'static,
    ) {
        let job = Job::Commit(Box::new(change), Box::new(completion));
        if let Err(mpsc::SendError(Job::Commit(_, completion))) = self.jobs.send(job) {
            completion(Err(DiskError::Closed));
        }
    }

    /// Makes a change and waits until it is durable.
    ///
    /// # Errors
    /// The transaction failed, or the database is closed.
    pub async fn commit(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error> + Send + 'static,
    ) -> Result<(), DiskError> {
        let (sender, receiver) = oneshot::channel();
        // A caller that no longer waits does not need the result.
        self.submit(change, move |result| drop(sender.send(result)));
        receiver.await.unwrap_or(Err(DiskError::Closed))
    }

    /// Commits the queued changes, closes the database and releases its lock. Later changes fail with
    /// [`DiskError::Closed`].
    pub async fn close(&self) {
        let (sender, receiver) = oneshot::channel();
        if self.jobs.send(Job::Close(sender)).is_ok() {
            // An error means that the thread has already ended, as it should.
            receiver.await.ok();
        }
    }
}

/// The contents of a database that was just opened.
pub struct Contents<'a> {
    database: &'a Database,
    path: &'a Path,
}

impl Contents<'_> {
    /// Decodes the record of a name in [`META`], if there is one.
    ///
    /// # Errors
    /// The database cannot be read, or the record cannot be decoded.
    pub fn meta<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<Option<T>, DiskError> {
        let mut found = None;
        self.read(|transaction| {
            found = transaction.open_table(META)?.get(name)?.map(|record| record.value().to_vec());
            Ok(())
        })?;
        found.map(|record| self.decode(&format!("meta/{name}"), &record)).transpose()
    }

    /// Decodes every entry of [`LOG`], in order of index.
    ///
    /// # Errors
    /// The database cannot be read, or an entry cannot be decoded.
    pub fn log<T: serde::de::DeserializeOwned>(&self) -> Result<Vec<(u64, T)>, DiskError> {
        let mut records = Vec::new();
        self.read(|transaction| {
            for record in transaction.open_table(LOG)?.range::<u64>(..)? {
                let (index, bytes) = record?;
                records.push((index.value(), bytes.value().to_vec()));
            }
            Ok(())
        })?;
        records
            .into_iter()
            .map(|(index, bytes)| Ok((index, self.decode(&format!("log/{index}"), &bytes)?)))
            .collect()
    }

    /// Decodes every value of [`DATA`], in order of key.
    ///
    /// # Errors
    /// The database cannot be read, or a value cannot be decoded.
    pub fn data<T: serde::de::DeserializeOwned>(&self) -> Result<Vec<(Vec<u8>, T)>, DiskError> {
        let mut records = Vec::new();
        self.read(|transaction| {
            for record in transaction.open_table(DATA)?.range::<&[u8]>(..)? {
                let (key, value) = record?;
                records.push((key.value().to_vec(), value.value().to_vec()));
            }
            Ok(())
        })?;
        let name = |key: &[u8]| format!("data/{}", String::from_utf8_lossy(key));
        records
            .into_iter()
            .map(|(key, bytes)| self.decode(&name(&key), &bytes).map(|value| (key, value)))
            .collect()
    }

    fn read(
        &self,
        body: impl FnOnce(&redb::ReadTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), DiskError> {
        let result = self.database.begin_read().map_err(redb::Error::from).and_then(|t| body(&t));
        result.map_err(|cause| transaction_failed("read", self.path, cause))
    }

    fn decode<T: serde::de::DeserializeOwned>(&self, record: &str, bytes: &[u8]) -> Result<T, DiskError> {
        postcard::from_bytes(bytes).map_err(|cause| DiskError::Record {
            record: record.into(),
            path: self.path.into(),
            cause,
        })
    }
}

/// Makes a database with its tables, its owner and its format.
///
/// It gets its name once it is complete: a node killed while redb lays out a new file would otherwise leave one that
/// can no longer be opened.
fn create(folder: &Path, path: &Path, owner: &str, format: u32) -> Result<(), DiskError> {
    let unfinished = folder.join("store.redb.new");
    let failed = |cause| DiskError::Folder { path: folder.into(), cause: Arc::new(cause) };
    match std::fs::remove_file(&unfinished) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(failed(cause)),
        _ => {}
    }
    let database = open_database(&unfinished)?;
    let lay_out = || -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        transaction.open_table(LOG)?;
        transaction.open_table(DATA)?;
        let mut meta = transaction.open_table(META)?;
        meta.insert(OWNER, owner.as_bytes())?;
        meta.insert(FORMAT, &postcard::to_stdvec(&format).expect("an integer can be encoded")[..])?;
        drop(meta);
        transaction.commit()?;
        Ok(())
    };
    lay_out().map_err(|cause| transaction_failed("lay out", &unfinished, cause))?;
    drop(database);
    std::fs::rename(&unfinished, path).map_err(failed)?;
    // The new name must survive a power loss as everything in the file does.
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

fn open_database(path: &Path) -> Result<Database, DiskError> {
    Database::builder()
        .set_cache_size(CACHE_BYTES)
        .create(path)
        .map_err(|cause| DiskError::Open { path: path.into(), cause: Arc::new(cause.into()) })
}

fn check_owner(contents: &Contents<'_>, folder: &Path, owner: &str) -> Result<(), DiskError> {
    let mut found = Vec::new();
    contents.read(|transaction| {
        found =
            transaction.open_table(META)?.get(OWNER)?.map_or(Vec::new(), |record| record.value().to_vec());
        Ok(())
    })?;
    if found == owner.as_bytes() {
        return Ok(());
    }
    Err(DiskError::Owner {
        path: folder.into(),
        found: String::from_utf8_lossy(&found).into_owned(),
        expected: owner.into(),
    })
}

fn transaction_failed(operation: &'static str, path: &Path, cause: redb::Error) -> DiskError {
    DiskError::Transaction { operation, path: path.into(), cause: Arc::new(cause) }
}

fn run(database: Database, path: &Path, durability: Durability, queue: &mpsc::Receiver<Job>) {
    while let Ok(first) = queue.recv() {
        let mut changes = Vec::new();
        let mut completions = Vec::new();
        let mut closing = None;
        for job in std::iter::once(first).chain(queue.try_iter()) {
            match job {
                Job::Commit(change, completion) => {
                    changes.push(change);
                    completions.push(completion);
                }
                Job::Close(sender) => {
                    closing = Some(sender);
                    break;
                }
            }
        }
        if !changes.is_empty() {
            let result = commit_all(&database, durability, changes)
                .map_err(|cause| transaction_failed("write to", path, cause));
            for completion in completions {
                completion(result.clone());
            }
        }
        if let Some(sender) = closing {
            drop(database);
            // The database is closed even if its caller no longer waits.
            sender.send(()).ok();
            return;
        }
    }
}

fn commit_all(database: &Database, durability: Durability, changes: Vec<Change>) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(durability)?;
    for change in changes {
        change(&transaction)?;
    }
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(
        name: &'static str,
        value: u32,
    ) -> impl FnOnce(&WriteTransaction) -> Result<(), redb::Error> + Send {
        move |transaction| {
            let bytes = postcard::to_stdvec(&value).expect("an integer can be encoded");
            transaction.open_table(META)?.insert(name, &bytes[..])?;
            Ok(())
        }
    }

    #[tokio::test]
    async fn what_was_committed_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let (disk, before) =
            Disk::open(folder.path(), "n1", 1, Syncing::Durable, |c| c.meta::<u32>("x")).unwrap();
        assert_eq!(before, None);
        disk.commit(put("x", 7)).await.unwrap();
        disk.close().await;
        assert!(matches!(disk.commit(put("x", 8)).await, Err(DiskError::Closed)));
        let (_disk, after) =
            Disk::open(folder.path(), "n1", 1, Syncing::Durable, |c| c.meta::<u32>("x")).unwrap();
        assert_eq!(after, Some(7));
    }

    #[tokio::test]
    async fn another_nodes_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (disk, ()) = Disk::open(folder.path(), "n1 of n1,n2", 1, Syncing::Durable, |_| Ok(())).unwrap();
        disk.close().await;
        let error = Disk::open(folder.path(), "n2 of n1,n2", 1, Syncing::Durable, |_| Ok(())).err().unwrap();
        assert!(error.to_string().contains("belongs to \"n1 of n1,n2\", not to \"n2 of n1,n2\""), "{error}");
    }

    #[tokio::test]
    async fn a_folder_of_another_format_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let open = |format| Disk::open(folder.path(), "n1", format, Syncing::Durable, |_| Ok(()));
        let refused = |found, expected| {
            let path = folder.path().display();
            let says = format!(
                "the data folder {path} has format {found}, and this program reads format {expected}: "
            );
            let error = open(expected).err().unwrap().to_string();
            assert!(error.starts_with(&says), "{error}");
        };
        open(2).unwrap().0.close().await;
        refused(2, 3);
        let (disk, ()) = open(2).unwrap();
        let forget = |transaction: &WriteTransaction| {
            transaction.open_table(META)?.remove(FORMAT)?;
            Ok(())
        };
        disk.commit(forget).await.unwrap();
        disk.close().await;
        refused(1, 2);
        open(1).unwrap().0.close().await;
    }

    #[test]
    fn a_database_that_was_never_finished_is_begun_again() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("store.redb.new"), vec![0; 4096]).unwrap();
        Disk::open(folder.path(), "n1", 1, Syncing::Durable, |_| Ok(())).unwrap();
        assert!(!folder.path().join("store.redb.new").exists());
    }

    #[test]
    fn a_damaged_database_is_one_clear_error() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("store.redb"), b"not a database at all").unwrap();
        let error = Disk::open(folder.path(), "n1", 1, Syncing::Durable, |_| Ok(())).err().unwrap();
        assert!(matches!(error, DiskError::Open { .. }), "{error:?}");
    }
}
