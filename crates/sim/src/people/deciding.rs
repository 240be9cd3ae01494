//! Who is let in, and who is shut out.

use std::sync::Arc;

use partita_core::ContextId;
use partita_group::{Group, History, Invitation, Role, Terms};
use partita_multi_context::MultiContext;
use partita_single_owner::SingleOwner;

use crate::{
    machine::{Answer, Change, MachineId},
    truth::{Kind, Late},
    world::World,
};

/// More machines than this do not come to be in a small world.
const MOST_MACHINES: usize = 14;

impl World {
    pub(crate) fn rotate(&mut self, machine: MachineId, context: ContextId) {
        let rotate = |group: &mut Group, turn: &mut partita_core::Turn<'_>| group.rotate(turn);
        self.with::<Group, _, _>(machine, context, "rotates".into(), Change::None, rotate);
        self.settle(machine);
    }

    /// Somebody shuts somebody else out, with whatever right it has.
    pub(crate) fn shut_out(&mut self, machine: MachineId, other: MachineId, context: ContextId) {
        let (lost, name) = (self.machines[other].replica, self.name(other));
        match self.truth.contexts.get(&context).map(|known| known.kind) {
            Some(Kind::Owner(owner) | Kind::Plain(owner)) => {
                let (words, context) = (self.truth.owners[owner].words.clone(), self.truth.owners[owner].context);
                let what = format!("revokes {name}");
                self.with::<SingleOwner, _, _>(machine, context, what, Change::Out(other), move |device, turn| {
                    device.revoke(turn, &words, lost)
                });
            }
            Some(Kind::Group) => {
                let member = partita_group::MemberId(lost);
                let what = format!("removes {name}");
                self.with::<Group, _, _>(machine, context, what, Change::Out(other), move |group, turn| {
                    group.remove(turn, member)
                });
            }
            None => {}
        }
        self.settle(machine);
    }

