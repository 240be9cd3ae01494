//! Which epochs a group has, and who should have their secrets.

use std::collections::{BTreeMap, BTreeSet};

use partita_core::{
    EpochId, ReplicaId,
    planted::{Bug, planted},
};
use partita_crypto::{EpochFacts, choose_epoch};

use super::State;
use crate::{
    bits::Bits,
    epochs::{Announced, Recipients},
    ledger::Held,
    op::Scope,
    resolve::Resolver,
    role::{History, MemberId},
    view::Member,
};

/// How many members may box an epoch again for a device that complained: whoever boxes garbage too is outvoted, and a
/// complaint cannot make everybody work for ever.
const SECOND_BOXES: usize = 3;

impl State {
    /// Whether its maker could begin it by what it knew itself: otherwise nothing that counts is sealed under it.
    pub(crate) fn could_begin(&self, announced: &Announced) -> bool {
        let Some(held) = self.ledger.entry(announced.entry) else {
            return false;
        };
        let resolved = self.resolved_at(&held.seen);
        let resolver = Resolver { ledger: &self.ledger, resolution: &resolved.resolution };
        let op = held.ops().get(announced.index);
        op.is_some_and(|op| announced.op.count() > 0 && resolver.op_counts(held, announced.index, op))
    }

    /// Whether everybody for whom an epoch is was boxed its secret, by somebody who could begin it: as its maker knew it, so
    /// that the answer stays.
    pub(crate) fn is_complete(&self, id: &EpochId) -> bool {
        let announced = self.epochs.announced.get(id);
        announced.is_some_and(|one| self.could_begin(one) && self.recipients(one).ids.len() == one.op.count())
    }

    /// Who gets an epoch's secret, as the control entries that its author knew say.
    pub(crate) fn recipients<'a>(&'a self, announced: &'a Announced) -> &'a Recipients {
        announced.recipients(|| {
            let Some(held) = self.ledger.entry(announced.entry) else {
                return Recipients::default();
            };
            let resolved = self.resolved_at(&held.seen);
            let view = resolved.view(&self.ledger);
            let recipients = view.recipients(&announced.op.scope).into_iter();
            let ids: Vec<ReplicaId> = recipients.map(|(id, _)| id).collect();
            let number = |id: &ReplicaId| match view.readers.get(id) {
                Some(reader) => Some(reader.number),
                None => self.ledger.keys.get(id).copied(),
            };
            let numbers = ids.iter().filter_map(number).collect();
            Recipients { ids, numbers }
        })
    }

    /// Whether its maker had the right to begin it, with a box for everybody.
    fn is_rightful(&self, announced: &Announced) -> bool {
        let Some(held) = self.ledger.entry(announced.entry) else {
            return false;
        };
        let op = held.ops().get(announced.index);
        let complete = self.recipients(announced).ids.len() == announced.op.count();
        complete && op.is_some_and(|op| self.resolver().op_counts(held, announced.index, op))
    }

    fn is_recipient_now(&self, key: &ReplicaId, announced: &Announced) -> bool {
        let view = self.view();
        match (view.devices.get(key), view.invites.get(key)) {
            (Some((id, role)), _) => {
                role.reads() && view.members.get(id).is_some_and(|member| self.may_have(id, member, announced))
            }
            (None, Some(invite)) => view.is_boxed_to(invite),
            (None, None) => false,
        }
    }

    /// Those who may not have an epoch's secret: they came later, or it is not for them. Also who reads nothing at the moment:
    /// with the right to read again, it has the secrets of all epochs since its admission.
    fn left_out(&self, announced: &Announced) -> BTreeSet<MemberId> {
        let members = self.view().members.iter();
        let without =
            members.filter(|(id, member)| member.history == History::FromNow && !self.may_have(id, member, announced));
        without.map(|(id, _)| *id).collect()
    }

