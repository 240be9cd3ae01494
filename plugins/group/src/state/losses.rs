//! How far the logs of those count who lost the right to write.

use std::collections::BTreeMap;

use partita_core::{ReplicaId, Signature, Standing, Tip};

use super::State;
use crate::{bits::Bits, op::Op, role::Role};

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

    /// A vouch answers a loss: one that had seen none was made in advance, by somebody who expected to be removed. And
    /// nobody vouches for itself.
    fn vouches(&self) -> BTreeMap<Tip, Signature> {
        let mut vouches: BTreeMap<Tip, Signature> = BTreeMap::new();
        if self.vouching.is_empty() {
            return vouches;
        }
        let (resolver, losses) = (self.resolver(), self.losses());
        for held in self.vouching.iter().filter_map(|at| self.ledger.entry(*at)) {
            let answers = losses.iter().any(|number| held.before.has(number));
            for (index, op) in held.ops().iter().enumerate().filter(|_| answers) {
                let Op::Vouch(witnesses) = op else { continue };
                if !resolver.op_counts(held, index, op) {
                    continue;
                }
                for witness in witnesses.iter().filter(|witness| witness.author() != held.author) {
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

    /// The numbers of the entries that take a right away, whether or not they count: who has seen one has no excuse.
    fn losses(&self) -> Bits {
        let lost = self.ledger.ops.iter().enumerate().filter(|(no, _)| {
            let op = self.ledger.op(*no).map(|(_, op)| op);
            matches!(op, Some(Op::Remove(_) | Op::SetRole(_) | Op::RemoveDevice(_) | Op::Leave(_) | Op::Decide(_)))
        });
        lost.map(|(_, place)| place.number).collect()
    }

    /// Whether any loss is known: without one there is nothing to vouch for.
    pub(crate) fn knows_losses(&self) -> bool {
        !self.view().losses.is_empty()
    }
}