    /// Somebody says that nobody waits for somebody else, with whatever right it has.
    pub(crate) fn declare_dormant(&mut self, machine: MachineId, other: MachineId, context: ContextId) {
        if self.truth.is_falsified(&context) {
            return; // whoever knows better must be waited for
        }
        if let Some(known) = self.truth.contexts.get_mut(&context) {
            known.does_without = true;
        }
        let (away, what) = (self.machines[other].replica, format!("declares {} dormant", self.name(other)));
        match self.truth.contexts.get(&context).map(|known| known.kind) {
            Some(Kind::Owner(owner) | Kind::Plain(owner)) => {
                let (words, context) = (self.truth.owners[owner].words.clone(), self.truth.owners[owner].context);
                let call = move |device: &mut SingleOwner, turn: &mut partita_core::Turn<'_>| {
                    device.declare_dormant(turn, &words, away)
                };
                self.with::<SingleOwner, _, _>(machine, context, what, Change::None, call);
            }
            Some(Kind::Group) => {
                let call =
                    move |group: &mut Group, turn: &mut partita_core::Turn<'_>| group.declare_dormant(turn, away);
                self.with::<Group, _, _>(machine, context, what, Change::None, call);
            }
            None => {}
        }
        self.settle(machine);
    }

    /// Whether a machine was shut out of a context, and everybody knows but, perhaps, itself.
    pub(super) fn all_know_of(&self, context: ContextId, gone: MachineId) -> bool {
        let Some(known) = self.truth.contexts.get(&context) else { return false };
        let Some((_, places)) = known.shut_out.iter().find(|(machine, _)| *machine == gone) else { return false };
        let mut everybody = self.machines.iter().enumerate().filter(|(at, machine)| {
            let concerned = machine.is_relay || known.allowed.contains(at) && !known.gone.contains(at);
            concerned && !machine.retired
        });
        everybody.all(|(at, _)| self.holds_all(at, context, places))
    }

    /// Where an admission is written: in what the one who let somebody in has written by now.
    pub(crate) fn note_admission(&mut self, machine: MachineId, context: ContextId, newcomer: MachineId) {
        let Some(running) = &self.machines[machine].running else { return };
        let tips = running.node().logs_of(&context, &running.node().replica());
        if tips.is_empty() {
            return; // the context was closed since
        }
        let known = self.truth.contexts.get_mut(&context);
        if let Some(late) = known.and_then(|known| known.late.get_mut(&newcomer)) {
            late.written = Some(tips);
        }
    }

    /// Where a removal is written: in what the one who did it has written by now.
    pub(crate) fn note_removal(&mut self, machine: MachineId, context: ContextId, gone: MachineId) {
        let Some(running) = &self.machines[machine].running else { return };
        let tips = running.node().logs_of(&context, &running.node().replica());
        if tips.is_empty() {
            return; // the context was closed since
        }
        if let Some(known) = self.truth.contexts.get_mut(&context) {
            known.went.push((gone, tips.clone()));
            if machine != gone {
                known.shut_out.push((gone, tips));
            }
        }
    }

    /// Somebody changes who is in.
    pub(super) fn decide(&mut self, machine: MachineId, context: ContextId) {
        let kind = self.truth.contexts.get(&context).map(|known| known.kind);
        match kind {
            Some(Kind::Owner(owner) | Kind::Plain(owner)) => self.decide_for_owner(machine, owner),
            Some(Kind::Group) => self.decide_in_group(machine, context),
            None => {}
        }
    }

    fn decide_for_owner(&mut self, machine: MachineId, owner: usize) {
        let context = self.truth.owners[owner].context;
        let known = &self.truth.contexts[&context];
        let others: Vec<_> =
            known.allowed.iter().copied().filter(|at| *at != machine && !known.gone.contains(at)).collect();
        if self.people.dice.chance(500) || others.is_empty() {
            if self.machines.len() < MOST_MACHINES {
                let seed = u64::from_le_bytes(self.people.dice.bytes());
                let new = self.enroll(owner, seed);
                let name = self.name(new);
                self.note(format!("{name} is enrolled"));
                self.start(new);
            }
            return;
        }
        let Some(other) = self.people.dice.pick(&others) else { return };
        if !self.people.dice.chance(300) {
            return self.shut_out(machine, other, context);
        }
        let name = self.name(other);
        let call = |device: &mut SingleOwner, turn: &mut partita_core::Turn<'_>| device.retire(turn);
        self.with::<SingleOwner, _, _>(other, context, format!("{name} retires"), Change::Out(other), call);
        self.settle(other);
    }

    fn decide_in_group(&mut self, machine: MachineId, context: ContextId) {
        let members: Vec<_> = {
            let known = &self.truth.contexts[&context];
            known.allowed.iter().copied().filter(|at| *at != machine && !known.gone.contains(at)).collect()
        };
        match self.people.dice.below(7) {
            0 | 1 => {
                let Some(newcomer) = self.newcomer(context) else { return };
                let role = if self.people.dice.chance(300) { Role::Admin } else { Role::Write };
                let history =
                    if self.people.dice.chance(self.mix.latecomers) { History::FromNow } else { History::All };
                self.let_in(machine, newcomer, context, role, history);
            }
            2 | 3 => {
                let Some(engine) =
                    self.machines[machine].running.as_ref().and_then(|running| running.engine()).cloned()
                else {
                    return;
                };
                self.machines[machine].tasks.push(Box::pin(async move {
                    let asked = engine.with_strategy::<MultiContext, _>(move |all, turn| {
                        all.with_strategy_of::<Group, _>(&context, turn, |group, turn| {
                            group.invite(turn, Terms::new(Role::Write))
                        })
                    });
                    let answer = match asked.await {
                        Ok(Ok(Ok(invitation))) => Ok(Box::new(invitation)),
                        Ok(Ok(Err(error))) => Err(error.to_string()),
                        Ok(Err(error)) => Err(error.to_string()),
                        Err(error) => Err(error.to_string()),
                    };
                    Answer::Invited(context, answer)
                }));
            }
            4 => {
                let Some(other) = self.people.dice.pick(&members) else { return };
                self.shut_out(machine, other, context);
            }
            5 => {
                self.with::<Group, _, _>(machine, context, "leaves".into(), Change::Out(machine), |group, turn| {
                    group.leave(turn)
                });
            }
            _ => self.rotate(machine, context),
        }
    }

    /// Somebody adds a device by its card.
    pub(crate) fn let_in(
        &mut self,
        machine: MachineId,
        newcomer: MachineId,
        context: ContextId,
        role: Role,
        history: History,
    ) {
        let here = &mut self.machines[newcomer];
        let keystore = here.keystore.clone();
        let Ok(card) = Group::card(&keystore, here.dice.rng()) else { return };
        if Group::added(Arc::new(keystore), context, &card).is_err() {
            return; // it has been there before
        }
        self.truth.allow(&context, newcomer);
        if history == History::FromNow
            && let Some(known) = self.truth.contexts.get_mut(&context)
        {
            let older = known.documents.iter().map(|(document, _)| *document).collect();
            known.late.insert(newcomer, Late { older, ..Late::default() });
        }
        let what = format!("adds {} as {role:?}, reading {history:?}", self.name(newcomer));
        self.with::<Group, _, _>(machine, context, what, Change::In(newcomer), move |group, turn| {
            group.add(turn, &card, role, history)
        });
        self.reopen(newcomer);
    }

    /// Somebody who is not in the group: a new machine, or one from elsewhere.
    pub(crate) fn newcomer(&mut self, context: ContextId) -> Option<MachineId> {
        let allowed = &self.truth.contexts[&context].allowed;
        let others: Vec<_> = (0..self.machines.len())
            .filter(|at| {
                let machine = &self.machines[*at];
                !machine.is_relay && !machine.retired && machine.copy_of.is_none() && !allowed.contains(at)
            })
            .collect();
        if self.people.dice.chance(400) && !others.is_empty() {
            return self.people.dice.pick(&others);
        }
        if self.machines.len() >= MOST_MACHINES {
            return None;
        }
        let seed = u64::from_le_bytes(self.people.dice.bytes());
        let machine = self.new_machine(seed, "guest", false);
        Some(machine)
    }

    pub(crate) fn invitation_made(&mut self, machine: MachineId, context: ContextId, invitation: Invitation) {
        let gone = &self.truth.contexts[&context].gone;
        let gone: Vec<_> = gone.iter().copied().filter(|at| *at != machine).collect();
        let again = if self.people.dice.chance(300) { self.people.dice.pick(&gone) } else { None };
        let Some(newcomer) = again.or_else(|| self.newcomer(context)) else { return };
        let (host, name) = (self.name(machine), self.name(newcomer));
        self.note(format!("{host} invites {name}"));
        self.truth.allow(&context, newcomer);
        if again.is_some() {
            self.truth.back_again(&context, newcomer);
            if let Some(backup) = &mut self.machines[newcomer].backup {
                backup.keystore = None; // it knows the group, and not the invitation to which keys will be boxed
            }
        }
        let here = &mut self.machines[newcomer];
        let keystore = Arc::new(here.keystore.clone());
        if let Err(error) = Group::join(keystore, here.dice.rng(), &invitation) {
            self.note(format!("{name} cannot join: {error}"));
        }
        self.reopen(newcomer);
    }

    /// Calls into a plugin of a device.
    fn with<P: partita_core::PartitionStrategy, E: ToString + Send + 'static, F>(
        &mut self,
        machine: MachineId,
        context: ContextId,
        what: String,
        change: Change,
        call: F,
    ) where
        F: FnOnce(&mut P, &mut partita_core::Turn<'_>) -> Result<(), E> + Send + 'static,
    {
        let Some(engine) = self.machines[machine].running.as_ref().and_then(|running| running.engine()).cloned() else {
            return;
        };
        let name = self.name(machine);
        let goes = matches!(change, Change::Out(_));
        if goes && self.truth.is_falsified(&context) {
            return; // whoever knows better must stay: a liar among liars is believed
        }
        self.note(format!("{name} decides: {what}"));
        self.machines[machine].tasks.push(Box::pin(async move {
            let asked = engine
                .with_strategy::<MultiContext, _>(move |all, turn| all.with_strategy_of::<P, _>(&context, turn, call));
            let answer = match asked.await {
                Ok(Ok(Ok(()))) => Ok(()),
                Ok(Ok(Err(error))) => Err(error.to_string()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            Answer::Decided(context, what, change, answer)
        }));
    }
}
