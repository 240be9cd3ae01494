//! A whole partition strategy: one publisher writes, and whoever the publisher names may read. Nobody else may offer
//! anything.

use std::{any::Any, collections::BTreeSet};

use partita::{
    Engine, FileKeystore, SystemRandom,
    core::{
        Access, AuthProvider, Bytes, Claim, ContextId, ContextInfo, ContextKind, ControlEntry, CryptoRng, DeviceKeys,
        EpochId, Grant, HeaderPrefix, KindError, Now, Opened, PartitionStrategy, PeerInfo, Refusal, RemoteContext,
        ReplicaId, SessionId, StrategyEffect, StrategyError, Transcript, Turn, Verdict,
    },
    crypto::VerifyingKey,
    yrs::Yrs,
};
use yrs::{GetString as _, ReadTxn as _, Text as _, WriteTxn as _};

const ADMIT: u8 = 1;
const STRIKE: u8 = 2;

/// The publisher's policy lies in the control entries: whom it admitted, and whom it struck off again, for good.
pub(crate) struct Publish {
    kind: [ContextKind; 1],
    context: ContextInfo,
    publisher: ReplicaId,
    me: ReplicaId,
    admitted: BTreeSet<ReplicaId>,
    struck: BTreeSet<ReplicaId>,
}

impl Publish {
    /// The publisher's context, which its id commits to, on the publisher or on a reader.
    pub(crate) fn new(publisher: ReplicaId, me: ReplicaId) -> Result<Self, KindError> {
        let kind = ContextKind::new("example/publish")?;
        let context = ContextInfo { id: ContextId::derive(&kind, publisher.as_bytes()), kind: kind.clone() };
        let (admitted, struck) = (BTreeSet::new(), BTreeSet::new());
        Ok(Self { kind: [kind], context, publisher, me, admitted, struck })
    }

    pub(crate) fn context(&self) -> ContextInfo {
        self.context.clone()
    }

    /// A reader from now on. For the publisher.
    pub(crate) fn admit(&mut self, turn: &mut Turn<'_>, reader: ReplicaId) {
        turn.append.push((self.context.id, [&[ADMIT], &reader.as_bytes()[..]].concat().into()));
    }

    /// No reader any more. What it has, it keeps.
    pub(crate) fn strike(&mut self, turn: &mut Turn<'_>, reader: ReplicaId) {
        turn.append.push((self.context.id, [&[STRIKE], &reader.as_bytes()[..]].concat().into()));
    }

    fn access(&self, remote: &ReplicaId) -> Access {
        if *remote == self.publisher {
            Access::Write // it may bring entries, and needs none of ours
        } else if self.me == self.publisher && self.admitted.contains(remote) && !self.struck.contains(remote) {
            Access::Read
        } else {
            Access::Refused(Refusal::Denied)
        }
    }
}

