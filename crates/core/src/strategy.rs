//! Partition strategies: plugins that decide who gets which context, and in what form.

use std::{any::Any, collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use partita_crypto::{EpochId, VerifyingKey};
use rand_core::CryptoRng;

use crate::{
    Access, ContextId, ContextKind, EntryHeader, EntryId, HeaderPrefix, Incarnation, Now, Refusal, ReplicaId,
    SessionId, SignedTip, Standing, Verdict, Witness, codec::Writer,
};

/// A strategy's own error: what is wrong and what to do, for a person. Never a key, a secret or a payload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StrategyError(pub String);

/// What is known of a context here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextInfo {
    /// The context.
    pub id: ContextId,
    /// Its kind.
    pub kind: ContextKind,
}

/// What a remote says of a context that it wants to sync, and who the remote is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteContext {
    /// The context.
    pub id: ContextId,
    /// Its kind.
    pub kind: ContextKind,
    /// Who the remote is.
    pub peer: PeerInfo,
    /// What its proof was granted, once it was verified.
    pub grant: Option<Grant>,
}

/// A connected remote, as its authenticated session says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerInfo {
    /// Our number for the connection.
    pub session: SessionId,
    /// Its verified replica id.
    pub replica: ReplicaId,
    /// Its store's incarnation.
    pub incarnation: Incarnation,
    /// Whether the application dialled exactly this replica by its id: a relay that it trusts to carry ciphertext.
    pub pinned: bool,
}

/// What a proof of the right to open a context is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transcript {
    /// The hash of the connection's handshake: it covers both ids, versions and features.
    pub handshake: [u8; 32],
    /// Whether the proof's maker dialled the connection: a proof cannot be reflected.
    pub prover_dialled: bool,
    /// Whether the application dialled exactly this remote by its id.
    pub remote_pinned: bool,
}

impl Transcript {
    /// The right that proofs are about: reading and offering entries.
    const BOTH: u8 = 3;

    /// What a proof of the right to this context signs, under its plugin's own purpose. The handshake's hash covers both
    /// replicas; who dialled says which of them proves. So a proof is of no use to anybody else, in no other session, and not
    /// to the remote that it was shown to.
    pub fn message(&self, context: &ContextInfo) -> Bytes {
        let mut out = Writer::with_capacity(128);
        out.raw(&self.handshake);
        out.u8(u8::from(self.prover_dialled));
        out.raw(context.id.as_bytes());
        out.bytes(context.kind.as_str().as_bytes());
        out.u8(Self::BOTH);
        out.finish()
    }
}

/// How a remote brought a context that this node did not have: its `Open`, whose proof was granted or is about to be.
#[derive(Debug, Clone, Copy)]
pub struct Brought<'a> {
    /// What time it is here, for proofs that expire.
    pub now: Now,
    /// What the proof is bound to.
    pub transcript: Transcript,
    /// Who the remote is, by the authenticated session.
    pub remote: VerifyingKey,
    /// The same as strategies see it.
    pub peer: &'a PeerInfo,
    /// The proof.
    pub proof: &'a [u8],
}

/// What a session may do with a context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// Reading, offering entries, or both.
    pub access: Access,
}

/// An entry about which a verdict is asked.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// Its header.
    pub header: &'a EntryHeader,
    /// Who writes its log, by the signature that verified it.
    pub author: ReplicaId,
    /// The control heads in force, stated in this header or by an earlier entry of its log. All of them and their
    /// ancestors were given to [`PartitionStrategy::control`] before.
    pub heads: &'a [EntryId],
    /// The key epoch in force.
    pub epoch: Option<EpochId>,
    /// The payload of a control entry; `None` for others.
    pub control: Option<&'a [u8]>,
}

/// A control entry that counts, with all its ancestors given before it.
#[derive(Debug, Clone, Copy)]
pub struct ControlEntry<'a> {
    /// Its id.
    pub id: EntryId,
    /// Who wrote it.
    pub author: ReplicaId,
    /// Its header: log and number.
    pub header: &'a EntryHeader,
    /// Its parents: the heads in force, and its backlink.
    pub parents: &'a [EntryId],
    /// Its payload.
    pub payload: &'a [u8],
}

/// What a strategy asks for after a control entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StrategyEffect {
    /// Keys have come: try again what was set aside for want of one.
    KeysArrived,
}

