//! One group, as its control entries say: what members and relays share.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use partita_core::Timestamp;
use partita_core::{
    Access, Brought, Claim, ContextId, ContextInfo, ControlEntry, EntryId, EpochId, Now, Refusal, ReplicaId, Signature,
    Standing, StrategyError, Tip, Verdict, is_checkpoint_op,
};
use partita_crypto::{EpochFacts, choose_epoch};

use crate::{
    bits::Bits,
    epochs::{Announced, Epochs, Recipients},
    genesis::Policy,
    invite::Uses,
    ledger::{Held, Ledger},
    op::{Op, Payload, Scope},
    proof,
    resolve::{Point, Resolution, Resolver, resolve, resolve_on},
    role::{History, MemberId, Role},
    view::{Member, Membership, View},
};

/// How many resolutions of earlier states are kept: entries that rest on the same control heads ask for the same one.
const KEPT: usize = 16;

/// How many members may box an epoch again for a device that complained: whoever boxes garbage too is outvoted, and a
/// complaint cannot make everybody work for ever.
const SECOND_BOXES: usize = 3;

/// How many who came by an invitation are remembered.
const MOST_GUESTS: usize = 4096;

/// What a set of control entries amounts to.
#[derive(Debug)]
pub(crate) struct Resolved {
    pub(crate) resolution: Resolution,
    view: OnceLock<View>,
}

/// A device that joined by an invitation and waits for a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Waiting {
    pub(crate) device: ReplicaId,
    pub(crate) invite: ReplicaId,
    /// Nobody confirms it by itself: another used the same invitation, or it has ended.
    pub(crate) contested: bool,
}

/// The control entries of a group and what follows from them.
#[derive(Debug)]
pub(crate) struct State {
    id: ContextId,
    pub(crate) ledger: Ledger,
    pub(crate) epochs: Epochs,
    /// The entries that vouch.
    vouching: Vec<usize>,
    /// What entries list of how far logs count, whether or not they do.
    listed: Arc<BTreeMap<Tip, Signature>>,
    current: OnceLock<Arc<Resolved>>,
    standing: OnceLock<Standing>,
    earlier: Mutex<Vec<Arc<Resolved>>>,
    /// Who opened the context by an invitation, and by which. Never a right by itself: the invitation is looked at each time.
    guests: BTreeMap<ReplicaId, ReplicaId>,
    /// The payload that was read last: each is asked about twice, and its signatures cost.
    last: Mutex<Option<Arc<Payload>>>,
}

impl State {
    pub(crate) fn new(id: ContextId) -> Self {
        Self {
            id,
            ledger: Ledger::new(id),
            epochs: Epochs::default(),
            vouching: Vec::new(),
            listed: Arc::default(),
            current: OnceLock::new(),
            standing: OnceLock::new(),
            earlier: Mutex::default(),
            guests: BTreeMap::new(),
            last: Mutex::default(),
        }
    }

    /// Whether the group's beginning is not here: nothing can be said about anybody.
    pub(crate) fn is_empty(&self) -> bool {
        self.ledger.policy.is_none()
    }

    pub(crate) fn policy(&self) -> Policy {
        self.ledger.policy.unwrap_or_default()
    }

    fn current(&self) -> &Arc<Resolved> {
        self.current.get_or_init(|| Arc::new(Resolved::new(&self.ledger, self.ledger.all.clone())))
    }

    /// What all held control entries amount to.
    pub(crate) fn view(&self) -> &View {
        self.current().view(&self.ledger)
    }

