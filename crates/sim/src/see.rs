//! Every frame passes here before it is sealed: what must never be said is looked for, and who lies is helped to.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use partita_core::{
    ContextId, DeviceKeys, Entry, EntryHeader, EntryId, EntryKind, Hash, LogId, LogStart, Tip, timestamp_at,
};
use partita_protocol::{
    message::{Message, Open, Run},
    reads::{self, ReadRequest, ReadResult},
};

use crate::{
    machine::MachineId,
    network::LinkId,
    text::NEEDLE,
    truth::{Kind, held},
    world::{Happening, World},
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
        Some(self.add_crime(machine, link, other, messages).unwrap_or(plain))
    }

    /// What a thief or a smuggler says besides.
    fn add_crime(
        &mut self,
        machine: MachineId,
        link: LinkId,
        relay: MachineId,
        mut messages: Vec<Message>,
    ) -> Option<Bytes> {
        if !self.machines[relay].is_relay {
            return None;
        }
        if let Some(context) = self.machines[machine].steals.take() {
            let kind = self.truth.contexts.get(&context)?.kind.context_kind()?;
            // Its own proof of another right is the best that it has.
            let own = messages.iter().find_map(|message| match message {
                Message::Open(open) => Some(open.proof.clone()),
                _ => None,
            });
            let proof = own.unwrap_or_else(|| Bytes::copy_from_slice(&self.faults.dice.bytes::<96>()));
            messages.push(Message::Open(Open { context, number: 1 << 40, kind, frontier: Hash::ZERO, proof }));
            messages.push(Message::Frontier { context, tips: Vec::new(), more: false });
            return Some(Message::encode_frame(&messages));
        }
        if let Some((stranger, context)) = self.machines[machine].forges.take() {
            messages.push(Message::Entries(self.forge(stranger, context)?));
            return Some(Message::encode_frame(&messages));
        }
        let (whose, context) = self.machines[machine].smuggles?;
        let (run, hasty) = self.out_of_turn(whose, relay, context)?;
        if whose == machine {
            // In haste: this log alone, before the one that it rests on, and no more.
            if !hasty || !messages.iter().any(|message| matches!(message, Message::Entries(_))) {
                return None;
            }
            messages.clear();
            self.machines[machine].smuggles = None;
            let soon = self.links.get(&link)?.latency + Duration::from_millis(500);
            for end in 0..2 {
                self.plan(soon, Happening::Broken(link, end));
            }
        }
        messages.push(Message::Entries(run));
        Some(Message::encode_frame(&messages))
    }

    /// What a relay lacks of the log that a machine writes now, and whether it lacks what that log rests on.
    fn out_of_turn(&self, whose: MachineId, relay: MachineId, context: ContextId) -> Option<(Run, bool)> {
        let (from, to) = (self.machines[whose].running.as_ref()?, self.machines[relay].running.as_ref()?);
        let log = from.node().own_log(&context)?;
        let begin = held(to.store(), &context, &log).unwrap_or(0) + 1;
        let view = from.store().read().ok()?;
        let request = ReadRequest::Entries { context, log, from: begin, bytes: 10_000 };
        let Ok(ReadResult::Entries(mut entries)) = reads::answer(&*view, &request) else { return None };
        while entries.last().is_some_and(|last| last.signature.is_none()) {
            entries.pop();
        }
        let start = entries.first()?.header.start.as_ref();
        let lacks = |tip: &Tip| held(to.store(), &context, &tip.log).unwrap_or(0) < tip.seq;
        let hasty = start.is_some_and(|start| start.tips.iter().any(lacks));
        Some((Run::of(entries)?, hasty))
    }

    /// A whole log of somebody who never was in a context, well-formed and signed.
    fn forge(&mut self, stranger: MachineId, context: ContextId) -> Option<Run> {
        let key = DeviceKeys::load(&self.machines[stranger].keystore).ok()?.signing;
        let stamp = self.truth.stamps.get(&context)?.clone();
        let (document, _) = *self.truth.contexts.get(&context)?.documents.first()?;
        let (replica, nonce) = (self.machines[stranger].replica, self.faults.dice.bytes());
        let payload = Bytes::copy_from_slice(&self.faults.dice.bytes::<90>());
        let log = LogId::derive(&context, &replica, &nonce);
        let header = EntryHeader {
            context,
            log,
            seq: 1,
            backlink: EntryId::NONE,
            time: timestamp_at(Duration::from_secs(1_800_000_000)),
            kind: EntryKind::Change(document),
            start: Some(LogStart { replica, nonce, tips: Vec::new() }),
            stamp: Some(stamp),
            payload_len: payload.len() as u64,
            payload_hash: EntryHeader::hash_payload(&payload),
        };
        let mut entry = Entry::new(header, payload);
        entry.signature = Some(EntryHeader::sign(&entry.id, &key));
        Run::of(vec![Arc::new(entry)])
    }

    fn see_message(&mut self, machine: MachineId, other: MachineId, message: &Message) {
        match message {
            Message::Entries(run) => {
                self.see_content(machine, other, &run.context);
                let sealed =
                    self.truth.contexts.get(&run.context).is_none_or(|known| !matches!(known.kind, Kind::Plain(_)));
                for entry in &run.entries {
                    if let Some(stamp) = entry.header.stamp.as_ref().filter(|_| !entry.header.kind.is_control()) {
                        self.truth.stamps.insert(run.context, stamp.clone());
                    }
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
                        self.violate(format!(
                            "plain text leaves {from} for {to}: number {} of {:?}",
                            entry.header.seq, run.log
                        ));
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
