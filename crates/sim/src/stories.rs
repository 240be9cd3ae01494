//! Troubles that take several steps.

use std::time::Duration;

use partita_core::ContextId;
use partita_group::{History, Role};
use partita_testing::disk::Crash;

use crate::{
    faults::Lasting,
    machine::MachineId,
    truth::Kind,
    world::{Happening, World},
};

/// A trouble that takes several steps.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Story {
    /// See [`Trouble::Feud`](crate::mix::Trouble::Feud).
    Feud { judge: MachineId, culprit: MachineId, witness: Option<MachineId>, context: ContextId },
    /// See [`Trouble::Hasty`](crate::mix::Trouble::Hasty).
    Hasty { machine: MachineId, context: ContextId },
    /// See [`Trouble::Crossing`](crate::mix::Trouble::Crossing).
    Crossing { away: MachineId, host: MachineId, newcomer: MachineId, context: ContextId },
    /// See [`Trouble::Torn`](crate::mix::Trouble::Torn).
    Torn { machine: MachineId, context: ContextId },
    /// See [`Trouble::Pruner`](crate::mix::Trouble::Pruner).
    Pruner { away: MachineId, pruner: MachineId, context: ContextId },
    /// See [`Trouble::Drawer`](crate::mix::Trouble::Drawer).
    Drawer { away: MachineId, pruner: MachineId, context: ContextId },
    /// See [`Trouble::Latecomer`](crate::mix::Trouble::Latecomer).
    Latecomer { host: MachineId, newcomer: MachineId, context: ContextId },
}

impl World {
    /// A device goes away; another one works, and others see it; the first shuts the second out without having seen that,
    /// and comes back.
    pub(crate) fn feud(&mut self) -> Option<()> {
        let (judge, context) = self.some_insider()?;
        let known = &self.truth.contexts[&context];
        let others: Vec<_> = known.allowed.difference(&known.gone).copied().filter(|at| *at != judge).collect();
        let mut others: Vec<_> = others.into_iter().filter(|at| self.machines[*at].is_up()).collect();
        let culprit = self.faults.dice.pick(&others)?;
        others.retain(|at| *at != culprit);
        let witness = self.faults.dice.pick(&others);
        let (name, other) = (self.name(judge), self.name(culprit));
        self.note(format!("{name} goes away and will shut out {other}"));
        self.tell(judge, Story::Feud { judge, culprit, witness, context });
        Some(())
    }

    pub(crate) fn hasty(&mut self) -> Option<()> {
        let (machine, context) = self.some_insider()?;
        let name = self.name(machine);
        self.note(format!("{name} goes away, and will be hasty when it comes back"));
        self.tell(machine, Story::Hasty { machine, context });
        Some(())
    }

    /// Somebody who is in, and another one who is and works.
    fn two_insiders(&mut self) -> Option<(MachineId, MachineId, ContextId)> {
        let (one, context) = self.some_insider()?;
        let known = &self.truth.contexts[&context];
        let others = known.allowed.difference(&known.gone).copied();
        let others: Vec<_> = others.filter(|at| *at != one && self.machines[*at].is_up()).collect();
        Some((one, self.faults.dice.pick(&others)?, context))
    }

    pub(crate) fn pruner(&mut self) -> Option<()> {
        let (away, pruner, context) = self.two_insiders()?;
        let (name, other) = (self.name(away), self.name(pruner));
        self.note(format!("{name} comes and goes and writes on, while {other} makes checkpoints"));
        self.begin(Story::Pruner { away, pruner, context });
        Some(())
    }

    pub(crate) fn drawer(&mut self) -> Option<()> {
        let (away, pruner, context) = self.two_insiders()?;
        let (name, other) = (self.name(away), self.name(pruner));
        self.note(format!("{name} is put into a drawer and writes on, and {other} does not wait for it"));
        self.begin(Story::Drawer { away, pruner, context });
        Some(())
    }

    pub(crate) fn latecomer(&mut self) -> Option<()> {
        let (host, context) = self.some_insider()?;
        if self.truth.contexts[&context].kind != Kind::Group {
            return None;
        }
        let newcomer = self.newcomer(context)?;
        let (name, other) = (self.name(host), self.name(newcomer));
        self.note(format!("{name} will let in {other}, who may not read what there is, and makes checkpoints"));
        self.begin(Story::Latecomer { host, newcomer, context });
        Some(())
    }

    pub(crate) fn torn(&mut self) -> Option<()> {
        let (machine, context) = self.some_insider()?;
        let name = self.name(machine);
        self.note(format!("{name} writes much over a connection that breaks"));
        self.begin(Story::Torn { machine, context });
        Some(())
    }