/// A payload, opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// The plain bytes.
    Plain(Bytes),
    /// Not now.
    Wait(WaitReason),
    /// Never: the bytes were not sealed by who and for what the header says.
    Bad,
}

/// Opens one author's payloads of one context under one key epoch, on any thread: see [`PartitionStrategy::opener`].
pub trait PayloadOpener: Send + Sync {
    /// What [`PartitionStrategy::open`] would say, for prefixes of that author and epoch; never [`Opened::Wait`].
    fn open(&self, prefix: &HeaderPrefix<'_>, sealed: &Bytes) -> Opened;
}

/// Why a payload cannot be opened yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitReason {
    /// The secret of this epoch is not here.
    Key(Option<EpochId>),
    /// This replica may not read what was written under this epoch: nobody will give it the secret, unless it is given the
    /// right.
    Withheld(Option<EpochId>),
}

/// What a strategy may ask the node about a context.
pub trait ContextView {
    /// Every log of a replica that is held, with its last entry that counts, by rising log id: what a loss lists.
    fn logs_of(&self, context: &ContextId, replica: &ReplicaId) -> Vec<SignedTip>;
    /// The contexts of this node.
    fn contexts(&self) -> Vec<ContextInfo>;
}

/// The surroundings of an application's call into its own plugin (`engine.with_strategy`), and of
/// [`PartitionStrategy::duties`].
pub struct Turn<'a> {
    /// What time it is.
    pub now: Now,
    /// Randomness.
    pub rng: &'a mut dyn CryptoRng,
    /// The node.
    pub view: &'a dyn ContextView,
    /// Whether a local write waits for this. In [`PartitionStrategy::duties`] a new key epoch, where none may be written
    /// under, is made only then: a device that only reads, or was just enrolled, makes none that nobody needs.
    pub writing: bool,
    /// A snapshot waits for this which stands for what was written under these epochs: see
    /// [`PartitionStrategy::snapshot_epoch`]. Empty otherwise, and where nothing of it was sealed.
    pub past: &'a BTreeSet<EpochId>,
    /// Control entries to append to this replica's own control logs, in order.
    pub append: Vec<(ContextId, Bytes)>,
    /// Contexts that this engine should have from now on.
    pub open: Vec<ContextInfo>,
}

/// No snapshot waits.
static NO_PAST: BTreeSet<EpochId> = BTreeSet::new();

impl<'a> Turn<'a> {
    /// Surroundings in which nothing waits.
    pub fn new(now: Now, rng: &'a mut dyn CryptoRng, view: &'a dyn ContextView) -> Self {
        Self { now, rng, view, writing: false, past: &NO_PAST, append: Vec::new(), open: Vec::new() }
    }

    /// The same while a local write waits.
    #[must_use]
    pub fn writing(self, writing: bool) -> Self {
        Self { writing, ..self }
    }

    /// The same while a snapshot waits of what was written under these epochs.
    #[must_use]
    pub fn past(self, past: &'a BTreeSet<EpochId>) -> Self {
        Self { past, ..self }
    }
}

/// A partition plugin: one object, owned by the node, for the kinds of contexts that it answers for.
///
/// `&self` methods decide: they are pure and give the same answer when asked again. Only
/// [`control`](Self::control) changes what they rest on. The defaults deny. Blocking, fast, deterministic.
///
/// State lives in control entries alone: they are never pruned, and after a restart every one of them is given to
/// [`control`](Self::control) again. What an application keeps secret lies in the plugin's own keystore.
pub trait PartitionStrategy: Any + Send + Sync {
    /// The context kinds that it answers for.
    fn kinds(&self) -> &[ContextKind];

    /// Who proves and verifies the right to open a context.
    fn auth(&self) -> &dyn AuthProvider;

    /// The contexts that exist here because of this plugin alone, before anything was synced. Asked at the open.
    fn contexts(&self) -> Vec<ContextInfo> {
        Vec::new()
    }

    /// The node has this context: it came from the store, the application opened it, or a remote brought it. Called
    /// before the context's control entries are given, and again at every `Open` of a remote. Most strategies need
    /// nothing; one that holds others remembers here whose the context is. Never a right: only `verify` and
    /// [`should_sync`](Self::should_sync) grant, and what `brought` says may be false.
    ///
    /// True when answers about the context may be different now: the node then asks for what it remembers anew.
    fn adopt(&mut self, _context: &ContextInfo, _brought: Option<&Brought<'_>>) -> bool {
        false
    }

