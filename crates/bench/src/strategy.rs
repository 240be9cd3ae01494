//! What it costs that strategies are plugins.

use std::{collections::BTreeSet, hint::black_box, sync::Arc, time::Instant};

use partita_core::{
    Claim, ContextInfo, EntryId, EntryKind, EpochId, PartitionStrategy, PeerInfo, ReplicaId, SessionId, Verdict,
};
use partita_multi_context::MultiContext;
use partita_protocol::{Arrival, NodeConfig, Notice};
use partita_single_owner::{SingleOwner, SingleOwnerRelay};
use partita_testing::samples;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use serde::Serialize;

use crate::{
    live, owners,
    pair::{End, Wire, now},
    report,
};

/// How many decisions one figure is the middle of: so many rounds of so many.
const ROUNDS: usize = 21;
const EACH: usize = 20_000;
/// How many contexts the multi-context strategy holds.
const CONTEXTS: usize = 100;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Also print the figures as one line of JSON, the last one.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Figures {
    /// One entry's decision and routing, written out by hand for one owner.
    direct_ns: f64,
    /// The same by the single-owner plugin.
    single_owner_ns: f64,
    /// The same by the multi-context plugin with 100 contexts.
    multi_context_ns: f64,
    /// One live change, from one engine through a relay to another's document.
    live_ns: f64,
}

pub(crate) fn run(arguments: &Arguments) -> crate::Outcome {
    let [direct_ns, single_owner_ns, multi_context_ns] = decisions()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let live_ns = runtime.block_on(live::automerge_change_ns()).map_err(|error| error.to_string())?;
    let share =
        |ns: f64| format!("{ns:.0} ns, {:.3} % of a live change more than by hand", (ns - direct_ns) / live_ns * 100.0);
    let rows = [
        ("by hand", format!("{direct_ns:.0} ns")),
        ("single-owner", share(single_owner_ns)),
        ("multi-context, 100 contexts", share(multi_context_ns)),
        ("one live change", format!("{:.0} µs", live_ns / 1000.0)),
    ];
    let figures = Figures { direct_ns, single_owner_ns, multi_context_ns, live_ns };
    report::print("strategy: decision and routing for one entry", &rows, &figures, arguments.json)?;
    let dearest = single_owner_ns.max(multi_context_ns) - direct_ns;
    if dearest < live_ns / 100.0 { Ok(()) } else { Err("a strategy costs more than 1 % of a live change".into()) }
}

/// An entry and the remotes that it may go to.
struct Question {
    entry: Arrival,
    heads: Vec<EntryId>,
    peers: Vec<PeerInfo>,
}

impl Question {
    fn claim(&self) -> Claim<'_> {
        let Arrival { entry, author, epoch, .. } = &self.entry;
        Claim { header: &entry.header, author: *author, heads: &self.heads, epoch: *epoch, control: None }
    }
}

/// What an engine would do that knows one owner and nothing else.
struct ByHand {
    devices: BTreeSet<ReplicaId>,
    heads: BTreeSet<EntryId>,
    epochs: BTreeSet<EpochId>,
}

impl ByHand {
    fn decide(&self, question: &Question, targets: &mut Vec<SessionId>) -> bool {
        let claim = question.claim();
        let allowed = self.devices.contains(&claim.author)
            && claim.heads.iter().all(|head| self.heads.contains(head))
            && claim.epoch.is_some_and(|epoch| self.epochs.contains(&epoch));
        let known = question.peers.iter().filter(|peer| peer.pinned || self.devices.contains(&peer.replica));
        targets.extend(known.map(|peer| peer.session));
        allowed
    }
}

fn ask(strategy: &dyn PartitionStrategy, question: &Question, targets: &mut Vec<SessionId>) -> bool {
    let claim = question.claim();
    strategy.filter_targets(&claim.header.context, &question.peers, targets);
    strategy.authorize(&claim) == Verdict::Accept
}

/// The middle of the rounds, for one decision.
fn measure(mut decide: impl FnMut(&mut Vec<SessionId>) -> bool) -> Result<f64, &'static str> {
    let mut targets = Vec::new();
    let mut took = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let began = Instant::now();
        for _ in 0..EACH {
            targets.clear();
            if !black_box(decide(&mut targets)) || targets.len() != 2 {
                return Err("the entry was not allowed, or not to both remotes");
            }
        }
        took.push(began.elapsed());
    }
    took.sort_unstable();
    Ok(took[ROUNDS / 2].as_nanos() as f64 / EACH as f64)
}

/// By hand, single-owner, multi-context: asked about the same entry, in turns.
fn decisions() -> Result<[f64; 3], Box<dyn std::error::Error>> {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let (owners, keys) = owners::create(CONTEXTS, &mut rng)?;
    let me = keys.replica();
    let infos: Vec<ContextInfo> = owners.iter().flat_map(PartitionStrategy::contexts).collect();
    let strategy = owners.into_iter().fold(MultiContext::new(), MultiContext::with);
    let mut device = End::new(2, Arc::new(keys.signing), NodeConfig::default(), strategy);
    let config = NodeConfig { accept_contexts: true, ..NodeConfig::default() };
    let mut relay = End::new(3, Arc::new(samples::signing_key(200)), config, SingleOwnerRelay::new());
    device.open(infos.iter().cloned())?;
    let context = infos[CONTEXTS / 2].id;
    device.node.append(now(1), context, EntryKind::Change(samples::document(1)), b"something")?;
    device.settle()?;
    let mut wire = Wire::connect(1, &mut device, &mut relay)?;
    wire.run()?;
    wire.disconnect()?;
    let mut arrived = relay.notices.into_iter().filter_map(|notice| match notice {
        Notice::Arrived { mut entries, .. } => entries.pop(),
        _ => None,
    });
    let entry = arrived.next().ok_or("the entry did not arrive")?;
    let heads = entry.entry.header.stamp.as_ref().map(|stamp| stamp.heads.clone()).unwrap_or_default();
    let peer = |session, replica, pinned| PeerInfo {
        session: SessionId(session),
        replica,
        incarnation: samples::incarnation(1),
        pinned,
    };
    let peers = vec![peer(1, relay.node.replica(), true), peer(2, me, false)];
    let by_hand = ByHand {
        devices: [me].into(),
        heads: heads.iter().copied().collect(),
        epochs: entry.epoch.into_iter().collect(),
    };
    let question = Question { entry, heads, peers };
    let direct = measure(|targets| by_hand.decide(&question, targets))?;
    let asked = device.node.with_strategy::<MultiContext, _>(now(1), |multi, turn| {
        let single = multi.with_strategy_of::<SingleOwner, _>(&context, turn, |owner, _| {
            measure(|targets| ask(owner, &question, targets))
        });
        (single, measure(|targets| ask(multi, &question, targets)))
    })?;
    Ok([direct, asked.0??, asked.1?])
}
