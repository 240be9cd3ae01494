//! A CRDT type of one's own: a counter that only grows.
//!
//! Each writer has a total of its own that only it raises; the counter is the sum. A payload is the writer's name and
//! its new total, 16 + 8 bytes; a snapshot is all of them by rising name. Whatever order they come in, however often, the
//! largest total of each writer counts.

use std::{any::Any, collections::BTreeMap, convert::Infallible};

use partita::{
    Engine, FileKeystore, SystemRandom,
    core::{
        ActorSeed, Applied, CopyError, CrdtDocument, CrdtError, CrdtType, CrdtTypeId, Digest, DocumentType, Limits,
        Transact, digest_hasher,
    },
    single_owner::SingleOwner,
};

type Writer = [u8; 16];

#[derive(Default)]
struct Counter;

struct Count {
    me: Writer,
    totals: BTreeMap<Writer, u64>,
    /// Whether my total is more than what was taken of it.
    grown: bool,
}

/// A payload speaks only for its author: the writer's name comes from the author's log.
fn writer(actor: ActorSeed) -> Writer {
    let mut name = Writer::default();
    name.copy_from_slice(&actor.as_bytes()[..16]);
    name
}

fn totals(bytes: &[u8]) -> Result<Vec<(Writer, u64)>, CrdtError> {
    let (records, rest) = bytes.as_chunks::<24>();
    let record = |record: &[u8; 24]| {
        let (name, total) = record.split_first_chunk::<16>()?;
        Some((*name, u64::from_be_bytes(total.try_into().ok()?)))
    };
    let found: Option<Vec<_>> = records.iter().map(record).collect();
    let found = found.filter(|found| rest.is_empty() && found.is_sorted_by(|a, b| a.0 < b.0));
    found.ok_or(CrdtError::Malformed("totals by rising name are expected"))
}

impl CrdtType for Counter {
    fn id(&self) -> CrdtTypeId {
        CrdtTypeId(*b"xcnt")
    }

    fn validate(&self, payload: &[u8], actor: Option<ActorSeed>, limits: &Limits) -> Result<(), CrdtError> {
        if payload.len() > limits.payload_bytes {
            return Err(CrdtError::TooLarge("the payload"));
        }
        let found = totals(payload)?;
        match actor.map(writer) {
            Some(author) if found.iter().any(|(name, _)| *name != author) => Err(CrdtError::ForeignActor),
            _ => Ok(()), // an import may hold many
        }
    }

    fn create(&self, actor: ActorSeed) -> Box<dyn CrdtDocument> {
        Box::new(Count { me: writer(actor), totals: BTreeMap::new(), grown: false })
    }

    fn load(&self, snapshot: &[u8], actor: ActorSeed) -> Result<Box<dyn CrdtDocument>, CrdtError> {
        Ok(Box::new(Count { me: writer(actor), totals: totals(snapshot)?.into_iter().collect(), grown: false }))
    }
}

impl Count {
    fn sum(&self) -> u64 {
        self.totals.values().fold(0, |sum, total| sum.saturating_add(*total))
    }
}

impl CrdtDocument for Count {
    fn apply(&mut self, payloads: &[&[u8]]) -> Vec<Result<Applied, CrdtError>> {
        let mut apply = |payload: &[u8]| {
            let mut news = false;
            for (name, total) in totals(payload)? {
                let known = self.totals.entry(name).or_default();
                news |= total > *known;
                *known = total.max(*known);
            }
            Ok(if news { Applied::Done } else { Applied::Known })
        };
        payloads.iter().map(|payload| apply(payload)).collect()
    }

    fn take_local(&mut self, _: &Limits) -> Result<Option<Vec<u8>>, CrdtError> {
        let grown = std::mem::take(&mut self.grown);
        let total = self.totals.get(&self.me).filter(|_| grown);
        Ok(total.map(|total| [&self.me[..], &total.to_be_bytes()].concat()))
    }

    fn snapshot(&self) -> Result<Vec<u8>, CrdtError> {
        Ok(self.totals.iter().flat_map(|(name, total)| [&name[..], &total.to_be_bytes()].concat()).collect())
    }

    fn pending(&self) -> usize {
        0 // nothing depends on anything
    }

    fn digest(&self) -> Digest {
        let mut hasher = digest_hasher();
        hasher.update(b"xcnt");
        hasher.update(&self.sum().to_be_bytes());
        hasher.finish()
    }

    fn same_history(&self, other: &dyn CrdtDocument) -> bool {
        other.as_any().downcast_ref::<Self>().is_some_and(|other| other.totals == self.totals)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

/// A transaction is what it adds; reading gives the sum.
impl DocumentType for Counter {
    type Doc = Count;
    type Tx<'a> = u64;
    type View<'a> = u64;
    type Error = Infallible;

    fn transact<R>(
        doc: &mut Count,
        f: impl FnOnce(&mut u64) -> Result<R, Infallible>,
    ) -> Result<R, Transact<Infallible>> {
        let mut more = 0;
        let value = f(&mut more).map_err(Transact::Closure)?; // nothing has changed yet, so there is nothing to undo
        let total = doc.totals.entry(doc.me).or_default();
        *total = total.saturating_add(more);
        doc.grown |= more > 0;
        Ok(value)
    }

    fn view<R>(doc: &Count, f: impl FnOnce(&u64) -> R) -> R {
        f(&doc.sum())
    }

    /// For `Context::share_copy`: the sum, whoever added it.
    fn copy_into(sum: &u64, more: &mut u64) -> Result<(), CopyError> {
        *more = *sum;
        Ok(())
    }
}

pub(crate) async fn run() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let folder = tempfile::tempdir()?;
    let keys = FileKeystore::create(folder.path().join("visits.key"))?;
    let (owner, _words) = SingleOwner::create(&keys, &mut SystemRandom)?;
    let id = owner.context();
    let builder = |owner| Engine::builder(folder.path().join("visits")).strategy(owner).crdt(Counter);

    let engine = builder(owner).open().await?;
    let visits = engine.context(id).await?.create::<Counter>().await?;
    for _ in 0..3 {
        let _ = visits.change(|more| {
            *more += 1;
            Ok(())
        })?;
    }
    let last = visits.change(|more| {
        *more += 39;
        Ok(())
    })?;
    last.durable().await?; // and with it everything before
    engine.close().await?;

    // A new open of the store is a new log, and so a new writer: the old one's total stays as it is.
    let engine = builder(SingleOwner::open(&keys)?).open().await?;
    let visits = engine.context(id).await?.get::<Counter>(visits.id()).await?;
    let commit = visits.change(|more| {
        *more += 1;
        Ok(())
    })?;
    commit.durable().await?;
    assert_eq!(visits.read(|sum| *sum), 43);
    engine.close().await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    run().await
}