    pub(crate) fn resolver(&self) -> Resolver<'_> {
        Resolver { ledger: &self.ledger, resolution: &self.current().resolution }
    }

    /// What a set of membership entries amounts to, which holds the ancestors of each.
    fn resolved_at(&self, set: &Bits) -> Arc<Resolved> {
        if *set == self.ledger.all {
            return self.current().clone();
        }
        // Poison means that a thread died while it held the lock; a list of finished answers cannot be half right.
        let mut earlier = self.earlier.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = earlier.iter().position(|one| one.resolution.set == *set) {
            let found = earlier.remove(at);
            earlier.push(found.clone());
            return found;
        }
        drop(earlier);
        let found = Arc::new(Resolved::new(&self.ledger, set.clone()));
        self.keep(found.clone());
        found
    }

    fn keep(&self, before: Arc<Resolved>) {
        // Poison: see above.
        let mut earlier = self.earlier.lock().unwrap_or_else(PoisonError::into_inner);
        if earlier.len() >= KEPT {
            earlier.remove(0);
        }
        earlier.push(before);
    }

    /// The membership entry at this place is the latest: what all amount to goes on from what it was, where that is possible.
    fn go_on(&mut self, at: usize) {
        let Some(mut before) = self.current.take() else {
            return;
        };
        if let Some(resolution) = resolve_on(&self.ledger, &before.resolution, at) {
            // The view goes on with the group; what rests on the earlier state asks for who may do what alone.
            let view = Arc::get_mut(&mut before).and_then(|before| before.view.take());
            let view = view.and_then(|view| view.with(&self.ledger, &resolution, at));
            let view = view.map_or_else(OnceLock::new, OnceLock::from);
            self.current = OnceLock::from(Arc::new(Resolved { resolution, view }));
        }
        self.keep(before);
    }

    fn read(&self, payload: &[u8]) -> Result<Arc<Payload>, partita_core::codec::DecodeError> {
        if is_checkpoint_op(payload) {
            return Ok(Arc::new(Payload::without_ops())); // the node's own to understand
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = last.as_ref().filter(|known| known.raw == payload) {
            return Ok(known.clone());
        }
        let read = Arc::new(Payload::decode(&self.id, payload)?);
        *last = Some(read.clone());
        Ok(read)
    }

    /// Takes a control entry; its place, or `None` when it was held before.
    pub(crate) fn insert(&mut self, entry: &ControlEntry<'_>) -> Result<Option<usize>, StrategyError> {
        if self.ledger.contains(&entry.id) {
            return Ok(None);
        }
        let payload = self
            .read(entry.payload)
            .map_err(|error| StrategyError(format!("not a control entry of a group: {error}")))?;
        let mut parents: Vec<EntryId> = entry.parents.iter().filter(|id| **id != EntryId::NONE).copied().collect();
        parents.sort_unstable();
        parents.dedup();
        if parents.iter().any(|parent| !self.ledger.contains(parent)) {
            return Err(StrategyError("a control entry came before its parents".into()));
        }
        let place = (entry.header.log, entry.header.seq);
        // Asked only where it matters: as at the verdict, by what the entry's ancestors say.
        let is_admin = payload.ops.iter().any(|op| matches!(op, Op::Dormant(_)))
            && self.role_at(&parents, &entry.author) == Some(Role::Admin);
        let author = (entry.author, is_admin);
        let at = self.ledger.insert(entry.id, author, place, entry.header.time, parents, payload);
        self.standing = OnceLock::new();
        if self.ledger.entry(at).is_some_and(|held| held.number.is_some()) {
            self.go_on(at);
        }
        let Some(held) = self.ledger.entry(at) else {
            return Ok(None);
        };
        if held.ops().iter().any(|op| matches!(op, Op::Vouch(_))) {
            self.vouching.push(at);
        }
        if held.ops().iter().any(|op| matches!(op, Op::Vouch(_)) || op.listed().next().is_some()) {
            let mut known = Standing { listed: std::mem::take(&mut self.listed), ..Standing::default() };
            for op in held.ops() {
                op.listed().for_each(|tips| known.list(tips));
                if let Op::Vouch(witnesses) = op {
                    witnesses.iter().for_each(|witness| known.list(&[witness.signed_tip()]));
                }
            }
            self.listed = known.listed;
        }
        self.epochs.note(*self.id.as_bytes(), at, held);
        Ok(Some(at))
    }

    /// What a device may do by what these entries have seen.
    fn role_at(&self, heads: &[EntryId], device: &ReplicaId) -> Option<Role> {
        let resolved = self.resolved_at(&self.ledger.seen_by(heads));
        Resolver { ledger: &self.ledger, resolution: &resolved.resolution }.role_of(Point::All, device)
    }

    /// The verdict on an entry: it rests on its header, its payload if it is a control entry, and what the ancestors of
    /// its heads say. Nothing that comes later can change it.
    pub(crate) fn authorize(&self, claim: &Claim<'_>) -> Verdict {
        let missing: Vec<EntryId> = claim.heads.iter().filter(|head| !self.ledger.contains(head)).copied().collect();
        if !missing.is_empty() {
            return Verdict::Undecided(missing);
        }
        let payload = match claim.control.map(|payload| self.read(payload)).transpose() {
            Ok(payload) => payload,
            Err(_) => return Verdict::Excluded(Refusal::Invalid),
        };
        let Some(payload) = payload else {
            return self.authorize_data(claim);
        };
        let founds = |op: &Op| matches!(op, Op::Create(genesis) if genesis.founders.iter().any(|card| card.device() == claim.author));
        let is_first = claim.heads.is_empty() && claim.header.backlink == EntryId::NONE;
        if is_first && payload.ops.iter().any(founds) {
            return Verdict::Accept;
        }
        // The log's previous control entry is an ancestor, though its author may leave it out of the heads.
        let seen = self.ledger.seen_by(claim.heads.iter().chain([&claim.header.backlink]));
        let resolved = self.resolved_at(&seen);
        let resolver = Resolver { ledger: &self.ledger, resolution: &resolved.resolution };
        let role = resolver.role_of(Point::All, &claim.author);
        if claim.control.is_some_and(is_checkpoint_op) && !role.is_some_and(Role::writes) {
            return Verdict::Excluded(self.why_not(&claim.author));
        }
        if role.is_some() || self.joins(claim, &payload, seen, &resolver) {
            return Verdict::Accept;
        }
        Verdict::Excluded(self.why_not(&claim.author))
    }

    fn authorize_data(&self, claim: &Claim<'_>) -> Verdict {
        match self.role_at(claim.heads, &claim.author) {
            Some(role) if role.writes() && claim.epoch.is_some() => Verdict::Accept,
            Some(role) if role.writes() => Verdict::Excluded(Refusal::Invalid),
            Some(_) => Verdict::Excluded(Refusal::Denied),
            None => Verdict::Excluded(self.why_not(&claim.author)),
        }
    }

    /// Whether some member reads only what was written since it came.
    pub(crate) fn has_newcomers(&self) -> bool {
        self.view().members.values().any(|member| member.history == History::FromNow)
    }

    /// The devices that may write by what these entries have seen.
    pub(crate) fn writers(&self, heads: &[EntryId]) -> BTreeSet<ReplicaId> {
        let resolved = self.resolved_at(&self.ledger.seen_by(heads));
        let view = resolved.view(&self.ledger);
        let writes = |device: &&ReplicaId| view.role(device).is_some_and(Role::writes);
        self.ledger.devices.keys().filter(writes).copied().collect()
    }

    /// The devices for which nobody waits by what these entries have seen.
    pub(crate) fn dormant(&self, heads: &[EntryId]) -> BTreeSet<ReplicaId> {
        let away = self.ledger.away_by(heads);
        if away.standing().next().is_none() {
            return BTreeSet::new(); // as nearly always
        }
        let resolved = self.resolved_at(&self.ledger.seen_by(heads));
        let resolver = Resolver { ledger: &self.ledger, resolution: &resolved.resolution };
        let counts = |(entry, index): (usize, usize)| {
            let held = self.ledger.entry(entry);
            let op = held.and_then(|held| Some((held, held.ops().get(index)?)));
            op.is_some_and(|(held, op)| resolver.op_counts(held, index, op))
        };
        away.standing().filter(|(_, declaration)| counts(*declaration)).map(|(device, _)| device).collect()
    }

    /// Whether nobody waits for a device, by all that is known.
    pub(crate) fn is_dormant(&self, device: &ReplicaId) -> bool {
        let heads = self.ledger.heads();
        self.ledger.away_by(&heads).is_away(device) && self.dormant(&heads).contains(device)
    }

    fn why_not(&self, author: &ReplicaId) -> Refusal {
        if self.ledger.devices.contains_key(author) { Refusal::Revoked } else { Refusal::Denied }
    }

    /// Whether a device that is nobody's joins by an invitation that it may use.
    fn joins(&self, claim: &Claim<'_>, payload: &Arc<Payload>, seen: Bits, resolver: &Resolver<'_>) -> bool {
        let Some((index, Op::Accept(accept))) =
            payload.ops.iter().enumerate().find(|(_, op)| matches!(op, Op::Accept(_)))
        else {
            return false;
        };
        let counts = |no: &crate::ledger::OpNo| resolver.sees(Point::All, *no) && resolver.yes(*no);
        let about = self.ledger.invites.get(&accept.invite_id());
        let spent = about.is_some_and(|about| {
            let once = about.made.iter().filter(|no| counts(no)).any(
                |no| matches!(self.ledger.op(*no), Some((_, Op::Invite(invite))) if invite.terms.uses == Uses::Once),
            );
            once && about.accepted.iter().any(counts)
        });
        let place = (claim.header.log, claim.header.seq);
        let asking = Held::asking(claim.author, place, seen, payload.clone());
        !spent && resolver.op_counts(&asking, index, &Op::Accept(accept.clone()))
    }

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

    /// Whether an epoch is one whose secret its readers should have.
    pub(crate) fn announces(&self, id: &EpochId) -> bool {
        self.epochs.announced.get(id).is_some_and(|announced| self.is_rightful(announced))
    }

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

    /// Whether any loss is known: without one there is nothing to vouch for.
    pub(crate) fn knows_losses(&self) -> bool {
        !self.view().losses.is_empty()
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
        let covers = held.seen.includes(&view.to_cover);
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
                && self.recipients(announced).ids.iter().all(current)
                && current(&announced.maker.device),
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

    /// Who joined by an invitation and waits for a decision.
    pub(crate) fn waiting(&self) -> Vec<Waiting> {
        let view = self.view();
        let mut waiting = Vec::new();
        for (id, member) in &view.members {
            if let (Some(invite), true) = (member.invite, member.membership != Membership::Active) {
                // It is named after the device that accepted, whatever others it has.
                let contested = member.membership == Membership::Suspended;
                waiting.push(Waiting { device: id.0, invite, contested });
            }
        }
        for (id, about) in &self.ledger.devices {
            for (member, admission) in &about.admissions {
                let Some(invite) = admission.pending else { continue };
                let listed = view.members.get(member).and_then(|member| member.devices.get(id).copied());
                let admitted = about.admissions.iter().any(|one| {
                    one.1.pending.is_none() && self.resolver().stands_now(Some(member), &one.1, &about.ends)
                });
                if let (Some(role), false) = (listed, admitted) {
                    waiting.push(Waiting { device: *id, invite, contested: role.is_none() });
                }
            }
        }
        waiting.sort_unstable();
        waiting.dedup();
        waiting
    }

    /// When a device says that it accepted an invitation.
    pub(crate) fn accepted_at(&self, waiting: &Waiting) -> Option<Timestamp> {
        let accepted = &self.ledger.invites.get(&waiting.invite)?.accepted;
        let by_device = accepted.iter().filter_map(|no| match self.ledger.op(*no) {
            Some((held, Op::Accept(accept))) if accept.card.device() == waiting.device => {
                (held.author == waiting.device && self.resolver().yes(*no)).then_some(held.time)
            }
            _ => None,
        });
        by_device.min()
    }

    /// Whether a device decided about somebody already, whether or not that counts.
    pub(crate) fn has_decided(&self, by: &ReplicaId, about: &Waiting) -> bool {
        let decided = self.ledger.invites.get(&about.invite).map_or(&[][..], |about| &about.decided);
        decided
            .iter()
            .filter_map(|no| self.ledger.op(*no))
            .any(|(held, op)| held.author == *by && matches!(op, Op::Decide(decide) if decide.device == about.device))
    }

    fn invite(&self, id: &ReplicaId) -> Option<&crate::invite::Invite> {
        let made = self.ledger.invites.get(id)?.made.iter().filter(|no| self.resolver().yes(**no));
        made.filter_map(|no| self.ledger.op(*no)).find_map(|(_, op)| match op {
            Op::Invite(invite) => Some(&**invite),
            _ => None,
        })
    }

    pub(crate) fn terms_of(&self, invite: &ReplicaId) -> Option<crate::invite::Terms> {
        self.invite(invite).map(|invite| invite.terms)
    }

    pub(crate) fn member_of_invite(&self, invite: &ReplicaId) -> Option<crate::role::MemberId> {
        self.invite(invite).and_then(|invite| invite.member)
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

    /// The invitations that a member's devices made.
    pub(crate) fn made_by(&self, member: &MemberId) -> Vec<ReplicaId> {
        let devices = self.ledger.members.get(member).map(|about| &about.devices);
        let by_them = |no: &crate::ledger::OpNo| {
            self.ledger.op(*no).is_some_and(|(held, _)| devices.is_some_and(|devices| devices.contains(&held.author)))
        };
        let made = self.ledger.invites.iter().filter(|(_, about)| about.made.iter().any(by_them));
        made.map(|(id, _)| *id).collect()
    }

    /// The invitations that a device accepted.
    pub(crate) fn invitations_of(&self, device: &ReplicaId) -> Vec<ReplicaId> {
        // By its own word: anybody can repeat a card.
        let accepted_by = |no: &crate::ledger::OpNo| match self.ledger.op(*no) {
            Some((held, Op::Accept(accept))) => {
                accept.card.device() == *device && held.author == *device && self.resolver().yes(*no)
            }
            _ => false,
        };
        let used = self.ledger.invites.iter().filter(|(_, about)| about.accepted.iter().any(accepted_by));
        used.map(|(id, _)| *id).collect()
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

    /// Whether the holder of an invitation may open the group's context: while it can be used, and once it was used by this
    /// device.
    pub(crate) fn admits(&self, now: Now, invite: &ReplicaId, device: &ReplicaId) -> Result<(), Refusal> {
        let view = self.view();
        if view.role(device).is_some() {
            return Ok(());
        }
        match view.invites.get(invite) {
            Some(open) if open.terms.expires.is_some_and(|end| now.wall.as_secs() >= end) => Err(Refusal::Revoked),
            Some(_) => Ok(()),
            None if self.ledger.invites.contains_key(invite) => Err(Refusal::Revoked),
            None => Err(Refusal::Denied),
        }
    }

    /// Remembers whoever shows an invitation that can be used; says whether that is new.
    pub(crate) fn welcome(&mut self, context: &ContextInfo, brought: &Brought<'_>) -> bool {
        let Some(invite) = proof::invitation_in(brought.proof) else {
            return false;
        };
        let Brought { now, transcript, remote, proof, .. } = brought;
        if proof::verify(*now, transcript, remote, context, Some(self), proof).is_err() {
            return false;
        }
        if self.guests.len() >= MOST_GUESTS {
            self.guests.pop_first(); // it shows its invitation again when it comes back
        }
        let guest = ReplicaId::from_bytes(*remote.as_bytes());
        self.guests.insert(guest, invite) != Some(invite)
    }

    fn is_guest(&self, device: &ReplicaId) -> bool {
        self.guests.get(device).is_some_and(|invite| self.view().invites.contains_key(invite))
    }

    /// Whether a remote that is no relay which the application pinned gets what the context has to send.
    pub(crate) fn is_target(&self, device: &ReplicaId) -> bool {
        self.view().role(device).is_some() || self.is_guest(device)
    }

    /// What a remote may do that is no relay which the application pinned.
    pub(crate) fn access(&self, device: &ReplicaId, granted: Option<Access>) -> Access {
        let view = self.view();
        if self.is_target(device) {
            return Access::Both;
        }
        if view.was_removed(device) {
            // Who left may still bring what it wrote before: its departure, a control entry, arrives ahead of its last data.
            return if view.left.contains(device) { Access::Write } else { Access::Refused(Refusal::Revoked) };
        }
        if view.is_suspended(device) {
            return Access::Refused(Refusal::Denied);
        }
        // Who knows how the group began and is not known here may be in it all the same: it gets nothing, and may bring what
        // says so. What it brings is judged by itself.
        match granted {
            Some(_) => Access::Write,
            None => Access::Refused(Refusal::Denied),
        }
    }
}

impl Resolved {
    fn new(ledger: &Ledger, set: Bits) -> Self {
        Self { resolution: resolve(ledger, set), view: OnceLock::new() }
    }

    fn view(&self, ledger: &Ledger) -> &View {
        self.view.get_or_init(|| View::of(ledger, &self.resolution))
    }
}
