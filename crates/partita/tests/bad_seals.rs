//! A device writes a change that was not sealed for what its header says: it is set aside wherever it comes, and what was
//! written before and after it is applied.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failure here is a finding

mod common;

use std::{
    any::Any,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use common::{Device, Home, has, put, string};
use partita::{
    Context, Engine, FileKeystore, Reason,
    automerge::Automerge,
    core::{
        Access, AuthProvider, Brought, Bytes, Claim, ContextId, ContextInfo, ContextKind, ControlEntry, CryptoRng,
        EpochId, HeaderPrefix, Now, Opened, PartitionStrategy, PeerInfo, RemoteContext, SessionId, Standing,
        StrategyEffect, StrategyError, Turn, Verdict, Visit,
    },
    single_owner::SingleOwner,
};

/// One owner's device, but for one thing: what it seals while `spoils` is set does not open.
struct Spoiler {
    inner: SingleOwner,
    spoils: Arc<AtomicBool>,
}

impl PartitionStrategy for Spoiler {
    fn kinds(&self) -> &[ContextKind] {
        self.inner.kinds()
    }
    fn auth(&self) -> &dyn AuthProvider {
        self.inner.auth()
    }
    fn contexts(&self) -> Vec<ContextInfo> {
        PartitionStrategy::contexts(&self.inner)
    }
    fn adopt(&mut self, context: &ContextInfo, brought: Option<&Brought<'_>>) -> bool {
        self.inner.adopt(context, brought)
    }
    fn should_sync(&self, local: &ContextInfo, remote: &RemoteContext) -> Access {
        self.inner.should_sync(local, remote)
    }
    fn filter_targets(&self, context: &ContextId, peers: &[PeerInfo], out: &mut Vec<SessionId>) {
        self.inner.filter_targets(context, peers, out);
    }
    fn authorize(&self, claim: &Claim<'_>) -> Verdict {
        self.inner.authorize(claim)
    }
    fn standing(&self, context: &ContextId) -> Standing {
        self.inner.standing(context)
    }
    fn epoch(&self, context: &ContextId) -> Result<Option<EpochId>, StrategyError> {
        self.inner.epoch(context)
    }
    fn seal(&self, prefix: &HeaderPrefix<'_>, plain: &[u8], rng: &mut dyn CryptoRng) -> Result<Bytes, StrategyError> {
        let mut sealed = self.inner.seal(prefix, plain, rng)?.to_vec();
        if self.spoils.load(SeqCst) {
            *sealed.last_mut().unwrap() ^= 1;
        }
        Ok(sealed.into())
    }
    fn open(&self, prefix: &HeaderPrefix<'_>, sealed: &Bytes) -> Opened {
        self.inner.open(prefix, sealed)
    }
    fn control(&mut self, now: Now, entry: &ControlEntry<'_>) -> Result<Vec<StrategyEffect>, StrategyError> {
        self.inner.control(now, entry)
    }
    fn duties(&mut self, context: &ContextId, turn: &mut Turn<'_>) -> Result<(), StrategyError> {
        self.inner.duties(context, turn)
    }
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
    fn reach(&mut self, turn: &mut Turn<'_>, visit: &mut Visit<'_>) -> bool {
        self.inner.reach(turn, visit)
    }
}

async fn reasons(notes: &Context) -> Vec<Reason> {
    notes.set_aside().await.unwrap().iter().map(|entry| entry.reason).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_does_not_open_is_set_aside_and_those_around_it_are_applied() {
    let home = Home::new();
    home.enrol("b");
    home.enrol("c");
    let relay = home.relay("relay").await;
    let url = relay.url().to_string();
    let spoils = Arc::new(AtomicBool::new(false));
    let inner = SingleOwner::open(&FileKeystore::open(home.path().join("a.key")).unwrap()).unwrap();
    let spoiler = Spoiler { inner, spoils: spoils.clone() };
    let builder = Engine::builder(home.path().join("a")).strategy(spoiler).transport(home.network.clone());
    let a = Device::of(builder.connect(&url).open().await.unwrap()).await;
    let b = home.open("b", &[&url]).await;

    let note = a.notes.create::<Automerge>().await.unwrap();
    put(&note, "before", "x").durable().await.unwrap();
    let at_b = b.get::<Automerge>(note.id()).await;
    has(&at_b, "before").await;
    spoils.store(true, SeqCst);
    put(&note, "spoilt", "x").durable().await.unwrap();
    spoils.store(false, SeqCst);

    // While the document is loaded.
    b.until("the spoilt change", || async { !reasons(&b.notes).await.is_empty() }).await;
    assert_eq!(reasons(&b.notes).await, [Reason::BadSeal]);

    // On a device that gets everything at once.
    let c = home.open("c", &[&url]).await;
    let at_c = c.get::<Automerge>(note.id()).await;
    c.until("the spoilt change", || async { !reasons(&c.notes).await.is_empty() }).await;
    assert_eq!(reasons(&c.notes).await, [Reason::BadSeal]);

    put(&at_b, "after", "x").durable().await.unwrap();
    for at in [&at_b, &at_c] {
        has(at, "before").await;
        has(at, "after").await;
        assert_eq!(at.read(|doc| string(doc, "spoilt")), None);
    }
    // When the document is loaded again from what the store holds.
    b.engine.close().await.unwrap();
    let b = home.open("b", &[]).await;
    let at_b = b.get::<Automerge>(note.id()).await;
    has(&at_b, "before").await;
    assert_eq!(at_b.read(|doc| string(doc, "spoilt")), None);
    assert!(reasons(&b.notes).await.iter().all(|reason| *reason == Reason::BadSeal));
}
