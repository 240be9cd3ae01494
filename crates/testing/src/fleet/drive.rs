//! Time, and what nodes ask for.

use std::time::Duration;

use partita_core::{Durability, Store, StoreError};
use partita_protocol::{
    Effect, Event,
    reads::{self, ReadRequest},
};

use super::{Fleet, Member, StoreWork};

impl Fleet {
    /// From here on commits wait for company until the nodes say that they are due, which [`pass`](Self::pass) lets come.
    pub fn let_commits_wait(&mut self) {
        self.pauses = true;
    }

    /// Holds a node's commits back, and the reads behind them, until [`release`](Self::release).
    pub fn hold_commits(&mut self, member: Member) {
        self.hold_commits_after(member, 0);
    }

    /// The same after so many more commits.
    pub fn hold_commits_after(&mut self, member: Member, commits: usize) {
        self.seats[member].commits_left = Some(commits);
    }

    /// Lets them happen.
    pub fn release(&mut self, member: Member) {
        self.seats[member].commits_left = None;
        self.perform(member);
    }

    /// Lets everything that is on its way arrive, and what follows from it, until nothing is.
    pub fn run(&mut self) {
        while let Some(((at, _), delivery)) = self.on_the_way.pop_first() {
            self.now = self.now.max(at);
            self.deliver(delivery);
        }
    }

    /// Lets the next frame that is on its way arrive; false when there is none.
    pub fn step(&mut self) -> bool {
        let Some(((at, _), delivery)) = self.on_the_way.pop_first() else {
            return false;
        };
        self.now = self.now.max(at);
        self.deliver(delivery);
        true
    }

    /// Lets time pass, with a tick every second.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            let tick = (self.now + Duration::from_secs(1)).min(end);
            while let Some(entry) = self.on_the_way.first_entry()
                && entry.key().0 <= tick
            {
                let ((at, _), delivery) = entry.remove_entry();
                self.now = self.now.max(at);
                self.deliver(delivery);
            }
            self.now = tick;
            for member in 0..self.seats.len() {
                if self.seats[member].node.is_some() {
                    self.event(member, Event::Tick);
                    self.event(member, Event::CommitDue);
                }
            }
        }
    }

    pub(super) fn event(&mut self, member: Member, event: Event) {
        let now = self.now_of(member);
        if let Some(node) = &mut self.seats[member].node {
            node.handle(now, event);
            self.perform(member);
        }
    }

    pub(super) fn perform(&mut self, member: Member) {
        loop {
            let Some(node) = &mut self.seats[member].node else {
                return;
            };
            if !self.pauses && node.commit_due().is_some() {
                node.hurry_commit();
            }
            let effects = node.effects();
            let idle = effects.is_empty();
            for effect in effects {
                self.effect(member, effect);
            }
            if !self.serve_store(member) && idle {
                return;
            }
        }
    }

    fn effect(&mut self, member: Member, effect: Effect) {
        let seat = &mut self.seats[member];
        match effect {
            Effect::Commit(id, batch) => {
                seat.commits += 1;
                seat.work.push_back(StoreWork::Commit(id, batch));
            }
            Effect::Read(id, request) => {
                seat.work.push_back(StoreWork::Read(id, request));
                let payloads = seat.work.iter().map(|work| match work {
                    StoreWork::Read(_, ReadRequest::Payload { len, .. }) => *len,
                    _ => 0,
                });
                seat.most_assembled = payloads.sum::<u64>().max(seat.most_assembled);
            }
            Effect::Notice(notice) => seat.notices.push(notice),
            Effect::Send(session, frame) => {
                if let Some((link, end)) = self.place(member, session) {
                    self.links[link].said[end].push(frame.clone());
                    self.send(link, end, frame);
                }
            }
            Effect::Close(session, reason) => {
                seat.closed.push((session, reason));
                if let Some((link, end)) = self.place(member, session) {
                    let at = self.now + self.links[link].latency;
                    self.push(at, link, end, None);
                }
            }
        }
    }

    /// One piece of a store's work; false when there is none, or it is held back.
    fn serve_store(&mut self, member: Member) -> bool {
        let now = self.now_of(member);
        let seat = &mut self.seats[member];
        if matches!(seat.work.front(), Some(StoreWork::Commit(..)))
            && let Some(left) = &mut seat.commits_left
        {
            let Some(less) = left.checked_sub(1) else {
                return false;
            };
            *left = less;
        }
        let event = match seat.work.pop_front() {
            None => return false,
            Some(StoreWork::Commit(id, batch)) => Event::Committed(id, seat.store.commit(&batch, Durability::Durable)),
            Some(StoreWork::Read(id, request)) => {
                let view: Result<_, StoreError> = seat.store.read();
                let answer = view.and_then(|view| reads::answer(&*view, &request));
                Event::Read(id, answer)
            }
        };
        if let Some(node) = &mut seat.node {
            node.handle(now, event);
        }
        true
    }
}
