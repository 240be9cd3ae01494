//! A whole partition strategy: a context for each region. An authority certifies which regions a replica belongs to, and
//! a relay of one region gets that region's context alone.

use std::{any::Any, collections::BTreeMap};

use partita::{
    Engine, FileKeystore, SystemRandom,
    core::{
        Access, AuthProvider, Bytes, Claim, ContextId, ContextInfo, ContextKind, ControlEntry, ControlGraph, CryptoRng,
        DeviceKeys, EntryId, EpochId, Grant, HeaderPrefix, KindError, Now, Opened, PartitionStrategy, PeerInfo,
        Refusal, RemoteContext, ReplicaId, SessionId, Signature, StrategyEffect, StrategyError, Transcript, Turn,
        Verdict,
    },
    crypto::{SigningKey, VerifyingKey, hash},
    yrs::Yrs,
};
use yrs::{GetString as _, ReadTxn as _, Text as _, WriteTxn as _};

const PASS: &str = "example region pass";

/// The authority's word that a replica belongs to a region: a signature, then the region's name. Nothing secret.
pub(crate) fn certify(authority: &SigningKey, replica: ReplicaId, region: &str) -> Bytes {
    let signature = authority.sign(PASS, &[replica.as_bytes(), region.as_bytes()].concat());
    [signature.as_bytes(), region.as_bytes()].concat().into()
}

/// The id commits to the authority and the region's name.
pub(crate) fn region(authority: &VerifyingKey, name: &str) -> Result<ContextInfo, KindError> {
    let kind = ContextKind::new("example/by-region")?;
    let root = hash("example region", &[authority.as_bytes(), name.as_bytes()]);
    Ok(ContextInfo { id: ContextId::derive(&kind, root.as_bytes()), kind })
}

/// What is known of a region here: its control entries, and who showed a pass in which of them.
struct Region {
    context: ContextInfo,
    pass: Bytes,
    graph: ControlGraph,
    shown: BTreeMap<EntryId, ReplicaId>,
}

pub(crate) struct ByRegion {
    authority: VerifyingKey,
    me: ReplicaId,
    kinds: Vec<ContextKind>,
    regions: Vec<Region>,
}

impl ByRegion {
    /// For a replica with passes for these regions.
    pub(crate) fn new(authority: VerifyingKey, me: ReplicaId, passes: &[(&str, Bytes)]) -> Result<Self, KindError> {
        let (mut kinds, mut regions) = (Vec::new(), Vec::new());
        for (name, pass) in passes {
            let context = region(&authority, name)?;
            kinds = vec![context.kind.clone()];
            let (graph, shown) = (ControlGraph::default(), BTreeMap::new());
            regions.push(Region { context, pass: pass.clone(), graph, shown });
        }
        Ok(Self { authority, me, kinds, regions })
    }

    fn region(&self, context: &ContextId) -> Option<&Region> {
        self.regions.iter().find(|region| region.context.id == *context)
    }

    /// Whether these bytes are a pass of this replica for this region.
    fn holds(&self, pass: &[u8], replica: &ReplicaId, context: &ContextId) -> bool {
        let Some((signature, name)) = pass.split_first_chunk::<64>() else { return false };
        let message = [replica.as_bytes(), name].concat();
        let named =
            std::str::from_utf8(name).is_ok_and(|name| region(&self.authority, name).is_ok_and(|r| r.id == *context));
        named && self.authority.verify(PASS, &message, &Signature::from_bytes(*signature)).is_ok()
    }
}

