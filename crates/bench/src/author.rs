//! One owner's devices, and what one of them wrote before a clock starts.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use partita::single_owner::SingleOwner;
use partita_core::{
    Batch, ContextInfo, DeviceKeys, Durability, Entry, EntryKind, Incarnation, Keystore, Op, PartitionStrategy as _,
    Store, StoreError, StoreRead,
};
use partita_crypto::{Mnemonic, SigningKey};
use partita_protocol::{
    NodeConfig,
    message::{Run, RunLimits},
};
use partita_testing::{MemoryKeystore, MemoryStore, samples};
use rand_chacha::ChaCha20Rng;
use rand_core::Rng as _;

use crate::{
    devices::Failure,
    pair::{self, End, now},
};

/// What a sealed payload is longer than a plain one: a nonce and a tag.
const SEAL: usize = 40;
/// How many documents an author writes in, in turns.
const DOCUMENTS: usize = 8;

/// What a device shows a remote.
pub(crate) struct Device {
    pub(crate) key: Arc<SigningKey>,
    pub(crate) owner: SingleOwner,
    pub(crate) info: ContextInfo,
}

impl Device {
    /// The device that has its keys in this keystore.
    pub(crate) fn load(keystore: &dyn Keystore) -> Result<Self, Failure> {
        let owner = SingleOwner::open(keystore)?;
        let info = owner.contexts().into_iter().next().ok_or("an owner has no context")?;
        Ok(Self { key: Arc::new(DeviceKeys::load(keystore)?.signing), owner, info })
    }

    /// Its node, on a store that may hold something already, with its context open.
    pub(crate) fn node(self, store: Box<dyn Store>, rng: &mut ChaCha20Rng) -> Result<End, Failure> {
        let mut end = End::with(store, pair::fork(rng), self.key, NodeConfig::default(), Box::new(self.owner));
        end.open([self.info]).map_err(|error| error.to_string())?;
        Ok(end)
    }
}

/// An owner, by the first of its devices.
pub(crate) struct Author {
    keystore: MemoryKeystore,
    words: Mnemonic,
}

impl Author {
    pub(crate) fn new(rng: &mut ChaCha20Rng) -> Result<Self, Failure> {
        let keystore = MemoryKeystore::default();
        let (_, words) = SingleOwner::create(&keystore, rng)?;
        Ok(Self { keystore, words })
    }

    /// The device that writes.
    pub(crate) fn device(&self) -> Result<Device, Failure> {
        Device::load(&self.keystore)
    }

    /// One more device of the owner.
    pub(crate) fn another_device(&self, rng: &mut ChaCha20Rng) -> Result<Device, Failure> {
        let keystore = MemoryKeystore::default();
        let request = SingleOwner::request(&keystore, rng)?;
        SingleOwner::accept(&keystore, &SingleOwner::certify(&self.words, &request))?;
        Device::load(&keystore)
    }

    /// What the device's node has its store commit, when so many changes with payloads of so many sealed bytes are made, so
    /// many `together`. What the owner's rules want comes before them: the device's certificate, the keys.
    pub(crate) fn write(
        &self,
        entries: usize,
        payload: usize,
        together: usize,
        rng: &mut ChaCha20Rng,
    ) -> Result<Vec<Batch>, Failure> {
        let recorder = Recorder { store: MemoryStore::new(pair::incarnation(rng)), batches: Arc::default() };
        let batches = recorder.batches.clone();
        let device = self.device()?;
        let context = device.info.id;
        let mut end = device.node(Box::new(recorder), rng)?;
        fill(&mut end, context, entries, payload, together, rng)?;
        let mut batches = batches.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::take(&mut *batches))
    }
}

/// Makes so many changes with payloads of so many sealed bytes, and commits so many together.
pub(crate) fn fill(
    end: &mut End,
    context: partita_core::ContextId,
    entries: usize,
    payload: usize,
    together: usize,
    rng: &mut ChaCha20Rng,
) -> Result<(), Failure> {
    let mut plain = vec![0; payload.saturating_sub(SEAL)];
    for number in 0..entries {
        rng.fill_bytes(&mut plain);
        let document = samples::document((number % DOCUMENTS) as u8);
        end.node.append(now(1), context, EntryKind::Change(document), &plain)?;
        if number % together == together - 1 || number == entries - 1 {
            end.settle().map_err(|error| error.to_string())?;
            end.notices.clear();
            end.take_out();
        }
    }
    Ok(())
}

/// The entries of batches, in order.
pub(crate) fn entries(batches: &[Batch]) -> impl Iterator<Item = &Arc<Entry>> {
    batches.iter().flat_map(|batch| &batch.ops).filter_map(|op| match op {
        Op::Append(stored) => Some(&stored.entry),
        _ => None,
    })
}

/// Entries as they travel: runs as long as a node makes them.
pub(crate) fn runs<'e>(entries: impl IntoIterator<Item = &'e Arc<Entry>>) -> Vec<Run> {
    let RunLimits { entries: most, bytes: most_bytes } = NodeConfig::default().run;
    let (mut runs, mut run, mut bytes): (Vec<Run>, Vec<Arc<Entry>>, usize) = (Vec::new(), Vec::new(), 0);
    for entry in entries {
        // Each control entry is a run.
        let is_control = entry.header.kind.is_control();
        let same = run.last().is_none_or(|last| !is_control && last.header.log == entry.header.log);
        if !same || run.len() == most || bytes >= most_bytes {
            runs.extend(Run::of(std::mem::take(&mut run)));
            bytes = 0;
        }
        bytes += entry.size();
        run.push(entry.clone());
    }
    runs.extend(Run::of(run));
    runs
}

/// Keeps what is committed, to be committed again elsewhere.
struct Recorder {
    store: MemoryStore,
    batches: Arc<Mutex<Vec<Batch>>>,
}

impl Store for Recorder {
    fn incarnation(&self) -> Incarnation {
        self.store.incarnation()
    }

    fn read(&self) -> Result<Box<dyn StoreRead + '_>, StoreError> {
        self.store.read()
    }

    fn commit(&self, batch: &Batch, durability: Durability) -> Result<(), StoreError> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner).push(batch.clone());
        self.store.commit(batch, durability)
    }
}

/// The bytes that a store has to keep of an entry.
pub(crate) fn stored_bytes(entry: &Entry) -> Bytes {
    [&entry.head_bytes()[..], &entry.payload[..]].concat().into()
}