    pub(crate) fn crossing(&mut self) -> Option<()> {
        let (away, context) = self.some_insider()?;
        let known = &self.truth.contexts[&context];
        if known.kind != Kind::Group {
            return None;
        }
        let hosts =
            known.allowed.difference(&known.gone).copied().filter(|at| *at != away && self.machines[*at].is_up());
        let hosts: Vec<_> = hosts.collect();
        let host = self.faults.dice.pick(&hosts)?;
        let newcomer = self.newcomer(context)?;
        let (name, other) = (self.name(away), self.name(newcomer));
        self.note(format!("{name} goes away and will change the keys; meanwhile {other} is let in"));
        self.tell(away, Story::Crossing { away, host, newcomer, context });
        Some(())
    }

    /// A story that begins with somebody going away.
    fn tell(&mut self, away: MachineId, story: Story) {
        self.machines[away].online = false;
        self.cut_off(away);
        self.begin(story);
        self.last(Lasting::Away(away), Duration::from_secs(30));
    }

    fn begin(&mut self, story: Story) {
        for step in 0..8 {
            let after = Duration::from_millis(1500 * step + self.faults.dice.below(800) as u64);
            self.plan(after, Happening::Tell(story, step));
        }
    }

    pub(crate) fn go_on(&mut self, story: Story, step: u64) {
        if self.faults.over {
            return;
        }
        match (story, step) {
            (Story::Feud { culprit, context, .. }, 0..=2) => self.people_edit(culprit, context),
            (Story::Feud { witness: Some(witness), context, .. }, 3 | 4) => self.people_read(witness, context),
            (Story::Feud { witness: Some(witness), context, .. }, 5) => match self.faults.dice.below(3) {
                0 => self.people_edit(witness, context),
                _ => self.close(witness),
            },
            (Story::Feud { judge, culprit, context, .. }, 6) => self.shut_out(judge, culprit, context),
            (Story::Hasty { machine, context }, 0 | 1 | 4 | 5 | 6) => self.people_edit(machine, context),
            (Story::Hasty { machine, .. }, 2) => {
                self.crash(machine, Crash::Process);
                let life = self.machines[machine].life;
                self.plan(Duration::from_millis(500), Happening::Start(machine, life));
            }
            (Story::Crossing { host, newcomer, context, .. }, 0) => {
                self.let_in(host, newcomer, context, Role::Write, History::All);
                self.settle(host);
            }
            (Story::Crossing { away, context, .. }, 1) => self.rotate(away, context),
            (Story::Crossing { away, newcomer, context, .. }, 2..=6) => {
                self.people_edit(away, context);
                self.people_read(newcomer, context);
            }
            (Story::Pruner { away, context, .. }, 0 | 2 | 3) => self.people_edit(away, context),
            (Story::Pruner { away, pruner, context }, 1) => {
                self.people_edit(pruner, context);
                self.machines[away].online = false;
                self.cut_off(away);
                self.last(Lasting::Away(away), Duration::from_secs(8));
            }
            (Story::Pruner { pruner, context, .. }, 4 | 7) => self.people_prune(pruner, context),
            (Story::Pruner { away, context, .. }, 5 | 6) => self.people_edit(away, context),
            (Story::Drawer { away, pruner, context }, 0) => {
                self.people_edit(away, context);
                self.people_edit(pruner, context);
            }
            (Story::Drawer { away, pruner, context }, 1) => {
                self.people_edit(pruner, context);
                self.machines[away].online = false;
                self.cut_off(away);
                self.last(Lasting::Away(away), Duration::from_secs(14));
            }
            (Story::Drawer { away, context, .. }, 2 | 6) => self.people_edit(away, context),
            // Who claims before it waits for whoever is away, and who claims after it does not.
            (Story::Drawer { away, pruner, context }, 4) => self.declare_dormant(pruner, away, context),
            (Story::Drawer { pruner, context, .. }, 3 | 5) => self.people_prune(pruner, context),
            (Story::Latecomer { host, newcomer, context }, 1) => {
                self.let_in(host, newcomer, context, Role::Write, History::FromNow);
                self.settle(host);
            }
            (Story::Latecomer { host, context, .. }, 0 | 2) => self.people_edit(host, context),
            (Story::Latecomer { host, newcomer, context }, 3) => {
                self.people_create(host, context);
                self.people_create(newcomer, context);
            }
            (Story::Latecomer { host, context, .. }, 4 | 6) => self.people_prune(host, context),
            (Story::Latecomer { newcomer, context, .. }, 5 | 7) => {
                self.people_edit(newcomer, context);
                self.people_read(newcomer, context);
            }
            (Story::Torn { machine, context }, 0 | 2 | 4) => {
                for link in self.links.values_mut().filter(|link| link.ends.iter().any(|end| end.machine == machine)) {
                    link.wires.iter_mut().for_each(|wire| wire.bytes_per_second = 4_000);
                }
                self.people_write_much(machine, context);
            }
            (Story::Torn { machine, .. }, _) => self.cut_off(machine),
            (Story::Hasty { machine, context }, 7) => self.machines[machine].smuggles = Some((machine, context)),
            _ => {}
        }
    }
}
