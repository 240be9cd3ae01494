//! One entry, one verdict. Nothing here changes anything.

use partita_core::{
    Claim, ContextId, Entry, EntryId, EpochId, LogSort, Refusal, ReplicaId, Tip, Verdict,
    planted::{Bug, planted},
};

use super::{
    Node,
    context::{Successor, most_with},
    link::{Halt, Until},
};
use crate::{message::MAX_CONTROL, record::LogRecord};

/// What an entry rests on, with what its log stated before.
pub(super) struct Ground {
    pub(super) author: ReplicaId,
    pub(super) heads: Vec<EntryId>,
    pub(super) epoch: Option<EpochId>,
}

impl Node {
    /// The verdict on an entry that follows what is held of its log: what it rests on, or why it is not taken.
    /// [`Refusal::Excluded`] means that it belongs in quarantine.
    pub(super) fn judge(&self, context: &ContextId, entry: &Entry) -> Result<Ground, Halt> {
        let header = &entry.header;
        let seq = header.seq;
        let Some(local) = self.contexts.get(context) else {
            return Err(Halt::at(seq, Refusal::Denied));
        };
        let (control, sort) = (header.kind.is_control(), header.kind.sort());
        // What a strategy says must reach everybody, however little some take of what is in documents.
        if header.payload_len > if control { MAX_CONTROL } else { self.config.max_payload } {
            return Err(Halt::at(seq, Refusal::TooLarge));
        }
        let known = local.logs.get(&header.log).map(|log| &log.record);
        let Some(start) = header.start.as_ref().or(known.map(|record| &record.start)) else {
            return Err(Halt::at(seq, Refusal::Gap));
        };
        if known.is_some_and(|record| record.sort != sort) {
            return Err(Halt::at(seq, Refusal::Invalid));
        }
        let author = start.replica;
        if self.commits.failed.is_some() && author != self.replica {
            return Err(Halt::at(seq, Refusal::ReadOnly));
        }
        if !self.config.takes_entries && author != self.replica {
            return Err(Halt::until(seq, Refusal::Draining, Until::Taking));
        }
        let before = known.map_or(&[][..], |record| &record.heads);
        let heads = header.stamp.as_ref().map_or(before, |stamp| &stamp.heads);
        let need_control = |heads| {
            let were = local.graph.len();
            let until = Until::Control { heads, were };
            Halt::until(seq, Refusal::NeedControl, until)
        };
        let missing = local.graph.missing(heads);
        if !missing.is_empty() {
            return Err(need_control(missing));
        }
        if !local.graph.advances(before, heads) {
            return Err(Halt::at(seq, Refusal::Invalid));
        }
        let knew = known.map_or_else(|| LogRecord::knew_at_start(entry), |record| &record.knew);
        let held = local.logs.get(&header.log).map(|log| log.cap);
        let cap = held.unwrap_or_else(|| local.cap_of(&author, &header.log, sort, knew));
        if seq > cap {
            let until = Until::Lifted { author, knew: knew.to_vec() };
            return Err(Halt::until(seq, Refusal::Excluded, until));
        }
        let tip = Tip { log: header.log, seq, head: entry.id };
        if sort == LogSort::Data && local.standing.contradicts(&author, &tip) {
            return Err(Halt::at(seq, Refusal::Fork));
        }
        if sort == LogSort::Snapshot {
            local.judge_snapshot(start, &tip)?;
        }
        if let Some(start) = &header.start {
            let of_another = |tip: &Tip| {
                let log = local.logs.get(&tip.log).map(|log| &log.record);
                log.is_some_and(|log| log.replica() != author || log.sort != sort)
            };
            if start.tips.iter().any(of_another) {
                return Err(Halt::at(seq, Refusal::Invalid));
            }
            let mut tips = start.tips.clone();
            let of = Successor { author, sort, knew: knew.to_vec() };
            tips.retain(|tip| !local.holds_or_cut(tip, &of));
            if !tips.is_empty() && !planted(Bug::PredecessorUnchecked) {
                let until = Until::Held { of, tips };
                return Err(Halt::until(seq, Refusal::NeedPredecessor, until));
            }
        }
        let size = header.payload_len.saturating_add(entry.encoded.len() as u64);
        if author != self.replica && local.remote_bytes.saturating_add(size) > most_with(sort, &self.config) {
            return Err(Halt::until(seq, Refusal::Quota, Until::Room(sort, size)));
        }
        let ground = Ground {
            author,
            heads: heads.to_vec(),
            epoch: match &header.stamp {
                Some(stamp) => stamp.epoch,
                None => known.and_then(|known| known.epoch()),
            },
        };
        let claim = Claim {
            header,
            author,
            heads: &ground.heads,
            epoch: ground.epoch,
            control: control.then_some(&entry.payload[..]),
        };
        match self.strategies[local.strategy].authorize(&claim) {
            _ if planted(Bug::JudgeSaysYes) => Ok(ground),
            Verdict::Accept => Ok(ground),
            Verdict::Undecided(heads) => Err(need_control(heads)),
            Verdict::Excluded(_) => Err(Halt::at(seq, Refusal::Excluded)),
        }
    }
}
