//! Processes at work: turns, the store, what is said on connections, what was asked.

use std::{
    task::{Context as TaskContext, Poll, Waker},
    time::Duration,
};

use partita_sync::{Said, StoreWork};
use partita_testing::disk::{Crash, Fault};

use super::{Happening, MOST_TURNS, World};
use crate::{
    machine::{Answer, Change, MachineId},
    network::{LinkId, Parcel, Stage},
};

/// How long the worker takes for a job.
const WORK: Duration = Duration::from_micros(300);
/// How long a read takes.
const READ: Duration = Duration::from_micros(100);
/// What may wait for transports of one machine at most: twice what the node allows for each, with some sessions.
const MOST_WAITING: usize = 512 << 20;

impl World {
    pub(crate) fn start(&mut self, machine: MachineId) {
        let time = self.time.clone();
        if self.lying_disks {
            self.machines[machine].disk.lie(true);
        }
        match self.machines[machine].start(&time) {
            Ok(()) => {
                let name = self.name(machine);
                self.note(format!("{name} starts"));
                self.settle(machine);
                self.redial_all(machine);
            }
            Err(error) => {
                let name = self.name(machine);
                self.violate(format!("the store of {name} does not open: {error}"));
            }
        }
    }

    /// A process ends without a word: its disk is what such an end leaves.
    pub(crate) fn crash(&mut self, machine: MachineId, kind: Crash) {
        if !self.machines[machine].is_up() {
            return;
        }
        self.crashes += 1;
        let name = self.name(machine);
        self.note(format!("{name} crashes ({kind:?})"));
        let found = {
            let machine = &mut self.machines[machine];
            machine.disk.crash(kind, machine.dice.rng())
        };
        self.end(machine);
        self.machines[machine].disk = found;
    }

    /// The process is gone; remotes notice at their own time.
    pub(crate) fn end(&mut self, machine: MachineId) {
        let unsafe_since = self.now.saturating_sub(Duration::from_secs(10));
        self.truth.forget_decisions(machine, unsafe_since);
        self.machines[machine].end();
        self.cut_off(machine);
        self.machines[machine].sessions.clear();
    }

    pub(crate) fn turn(&mut self, machine: MachineId) {
        if self.turns.0 != self.now {
            self.turns = (self.now, 0);
        }
        self.turns.1 += 1;
        if self.turns.1 > MOST_TURNS {
            let name = self.name(machine);
            return self.violate(format!("{name} runs in circles: {MOST_TURNS} turns while no time passes"));
        }
        self.cost.turns += 1;
        if let Some(running) = &mut self.machines[machine].running {
            running.turn();
        }
        self.listen(machine);
    }

    /// Lets a process do all that needs no time, and plans what does.
    pub(crate) fn settle(&mut self, machine: MachineId) {
        loop {
            let Some(running) = &self.machines[machine].running else { return };
            if self.violation.is_some() {
                return;
            }
            if running.has_input() {
                self.turn(machine);
                continue;
            }
            let heard = self.hear_answers(machine);
            let more = self.machines[machine].running.as_ref().is_some_and(|running| running.has_input());
            if !heard && !more {
                break;
            }
        }
        self.look_after(machine);
        self.plan_work(machine);
    }

    fn plan_work(&mut self, machine: MachineId) {
        let here = &mut self.machines[machine];
        let life = here.life;
        let Some(running) = &mut here.running else { return };
        if running.waiting_bytes() > MOST_WAITING {
            let name = here.name.clone();
            return self.violate(format!("more than {MOST_WAITING} bytes wait for the transports of {name}"));
        }
        if !here.store_planned
            && let Some(work) = running.store_work()
        {
            here.store_planned = true;
            let after = match work {
                StoreWork::Commit => here.dice.about(here.commit_time),
                StoreWork::Read => READ,
            };
            self.plan(after, Happening::Store(machine, life));
        }
        let here = &mut self.machines[machine];
        let Some(running) = &mut here.running else { return };
        if !here.worker_planned && running.worker_waits() {
            here.worker_planned = true;
            self.plan(WORK, Happening::Worker(machine, life));
        }
        let here = &mut self.machines[machine];
        let Some(running) = &here.running else { return };
        let due = running.due();
        if due < Duration::MAX && here.turn_planned.is_none_or(|planned| planned > due) {
            here.turn_planned = Some(due);
            self.plan_at(due, Happening::Turn(machine, life));
        }
    }

    /// The store does what it was asked to; a commit may be where the power goes.
    pub(crate) fn serve_store(&mut self, machine: MachineId) {
        let here = &mut self.machines[machine];
        let Some(running) = &mut here.running else { return };
        let is_commit = running.store_work() == Some(StoreWork::Commit);
        self.cost.commits += u64::from(is_commit);
        if is_commit && let Some(operations) = here.cut_in_commit.take() {
            here.disk.fail_after(operations, Fault::Io);
            running.serve_store();
            let kind = here.dice.pick(&[Crash::PowerStrict, Crash::PowerTorn, Crash::PowerTorn]);
            let name = here.name.clone();
            self.note(format!("the power goes while {name} commits, after {operations} operations"));
            self.crash(machine, kind.unwrap_or(Crash::PowerStrict));
            let after = self.network.about(Duration::from_secs(2));
            let life = self.machines[machine].life;
            return self.plan(after, Happening::Start(machine, life));
        }
        running.serve_store();
        self.settle(machine);
    }

