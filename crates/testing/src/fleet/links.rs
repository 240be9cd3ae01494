//! Connections between nodes, and between a node and the test itself.

use std::time::Duration;

use bytes::Bytes;
use partita_core::{Incarnation, SessionId, Store};
use partita_crypto::VerifyingKey;
use partita_protocol::{Event, RemoteSession, message::Message};

use super::{Delivery, End, Fleet, LATENCY, Link, LinkId, Member};
use crate::samples;

impl Fleet {
    /// Connects two nodes; the first one dials.
    pub fn connect(&mut self, dialer: Member, acceptor: Member) -> LinkId {
        let handshake = self.bytes();
        let sessions = [self.session(), self.session()];
        let link = self.links.len();
        self.links.push(Link {
            ends: [End::Node(dialer, sessions[0]), End::Node(acceptor, sessions[1])],
            handshake,
            up: true,
            latency: LATENCY,
            stalled: [None, None],
            said: [Vec::new(), Vec::new()],
        });
        for (at, here, there) in [(0, dialer, acceptor), (1, acceptor, dialer)] {
            let remote = RemoteSession {
                session: sessions[at],
                remote: self.seats[there].key.verifying_key(),
                incarnation: self.seats[there].store.incarnation(),
                handshake,
                dialled: at == 0,
                pinned: at == 0,
            };
            self.event(here, Event::Connected(remote));
        }
        link
    }

    /// Connects a node to the test itself, which plays the replica of this seed and was dialled.
    pub fn puppet(&mut self, member: Member, seed: u8) -> LinkId {
        self.puppet_with(member, samples::signing_key(seed).verifying_key(), samples::incarnation(seed), true)
    }

    /// Connects a node to the test itself, which plays the replica of this key and dialled the node.
    pub fn caller(&mut self, member: Member, remote: VerifyingKey) -> LinkId {
        let incarnation = self.incarnation();
        self.puppet_with(member, remote, incarnation, false)
    }

    fn puppet_with(&mut self, member: Member, remote: VerifyingKey, incarnation: Incarnation, dialled: bool) -> LinkId {
        let handshake = self.bytes();
        let session = self.session();
        let link = self.links.len();
        self.links.push(Link {
            ends: [End::Node(member, session), End::Puppet],
            handshake,
            up: true,
            latency: LATENCY,
            stalled: [None, None],
            said: [Vec::new(), Vec::new()],
        });
        let remote = RemoteSession { session, remote, incarnation, handshake, dialled, pinned: dialled };
        self.event(member, Event::Connected(remote));
        link
    }

    /// The hash of a link's handshake.
    pub fn handshake(&self, link: LinkId) -> [u8; 32] {
        self.links[link].handshake
    }

    /// Says a frame to a puppet's node, and lets everything come to rest.
    pub fn say_frame(&mut self, puppet: LinkId, frame: Bytes) {
        if let End::Node(member, session) = self.links[puppet].ends[0]
            && self.links[puppet].up
        {
            self.event(member, Event::Received(session, frame));
        }
        self.run();
    }

    /// Says messages to a puppet's node, and lets everything come to rest.
    pub fn say(&mut self, puppet: LinkId, messages: &[Message]) {
        self.say_frame(puppet, Message::encode_frame(messages));
    }

    /// What an end of a link said (0 dialled, 1 accepted) since it was asked last.
    pub fn said(&mut self, link: LinkId, end: usize) -> Vec<Message> {
        std::mem::take(&mut self.links[link].said[end])
            .iter()
            .flat_map(|frame| Message::decode_frame(frame).unwrap_or_default())
            .collect()
    }

    /// Whether a link is up.
    pub fn is_up(&self, link: LinkId) -> bool {
        self.links[link].up
    }

    /// How long frames travel on a link.
    pub fn delay(&mut self, link: LinkId, latency: Duration) {
        self.links[link].latency = latency;
    }

    /// Nobody takes what this end (0 dialled, 1 accepted) sends any more.
    pub fn stall(&mut self, link: LinkId, end: usize) {
        self.links[link].stalled[end].get_or_insert_default();
    }

    /// What was stalled goes on its way, later frames behind it.
    pub fn unstall(&mut self, link: LinkId, end: usize) {
        for frame in self.links[link].stalled[end].take().unwrap_or_default() {
            self.send(link, end, frame);
        }
    }

    /// Cuts a link: what is on its way is lost, both ends notice.
    pub fn cut(&mut self, link: LinkId) {
        if !std::mem::take(&mut self.links[link].up) {
            return;
        }
        self.on_the_way.retain(|_, delivery| delivery.link != link);
        for end in self.links[link].ends {
            if let End::Node(member, session) = end
                && self.seats[member].node.is_some()
            {
                self.event(member, Event::Disconnected(session));
            }
        }
    }

    fn session(&mut self) -> SessionId {
        self.next += 1;
        SessionId(self.next)
    }

    pub(super) fn send(&mut self, link: LinkId, from: usize, frame: Bytes) {
        let end = &mut self.links[link];
        if !end.up {
            return;
        }
        if let Some(stalled) = &mut end.stalled[from] {
            return stalled.push_back(frame);
        }
        let at = self.now + end.latency;
        self.push(at, link, from, Some(frame));
    }

    pub(super) fn push(&mut self, at: Duration, link: LinkId, from: usize, frame: Option<Bytes>) {
        self.next += 1;
        let delivery = Delivery { link, from, frame };
        self.on_the_way.insert((at, self.next), delivery);
    }

    pub(super) fn deliver(&mut self, delivery: Delivery) {
        let Delivery { link, from, frame } = delivery;
        if !self.links[link].up {
            return;
        }
        let Some(frame) = frame else {
            return self.cut(link);
        };
        let bytes = frame.len();
        if let End::Node(member, session) = self.links[link].ends[1 - from] {
            self.event(member, Event::Received(session, frame));
        }
        if let End::Node(member, session) = self.links[link].ends[from]
            && self.links[link].up
        {
            self.event(member, Event::Sent(session, bytes));
        }
    }

    pub(super) fn place(&self, member: Member, session: SessionId) -> Option<(LinkId, usize)> {
        self.links.iter().enumerate().find_map(|(at, link)| {
            let end = End::Node(member, session);
            let end = link.ends.iter().position(|found| *found == end)?;
            Some((at, end))
        })
    }
}
