//! Each context has one strategy, and no other hears of it.

use partita_core::{
    Access, AuthProvider as _, Bytes, Claim, ContextId, ContextInfo, ControlEntry, EntryId, EntryKind, HeaderPrefix,
    Keystore as _, NamedKeystore, Opened, PartitionStrategy as _, Refusal, StrategyError, Turn, Verdict,
};
use partita_single_owner::SingleOwner;
use partita_testing::MemoryKeystore;
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};

use super::{
    NOW, TRANSCRIPT, bring, context, header, key,
    memory::{Club, Empty},
    peer, remote, replica,
};
use crate::{AllOf, MultiContext};

fn turn<R>(call: impl FnOnce(&mut Turn<'_>) -> R) -> R {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    call(&mut Turn::new(NOW, &mut rng, &Empty).writing(true))
}

fn control(multi: &mut MultiContext, context: &ContextInfo, payload: &[u8]) -> Result<(), StrategyError> {
    let header = header(context.id, 1, EntryKind::Control);
    let entry = ControlEntry { id: header.id(), author: replica(1), header: &header, parents: &[], payload };
    multi.control(NOW, &entry).map(|_| ())
}

fn sealed_in(multi: &MultiContext, context: &ContextInfo) -> Option<u8> {
    let header = header(context.id, 1, EntryKind::Change(Default::default()));
    let prefix = HeaderPrefix { header: &header, author: replica(1), epoch: None };
    multi.seal(&prefix, b"x", &mut ChaCha20Rng::seed_from_u64(1)).ok().map(|sealed| sealed[0])
}

/// Two clubs of one kind, each naming one context.
fn clubs() -> (MultiContext, ContextInfo, ContextInfo) {
    let (a, b) = (context("club", 1), context("club", 2));
    let multi = MultiContext::new();
    let multi = multi.with(Club::new(b'a', "club", [1]).naming(a.clone()));
    (multi.with(Club::new(b'b', "club", [2]).naming(b.clone())), a, b)
}

#[test]
fn two_strategies_of_one_kind_answer_each_for_its_own_contexts_alone() {
    let (mut multi, a, b) = clubs();
    for (own, other, member, mark) in [(&a, &b, 1, b'a'), (&b, &a, 2, b'b')] {
        let sync = |context| multi.should_sync(context, &remote(context, member));
        assert_eq!((sync(own), sync(other)), (Access::Both, Access::Refused(Refusal::Denied)));
        let verify = |context| multi.verify(NOW, &TRANSCRIPT, &key(member), context, &[mark]);
        assert!(verify(own).is_ok() && verify(other).is_err());
        let targets = |context: &ContextInfo| {
            let mut out = Vec::new();
            multi.filter_targets(&context.id, &[peer(1), peer(2)], &mut out);
            out
        };
        assert_eq!(targets(own), [peer(member).session]);
        let authorize = |context: &ContextInfo| {
            let header = header(context.id, member, EntryKind::Change(Default::default()));
            multi.authorize(&Claim { header: &header, author: replica(member), heads: &[], epoch: None, control: None })
        };
        assert_eq!((authorize(own), authorize(other)), (Verdict::Accept, Verdict::Excluded(Refusal::Denied)));
        assert_eq!(sealed_in(&multi, own), Some(mark));
        let prove = multi.prove(&TRANSCRIPT, own);
        assert_eq!(prove.unwrap(), Bytes::copy_from_slice(&[mark]));
    }
    assert!(control(&mut multi, &a, b"a...").is_ok());
    assert!(control(&mut multi, &a, b"b...").is_err(), "what only the other one takes");
    let seen = turn(|turn| multi.with_strategy_of::<Club, _>(&b.id, turn, |club, _| club.seen.len()));
    assert_eq!(seen, Ok(0), "and it never heard of it");
    assert_eq!(multi.contexts(), [a, b]);
}

#[test]
fn what_is_sealed_for_one_context_does_not_open_in_another() {
    let (multi, a, b) = clubs();
    let of = |context: &ContextInfo| header(context.id, 1, EntryKind::Change(Default::default()));
    let (a, b) = (of(&a), of(&b));
    let prefix = |header| HeaderPrefix { header, author: replica(1), epoch: None };
    let sealed = multi.seal(&prefix(&a), b"x", &mut ChaCha20Rng::seed_from_u64(1)).unwrap();
    assert_eq!(multi.open(&prefix(&a), &sealed), Opened::Plain(Bytes::from_static(b"x")));
    assert_eq!(multi.open(&prefix(&b), &sealed), Opened::Bad);
}

#[test]
fn what_a_remote_brings_belongs_to_the_first_that_grants_it_and_stays_there() {
    let (mut multi, ..) = clubs();
    let brought = context("club", 9);
    assert!(!multi.should_sync(&brought, &remote(&brought, 2)).writes(), "it is nobody's yet");
    multi.adopt(&brought, None);
    assert_eq!(sealed_in(&multi, &brought), None, "two could have it: neither does");

    assert!(bring(&mut multi, &brought, 2, b"b"), "answers are different now");
    assert_eq!(sealed_in(&multi, &brought), Some(b'b'));
    assert!(multi.verify(NOW, &TRANSCRIPT, &key(2), &brought, b"b").is_ok());
    assert!(!bring(&mut multi, &brought, 1, b"a"));
    assert_eq!(sealed_in(&multi, &brought), Some(b'b'), "another's proof does not move it");
    assert!(multi.verify(NOW, &TRANSCRIPT, &key(1), &brought, b"a").is_err());
}

#[test]
fn a_false_proof_brings_nothing() {
    let (mut multi, ..) = clubs();
    let brought = context("club", 9);
    for (who, proof) in [(1, &b"b"[..]), (2, b"a"), (3, b"a")] {
        bring(&mut multi, &brought, who, proof);
        assert_eq!(sealed_in(&multi, &brought), None);
    }
    assert_eq!(multi.verify(NOW, &TRANSCRIPT, &key(1), &brought, b"?"), Err(Refusal::BadProof), "told by who knows it");
}

#[test]
fn asking_changes_no_route() {
    let (mut multi, ..) = clubs();
    let brought = context("club", 9);
    for (who, proof) in [(1, b"a"), (2, b"b"), (1, b"a")] {
        assert!(multi.verify(NOW, &TRANSCRIPT, &key(who), &brought, proof).is_ok(), "each could bring it");
    }
    assert_eq!(sealed_in(&multi, &brought), None);
    bring(&mut multi, &brought, 2, b"b");
    assert_eq!(sealed_in(&multi, &brought), Some(b'b'));
}

#[test]
fn from_the_store_a_context_is_the_only_ones_that_takes_its_control_entries() {
    let (mut multi, ..) = clubs();
    let stored = context("club", 9);
    assert!(control(&mut multi, &stored, b"b...").is_err(), "the node has no such context");
    multi.adopt(&stored, None);
    assert!(control(&mut multi, &stored, b"c...").is_err());
    assert!(control(&mut multi, &stored, b"b...").is_ok());
    assert_eq!(sealed_in(&multi, &stored), Some(b'b'));
    assert!(control(&mut multi, &stored, b"a...").is_err(), "it stays there");
}

#[test]
fn who_grants_a_proof_and_would_not_sync_does_not_get_what_is_brought() {
    let guarded = |seed| AllOf::new(Club::new(b'a', "club", [1, 2])).and(Club::new(b'g', "club", [seed]));
    let mut multi = MultiContext::new().with(guarded(1)).with(guarded(2));
    let brought = context("club", 9);
    let syncs = |multi: &MultiContext, who| multi.should_sync(&brought, &remote(&brought, who)).writes();
    bring(&mut multi, &brought, 2, b"a");
    assert!(syncs(&multi, 2) && !syncs(&multi, 1));

    // The same again after a restart: both take the control entries, so it waits for a remote.
    let mut multi = MultiContext::new().with(guarded(1)).with(guarded(2));
    multi.adopt(&brought, None);
    assert!(control(&mut multi, &brought, b"a...").is_ok());
    assert!(!syncs(&multi, 2) && !syncs(&multi, 1), "nobody's until then");
    assert!(bring(&mut multi, &brought, 2, b"a"));
    assert!(syncs(&multi, 2) && !syncs(&multi, 1));
    let seen = |multi: &mut MultiContext| {
        turn(|turn| multi.with_strategy_of::<Club, _>(&brought.id, turn, |club, _| club.seen.len()))
    };
    assert_eq!(seen(&mut multi), Ok(1), "and it lacks no control entry");
}

#[test]
fn from_the_store_only_the_strategies_of_its_kind_are_asked() {
    let choir = Club::new(b'b', "choir", [2]); // it would take the control entry too
    let clubs = [b'a', b'b'].map(|mark| Club::new(mark, "club", [1]));
    let mut multi = clubs.into_iter().fold(MultiContext::new().with(choir), MultiContext::with);
    let stored = context("club", 9);
    multi.adopt(&stored, None);
    assert!(control(&mut multi, &stored, b"b...").is_ok());
    let kinds = turn(|turn| multi.with_strategy_of::<Club, _>(&stored.id, turn, |club, _| club.kinds.clone()));
    assert_eq!(kinds, Ok(vec![stored.kind]));
}

#[test]
fn a_context_that_has_a_strategy_is_not_taken_by_another_that_names_or_opens_it() {
    let (multi, a, _) = clubs();
    let mut multi = multi.with(Club::new(b'c', "club", [3]).naming(a.clone()));
    assert_eq!(sealed_in(&multi, &a), Some(b'a'), "who named it first");
    let other = context("club", 2);
    let opened = turn(|turn| multi.with_strategy_of::<Club, _>(&a.id, turn, |_, turn| turn.open.push(other.clone())));
    assert_eq!((opened, sealed_in(&multi, &other)), (Ok(()), Some(b'b')));
    assert_eq!(multi.contexts(), [a, other], "and each is named once");
}

#[test]
fn the_only_strategy_of_a_kind_has_all_of_that_kind() {
    let mut multi = clubs().0.with(Club::new(b'c', "choir", [3]));
    let stored = context("choir", 9);
    multi.adopt(&stored, None);
    assert_eq!(sealed_in(&multi, &stored), Some(b'c'));
}

#[test]
fn what_a_call_opens_belongs_to_the_strategy_that_was_called() {
    let (mut multi, _, b) = clubs();
    let opened = context("club", 9);
    let info = opened.clone();
    let done = turn(|turn| multi.with_strategy_of::<Club, _>(&b.id, turn, |_, turn| turn.open.push(info)));
    assert_eq!(done, Ok(()));
    assert_eq!(sealed_in(&multi, &opened), Some(b'b'));

    let opened = context("club", 10);
    let found = turn(|turn| {
        multi.reach(turn, &mut |plugin, turn| match plugin.downcast_mut::<Club>() {
            Some(club) if club.mark == b'b' => {
                turn.open.push(opened.clone());
                true
            }
            _ => false,
        })
    });
    assert!(found);
    assert_eq!(sealed_in(&multi, &opened), Some(b'b'));
}

#[test]
fn an_unknown_kind_is_refused_by_name_and_disturbs_nobody() {
    let (mut multi, a, _) = clubs();
    let later = context("of-a-later-plugin", 1);
    assert_eq!(multi.verify(NOW, &TRANSCRIPT, &key(1), &later, b"a"), Err(Refusal::UnknownKind));
    assert_eq!(multi.should_sync(&later, &remote(&later, 1)), Access::Refused(Refusal::UnknownKind));
    bring(&mut multi, &later, 1, b"a");
    assert_eq!(sealed_in(&multi, &later), None);
    // Nor does it pass under the name of another.
    let renamed = ContextInfo { id: a.id, kind: later.kind };
    assert_eq!(multi.verify(NOW, &TRANSCRIPT, &key(1), &renamed, b"a"), Err(Refusal::UnknownKind));
    assert_eq!(multi.should_sync(&a, &remote(&renamed, 1)), Access::Refused(Refusal::UnknownKind));
    assert_eq!(sealed_in(&multi, &a), Some(b'a'));
}

#[test]
fn a_context_is_not_presented_as_one_of_another_kind_that_is_known() {
    let (multi, a, _) = clubs();
    let multi = multi.with(Club::new(b'c', "choir", [1]));
    let swapped = ContextInfo { id: a.id, kind: super::kind("choir") };
    assert!(multi.verify(NOW, &TRANSCRIPT, &key(1), &swapped, b"c").is_err());
    assert!(multi.verify(NOW, &TRANSCRIPT, &key(1), &swapped, b"a").is_err());
    assert_eq!(multi.should_sync(&a, &remote(&swapped, 1)), Access::Refused(Refusal::Denied));
    assert_eq!(multi.should_sync(&swapped, &remote(&swapped, 1)), Access::Refused(Refusal::Denied));
}

#[test]
fn without_strategies_everything_is_refused() {
    let multi = MultiContext::new();
    let any = context("club", 1);
    assert_eq!(multi.verify(NOW, &TRANSCRIPT, &key(1), &any, b"a"), Err(Refusal::UnknownKind));
    assert!(multi.prove(&TRANSCRIPT, &any).is_err() && multi.epoch(&any.id).is_err());
    assert_eq!(sealed_in(&multi, &any), None);
}

#[test]
fn two_owners_share_a_device_and_nothing_else() {
    let keystore = MemoryKeystore::default();
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let (private, _) = SingleOwner::create(&keystore, &mut rng).unwrap();
    let part = NamedKeystore::new(&keystore, "work");
    let (work, _) = SingleOwner::create(&part, &mut rng).unwrap();
    assert_eq!(private.device(), work.device());
    assert_ne!(private.owner(), work.owner());
    assert_eq!(SingleOwner::open(&keystore).unwrap().owner(), private.owner(), "unchanged");
    assert!(keystore.get("work/single-owner").unwrap().is_some());

    let device = partita_crypto::VerifyingKey::parse(private.device().as_bytes()).unwrap();
    let (a, b) = (private.context(), work.context());
    let owners = [private.owner(), work.owner()];
    let mut multi = MultiContext::new().with(private).with(work);
    let info = |id: ContextId| multi.contexts().into_iter().find(|info| info.id == id).unwrap();
    let (a, b) = (info(a), info(b));
    let proof = multi.prove(&TRANSCRIPT, &a).unwrap();
    assert!(multi.verify(NOW, &TRANSCRIPT, &device, &a, &proof).is_ok());
    assert_eq!(multi.verify(NOW, &TRANSCRIPT, &device, &b, &proof), Err(Refusal::BadProof));

    // Each writes its own certificate, in its own context.
    for (context, owner) in [(&a, owners[0]), (&b, owners[1])] {
        let append = turn(|turn| multi.duties(&context.id, turn).map(|()| turn.append.clone())).unwrap();
        assert!(append.iter().all(|(id, _)| *id == context.id) && !append.is_empty());
        let found = turn(|turn| multi.with_strategy_of::<SingleOwner, _>(&context.id, turn, |it, _| it.owner()));
        assert_eq!(found, Ok(owner));
        for (_, payload) in append {
            assert!(
                control(&mut multi, if context.id == a.id { &b } else { &a }, &payload).is_err(),
                "not the other's"
            );
            let header = header(context.id, 1, EntryKind::Control);
            let id = EntryId::from_bytes([1; 32]);
            let entry = ControlEntry { id, author: replica(1), header: &header, parents: &[], payload: &payload };
            assert!(multi.control(NOW, &entry).is_ok());
        }
    }
    let nobodys = turn(|turn| multi.with_strategy_of::<SingleOwner, _>(&context("club", 1).id, turn, |_, _| ()));
    assert!(nobodys.is_err());
}