impl PartitionStrategy for Publish {
    fn kinds(&self) -> &[ContextKind] {
        &self.kind
    }
    fn auth(&self) -> &dyn AuthProvider {
        self
    }
    fn contexts(&self) -> Vec<ContextInfo> {
        vec![self.context.clone()]
    }
    fn should_sync(&self, local: &ContextInfo, remote: &RemoteContext) -> Access {
        let same = *local == self.context && remote.id == local.id && remote.kind == local.kind;
        if same { self.access(&remote.peer.replica) } else { Access::Refused(Refusal::Denied) }
    }
    fn filter_targets(&self, context: &ContextId, peers: &[PeerInfo], out: &mut Vec<SessionId>) {
        let reads = |peer: &&PeerInfo| *context == self.context.id && self.access(&peer.replica).reads();
        out.extend(peers.iter().filter(reads).map(|peer| peer.session));
    }
    fn authorize(&self, claim: &Claim<'_>) -> Verdict {
        let published = claim.header.context == self.context.id && claim.author == self.publisher;
        if published { Verdict::Accept } else { Verdict::Excluded(Refusal::Denied) }
    }
    fn epoch(&self, context: &ContextId) -> Result<Option<EpochId>, StrategyError> {
        let may = *context == self.context.id && self.me == self.publisher;
        if may { Ok(None) } else { Err(StrategyError("only the publisher writes here".into())) }
    }
    fn seal(&self, _: &HeaderPrefix<'_>, plain: &[u8], _: &mut dyn CryptoRng) -> Result<Bytes, StrategyError> {
        Ok(Bytes::copy_from_slice(plain)) // plain: it goes from the publisher to readers, with nobody between
    }
    fn open(&self, _: &HeaderPrefix<'_>, sealed: &Bytes) -> Opened {
        Opened::Plain(sealed.clone())
    }
    fn control(&mut self, _: Now, entry: &ControlEntry<'_>) -> Result<Vec<StrategyEffect>, StrategyError> {
        let reader = entry.payload.get(1..).and_then(|bytes| Some(ReplicaId::from_bytes(bytes.try_into().ok()?)));
        // In any order the same: admissions and strikes only grow.
        match (entry.payload.first(), reader) {
            (Some(&ADMIT), Some(reader)) => self.admitted.insert(reader),
            (Some(&STRIKE), Some(reader)) => self.struck.insert(reader),
            _ => return Err(StrategyError("not a control entry of a publisher".into())),
        };
        Ok(Vec::new())
    }
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

impl AuthProvider for Publish {
    fn prove(&self, _: &Transcript, _: &ContextInfo) -> Result<Bytes, StrategyError> {
        Ok(Bytes::new()) // the session proves who is there: that is all that the publisher's policy asks
    }
    fn verify(
        &self,
        _: Now,
        _: &Transcript,
        who: &VerifyingKey,
        context: &ContextInfo,
        _: &[u8],
    ) -> Result<Grant, Refusal> {
        match self.access(&ReplicaId::from_bytes(*who.as_bytes())) {
            Access::Refused(why) => Err(why),
            access if *context == self.context => Ok(Grant { access }),
            _ => Err(Refusal::Denied),
        }
    }
}

pub(crate) async fn run() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let folder = tempfile::tempdir()?;
    let device = |name: &str| -> Result<ReplicaId, Box<dyn std::error::Error + Send + Sync>> {
        let keys = FileKeystore::create(folder.path().join(name).with_added_extension("key"))?;
        Ok(DeviceKeys::create(&keys, &mut SystemRandom)?.replica())
    };
    let (publisher, named, unnamed) = (device("publisher")?, device("named")?, device("unnamed")?);
    let at = |name: &str| Engine::builder(folder.path().join(name));

    let press = at("publisher").strategy(Publish::new(publisher, publisher)?).listen("ws://127.0.0.1:0").open().await?;
    let context = press.with_strategy::<Publish, _>(|publish, _| publish.context().id).await?;
    press.context(context).await?; // once it is loaded
    press.with_strategy::<Publish, _>(move |publish, turn| publish.admit(turn, named)).await?;
    let url = format!("{}#{}", press.addresses().concat(), press.replica());
    let reader = at("named").strategy(Publish::new(publisher, named)?).connect(&url).open().await?;
    let other = at("unnamed").strategy(Publish::new(publisher, unnamed)?).connect(&url).open().await?;

    let page = press.context(context).await?.create::<Yrs>().await?;
    page.change(|tx| {
        let text = tx.get_or_insert_text("text");
        text.push(tx, "news");
        Ok(())
    })?
    .durable()
    .await?;
    press.context(context).await?.acknowledged().await?; // the reader holds it durably

    let there = reader.context(context).await?;
    let text = there.get::<Yrs>(page.id()).await?.read(|tx| tx.get_text("text").map(|text| text.get_string(tx)));
    assert_eq!(text.as_deref(), Some("news"));
    assert!(other.context(context).await?.get::<Yrs>(page.id()).await.is_err()); // it was sent nothing
    assert!(there.create::<Yrs>().await.is_err()); // and readers do not write

    press.with_strategy::<Publish, _>(move |publish, turn| publish.strike(turn, named)).await?;
    let later = press.context(context).await?.create::<Yrs>().await?;
    assert!(there.get::<Yrs>(later.id()).await.is_err()); // struck off, it gets nothing new
    for engine in [reader, other, press] {
        engine.close().await?;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    run().await
}
