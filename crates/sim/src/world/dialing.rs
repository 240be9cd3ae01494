//! Connections: dialled, proved, used, broken, dialled again.

use std::time::Duration;

use bytes::Bytes;
use partita_core::SessionId;
use partita_protocol::{
    Event, RemoteSession,
    channel::{Authenticated, Handshake},
};

use super::{Happening, World};
use crate::{
    machine::MachineId,
    network::{End, Link, LinkId, OpenEnd, Parcel, Stage},
};

/// How long a handshake may take, as in the runtime.
const HANDSHAKE: Duration = Duration::from_secs(10);

impl World {
    /// Whom a machine wants to be connected to, it dials, unless it does already.
    pub(crate) fn redial_all(&mut self, machine: MachineId) {
        for target in self.machines[machine].lines.keys().copied().collect::<Vec<_>>() {
            self.redial(machine, target, Duration::ZERO);
        }
    }

    /// Dials again after a while, as the runtime's dialer does.
    pub(crate) fn redial(&mut self, machine: MachineId, target: MachineId, lived: Duration) {
        let here = &mut self.machines[machine];
        if !here.is_up() || here.retired {
            return;
        }
        let life = here.life;
        let Some(line) = here.lines.get_mut(&target) else { return };
        if line.due || line.link.is_some() {
            return;
        }
        line.due = true;
        let after = line.backoff.next(lived, here.dice.rng());
        self.plan(after, Happening::Dial(machine, target, life));
    }

    pub(crate) fn can_reach(&self, one: MachineId, other: MachineId) -> bool {
        let up = |at: MachineId| self.machines[at].online && self.machines[at].is_up() && !self.machines[at].retired;
        up(one) && up(other) && self.island.contains(&one) == self.island.contains(&other)
    }

    pub(crate) fn dial(&mut self, machine: MachineId, target: MachineId) {
        if let Some(line) = self.machines[machine].lines.get_mut(&target) {
            line.due = false;
            if line.link.is_some() {
                return;
            }
        } else {
            return;
        }
        if !self.can_reach(machine, target) {
            return self.redial(machine, target, Duration::ZERO);
        }
        let pinned = self.machines[target].replica;
        let (dialer, acceptor) = {
            let (mut own, mut other) = (self.machines[machine].dice.fork(), self.machines[target].dice.fork());
            let identity = |at: MachineId| self.machines[at].running.as_ref().map(|running| running.identity.clone());
            let (Some(here), Some(there)) = (identity(machine), identity(target)) else { return };
            (Handshake::dial(here, Some(pinned), own.rng()), Handshake::accept(there, other.rng()))
        };
        let (Ok((dialer, first)), Ok(acceptor)) = (dialer, acceptor) else {
            return self.violate("a handshake could not begin");
        };
        let bad = if self.faults.bad_wire { self.network.pick(&[0, 2, 20, 100]).unwrap_or(0) } else { 0 };
        let id = self.new_number();
        let latency = self.network.about(self.mix.latency);
        let link = Link::new(
            End { machine, stage: Stage::Shaking(Box::new(dialer)) },
            End { machine: target, stage: Stage::Shaking(Box::new(acceptor)) },
            latency,
            self.mix.bytes_per_second,
            bad,
        );
        self.links.insert(id, link);
        if let Some(line) = self.machines[machine].lines.get_mut(&target) {
            line.link = Some(id);
        }
        self.plan(HANDSHAKE, Happening::Deadline(id));
        self.put_on_wire(id, 0, Parcel::Frame(first, 0));
    }

    pub(crate) fn new_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(crate) fn handshake_deadline(&mut self, link: LinkId) {
        let Some(found) = self.links.get(&link) else { return };
        for end in 0..2 {
            if matches!(found.ends[end].stage, Stage::Shaking(_)) {
                return self.break_link(link);
            }
        }
    }

