//! What any partition strategy promises, as checks. A strategy that passes them all leaks nothing that this suite knows
//! how to ask for.
//!
//! Describe the strategy and the world around it as a [`Subject`], and call [`assert_conformant`]. What the suite needs
//! of control entries it gets as a node does: it asks each side for its `duties` and gives the entries around.
//!
//! ```
//! use partita_core::Access;
//! use partita_testing::{fleet::Fleet, samples, strategy::OpenStrategy};
//! use partita_testing::strategy_conformance::{Rule, Side, Subject, Who, check};
//!
//! let of = |seed| Side::new(samples::signing_key(seed), || OpenStrategy::new());
//! let subject = Subject::new(of(1), of(2), of(3), vec![Fleet::context(0)], Fleet::context(9))
//!     .written_by([Who::Local, Who::Friend]);
//! // The open strategy lets everybody in, and the suite says so.
//! assert!(check(&subject).iter().any(|finding| finding.rule == Rule::Strangers));
//! ```

#![allow(clippy::panic)] // a finding is a failure of the test

mod boundaries;
mod council;
mod decisions;
mod garbage;
mod losses;
mod proofs;
mod sessions;

use std::{collections::BTreeMap, fmt, rc::Rc};

use partita_core::{ContextInfo, PartitionStrategy, ReplicaId, Turn};
use partita_crypto::SigningKey;

use crate::fleet::{Fleet, Member, StrategyMaker};
use council::Council;

/// One replica and its strategy.
pub struct Side {
    key: SigningKey,
    strategy: StrategyMaker,
}

impl Side {
    /// The replica of this key, with the strategy that `make` makes: as new at every call, and the same each time.
    pub fn new<S: PartitionStrategy>(key: SigningKey, make: impl Fn() -> S + Clone + 'static) -> Self {
        Self { key, strategy: Box::new(move || Box::new(make())) }
    }

    fn replica(&self) -> ReplicaId {
        ReplicaId::from_bytes(*self.key.verifying_key().as_bytes())
    }
}

/// Who does something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// The honest replica whose strategy is tried.
    Local,
    /// A remote that may open the contexts.
    Friend,
    /// A remote that may not.
    Stranger,
}

impl Who {
    const ALL: [Self; 3] = [Self::Local, Self::Friend, Self::Stranger];
}

