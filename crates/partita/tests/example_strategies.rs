//! The strategies of the examples keep what every strategy promises.

use crate::examples::{
    by_region::{ByRegion, certify, region},
    custom_strategy::AllowList,
    publish::Publish,
};
use partita::core::{ContextId, ContextInfo, PartitionStrategy as _, ReplicaId};
use partita_testing::{
    samples::{replica, signing_key},
    strategy_conformance::{Rule, Side, Subject, Who, assert_conformant},
};

#[test]
fn the_list_keeps_what_every_strategy_promises() {
    let side =
        |seed: u8, members: [ReplicaId; 2]| Side::new(signing_key(seed), move || AllowList::new(members).unwrap());
    let members = [1, 2].map(replica);
    let context = AllowList::new(members).unwrap().contexts();
    let foreign = ContextInfo { id: ContextId::from_bytes([9; 32]), kind: context[0].kind.clone() };
    // A stranger who puts itself on its own list has another context, so it plays by this one's.
    let subject = Subject::new(side(1, members), side(2, members), side(3, members), context, foreign);
    assert_conformant(&subject.without_proofs());
}

#[test]
fn regions_keep_what_every_strategy_promises() {
    let authority = signing_key(40);
    let root = authority.verifying_key();
    // The stranger's passes are those of an authority of its own.
    let side = move |seed: u8, by: u8| {
        let passes = ["north", "south"].map(|name| (name, certify(&signing_key(by), replica(seed), name)));
        Side::new(signing_key(seed), move || ByRegion::new(root, replica(seed), &passes).unwrap())
    };
    let contexts = ["north", "south"].map(|name| region(&root, name).unwrap()).to_vec();
    let foreign = region(&root, "west").unwrap();
    let subject = Subject::new(side(1, 40), side(2, 40), side(3, 66), contexts, foreign);
    assert_conformant(&subject.except(
        Rule::BoundToTranscript,
        "a pass is no secret and names its replica, which the session proves: there is nothing to replay",
    ));
}

#[test]
fn publishing_keeps_what_every_strategy_promises() {
    let side = |seed: u8| Side::new(signing_key(seed), move || Publish::new(replica(1), replica(seed)).unwrap());
    let context = Publish::new(replica(1), replica(1)).unwrap().context();
    let foreign = Publish::new(replica(9), replica(9)).unwrap().context();
    let subject = Subject::new(side(1), side(2), side(3), vec![context], foreign).written_by([Who::Local]);
    let subject = subject.first(Who::Local, |publish: &mut Publish, turn| publish.admit(turn, replica(2)));
    let subject = subject.losing(|publish: &mut Publish, turn, who| publish.strike(turn, who));
    assert_conformant(&subject.without_proofs());
}
