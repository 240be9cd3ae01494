//! Opening: is it a store, is it ours to use, can this version read it?

use std::{fs::OpenOptions, io, ops::Bound, path::Path, sync::Arc};

use partita_core::StoreError;
use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, StorageBackend, TableHandle, WriteTransaction,
    backends::FileBackend,
};

use crate::{
    RedbOptions,
    apply::Writer,
    backend::Shared,
    error::Fault,
    row,
    tables::{COUNTERS_NAME, DOCUMENTS, ENTRIES, FORMAT, FORMAT_NAME, LOGS, META, NAMES, PIECES, RECORDS},
};

/// What a redb file begins with.
const MAGIC: &[u8; 9] = b"redb\x1A\x0A\xA9\x0D\x0A";
/// redb's header: the only bytes that are not zero while a file is being created.
const HEADER: usize = 320;
/// A file that is being created is shorter than this.
const LONGEST_UNBORN: u64 = 4 << 20;

/// The file at `path`, created if it is missing.
pub(crate) fn file(path: &Path, name: &str) -> Result<Arc<dyn StorageBackend>, StoreError> {
    let new = !path.exists();
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    let file = file.map_err(|error| StoreError::Io(format!("{name}: {error}")))?;
    if new {
        sync_directory(path).map_err(|error| Fault::from(error).0)?;
    }
    let backend = FileBackend::new(file).map_err(|error| Fault::from(error).0)?;
    Ok(Arc::new(backend))
}

/// Makes the file's name durable: after a power cut, what was synced into a nameless file would be lost.
fn sync_directory(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::File::open(parent)?.sync_all()?;
    }
    Ok(())
}

/// Opens or creates the database.
pub(crate) fn database(
    backend: &Arc<dyn StorageBackend>,
    name: &str,
    options: &RedbOptions,
) -> Result<Database, Fault> {
    probe(&**backend, name)?;
    let mut builder = Builder::new();
    builder.set_cache_size(options.cache_bytes);
    match builder.create_with_backend(Shared(backend.clone())) {
        Ok(database) => Ok(database),
        Err(DatabaseError::DatabaseAlreadyOpen) => Err(StoreError::InUse(name.into()).into()),
        Err(DatabaseError::UpgradeRequired(_)) => Err(StoreError::NotAStore(name.into()).into()),
        Err(error) => Err(error.into()),
    }
}

/// Refuses what is not a redb file, before anything could be written to it.
fn probe(backend: &dyn StorageBackend, name: &str) -> Result<(), Fault> {
    let mut magic = [0; MAGIC.len()];
    match backend.len()? {
        0 => return Ok(()),
        len if len < magic.len() as u64 => return Err(StoreError::NotAStore(name.into()).into()),
        // Where locks are mandatory, a file in use cannot even be read: redb will say so.
        _ => match backend.read(0, &mut magic) {
            Ok(()) => {}
            Err(_) => return Ok(()),
        },
    }
    match magic {
        magic if magic == *MAGIC => Ok(()),
        magic if magic == [0; MAGIC.len()] => restart_creation(backend, name),
        _ => Err(StoreError::NotAStore(name.into()).into()),
    }
}

/// redb writes the magic number last. A crash before that leaves a file that it would refuse for ever, though it never
/// held anything: such a file is emptied.
fn restart_creation(backend: &dyn StorageBackend, name: &str) -> Result<(), Fault> {
    let all = (Bound::Unbounded, Bound::Unbounded);
    let locked = match backend.try_lock_range(all.0, all.1) {
        // Somebody else is creating it right now.
        Ok(false) => return Err(StoreError::InUse(name.into()).into()),
        Ok(true) => true,
        Err(redb::BackendError::Unsupported) => false,
        Err(error) => return Err(io::Error::from(error).into()),
    };
    let result = empty_if_unborn(backend, name);
    if locked {
        backend.unlock_range(all.0, all.1).map_err(io::Error::from)?;
    }
    result
}

fn empty_if_unborn(backend: &dyn StorageBackend, name: &str) -> Result<(), Fault> {
    let len = backend.len()?;
    let mut content = vec![0; usize::try_from(len.min(LONGEST_UNBORN)).unwrap_or(0)];
    backend.read(0, &mut content)?;
    let blank = |bytes: Option<&[u8]>| bytes.is_none_or(|bytes| bytes.iter().all(|byte| *byte == 0));
    if len >= LONGEST_UNBORN || !blank(content.get(..MAGIC.len())) || !blank(content.get(HEADER..)) {
        return Err(StoreError::NotAStore(name.into()).into());
    }
    Ok(backend.set_len(0)?)
}

/// Checks that the database is a store of a format that this version knows, or makes a new one into a store.
pub(crate) fn store(database: &Database, name: &str) -> Result<Writer, Fault> {
    let read = database.begin_read()?;
    let tables: Vec<String> = read.list_tables()?.map(|table| table.name().into()).collect();
    if tables.is_empty() && read.list_multimap_tables()?.next().is_none() {
        return create(database);
    }
    if !tables.iter().any(|table| table == "meta") {
        return Err(StoreError::NotAStore(name.into()).into());
    }
    let meta = read.open_table(META)?;
    let format = meta.get(FORMAT_NAME)?.ok_or_else(|| StoreError::NotAStore(name.into()))?;
    let format = format.value().try_into().map_err(|_| Fault::damaged("the format has no form"))?;
    match u64::from_be_bytes(format) {
        FORMAT => {}
        found if found > FORMAT => {
            return Err(StoreError::NewerFormat { found, supported: FORMAT }.into());
        }
        _ => return Err(Fault::damaged("the format has no form")),
    }
    let counters = meta.get(COUNTERS_NAME)?.ok_or_else(|| Fault::damaged("the counters are missing"))?;
    let [n0, n1, n2, n3, bodies @ ..] = row::unseal::<12>(COUNTERS_NAME.as_bytes(), counters.value())?;
    // Readers rely on every table being there.
    read.open_table(NAMES)?;
    read.open_table(ENTRIES)?;
    read.open_table(LOGS)?;
    read.open_table(DOCUMENTS)?;
    read.open_table(RECORDS)?;
    read.open_table(PIECES)?;
    Ok(Writer::new(u32::from_be_bytes([n0, n1, n2, n3]), u64::from_be_bytes(bodies)))
}

fn create(database: &Database) -> Result<Writer, Fault> {
    let writer = Writer::default();
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    create_tables(&transaction)?;
    let mut meta = transaction.open_table(META)?;
    meta.insert(FORMAT_NAME, &FORMAT.to_be_bytes()[..])?;
    meta.insert(COUNTERS_NAME, writer.counters().as_slice())?;
    drop(meta);
    transaction.commit()?;
    Ok(writer)
}

fn create_tables(transaction: &WriteTransaction) -> Result<(), Fault> {
    transaction.open_table(NAMES)?;
    transaction.open_table(ENTRIES)?;
    transaction.open_table(LOGS)?;
    transaction.open_table(DOCUMENTS)?;
    transaction.open_table(RECORDS)?;
    transaction.open_table(PIECES)?;
    Ok(())
}
