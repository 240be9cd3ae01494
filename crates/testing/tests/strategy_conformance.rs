//! The suite for strategies: it passes what is right, and catches a leak of every sort.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failure here is a finding

mod leaky;

use std::{collections::BTreeSet, panic::catch_unwind};

use leaky::Members;
use partita_core::{Access, ContextInfo, ContextKind, ReplicaId};
use partita_crypto::SigningKey;
use partita_testing::{
    fleet::Fleet,
    samples,
    strategy::{OPEN_KIND, OpenStrategy},
    strategy_conformance::{Rule, Side, Subject, Who, assert_conformant, check},
};

fn context(number: u8) -> ContextInfo {
    ContextInfo { kind: ContextKind::new("members").unwrap(), id: samples::context(number) }
}

fn members(leak: Option<Rule>) -> Subject {
    members_like(leak, |members| members)
}

fn members_like(leak: Option<Rule>, like: fn(Members) -> Members) -> Subject {
    let side = move |seed: u8| {
        let (key, list): (SigningKey, [ReplicaId; 2]) = (samples::signing_key(seed), [1, 2].map(samples::replica));
        Side::new(key.clone(), move || like(Members::new(key.clone(), &list, &[context(1), context(2)], leak)))
    };
    Subject::new(side(1), side(2), side(3), vec![context(1), context(2)], context(9)).losing(Members::remove)
}

#[test]
fn a_strategy_that_keeps_its_promises_passes() {
    assert_conformant(&members(None));
}

fn caught(leak: Rule) {
    caught_in(leak, &members(Some(leak)));
}

fn caught_in(leak: Rule, subject: &Subject) {
    let findings = check(subject);
    let rules: BTreeSet<Rule> = findings.iter().map(|finding| finding.rule).collect();
    assert!(rules.contains(&leak), "a leak of {leak} went unnoticed; noticed: {findings:?}");
}

macro_rules! caught {
    ($($name:ident: $rule:ident,)*) => {$(
        #[test]
        fn $name() {
            caught(Rule::$rule);
        }
    )*};
}

caught! {
    who_refuses_everybody_is_caught: Works,
    who_lets_unknown_kinds_in_is_caught: UnknownKind,
    who_lets_foreign_contexts_in_is_caught: ForeignContext,
    who_lets_strangers_in_is_caught: Strangers,
    who_takes_an_empty_proof_is_caught: EmptyProof,
    who_takes_an_old_proof_is_caught: BoundToTranscript,
    who_takes_another_contexts_proof_is_caught: BoundToContext,
    who_takes_another_remotes_proof_is_caught: BoundToRemote,
    who_takes_a_changed_proof_is_caught: FlippedBits,
    who_changes_its_mind_is_caught: Stable,
    who_seals_alike_for_all_contexts_is_caught: Boundaries,
    who_lets_anybody_write_is_caught: Writers,
    who_sends_to_everybody_is_caught: Targets,
    who_tells_strangers_something_is_caught: NothingSent,
    who_panics_is_caught: Garbage,
    whose_losses_depend_on_the_order_is_caught: Losses,
    who_cuts_nothing_off_after_a_loss_is_caught: Standing,
    who_judges_by_all_that_it_has_heard_of_is_caught: Ancestors,
}

/// A strategy whose whole proofs are bound to all that they should be, and whose brief ones are not.
#[test]
fn who_takes_somebody_elses_brief_proof_is_caught() {
    for leak in [Rule::BoundToTranscript, Rule::BoundToContext, Rule::BoundToRemote] {
        caught_in(leak, &members_like(Some(leak), Members::in_brief));
    }
}

#[test]
fn every_rule_has_a_leak_that_breaks_little_else() {
    use Rule::{Ancestors, Boundaries, EmptyProof, FlippedBits, Garbage, Losses, Stable, Standing, Targets, Writers};
    for alone in [Ancestors, Boundaries, EmptyProof, FlippedBits, Garbage, Standing] {
        let rules: BTreeSet<Rule> = check(&members(Some(alone))).iter().map(|finding| finding.rule).collect();
        assert_eq!(rules, BTreeSet::from([alone]));
    }
    let stable = vec![Rule::Works, Losses, Garbage];
    let little = [(Stable, stable), (Targets, vec![Losses]), (Writers, vec![]), (Losses, vec![Standing])];
    for (leak, also) in little {
        let mut rules: BTreeSet<Rule> = check(&members(Some(leak))).iter().map(|finding| finding.rule).collect();
        rules.retain(|rule| *rule != leak && !also.contains(rule));
        assert_eq!(rules, BTreeSet::new(), "for {leak}");
    }
}

#[test]
fn a_finding_fails_the_test_and_names_the_rule() {
    let outcome = catch_unwind(|| assert_conformant(&members(Some(Rule::Boundaries))));
    let text = outcome.unwrap_err().downcast::<String>().unwrap();
    assert!(text.contains("Boundaries: what Local sealed in"), "{text}");
}

#[test]
fn an_exception_is_for_one_rule_alone() {
    let why = "tried here";
    assert_eq!(check(&members(Some(Rule::Boundaries)).except(Rule::Boundaries, why)), []);
    assert_ne!(check(&members(Some(Rule::Boundaries)).except(Rule::Garbage, why)), []);
}

/// The strategy of the tests of nodes lets everybody do everything. Told whom to admit it refuses all others, except
/// that it knows no contexts of its own, and keeps whatever control entry it is given.
#[test]
fn the_open_strategy_leaks_nothing_but_what_it_is_open_for() {
    let strategy = || {
        let listed = [1, 2].map(samples::replica);
        OpenStrategy::new().with_peers(listed.map(|who| (who, Access::Both))).with_authors(listed)
    };
    let side = |seed| Side::new(samples::signing_key(seed), strategy);
    let contexts = vec![Fleet::context(0), Fleet::context(1)];
    assert_eq!(contexts[0].kind.as_str(), OPEN_KIND);
    let open = "it is for every context of every kind that a test opens";
    let subject = Subject::new(side(1), side(2), side(3), contexts, Fleet::context(9))
        .written_by([Who::Local, Who::Friend])
        .without_proofs()
        .except(Rule::UnknownKind, open)
        .except(Rule::ForeignContext, open)
        .except(Rule::BoundToContext, open)
        .except(Rule::Targets, "it takes the node's word that peers may read");
    assert_conformant(&subject);
}
