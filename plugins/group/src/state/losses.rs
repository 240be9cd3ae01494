//! How far the logs of those count who lost the right to write.

use std::collections::{BTreeMap, BTreeSet};

use partita_core::{ReplicaId, Signature, Standing, Tip, Witness};

use super::State;
use crate::{ledger::Held, op::Op, resolve::Resolver, role::Role};

impl State {
    /// How far data logs count.
    pub(crate) fn standing(&self) -> Standing {
        self.standing.get_or_init(|| self.find_standing()).clone()
    }

    fn find_standing(&self) -> Standing {
        let view = self.view();
        let writes = |device: &&ReplicaId| view.role(device).is_some_and(Role::writes);
        let readmitted = view.losses.keys().filter(writes).copied().collect();
        let (vouches, listed) = (self.vouches(), self.listed.clone());
        Standing { losses: view.losses.clone(), readmitted, vouches, listed }
    }

    /// A vouch answers a loss of that very author: one that had seen none was made in advance, by somebody who expected that
    /// one to be removed. And nobody vouches for itself.
    fn vouches(&self) -> BTreeMap<Tip, Signature> {
        let mut vouches: BTreeMap<Tip, Signature> = BTreeMap::new();
        if self.vouching.is_empty() {
            return vouches;
        }
        let resolver = self.resolver();
        for (at, answered) in &self.vouching {
            let Some(held) = self.ledger.entry(*at) else { continue };
            let answers = |author: ReplicaId| author != held.author && answered.contains(&author);
            for (index, op) in held.ops().iter().enumerate().filter(|_| !answered.is_empty()) {
                let Op::Vouch(witnesses) = op else { continue };
                if !resolver.op_counts(held, index, op) {
                    continue;
                }
                for witness in witnesses.iter().filter(|witness| answers(witness.author())) {
                    // Of two signatures over one entry, all replicas keep the same.
                    let kept = vouches.entry(witness.tip()).or_insert(witness.signature());
                    if witness.signature().as_bytes() < kept.as_bytes() {
                        *kept = witness.signature();
                    }
                }
            }
        }
        vouches
    }

    /// The authors for whom an entry vouches and who had lost the right to write by what its ancestors say: a device
    /// vouches for nobody before that is so by all that it knows. Asked once, when the entry comes.
    pub(super) fn answered_by(&self, held: &Held) -> BTreeSet<ReplicaId> {
        let witnesses = held.ops().iter().filter_map(|op| if let Op::Vouch(shown) = op { Some(shown) } else { None });
        let mut authors: BTreeSet<ReplicaId> = witnesses.flatten().map(Witness::author).collect();
        let resolved = self.resolved_at(&held.before);
        let resolver = Resolver { ledger: &self.ledger, resolution: &resolved.resolution };
        authors.retain(|author| !resolver.losses_of(author).is_empty());
        authors
    }

    /// Whether any loss is known: without one there is nothing to vouch for.
    pub(crate) fn knows_losses(&self) -> bool {
        !self.view().losses.is_empty()
    }
}