    /// Those who may not have the secrets of all of these epochs.
    pub(crate) fn left_out_of<'e>(&self, epochs: impl IntoIterator<Item = &'e EpochId>) -> BTreeSet<MemberId> {
        if !self.has_newcomers() {
            return BTreeSet::new(); // as nearly always
        }
        let announced = epochs.into_iter().filter_map(|epoch| self.epochs.announced.get(epoch));
        announced.flat_map(|announced| self.left_out(announced)).collect()
    }

    /// Whether a member's device may not have an epoch's secret: it is no use to wait for it.
    pub(crate) fn withholds(&self, epoch: &EpochId, device: &ReplicaId) -> bool {
        let is_in = self.view().devices.contains_key(device);
        is_in && self.epochs.announced.get(epoch).is_some_and(|announced| !self.is_entitled(device, announced))
    }

    /// The epoch to write under for every reader but these members, of those whose secret is held; `None`: begin one first.
    pub(crate) fn choose(&self, without: &BTreeSet<MemberId>, holds: impl Fn(&EpochId) -> bool) -> Option<EpochId> {
        let mut facts: Vec<EpochFacts> = Vec::new();
        let mut depth = None;
        for (at, id) in self.epochs.deepest_first() {
            if depth.is_some_and(|depth| depth != at)
                && let Some(found) = choose_epoch(&facts)
            {
                return Some(found);
            }
            depth = Some(at);
            facts.extend(self.facts(&id, without, &holds));
        }
        choose_epoch(&facts)
    }

    fn facts(
        &self,
        id: &EpochId,
        without: &BTreeSet<MemberId>,
        holds: &impl Fn(&EpochId) -> bool,
    ) -> Option<EpochFacts> {
        let announced = self.epochs.announced.get(id)?;
        let held = self.ledger.entry(announced.entry)?;
        let view = self.view();
        let for_all = without.is_empty();
        let fits = match announced.op.scope {
            Scope::Live if for_all => held.seen.includes(&view.newcomers),
            Scope::Archive(_) if for_all => false,
            _ => self.left_out(announced) == *without,
        };
        if !fits {
            return None;
        }
        let covers = held.seen.includes(&view.to_cover) || planted(Bug::KeysKept);
        // The rest costs more to find out, and is of no use to an epoch that may not be written under anyway.
        let looks = covers && holds(id);
        let current = |key: &ReplicaId| self.is_recipient_now(key, announced);
        Some(EpochFacts {
            id: *id,
            depth: announced.depth,
            held: holds(id),
            rightful: looks && self.is_rightful(announced),
            // Whom it was shared with later does not matter: who shared it knew the losses that it covers, so an honest share
            // went to somebody who reads now, or is covered by a loss since. Otherwise one share to nobody would end an epoch.
            recipients_current: looks
                && (self.recipients(announced).ids.iter().all(current) && current(&announced.maker.device)
                    || planted(Bug::KeysKept)),
            covers_all_losses: covers,
        })
    }

    /// Every reader and open invitation that should have an epoch's secret and, as far as is known, was not boxed it, of those
    /// whom `me` can box it to; with its epochs.
    pub(crate) fn lacking(
        &self,
        me: &ReplicaId,
        may: impl Fn(&Announced) -> bool,
        holds: impl Fn(&EpochId) -> bool,
    ) -> BTreeMap<ReplicaId, Vec<EpochId>> {
        let view = self.view();
        let mut lacking: BTreeMap<ReplicaId, Vec<EpochId>> = BTreeMap::new();
        let devices = view.readers.iter().filter(|(device, _)| *device != me);
        let devices = devices.map(|(device, reader)| (*device, reader.number));
        let invites = view.invites.iter().filter(|(_, invite)| view.is_boxed_to(invite));
        let invites = invites.filter_map(|(key, _)| Some((*key, *self.ledger.keys.get(key)?)));
        let readers: Vec<(ReplicaId, usize)> = devices.chain(invites).collect();
        let all: Bits = readers.iter().map(|(_, number)| *number).collect();
        for (id, announced) in self.epochs.announced.iter().filter(|(id, _)| holds(id)) {
            let recipients = self.recipients(announced);
            let complained = self.epochs.complained(id);
            if recipients.numbers.includes(&all) && !complained {
                continue;
            }
            if !may(announced) && !complained {
                continue;
            }
            for (device, number) in &readers {
                let is_recipient = recipients.numbers.has(*number);
                let wants = self.wants_share(id, announced, device, is_recipient, me);
                if wants && !self.got_by_invitation(id, recipients, device) && self.is_entitled(device, announced) {
                    lacking.entry(*device).or_default().push(*id);
                }
            }
        }
        lacking
    }

    /// The epochs whose secrets a new reader of all history is given: all that are held, also those whose author turned out
    /// to have lost its right. Whoever wrote before hearing of that may have sealed under them.
    pub(crate) fn shareable(&self, holds: impl Fn(&EpochId) -> bool) -> Vec<EpochId> {
        self.epochs.announced.keys().filter(|id| holds(id)).copied().collect()
    }

    /// Who shared an epoch with somebody by ops that count: members, since one has any number of devices.
    fn sharers(&self, id: &EpochId, recipient: &ReplicaId) -> BTreeSet<MemberId> {
        let (view, resolver) = (self.view(), self.resolver());
        let counting = self.epochs.shares_to(id, recipient).filter_map(|(entry, index, by)| {
            let held = self.ledger.entry(entry)?;
            let counts = resolver.op_counts(held, index, held.ops().get(index)?);
            counts.then(|| view.devices.get(&by).map_or(MemberId(by), |(member, _)| *member))
        });
        counting.collect()
    }

    /// Whether somebody should be boxed an epoch's secret by `me`: it is no recipient and has no share, or complained about
    /// what it was given.
    fn wants_share(
        &self,
        id: &EpochId,
        announced: &Announced,
        reader: &ReplicaId,
        is_recipient: bool,
        me: &ReplicaId,
    ) -> bool {
        if is_recipient && !self.epochs.has_complained(id, reader) {
            return false;
        }
        let sharers = self.sharers(id, reader);
        if !self.epochs.has_complained(id, reader) {
            return sharers.is_empty();
        }
        // Somebody whose box was no good does not try again.
        let member = self.view().devices.get(me).map_or(MemberId(*me), |(member, _)| *member);
        let tried = sharers.contains(&member) || (is_recipient && announced.maker.device == *me);
        !tried && sharers.len() + usize::from(is_recipient) <= SECOND_BOXES
    }

    /// Whether a device got an epoch's secret through the invitation that it used.
    fn got_by_invitation(&self, id: &EpochId, recipients: &Recipients, device: &ReplicaId) -> bool {
        let used = self.invitations_of(device);
        let boxed = |key: &ReplicaId| recipients.ids.binary_search(key).is_ok() || !self.sharers(id, key).is_empty();
        !self.epochs.has_complained(id, device) && used.iter().any(boxed)
    }

    /// Whether a reader may have an epoch's secret.
    pub(crate) fn is_entitled(&self, device: &ReplicaId, announced: &Announced) -> bool {
        let view = self.view();
        let member = view.devices.get(device).and_then(|(id, _)| Some((id, view.members.get(id)?)));
        let Some((id, member)) = member else {
            return view.invites.get(device).is_some_and(|invite| view.is_boxed_to(invite));
        };
        self.may_have(id, member, announced)
    }

    /// Whether a member may have an epoch's secret: of all of them, or of those that knew of its admission and do not leave it
    /// out.
    fn may_have(&self, id: &MemberId, member: &Member, announced: &Announced) -> bool {
        let knew = |held: &Held| member.since.iter().any(|number| held.seen.has(number));
        match member.history {
            History::All => true,
            History::FromNow => {
                announced.op.scope.is_for(id, member.history) && self.ledger.entry(announced.entry).is_some_and(knew)
            }
        }
    }
}