    /// A store that failed ends the process; somebody opens it again.
    fn look_after(&mut self, machine: MachineId) {
        let here = &self.machines[machine];
        let Some(running) = &here.running else { return };
        let (failed, ended) = (running.node().failure().map(ToString::to_string), running.has_ended());
        if let Some(error) = failed {
            let name = here.name.clone();
            self.note(format!("the store of {name} has failed: {error}"));
            // What the kernel has is what the next process reads; a full disk stays full until somebody makes room.
            self.crash(machine, Crash::Process);
            let life = self.machines[machine].life;
            let after = self.network.about(Duration::from_secs(3));
            self.plan(after, Happening::Start(machine, life));
        } else if ended {
            let name = here.name.clone();
            self.note(format!("{name} is closed"));
            self.end(machine);
            // What was closed in order must be safe from a power cut.
            let here = &mut self.machines[machine];
            here.disk = here.disk.crash(Crash::PowerStrict, here.dice.rng());
            let life = here.life;
            let after =
                if here.reopen { Duration::from_millis(50) } else { self.network.about(Duration::from_secs(5)) };
            self.plan(after, Happening::Start(machine, life));
        }
    }

    /// What the driver says on its connections goes on its way.
    fn listen(&mut self, machine: MachineId) {
        let sessions: Vec<_> = self.machines[machine].sessions.values().copied().collect();
        for (link_id, end) in sessions {
            while let Some(said) = self.next_said(link_id, end) {
                match said {
                    Said::Frame(plain) => {
                        let Some(plain) = self.see(machine, link_id, end, plain) else { continue };
                        self.send_plain(link_id, end, &plain);
                    }
                    Said::Close(reason) => {
                        let name = self.name(machine);
                        self.note(format!("{name} closes a connection: {reason}"));
                        self.put_on_wire(link_id, end, Parcel::Fin);
                        self.close_end(link_id, end);
                        break;
                    }
                }
            }
        }
    }

    fn next_said(&mut self, link: LinkId, end: usize) -> Option<Said> {
        match &mut self.links.get_mut(&link)?.ends[end].stage {
            Stage::Open(open) => open.end.listen(),
            _ => None,
        }
    }

    /// Polls what was asked; true when something was answered.
    fn hear_answers(&mut self, machine: MachineId) -> bool {
        let mut context = TaskContext::from_waker(Waker::noop());
        let tasks = std::mem::take(&mut self.machines[machine].tasks);
        let mut answers = Vec::new();
        let mut waiting = Vec::new();
        for mut task in tasks {
            match task.as_mut().poll(&mut context) {
                Poll::Ready(answer) => answers.push(answer),
                Poll::Pending => waiting.push(task),
            }
        }
        waiting.append(&mut self.machines[machine].tasks);
        self.machines[machine].tasks = waiting;
        let heard = !answers.is_empty();
        for answer in answers {
            self.hear(machine, answer);
        }
        heard
    }

    fn hear(&mut self, machine: MachineId, answer: Answer) {
        let name = self.name(machine);
        match answer {
            Answer::Context(id, context) => {
                let known = context.is_some();
                if let Some(context) = context {
                    self.machines[machine].contexts.insert(id, context);
                }
                if !known {
                    self.note(format!("{name} has no context {id:?}"));
                }
            }
            Answer::Document(id, text) => {
                self.machines[machine].loading.remove(&id);
                match text {
                    Ok(text) => {
                        self.machines[machine].documents.insert(id, text);
                        self.machines[machine].unloadable.remove(&id);
                        let original = self.machines[machine].copy_of.unwrap_or(machine);
                        if self.truth.must_lack(original, &id) {
                            self.violate(format!("{name} shows {id:?}, which is older than its membership"));
                        }
                    }
                    Err(error) => {
                        self.trace.step(self.now, id.as_bytes(), || format!("{name} cannot load {id:?}: {error}"));
                        self.machines[machine].unloadable.insert(id, error);
                    }
                }
            }
            Answer::Created(context, crdt, known, created) => match created {
                Ok((id, text)) => {
                    let number = self.truth.add_document(context, id, crdt);
                    for late in known {
                        self.truth.note_readable(&context, late, id);
                    }
                    self.note(format!("{name} creates document {number} ({crdt:?}) {id:?}"));
                    self.machines[machine].documents.insert(id, text);
                }
                Err(error) => self.note(format!("{name} cannot create a document: {error}")),
            },
            Answer::Durable(edit, durable) => self.edit_is_durable(machine, edit, durable),
            Answer::Decided(context, what, change, decided) => match decided {
                Ok(()) => {
                    self.note(format!("{name}: {what}"));
                    match change {
                        Change::In(newcomer) => {
                            self.truth.admit(&context, newcomer, machine, self.now);
                            self.note_admission(machine, context, newcomer);
                        }
                        Change::Out(gone) => {
                            self.truth.gone(&context, gone);
                            self.note_removal(machine, context, gone);
                        }
                        Change::None => {}
                    }
                }
                Err(error) => self.note(format!("{name} cannot: {what}: {error}")),
            },
            Answer::Invited(context, invitation) => match invitation {
                Ok(invitation) => self.invitation_made(machine, context, *invitation),
                Err(error) => self.note(format!("{name} cannot invite: {error}")),
            },
            Answer::Checkpoint(context, outcome) => {
                let name = self.name(machine);
                self.note(format!("{name} makes a checkpoint of {context:?}: {outcome}"));
            }
            Answer::Closed => {}
            Answer::ContextClosed(context, closed) => match closed {
                Ok(()) => self.context_is_closed(machine, context),
                Err(error) => self.note(format!("{name} cannot close {context:?}: {error}")),
            },
            Answer::Told(number, told) => {
                self.told.insert(number, told);
            }
        }
    }
}
