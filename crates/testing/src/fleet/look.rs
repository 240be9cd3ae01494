//! What a test looks at.

use partita_core::{SessionId, Store, Tip, Witness};
use partita_protocol::{
    CloseReason, Notice,
    reads::{self, ReadRequest},
};

use super::{Fleet, Member};
use crate::{MemoryStore, samples};

impl Fleet {
    /// Its store.
    pub fn store(&self, member: Member) -> &MemoryStore {
        &self.seats[member].store
    }

    /// How many commits its store was asked for since it was added.
    pub fn commits(&self, member: Member) -> usize {
        self.seats[member].commits
    }

    /// The most bytes of large payloads that it wanted to have from its store as a whole at once.
    pub fn most_assembled(&self, member: Member) -> u64 {
        self.seats[member].most_assembled
    }

    /// Takes the notices so far.
    pub fn notices(&mut self, member: Member) -> Vec<Notice> {
        std::mem::take(&mut self.seats[member].notices)
    }

    /// The sessions that a node ended, and why.
    pub fn closed(&self, member: Member) -> &[(SessionId, CloseReason)] {
        &self.seats[member].closed
    }

    /// How far a node holds each log of the context of number 0, by rising log id; cut-off logs are left out.
    pub fn held(&mut self, member: Member) -> Vec<Tip> {
        self.held_in(member, 0)
    }

    /// How far a node holds each log of a context.
    pub fn held_in(&mut self, member: Member, context: u8) -> Vec<Tip> {
        let context = Self::context(context).id;
        let members: Vec<_> = (0..=u8::MAX).map(samples::replica).collect();
        let node = self.node(member);
        let mut held: Vec<Tip> = members.iter().flat_map(|replica| node.logs_of(&context, replica)).collect();
        held.sort_unstable();
        held
    }

    /// An entry that a node holds in the context of number 0, as a proof of who wrote it.
    ///
    /// # Panics
    /// When the node does not hold it, or without a signature.
    pub fn witness(&self, member: Member, tip: &Tip) -> Witness {
        let context = Self::context(0).id;
        let ask = |request| self.seats[member].store.read().and_then(|view| reads::answer(&*view, &request));
        let page = ask(ReadRequest::Entries { context, log: tip.log, from: tip.seq, bytes: 1 });
        let state = ask(ReadRequest::Context(context));
        let (Ok(reads::ReadResult::Entries(page)), Ok(reads::ReadResult::Context(state))) = (page, state) else {
            panic!("the store cannot be read");
        };
        let start = state.logs.get(&tip.log).map(|record| &record.start);
        let witness = page.first().zip(start).and_then(|(entry, start)| Witness::of(entry, start));
        match witness.filter(|witness| witness.tip() == *tip) {
            Some(witness) => witness,
            None => panic!("the node does not hold {tip:?} with a signature"),
        }
    }

    /// Whether all these nodes hold the same in the context of number 0.
    pub fn agree(&mut self, members: &[Member]) -> bool {
        let held: Vec<_> = members.iter().map(|member| self.held(*member)).collect();
        held.windows(2).all(|pair| pair[0] == pair[1])
    }
}
