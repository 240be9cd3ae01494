//! A disk in memory that fails: crash images, full disks, a lying fsync.
//!
//! It tells apart what a process wrote, which it reads back at once, and what a sync made safe. Everything between the
//! two is what a power cut may take. It has no clock and no randomness of its own: who takes a crash image hands it in.
//!
//! Contents are pages that share memory: an image, a copy and a sync cost what changed, not the length of the file.

mod pages;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    io::{self, ErrorKind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use pages::Pages;
use rand_core::Rng;
use redb::StorageBackend;

/// What a disk writes as a whole or not at all.
const SECTOR: usize = 512;

/// A file on a disk that fails when it is told to. Clones are handles of one disk: who tests keeps one while the store
/// has the other.
///
/// Nothing locks it: two stores on one disk at once test nothing.
#[derive(Debug, Clone, Default)]
pub struct FaultyDisk(Arc<Mutex<State>>);

/// The content of a disk, to copy or to bring back. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Image(Pages);

/// What ends, and so what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Crash {
    /// The process alone: the kernel has all that it wrote, synced or not. A write that was stopped half way may be
    /// there in part.
    Process,
    /// The power, and the disk kept only what was synced.
    PowerStrict,
    /// The power, and of what was not synced some arrived: in any order, and single writes in part, by sectors.
    PowerTorn,
}

impl Crash {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Process, Self::PowerStrict, Self::PowerTorn];
}

/// How an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Writes, syncs and changes of length fail with an I/O error. What the kernel has can be read.
    Io,
    /// Writes and growth find no space. Syncs work.
    NoSpace,
    /// The disk is gone: reads fail too.
    Gone,
}

impl Fault {
    fn error(self) -> io::Error {
        match self {
            Self::Io => io::Error::other("input/output error"),
            Self::NoSpace => ErrorKind::StorageFull.into(),
            Self::Gone => io::Error::other("no such device"),
        }
    }
}

/// What was asked of a disk since it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
    /// Bytes of these writes.
    pub bytes: u64,
    /// Syncs.
    pub syncs: u64,
    /// Changes of length.
    pub set_lens: u64,
    /// How many of all that failed.
    pub failed: u64,
}

impl Counts {
    /// What [`FaultyDisk::fail_after`] counts: writes, syncs and changes of length.
    pub fn operations(&self) -> u64 {
        self.writes + self.syncs + self.set_lens
    }
}

#[derive(Debug, Default)]
struct State {
    /// As the process sees it.
    now: Pages,
    /// What is safe.
    synced: Pages,
    /// Pages that the next sync writes.
    dirty: BTreeSet<usize>,
    /// The shortest that the file was since the last sync: what lay behind is gone with it.
    shortest: Option<u64>,
    /// What was done since the last sync that worked.
    unsynced: Vec<Change>,
    /// The write that a fault stopped.
    stopped: Option<Write>,
    failure: Option<Failure>,
    room: Option<u64>,
    lies: bool,
    forgets: bool,
    counts: Counts,
}

#[derive(Debug, Clone)]
enum Change {
    Write(Write),
    Length(u64),
}

#[derive(Debug, Clone)]
struct Write {
    offset: u64,
    data: Arc<[u8]>,
}

#[derive(Debug, Clone, Copy)]
struct Failure {
    fault: Fault,
    /// Operations that still work.
    left: u64,
    /// Operations that then fail; all when there is no number.
    times: Option<u64>,
    /// Only syncs are counted, and fail.
    only_syncs: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Read,
    Write,
    Sync,
    Grow,
    Shrink,
}

impl FaultyDisk {
    /// An empty file.
    pub fn new() -> Self {
        Self::default()
    }

    /// A disk with this content, all of it safe: a backup that was restored, a store that was copied.
    pub fn of(image: impl Into<Image>) -> Self {
        let Image(pages) = image.into();
        Self(Arc::new(Mutex::new(State { now: pages.clone(), synced: pages, ..State::default() })))
    }

