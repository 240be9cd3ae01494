//! Every frame passes here before it is sealed: what must never be said is looked for, and who lies is helped to.

use bytes::Bytes;
use partita_core::{ContextId, LogId};
use partita_protocol::message::Message;

use crate::{
    machine::MachineId,
    network::LinkId,
    text::NEEDLE,
    truth::{Kind, held},
    world::World,
};

impl World {
    /// What a machine says to another. `None` when it keeps it to itself after all.
    pub(crate) fn see(&mut self, machine: MachineId, link: LinkId, end: usize, plain: Bytes) -> Option<Bytes> {
        let other = self.links.get(&link)?.ends[1 - end].machine;
        if self.machines[machine].lies {
            return self.lie(plain);
        }
        let messages = match Message::decode_frame(&plain) {
            Ok(messages) => messages,
            Err(error) => {
                let name = self.name(machine);
                self.violate(format!("{name} says what nobody can read: {error}"));
                return None;
            }
        };
        if self.trace.is_loud() {
            let (from, to) = (self.name(machine), self.name(other));
            for message in &messages {
                let line = format!("    {from} says to {to}: {}", short(message));
                self.trace.step(self.now, &[], || line);
            }
        }
        for message in &messages {
            self.see_message(machine, other, message);
        }
        Some(plain)
    }

    fn see_message(&mut self, machine: MachineId, other: MachineId, message: &Message) {
        match message {
            Message::Entries(run) => {
                self.see_content(machine, other, &run.context);
                let sealed = self.truth.contexts.get(&run.context).is_none_or(|known| !matches!(known.kind, Kind::Plain(_)));
                for entry in &run.entries {
                    let place = (run.context, run.log, entry.header.seq);
                    if let Err(known) = self.truth.see_entry(place, entry.id) {
                        let name = self.name(machine);
                        self.violate(format!(
                            "a number was used twice: {name} sends {:?} as number {} of {:?}, where {known:?} is",
                            entry.id, entry.header.seq, run.log
                        ));
                    }
                    if sealed && contains(&entry.payload, NEEDLE.as_bytes()) {
                        let (from, to) = (self.name(machine), self.name(other));
                        self.violate(format!("plain text leaves {from} for {to}: number {} of {:?}", entry.header.seq, run.log));
                    }
                }
            }
            Message::Fragment { piece, .. } => self.see_content(machine, other, &piece.context),
            Message::Ephemeral(said) => self.see_content(machine, other, &said.context),
            Message::Ack { context, held: claims } => {
                for (log, seq) in claims {
                    self.see_claim(machine, "acknowledges", *context, *log, *seq);
                }
            }
            Message::Frontier { context, tips, .. } => {
                for tip in tips {
                    self.see_claim(machine, "claims to hold", *context, tip.log, tip.seq);
                }
            }
            _ => {}
        }
    }

    /// No byte of a context reaches a replica that its strategy does not name.
    fn see_content(&mut self, machine: MachineId, other: MachineId, context: &ContextId) {
        if self.machines[other].is_relay {
            return;
        }
        let original = self.machines[other].copy_of.unwrap_or(other);
        let allowed = self.truth.contexts.get(context).is_some_and(|known| known.allowed.contains(&original));
        if !allowed {
            let (from, to) = (self.name(machine), self.name(other));
            self.violate(format!("{from} sends content of {context:?} to {to}, who never was in it"));
        }
    }

    /// Only what is durable is claimed.
    fn see_claim(&mut self, machine: MachineId, claims: &str, context: ContextId, log: LogId, seq: u64) {
        let Some(running) = &self.machines[machine].running else { return };
        let durable = held(running.store(), &context, &log).unwrap_or(0);
        if seq > durable {
            let name = self.name(machine);
            self.violate(format!("{name} {claims} {log:?} up to {seq}, and {durable} is durable there"));
        }
    }

    /// A liar forgets, repeats, changes and invents.
    fn lie(&mut self, plain: Bytes) -> Option<Bytes> {
        let Ok(mut messages) = Message::decode_frame(&plain) else { return Some(plain) };
        match self.faults.dice.below(12) {
            0 => None,
            1 => {
                let mut changed = plain.to_vec();
                let place = self.faults.dice.below(changed.len());
                if let Some(byte) = changed.get_mut(place) {
                    *byte ^= 1 << self.faults.dice.below(8);
                }
                Some(changed.into())
            }
            2 => {
                messages.retain(|message| !matches!(message, Message::Entries(_)));
                Some(Message::encode_frame(&messages))
            }
            3 => {
                for message in &mut messages {
                    if let Message::Ack { held, .. } = message {
                        for (_, seq) in held {
                            *seq += self.faults.dice.below(5) as u64;
                        }
                    }
                    if let Message::Frontier { tips, .. } = message {
                        for tip in tips {
                            tip.seq += self.faults.dice.below(3) as u64;
                        }
                    }
                }
                Some(Message::encode_frame(&messages))
            }
            4 => {
                let old = self.faults.dice.pick(&self.faults.heard);
                Some(old.map_or_else(|| plain.clone(), |old| Bytes::from([&old[..], &plain[..]].concat())))
            }
            5 => {
                let claims = self.faults.dice.pick(&self.truth.edits);
                if let Some((context, (log, seq))) = claims.and_then(|edit| Some((edit.context, edit.place?))) {
                    messages.push(Message::Ack { context, held: vec![(log, seq + 1)] });
                }
                Some(Message::encode_frame(&messages))
            }
            _ => {
                if self.faults.heard.len() < 64 {
                    self.faults.heard.push(plain.clone());
                }
                Some(plain)
            }
        }
    }
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

/// A message in a line.
fn short(message: &Message) -> String {
    match message {
        Message::Entries(run) => {
            let (first, last) = (run.first_seq(), run.last_seq());
            format!("Entries {:?} {:?} {first}..={last}", run.context, run.log)
        }
        Message::Fragment { piece, bytes } => format!("Fragment {piece:?} of {} bytes", bytes.len()),
        Message::Open(open) => format!("Open {:?} number {} frontier {:?}", open.context, open.number, open.frontier),
        Message::Opened(opened) => {
            let outcome = opened.outcome.as_ref().map(|granted| granted.differs);
            format!("Opened {:?} number {} differs {outcome:?}", opened.context, opened.number)
        }
        other => format!("{other:?}"),
    }
}
