//! Strategies made of strategies.

use partita_core::{Access, Claim, ContextInfo, EntryId, EntryKind, PartitionStrategy, Refusal, SessionId, Verdict};

use super::{NOW, TRANSCRIPT, context, header, key, memory::Club, peer, remote, replica};
use crate::{AllOf, ByKind, FirstOf};

fn here() -> ContextInfo {
    context("club", 1)
}

fn club(mark: u8, seeds: impl IntoIterator<Item = u8>) -> Club {
    Club::new(mark, "club", seeds).naming(here())
}

fn excluded(why: Refusal) -> Verdict {
    Verdict::Excluded(why)
}

fn sync(strategy: &dyn PartitionStrategy, seed: u8) -> Access {
    strategy.should_sync(&here(), &remote(&here(), seed))
}

fn targets(strategy: &dyn PartitionStrategy) -> Vec<SessionId> {
    let mut out = Vec::new();
    strategy.filter_targets(&here().id, &[1, 2, 3].map(peer), &mut out);
    out
}

fn authorize(strategy: &dyn PartitionStrategy, seed: u8) -> Verdict {
    let header = header(here().id, seed, EntryKind::Change(Default::default()));
    strategy.authorize(&Claim { header: &header, author: replica(seed), heads: &[], epoch: None, control: None })
}

#[test]
fn all_must_agree_and_the_narrowest_access_counts() {
    let all = AllOf::new(club(b'a', [1, 2])).and(club(b'g', [1, 3]));
    assert_eq!(sync(&all, 1), Access::Both);
    assert_eq!((sync(&all, 2), sync(&all, 3)), (Access::Refused(Refusal::Denied), Access::Refused(Refusal::Denied)));
    assert_eq!(targets(&all), [peer(1).session]);
    assert_eq!((authorize(&all, 1), authorize(&all, 2)), (Verdict::Accept, excluded(Refusal::Denied)));

    let with = |access| club(b'g', [1]).with(access, Refusal::Denied, Verdict::Accept);
    for (one, other, both) in [
        (Access::Both, Access::Read, Access::Read),
        (Access::Write, Access::Both, Access::Write),
        (Access::Read, Access::Write, Access::Refused(Refusal::Denied)),
        (Access::Refused(Refusal::Revoked), Access::Both, Access::Refused(Refusal::Revoked)),
    ] {
        assert_eq!(sync(&AllOf::new(with(one)).and(with(other)), 1), both);
        assert_eq!(sync(&AllOf::new(with(other)).and(with(one)), 1), both);
    }
}

#[test]
fn one_exclusion_is_enough_and_one_doubt_makes_an_entry_wait() {
    let with = |verdict| club(b'g', [1]).with(Access::Both, Refusal::Denied, verdict);
    let head = EntryId::from_bytes([5; 32]);
    let doubt = || with(Verdict::Undecided(vec![head]));
    assert_eq!(authorize(&AllOf::new(doubt()).and(with(Verdict::Accept)), 1), Verdict::Undecided(vec![head]));
    assert_eq!(authorize(&AllOf::new(doubt()).and(club(b'g', [2])), 1), excluded(Refusal::Denied));
}

/// A guard on one relay, say, that kept out what others rest on would hold up everybody who is behind it.
#[test]
fn guards_have_no_say_about_control_entries() {
    let all = AllOf::new(club(b'a', [1, 2])).and(club(b'g', [1]));
    let header = header(here().id, 2, EntryKind::Control);
    let claim = Claim { header: &header, author: replica(2), heads: &[], epoch: None, control: Some(b"a") };
    assert_eq!(all.authorize(&claim), Verdict::Accept);
    assert_eq!(authorize(&all, 2), excluded(Refusal::Denied), "what it writes into documents is kept out");
    let claim = Claim { author: replica(3), ..claim };
    assert_eq!(all.authorize(&claim), excluded(Refusal::Denied), "the strategy has");
}

#[test]
fn the_nominated_one_proves_and_remotes_need_not_know_of_the_guards() {
    let all = AllOf::new(club(b'a', [1])).and(club(b'g', [1]));
    assert_eq!(all.auth().prove(&TRANSCRIPT, &here()).unwrap()[..], *b"a");
    assert!(all.auth().verify(NOW, &TRANSCRIPT, &key(1), &here(), b"a").is_ok());
    assert!(all.auth().verify(NOW, &TRANSCRIPT, &key(1), &here(), b"g").is_err());
}

#[test]
fn the_first_that_answers_decides_and_a_denial_is_no_answer() {
    let first = FirstOf::new(club(b'a', [1])).or(club(b'b', [2]).with(Access::Read, Refusal::Denied, Verdict::Accept));
    assert_eq!((sync(&first, 1), sync(&first, 2)), (Access::Both, Access::Read));
    assert_eq!(sync(&first, 3), Access::Refused(Refusal::Denied));
    assert_eq!(targets(&first), [peer(1).session, peer(2).session]);
    assert_eq!((authorize(&first, 2), authorize(&first, 3)), (Verdict::Accept, excluded(Refusal::Denied)));
    let verify = |seed, proof: &[u8]| first.auth().verify(NOW, &TRANSCRIPT, &key(seed), &here(), proof);
    assert_eq!(verify(2, b"b").unwrap().access, Access::Read);
    assert_eq!((verify(2, b"a"), verify(3, b"a")), (Err(Refusal::BadProof), Err(Refusal::Denied)));
}

#[test]
fn whom_the_first_shuts_out_by_name_no_other_lets_in() {
    let strict = club(b'a', [1]).with(Access::Both, Refusal::Revoked, Verdict::Accept);
    let first = FirstOf::new(strict).or(club(b'b', [1, 2]));
    assert_eq!(sync(&first, 2), Access::Refused(Refusal::Revoked));
    assert_eq!(first.auth().verify(NOW, &TRANSCRIPT, &key(2), &here(), b"b"), Err(Refusal::Revoked));
    assert_eq!(targets(&first), [peer(1).session], "nor is it sent anything");
}

#[test]
fn others_have_no_say_about_control_entries() {
    let first = FirstOf::new(club(b'a', [1])).or(club(b'b', [2]));
    let header = header(here().id, 2, EntryKind::Control);
    let claim = Claim { header: &header, author: replica(2), heads: &[], epoch: None, control: Some(b"b") };
    assert_eq!(first.authorize(&claim), excluded(Refusal::Denied));
}

#[test]
fn each_kind_has_its_own_strategy_and_the_first_of_a_kind_has_it_alone() {
    let choir = context("choir", 1);
    let mut by_kind = ByKind::new().with(Club::new(b'a', "club", [1])).with(club(b'b', [2]));
    by_kind = by_kind.with(Club::new(b'c', "choir", [3]).naming(choir.clone()));
    by_kind.adopt(&here(), None);
    assert_eq!((sync(&by_kind, 1), sync(&by_kind, 2)), (Access::Both, Access::Refused(Refusal::Denied)));
    assert_eq!(by_kind.contexts(), std::slice::from_ref(&choir), "what the second of a kind names is not its own");
    assert_eq!(by_kind.auth().prove(&TRANSCRIPT, &choir).unwrap()[..], *b"c");
    let unknown = context("unknown", 1);
    assert_eq!(by_kind.auth().verify(NOW, &TRANSCRIPT, &key(1), &unknown, b"a"), Err(Refusal::UnknownKind));
    assert_eq!(
        by_kind.should_sync(&here(), &remote(&choir, 3)),
        Access::Refused(Refusal::Denied),
        "never across kinds"
    );
}