    /// The content as the process sees it: what `cp` would read.
    pub fn image(&self) -> Image {
        Image(self.state().now.clone())
    }

    /// The disk that is found after a crash at this moment. This one goes on unharmed: more images can be taken, and
    /// what a store does while it is dropped reaches only this one.
    ///
    /// What the disk is like (its room, a lying sync) is as before; what was to fail is over.
    pub fn crash(&self, kind: Crash, rng: &mut dyn Rng) -> Self {
        let state = self.state();
        let pages = match kind {
            Crash::Process => state.after_process(rng),
            Crash::PowerStrict => state.synced.clone(),
            Crash::PowerTorn => state.after_power_cut(rng),
        };
        let after = State {
            now: pages.clone(),
            synced: pages,
            room: state.room,
            lies: state.lies,
            forgets: state.forgets,
            ..State::default()
        };
        Self(Arc::new(Mutex::new(after)))
    }

    /// After so many more operations ([`Counts::operations`]), every one fails until [`mend`](Self::mend): a commit
    /// stops half way, and a crash image shows exactly this point.
    pub fn fail_after(&self, operations: u64, fault: Fault) {
        self.state().failure = Some(Failure { fault, left: operations, times: None, only_syncs: false });
    }

    /// The same for so many operations only, then all is well again.
    pub fn fail_times_after(&self, operations: u64, fault: Fault, times: u64) {
        self.state().failure = Some(Failure { fault, left: operations, times: Some(times), only_syncs: false });
    }

    /// After so many more syncs, so many fail (all, without a number); other operations go on.
    pub fn fail_syncs_after(&self, syncs: u64, times: Option<u64>) {
        self.state().failure = Some(Failure { fault: Fault::Io, left: syncs, times, only_syncs: true });
    }

    /// Ends what was to fail, and makes room without limit.
    pub fn mend(&self) {
        let mut state = self.state();
        state.failure = None;
        state.room = None;
    }

    /// The file does not grow beyond so many bytes, or beyond what it has by now; without a limit, with `None`.
    pub fn room(&self, bytes: Option<u64>) {
        self.state().room = bytes;
    }

    /// From now on a sync reports success and makes nothing safe. For negative controls: tests must notice it.
    pub fn lie(&self, lies: bool) {
        self.state().lies = lies;
    }

    /// What a failed sync should have made safe counts as safe from then on, as in Linux: the process still reads it,
    /// a later sync reports success, and it was never written, unless somebody wrote the same page again.
    pub fn forget_on_failed_sync(&self, forgets: bool) {
        self.state().forgets = forgets;
    }

    /// What was asked of it so far.
    pub fn counts(&self) -> Counts {
        self.state().counts
    }