    /// The node has unloaded this context, for now: what follows from its control entries may go from memory. Nothing is
    /// asked about it except who may open it, by `verify`, and if it is loaded again, it is adopted and all its control
    /// entries are given to [`control`](Self::control) again, as after a restart. A relay takes more contexts than it has
    /// memory for, so whoever is for relays forgets; whoever does not must take entries that it was given before.
    ///
    /// Keep what lets somebody in who cannot show its right to a node that holds nothing of the context.
    fn forget(&mut self, _context: &ContextId) {}

    /// May these two sync? Asked at every open of a context in a session, and again after each control entry; a refusal
    /// takes effect at once.
    fn should_sync(&self, _local: &ContextInfo, _remote: &RemoteContext) -> Access {
        Access::Refused(Refusal::Denied)
    }

    /// Which of the peers, all of which have the context open with the right to read, get what it has to send.
    fn filter_targets(&self, _context: &ContextId, _peers: &[PeerInfo], _out: &mut Vec<SessionId>) {}

    /// May this author append this entry? Pure in the claim and the control entries among its heads' ancestors: what
    /// other control entries say must not change the answer (losses and vouches are [`standing`](Self::standing)'s).
    fn authorize(&self, _claim: &Claim<'_>) -> Verdict {
        Verdict::Excluded(Refusal::Denied)
    }

    /// How far the data logs of those who lost their right still count; what counts of control logs is the strategy's own
    /// to resolve, the node never cuts them. A loss may list logs of the one who loses alone; one who holds the right again
    /// is named beside it, and what lifts the loss for new logs in it. Resolved from all control entries: the same on every
    /// node that holds the same ones, in whatever order they came. Asked after each control entry.
    fn standing(&self, _context: &ContextId) -> Standing {
        Standing::default()
    }

    /// The key epoch of the next local data entry; `None` in plain contexts.
    ///
    /// # Errors
    /// When this replica may not write now: its changes then stay here until it may.
    fn epoch(&self, _context: &ContextId) -> Result<Option<EpochId>, StrategyError> {
        Err(StrategyError("no strategy allows writing in this context".into()))
    }

    /// The key epoch of a snapshot that stands for what was written under these epochs: for whoever may read all of that,
    /// and for nobody else. Where all who read may read everything, that of the next data entry.
    ///
    /// # Errors
    /// When there is none: [`duties`](Self::duties) is asked to begin one, with [`Turn::past`]. It must begin none that this
    /// replica could not use.
    fn snapshot_epoch(&self, context: &ContextId, _past: &BTreeSet<EpochId>) -> Result<Option<EpochId>, StrategyError> {
        self.epoch(context)
    }

    /// Whether a snapshot under this epoch, which `author` claims, is for exactly those who may read all that it stands for,
    /// which was written under `past`, and `author` is one of them: nobody attests one that shows the past to somebody who may
    /// not read it, takes it from somebody who may, or is by somebody who cannot know.
    ///
    /// Needs no key, and is asked about documents that this replica may not read: others' word is taken for those, so whoever
    /// answers [`WaitReason::Withheld`] answers this, too. Two who ask about one snapshot may know different members, and one
    /// of them an earlier snapshot's epoch in place of those that it stands for: the answer must not depend on that.
    fn is_for_same_readers(
        &self,
        _context: &ContextId,
        _author: &ReplicaId,
        _snapshot: Option<EpochId>,
        _past: &BTreeSet<EpochId>,
    ) -> bool {
        true
    }