impl PartitionStrategy for ByRegion {
    fn kinds(&self) -> &[ContextKind] {
        &self.kinds
    }
    fn auth(&self) -> &dyn AuthProvider {
        self
    }
    fn contexts(&self) -> Vec<ContextInfo> {
        self.regions.iter().map(|region| region.context.clone()).collect()
    }
    fn should_sync(&self, local: &ContextInfo, remote: &RemoteContext) -> Access {
        let ours = self.regions.iter().any(|region| region.context == *local);
        let same = local.id == remote.id && local.kind == remote.kind;
        // Whoever was dialled by its id is offered the region, and then has to show its own pass like anybody.
        let right = remote.grant.map(|grant| grant.access).or(remote.peer.pinned.then_some(Access::Both));
        right.filter(|_| ours && same).unwrap_or(Access::Refused(Refusal::Denied))
    }
    fn filter_targets(&self, context: &ContextId, peers: &[PeerInfo], out: &mut Vec<SessionId>) {
        if self.region(context).is_some() {
            out.extend(peers.iter().map(|peer| peer.session)); // all of them showed their passes
        }
    }
    fn authorize(&self, claim: &Claim<'_>) -> Verdict {
        let context = &claim.header.context;
        let Some(region) = self.region(context) else { return Verdict::Excluded(Refusal::Denied) };
        let missing = region.graph.missing(claim.heads);
        if !missing.is_empty() {
            return Verdict::Undecided(missing);
        }
        let may = match claim.control {
            Some(pass) => self.holds(pass, &claim.author, context),
            // Its log has named a control entry that shows its pass.
            None => region.graph.ancestors(claim.heads).iter().any(|id| region.shown.get(id) == Some(&claim.author)),
        };
        if may { Verdict::Accept } else { Verdict::Excluded(Refusal::Denied) }
    }
    fn epoch(&self, context: &ContextId) -> Result<Option<EpochId>, StrategyError> {
        let region = self.region(context).ok_or_else(|| StrategyError("this replica is not of that region".into()))?;
        let shown = region.shown.values().any(|who| *who == self.me);
        if shown { Ok(None) } else { Err(StrategyError("this replica's pass is not in the context yet".into())) }
    }
    fn seal(&self, _: &HeaderPrefix<'_>, plain: &[u8], _: &mut dyn CryptoRng) -> Result<Bytes, StrategyError> {
        Ok(Bytes::copy_from_slice(plain)) // plain: the region's relays can read it
    }
    fn open(&self, _: &HeaderPrefix<'_>, sealed: &Bytes) -> Opened {
        Opened::Plain(sealed.clone())
    }
    fn control(&mut self, _: Now, entry: &ControlEntry<'_>) -> Result<Vec<StrategyEffect>, StrategyError> {
        let context = entry.header.context;
        if !self.holds(entry.payload, &entry.author, &context) {
            return Err(StrategyError("not its author's pass for this region".into()));
        }
        if let Some(region) = self.regions.iter_mut().find(|region| region.context.id == context) {
            let parents = entry.parents.iter().copied();
            region.graph.insert(entry.id, parents).map_err(|missing| StrategyError(missing.to_string()))?;
            region.shown.insert(entry.id, entry.author);
        }
        Ok(Vec::new())
    }
    fn duties(&mut self, context: &ContextId, turn: &mut Turn<'_>) -> Result<(), StrategyError> {
        let region = self.region(context).filter(|region| !region.shown.values().any(|who| *who == self.me));
        turn.append.extend(region.map(|region| (*context, region.pass.clone())));
        Ok(())
    }
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

impl AuthProvider for ByRegion {
    fn prove(&self, _: &Transcript, context: &ContextInfo) -> Result<Bytes, StrategyError> {
        let region = self.region(&context.id).ok_or_else(|| StrategyError("no pass for that region".into()))?;
        Ok(region.pass.clone()) // it names this replica, which the session proves
    }
    fn verify(
        &self,
        _: Now,
        _: &Transcript,
        who: &VerifyingKey,
        context: &ContextInfo,
        proof: &[u8],
    ) -> Result<Grant, Refusal> {
        let ours = self.regions.iter().any(|region| region.context == *context);
        let holds = ours && self.holds(proof, &ReplicaId::from_bytes(*who.as_bytes()), &context.id);
        if holds { Ok(Grant { access: Access::Both }) } else { Err(Refusal::BadProof) }
    }
}

pub(crate) async fn run() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let folder = tempfile::tempdir()?;
    let authority = SigningKey::generate(&mut SystemRandom);
    let root = authority.verifying_key();
    let strategy =
        |name: &str, regions: &[&'static str]| -> Result<ByRegion, Box<dyn std::error::Error + Send + Sync>> {
            let keys = FileKeystore::create(folder.path().join(name).with_added_extension("key"))?;
            let me = DeviceKeys::create(&keys, &mut SystemRandom)?.replica();
            let passes: Vec<_> = regions.iter().map(|region| (*region, certify(&authority, me, region))).collect();
            Ok(ByRegion::new(root, me, &passes)?)
        };
    let at = |name: &str| Engine::builder(folder.path().join(name));
    let relay = at("relay").strategy(strategy("relay", &["north"])?).listen("ws://127.0.0.1:0").open().await?;
    let url = format!("{}#{}", relay.addresses().concat(), relay.replica());
    let both = at("both").strategy(strategy("both", &["north", "south"])?).connect(&url).open().await?;
    let other = at("other").strategy(strategy("other", &["north"])?).connect(&url).open().await?;

    let (north, south) = (region(&root, "north")?.id, region(&root, "south")?.id);
    for region in [south, north] {
        let note = both.context(region).await?.create::<Yrs>().await?;
        let written = note.change(|tx| {
            let text = tx.get_or_insert_text("text");
            text.push(tx, "hello");
            Ok(())
        })?;
        written.durable().await?;
        if region == north {
            both.context(north).await?.acknowledged().await?; // the relay holds it durably
            let text = relay.context(north).await?.get::<Yrs>(note.id()).await?;
            assert_eq!(text.read(|tx| tx.get_text("text").map(|text| text.get_string(tx))).as_deref(), Some("hello"));
        }
    }
    for northern in [&relay, &other] {
        assert!(northern.context(south).await.is_err()); // and nothing of the south is there
    }
    both.close().await?;
    other.close().await?;
    relay.close().await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    run().await
}
