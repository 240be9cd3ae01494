//! A whole partition strategy: a fixed list of replicas shares one plain context, and nobody else gets anything.

use std::{any::Any, collections::BTreeSet};

use partita::{
    Engine, FileKeystore, SystemRandom,
    core::{
        Access, AuthProvider, Bytes, Claim, ContextId, ContextInfo, ContextKind, CryptoRng, DeviceKeys, EpochId, Grant,
        HeaderPrefix, KindError, Now, Opened, PartitionStrategy, PeerInfo, Refusal, RemoteContext, ReplicaId,
        SessionId, StrategyError, Transcript, Verdict,
    },
    crypto::{VerifyingKey, hash},
    yrs::Yrs,
};
use yrs::{GetString as _, ReadTxn as _, Text as _, WriteTxn as _};

pub(crate) struct AllowList {
    kind: [ContextKind; 1],
    context: ContextInfo,
    members: BTreeSet<ReplicaId>,
}

impl AllowList {
    /// The context's id commits to the list, so two replicas with different lists have nothing to say to each other.
    pub(crate) fn new(members: impl IntoIterator<Item = ReplicaId>) -> Result<Self, KindError> {
        let members: BTreeSet<_> = members.into_iter().collect();
        let kind = ContextKind::new("example/allow-list")?;
        let listed: Vec<&[u8]> = members.iter().map(|member| &member.as_bytes()[..]).collect();
        let id = ContextId::derive(&kind, hash("example allow-list", &listed).as_bytes());
        Ok(Self { kind: [kind.clone()], context: ContextInfo { id, kind }, members })
    }
}

impl PartitionStrategy for AllowList {
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
        if same && self.members.contains(&remote.peer.replica) {
            Access::Both
        } else {
            Access::Refused(Refusal::Denied)
        }
    }
    fn filter_targets(&self, _: &ContextId, peers: &[PeerInfo], out: &mut Vec<SessionId>) {
        out.extend(peers.iter().filter(|peer| self.members.contains(&peer.replica)).map(|peer| peer.session));
    }
    fn authorize(&self, claim: &Claim<'_>) -> Verdict {
        let here = claim.header.context == self.context.id && claim.control.is_none(); // there is nothing to control
        if here && self.members.contains(&claim.author) { Verdict::Accept } else { Verdict::Excluded(Refusal::Denied) }
    }
    fn epoch(&self, _: &ContextId) -> Result<Option<EpochId>, StrategyError> {
        Ok(None)
    }
    fn seal(&self, _: &HeaderPrefix<'_>, plain: &[u8], _: &mut dyn CryptoRng) -> Result<Bytes, StrategyError> {
        Ok(Bytes::copy_from_slice(plain)) // plain: a relay could read it
    }
    fn open(&self, _: &HeaderPrefix<'_>, sealed: &Bytes) -> Opened {
        Opened::Plain(sealed.clone())
    }
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

impl AuthProvider for AllowList {
    fn prove(&self, _: &Transcript, _: &ContextInfo) -> Result<Bytes, StrategyError> {
        Ok(Bytes::new()) // the session itself proves who is there: that is all that the list asks
    }
    fn verify(
        &self,
        _: Now,
        _: &Transcript,
        who: &VerifyingKey,
        what: &ContextInfo,
        _: &[u8],
    ) -> Result<Grant, Refusal> {
        let listed = self.members.contains(&ReplicaId::from_bytes(*who.as_bytes()));
        if listed && *what == self.context { Ok(Grant { access: Access::Both }) } else { Err(Refusal::Denied) }
    }
}

pub(crate) async fn run() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let folder = tempfile::tempdir()?;
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    let device = |path| DeviceKeys::create(&FileKeystore::create(path)?, &mut SystemRandom).map(|keys| keys.replica());
    let members = [device(a.with_added_extension("key"))?, device(b.with_added_extension("key"))?];

    let strategy = AllowList::new(members)?;
    let context = strategy.context.id;
    let a = Engine::builder(a).strategy(strategy).listen("ws://127.0.0.1:0").open().await?;
    let url = format!("{}#{}", a.addresses().concat(), a.replica());
    let b = Engine::builder(b).strategy(AllowList::new(members)?).connect(url).open().await?;

    let (here, there) = (a.context(context).await?, b.context(context).await?);
    let note = here.create::<Yrs>().await?;
    note.change(|tx| {
        let text = tx.get_or_insert_text("text");
        text.push(tx, "hello");
        Ok(())
    })?
    .durable()
    .await?;
    here.acknowledged().await?; // b holds it durably
    let text = there.get::<Yrs>(note.id()).await?.read(|tx| tx.get_text("text").map(|text| text.get_string(tx)));
    assert_eq!(text.as_deref(), Some("hello"));
    a.close().await?;
    b.close().await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    run().await
}