    pub(crate) fn send_plain(&mut self, link_id: LinkId, end: usize, plain: &Bytes) {
        let Some(link) = self.links.get_mut(&link_id) else { return };
        let Stage::Open(open) = &mut link.ends[end].stage else { return };
        match open.sealer.seal(plain) {
            Ok(sealed) => self.put_on_wire(link_id, end, Parcel::Frame(sealed, plain.len())),
            Err(error) => self.violate(format!("a frame cannot be sealed: {error}")),
        }
    }

    /// Sends something on its way, if it is not lost.
    pub(crate) fn put_on_wire(&mut self, link_id: LinkId, from: usize, parcel: Parcel) {
        let Some(link) = self.links.get_mut(&link_id) else { return };
        let (bad, latency) = (link.bad, link.latency);
        let sender_is_relay = self.machines[link.ends[from].machine].is_relay;
        let wire = &mut link.wires[from];
        if wire.dead {
            return;
        }
        let mut parcels = vec![parcel];
        if self.network.chance(bad) {
            match self.network.below(4) {
                0 => parcels.clear(),
                1 => parcels.extend(parcels.clone()),
                2 => {
                    if let Some((_, last)) = wire.queue.back_mut() {
                        std::mem::swap(last, &mut parcels[0]);
                    }
                }
                _ => {
                    if let Parcel::Frame(bytes, _) = &mut parcels[0] {
                        let mut changed = bytes.to_vec();
                        let place = self.network.below(changed.len());
                        if let Some(byte) = changed.get_mut(place) {
                            *byte ^= 1 << self.network.below(8);
                        }
                        *bytes = changed.into();
                    }
                }
            }
        }
        for parcel in parcels {
            if let Parcel::Frame(bytes, _) = &parcel {
                self.cost.frames += 1;
                self.cost.bytes += bytes.len() as u64;
                if sender_is_relay {
                    self.cost.relay_bytes += bytes.len() as u64;
                }
            }
            let wire = match self.links.get_mut(&link_id) {
                Some(link) => &mut link.wires[from],
                None => return,
            };
            let bytes = match &parcel {
                Parcel::Frame(bytes, _) => bytes.len() as u64,
                Parcel::Fin => 0,
            };
            let sending = Duration::from_micros(bytes.saturating_mul(1_000_000) / wire.bytes_per_second.max(1));
            let at = (self.now + latency).max(wire.last) + sending;
            wire.last = at;
            wire.queue.push_back((at, parcel));
            if !wire.held {
                self.plan_at(at, Happening::Arrive(link_id, from));
            }
        }
    }

    /// What was held up goes on.
    pub(crate) fn release(&mut self, link_id: LinkId, from: usize) {
        let Some(link) = self.links.get_mut(&link_id) else { return };
        let wire = &mut link.wires[from];
        wire.held = false;
        let times: Vec<_> = wire.queue.iter().map(|(at, _)| *at).collect();
        for at in times {
            self.plan_at(at, Happening::Arrive(link_id, from));
        }
    }

    pub(crate) fn arrive(&mut self, link_id: LinkId, from: usize) {
        let Some(link) = self.links.get_mut(&link_id) else { return };
        let wire = &mut link.wires[from];
        if wire.held || wire.queue.front().is_none_or(|(at, _)| *at > self.now) {
            return;
        }
        let Some((_, parcel)) = wire.queue.pop_front() else { return };
        // The transport took it from its sender.
        if let (Parcel::Frame(_, plain), Stage::Open(open)) = (&parcel, &link.ends[from].stage)
            && *plain > 0
        {
            let (machine, session) = (link.ends[from].machine, open.session);
            self.event(machine, Event::Sent(session, *plain));
            self.settle(machine);
        }
        let frame = match parcel {
            Parcel::Fin => return self.lose_end(link_id, 1 - from),
            Parcel::Frame(frame, _) => frame,
        };
        let Some(link) = self.links.get_mut(&link_id) else { return };
        let (sender, machine) = (link.ends[from].machine, link.ends[1 - from].machine);
        if self.trace.is_loud() {
            let line =
                format!("{} -> {}: {} bytes", self.machines[sender].name, self.machines[machine].name, frame.len());
            self.trace.step(self.now, &frame, || line);
        } else {
            self.trace.step(self.now, &frame, String::new);
        }
        let Some(link) = self.links.get_mut(&link_id) else { return };
        match &mut link.ends[1 - from].stage {
            Stage::Gone => {}
            Stage::Shaking(handshake) => match handshake.receive(&frame) {
                Err(_) => self.break_link(link_id),
                Ok(step) => {
                    for frame in step.send {
                        self.put_on_wire(link_id, 1 - from, Parcel::Frame(frame, 0));
                    }
                    if let Some(channel) = step.done {
                        self.connected(link_id, 1 - from, *channel);
                    }
                }
            },
            Stage::Open(open) => {
                let session = open.session;
                match open.opener.open(&frame) {
                    Ok(plain) => {
                        self.event(machine, Event::Received(session, plain));
                        self.settle(machine);
                    }
                    Err(_) => self.break_link(link_id),
                }
            }
        }
    }