type Losing = Box<dyn Fn(&mut dyn PartitionStrategy, &mut Turn<'_>, ReplicaId)>;

type SayAlone = Box<dyn Fn(&mut dyn PartitionStrategy, &mut Turn<'_>)>;
type SayInNode = Box<dyn Fn(&mut Fleet, Member)>;

/// What a side says first, to a strategy alone and to one in a node.
struct First {
    who: Who,
    alone: SayAlone,
    in_node: SayInNode,
}

/// A strategy to be tried, and the world around it.
pub struct Subject {
    local: Side,
    friend: Side,
    stranger: Side,
    contexts: Vec<ContextInfo>,
    foreign: ContextInfo,
    writers: Vec<Who>,
    is_relay: bool,
    first: Option<First>,
    losing: Option<Losing>,
    exceptions: BTreeMap<Rule, &'static str>,
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").field("contexts", &self.contexts).finish_non_exhaustive()
    }
}

impl Subject {
    /// `local` is tried. `friend` may open every one of `contexts` there, which both have; give two or more where the
    /// strategy can have them. `stranger` may not: its strategy is the best that somebody without the right can have.
    /// `foreign` is a context of a kind that `local` knows, and that none of them has.
    ///
    /// Local and friend may write, unless [`written_by`](Self::written_by) says otherwise.
    pub fn new(local: Side, friend: Side, stranger: Side, contexts: Vec<ContextInfo>, foreign: ContextInfo) -> Self {
        let writers = vec![Who::Local, Who::Friend];
        let (is_relay, first, losing, exceptions) = (false, None, None, BTreeMap::new());
        Self { local, friend, stranger, contexts, foreign, writers, is_relay, first, losing, exceptions }
    }

    /// Who may write entries in the contexts. Everybody else may not, and the suite sees to it.
    #[must_use]
    pub fn written_by(mut self, writers: impl IntoIterator<Item = Who>) -> Self {
        self.writers = writers.into_iter().collect();
        self
    }

    /// Local is a relay: it has no contexts before the friend brings them, and does not write.
    #[must_use]
    pub fn relay(mut self) -> Self {
        self.is_relay = true;
        self.written_by([Who::Friend])
    }

    /// What a side has to say before the others have any right: admissions, for example. It appends control entries to
    /// the turn, in its `turn.append`. What a strategy writes by itself (its `duties`) need not be said here.
    #[must_use]
    pub fn first<S: PartitionStrategy>(mut self, who: Who, say: impl Fn(&mut S, &mut Turn<'_>) + 'static) -> Self {
        let say = Rc::new(say);
        let said = say.clone();
        let alone = move |strategy: &mut dyn PartitionStrategy, turn: &mut Turn<'_>| match strategy
            .as_any_mut()
            .downcast_mut::<S>()
        {
            Some(strategy) => said(strategy, turn),
            None => panic!("`first` was given for another type than the strategy of {who:?}"),
        };
        let in_node = move |fleet: &mut Fleet, member: Member| {
            let done =
                fleet.with(member, |node, now| node.with_strategy::<S, _>(now, |strategy, turn| say(strategy, turn)));
            assert!(done.is_ok(), "{done:?}");
        };
        self.first = Some(First { who, alone: Box::new(alone), in_node: Box::new(in_node) });
        self
    }

    /// How a writer takes the right of a replica away (local of the friend, the friend of local; at a relay the friend
    /// gives up its own), so that losses are tried too: it appends control entries to the turn, in its `turn.append`.
    #[must_use]
    pub fn losing<S: PartitionStrategy>(mut self, lose: impl Fn(&mut S, &mut Turn<'_>, ReplicaId) + 'static) -> Self {
        self.losing = Some(Box::new(move |strategy, turn, who| match strategy.as_any_mut().downcast_mut::<S>() {
            Some(strategy) => lose(strategy, turn, who),
            None => panic!("`losing` was given for another type than the writers' strategy"),
        }));
        self
    }

    /// The remote's replica id is all that the strategy asks for, and proofs are empty: nothing in them can be old, cut
    /// or changed. That another replica does not get in is still tried.
    #[must_use]
    pub fn without_proofs(self) -> Self {
        let why = "the session proves who the remote is, and nothing else is asked";
        self.except(Rule::EmptyProof, why).except(Rule::BoundToTranscript, why).except(Rule::FlippedBits, why)
    }

    /// This rule is not for this strategy. Say why: a reader of the test asks first.
    #[must_use]
    pub fn except(mut self, rule: Rule, why: &'static str) -> Self {
        self.exceptions.insert(rule, why);
        self
    }

    fn side(&self, who: Who) -> &Side {
        match who {
            Who::Local => &self.local,
            Who::Friend => &self.friend,
            Who::Stranger => &self.stranger,
        }
    }

    fn non_writers(&self) -> impl Iterator<Item = Who> {
        Who::ALL.into_iter().filter(|who| !self.writers.contains(who))
    }
}

/// A promise of every strategy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Rule {
    /// Whoever has the right can use it: a strategy that refuses everybody passes everything else.
    Works,
    /// Kinds that it does not know, and known contexts under another kind, are refused.
    UnknownKind,
    /// Contexts that are not here are refused, and nobody's entries count in them.
    ForeignContext,
    /// A remote without a grant is refused, whatever proof it makes by itself.
    Strangers,
    /// An empty proof proves nothing.
    EmptyProof,
    /// A proof is good for one session and one direction.
    BoundToTranscript,
    /// A proof is good for one context.
    BoundToContext,
    /// A proof is good for one remote.
    BoundToRemote,
    /// A proof that was changed, cut or lengthened does not hold.
    FlippedBits,
    /// The same question has the same answer, whatever was asked in between.
    Stable,
    /// What was sealed for one context does not open in another, and control entries of one decide nothing in another.
    Boundaries,
    /// Entries of those who may not write never count.
    Writers,
    /// Targets are among the peers that were named, each once, and none that is refused.
    Targets,
    /// A remote that was refused is sent nothing, and nothing is taken from it.
    NothingSent,
    /// Bytes from outside never panic, and what is refused changes nothing.
    Garbage,
    /// Standing and verdicts follow from the control entries, not from their order; whoever lost its right is refused.
    Losses,
    /// Whoever lost its right is limited by `standing`: what it goes on to write as if it had not heard of that counts
    /// for nothing.
    Standing,
    /// A verdict rests on the entry and on what its heads descend from: replicas that hold more control entries say the
    /// same.
    Ancestors,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A promise that was not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The promise.
    pub rule: Rule,
    /// What happened.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)
    }
}

/// What was found so far.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, rule: Rule, what: impl Into<String>) {
        self.0.push(Finding { rule, what: what.into() });
    }

    /// Adds a finding unless the promise holds.
    fn expect(&mut self, rule: Rule, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.add(rule, what());
        }
    }
}

/// Tries every rule and says what was not kept; nothing of the rules that the subject excepts.
pub fn check(subject: &Subject) -> Vec<Finding> {
    let mut findings = Findings::default();
    let council = Council::new(subject);
    proofs::check(&council, &mut findings);
    decisions::check(&council, &mut findings);
    boundaries::check(&council, &mut findings);
    garbage::check(subject, &mut findings);
    losses::check(subject, &mut findings);
    sessions::check(subject, &mut findings);
    findings.0.retain(|finding| !subject.exceptions.contains_key(&finding.rule));
    findings.0
}

/// Tries every rule.
///
/// # Panics
/// With everything that was found.
pub fn assert_conformant(subject: &Subject) {
    let findings = check(subject);
    if !findings.is_empty() {
        let list: Vec<_> = findings.iter().map(|finding| format!("\n  {finding}")).collect();
        panic!("the strategy breaks its promises:{}", list.concat());
    }
}