    /// Whether something was done that no sync made safe.
    pub fn is_dirty(&self) -> bool {
        !self.state().unsynced.is_empty()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts an operation; fails it if its time has come.
    fn begin(&mut self, operation: Operation) -> io::Result<()> {
        let error = self.fails(operation);
        let counts = &mut self.counts;
        match operation {
            Operation::Read => counts.reads += 1,
            Operation::Write => counts.writes += 1,
            Operation::Sync => counts.syncs += 1,
            Operation::Grow | Operation::Shrink => counts.set_lens += 1,
        }
        counts.failed += u64::from(error.is_some());
        error.map_or(Ok(()), Err)
    }

    fn fails(&mut self, operation: Operation) -> Option<io::Error> {
        let failure = self.failure.as_mut()?;
        if operation == Operation::Read {
            return (failure.left == 0 && failure.fault == Fault::Gone).then(|| failure.fault.error());
        }
        if failure.only_syncs && operation != Operation::Sync {
            return None;
        }
        if failure.left > 0 {
            failure.left -= 1;
            return None;
        }
        if failure.fault == Fault::NoSpace && matches!(operation, Operation::Sync | Operation::Shrink) {
            return None;
        }
        let error = failure.fault.error();
        if let Some(times) = &mut failure.times {
            *times = times.saturating_sub(1);
            if *times == 0 {
                self.failure = None;
            }
        }
        Some(error)
    }

    fn sync(&mut self) -> io::Result<()> {
        if let Err(error) = self.begin(Operation::Sync) {
            if self.forgets {
                self.dirty.clear();
            }
            return Err(error);
        }
        if self.lies {
            return Ok(());
        }
        if let Some(shortest) = self.shortest.take() {
            self.synced.set_len(shortest);
            self.synced.set_len(self.now.len());
        }
        for page in std::mem::take(&mut self.dirty) {
            self.synced.share(page, &self.now);
        }
        self.unsynced.clear();
        self.stopped = None;
        Ok(())
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        let grows = len > self.now.len();
        self.begin(if grows { Operation::Grow } else { Operation::Shrink })?;
        if grows && self.room.is_some_and(|room| len > room) {
            self.counts.failed += 1;
            return Err(Fault::NoSpace.error());
        }
        let shortest = self.shortest.unwrap_or(self.now.len());
        self.shortest = Some(shortest.min(len));
        self.now.set_len(len);
        self.unsynced.push(Change::Length(len));
        Ok(())
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        let write = Write { offset, data: data.into() };
        if let Err(error) = self.begin(Operation::Write) {
            self.stopped.get_or_insert(write);
            return Err(error);
        }
        self.counts.bytes += data.len() as u64;
        self.now.write(offset, data)?;
        self.dirty.extend(Pages::touched(offset, data.len()));
        self.unsynced.push(Change::Write(write));
        Ok(())
    }

    fn after_process(&self, rng: &mut dyn Rng) -> Pages {
        let mut pages = self.now.clone();
        if let Some(Write { offset, data }) = &self.stopped {
            let sectors = below(rng, data.len().div_ceil(SECTOR) + 1);
            pages.write_within(*offset, &data[..data.len().min(sectors * SECTOR)]);
        }
        pages
    }

    fn after_power_cut(&self, rng: &mut dyn Rng) -> Pages {
        let mut pages = self.synced.clone();
        // File systems keep changes of length in a journal: those up to some point are there.
        let lengths = self.unsynced.iter().filter(|change| matches!(change, Change::Length(_))).count();
        let mut lengths = below(rng, lengths + 1);
        // A write is there whole, not at all, or in part; how many are is drawn once, so that images differ in it.
        let share = below(rng, 9);
        let mut arrived: Vec<(u64, &[u8])> = Vec::new();
        let stopped = self.stopped.clone().map(Change::Write);
        for change in self.unsynced.iter().chain(&stopped) {
            match change {
                Change::Length(len) if lengths > 0 => {
                    lengths -= 1;
                    pages.set_len(*len);
                    arrived.retain(|(offset, _)| offset < len);
                }
                Change::Length(_) => {}
                Change::Write(Write { offset, data }) => {
                    let torn = below(rng, 4) == 0;
                    let whole = below(rng, 8) < share;
                    for (number, sector) in data.chunks(SECTOR).enumerate() {
                        if if torn { below(rng, 2) == 0 } else { whole } {
                            arrived.push((offset + (number * SECTOR) as u64, sector));
                        }
                    }
                }
            }
        }
        for last in (1..arrived.len()).rev() {
            arrived.swap(last, below(rng, last + 1));
        }
        for (offset, sector) in arrived {
            pages.write_within(offset, sector);
        }
        pages
    }
}

fn below(rng: &mut dyn Rng, limit: usize) -> usize {
    (rng.next_u64() % limit as u64) as usize
}

impl StorageBackend for FaultyDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().now.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = self.state();
        state.begin(Operation::Read)?;
        state.now.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.state().set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.state().sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.state().write(offset, data)
    }
}

impl Image {
    /// All bytes, one after the other.
    pub fn to_vec(&self) -> Vec<u8> {
        self.0.to_vec()
    }
}

impl From<Vec<u8>> for Image {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Pages::of(&bytes))
    }
}