    /// The payload as it travels and rests.
    ///
    /// # Errors
    /// When it cannot be sealed.
    fn seal(&self, prefix: &HeaderPrefix<'_>, plain: &[u8], rng: &mut dyn CryptoRng) -> Result<Bytes, StrategyError>;

    /// And back.
    fn open(&self, prefix: &HeaderPrefix<'_>, sealed: &Bytes) -> Opened;

    /// What opens this author's payloads under this epoch without the strategy, so that another thread can while the
    /// node goes on. Asked again for each batch, so it need not follow later control entries. `None`: ask
    /// [`open`](Self::open), because the key is not here, or because opening takes the strategy itself.
    fn opener(
        &self,
        _context: &ContextId,
        _author: &ReplicaId,
        _epoch: Option<EpochId>,
    ) -> Option<Arc<dyn PayloadOpener>> {
        None
    }

    /// A control entry counts from now on. Called once for each in an order in which parents come first, and again for
    /// all of them after a restart, and when the context was unloaded and is loaded again. Control entries that are not
    /// understood must be kept in the graph and otherwise ignored.
    ///
    /// # Errors
    /// When the entry is not one of this strategy's: the node refuses it before it is stored.
    fn control(&mut self, _now: Now, _entry: &ControlEntry<'_>) -> Result<Vec<StrategyEffect>, StrategyError> {
        Ok(Vec::new())
    }

    /// What this replica should write now by itself (its own certificate, a rotation, a key for a device that lacks it).
    /// Called after control entries and before the first local write; must come to rest.
    fn duties(&mut self, _context: &ContextId, _turn: &mut Turn<'_>) -> Result<(), StrategyError> {
        Ok(())
    }

    /// The payload of a control entry that vouches for these entries, which a loss cuts off and which this replica
    /// had built on before it knew. It carries the witnesses, so that nobody can vouch for what was never written.
    /// `None`: this strategy has no vouches.
    fn vouch(&self, _context: &ContextId, _witnesses: &[Witness]) -> Option<Bytes> {
        None
    }

    /// The replicas that may write data by what these control entries and their ancestors say: a checkpoint is relied upon
    /// once all of them have attested it. `None`: who may write has no end that is known, and nothing is ever pruned.
    ///
    /// A strategy that answers takes control entries of which [`is_checkpoint_op`](crate::is_checkpoint_op) is true as ones
    /// without ops: [`authorize`](Self::authorize) accepts them of whoever may write data.
    fn writers(&self, _context: &ContextId, _heads: &[EntryId]) -> Option<BTreeSet<ReplicaId>> {
        None
    }

    /// Those among the [`writers`](Self::writers) of whom these control entries and their ancestors say that they are not waited
    /// for: an owner or an admin declared them dormant, and they have not come back since. A checkpoint that is made in
    /// knowledge of that does without their word. What they wrote counts, whenever it comes.
    ///
    /// [`Away`](crate::Away) keeps what this rests on. Only for whoever decides in the context: who declares everybody else
    /// dormant alone says what they wrote.
    fn dormant(&self, _context: &ContextId, _heads: &[EntryId]) -> BTreeSet<ReplicaId> {
        BTreeSet::new()
    }

    /// Whether none of its methods ever waits for a lock that the application may hold when it calls the engine. A change
    /// then leaves from the thread that made it, and what a remote sends is taken where it was read, which saves waking a
    /// thread each time. False is always safe.
    fn never_waits(&self) -> bool {
        false
    }

    /// For the application to find its own plugin.
    fn as_any_mut(&mut self) -> &mut dyn Any;

    /// Shows itself to `visit`, and then each strategy that it holds, until one of them is the wanted one, which `visit`
    /// says. A strategy that holds no others keeps this as it is; one that does learns from `turn` what a visit opened.
    fn reach(&mut self, turn: &mut Turn<'_>, visit: &mut Visit<'_>) -> bool {
        visit(self.as_any_mut(), turn)
    }
}

/// Looks at a strategy, and says whether it is the wanted one: see [`PartitionStrategy::reach`].
pub type Visit<'v> = dyn FnMut(&mut dyn Any, &mut Turn<'_>) -> bool + 'v;

/// Proves and verifies the right to open a context in a session.
pub trait AuthProvider: Send + Sync {
    /// A proof, bound to the transcript, of this replica's right to the context. Empty when the remote needs none.
    ///
    /// # Errors
    /// When this replica has no right to show.
    fn prove(&self, transcript: &Transcript, context: &ContextInfo) -> Result<Bytes, StrategyError>;

    /// A shorter proof, for a remote that synced this context before: it names what such a remote holds already. Who lacks
    /// it refuses with [`Refusal::NeedControl`] and is then given [`prove`](Self::prove)'s. `None`: there is none.
    fn prove_briefly(&self, _transcript: &Transcript, _context: &ContextInfo) -> Option<Bytes> {
        None
    }

    /// Whether the remote's proof holds, and what it is granted. `remote` comes from the authenticated session; `now` is
    /// this node's own clock, for proofs that expire: it may be wrong, so a proof whose time is over is refused and
    /// never more than that.
    ///
    /// # Errors
    /// The refusal that the remote is told.
    fn verify(
        &self,
        now: Now,
        transcript: &Transcript,
        remote: &VerifyingKey,
        context: &ContextInfo,
        proof: &[u8],
    ) -> Result<Grant, Refusal>;
}