    pub(crate) fn event(&mut self, machine: MachineId, event: Event) {
        if let Some(running) = &self.machines[machine].running {
            running.event(event);
        }
    }

    fn connected(&mut self, link_id: LinkId, end: usize, channel: Authenticated) {
        let session = SessionId(self.new_number());
        let Some(link) = self.links.get_mut(&link_id) else { return };
        let machine = link.ends[end].machine;
        if end == 0 {
            link.since = Some(self.now);
        }
        let Authenticated { remote, incarnation, handshake, dialled, pinned, sealer, opener } = channel;
        let Some(running) = &self.machines[machine].running else { return };
        let remote = RemoteSession { session, remote, incarnation, handshake, dialled, pinned };
        let said = running.connected(remote);
        link.ends[end].stage = Stage::Open(Box::new(OpenEnd { session, sealer, opener, end: said }));
        self.machines[machine].sessions.insert(session, (link_id, end));
        self.settle(machine);
    }

    /// A connection breaks: what is on its way is lost, and both ends notice soon.
    pub(crate) fn break_link(&mut self, link_id: LinkId) {
        let Some(link) = self.links.get_mut(&link_id) else { return };
        for wire in &mut link.wires {
            wire.queue.clear();
            wire.dead = true;
        }
        for end in 0..2 {
            let after = self.network.about(Duration::from_millis(40));
            self.plan(after, Happening::Broken(link_id, end));
        }
    }

    /// An end is no more: its process hears of it, and whoever dialled dials again.
    pub(crate) fn lose_end(&mut self, link_id: LinkId, end: usize) {
        let Some(link) = self.links.get_mut(&link_id) else { return };
        let machine = link.ends[end].machine;
        self.close_end(link_id, end);
        self.settle(machine);
    }

    /// This end is over. Nothing that is sent to it arrives any more.
    pub(crate) fn close_end(&mut self, link_id: LinkId, end: usize) {
        let Some(link) = self.links.get_mut(&link_id) else { return };
        if let Stage::Open(open) = &link.ends[end].stage {
            let (machine, session) = (link.ends[end].machine, open.session);
            self.machines[machine].sessions.remove(&session);
            self.event(machine, Event::Disconnected(session));
        }
        let Some(link) = self.links.get_mut(&link_id) else { return };
        link.ends[end].stage = Stage::Gone;
        let (dialer, acceptor) = (link.ends[0].machine, link.ends[1].machine);
        let lived = link.since.map_or(Duration::ZERO, |since| self.now.saturating_sub(since));
        let over = link.is_over();
        if over {
            self.links.remove(&link_id);
        }
        if end == 0 {
            if let Some(line) = self.machines[dialer].lines.get_mut(&acceptor)
                && line.link == Some(link_id)
            {
                line.link = None;
            }
            self.redial(dialer, acceptor, lived);
        } else if !over {
            // A transport whose other end is gone says so sooner or later.
            self.plan(Duration::from_secs(5), Happening::Broken(link_id, 0));
        }
    }
}
