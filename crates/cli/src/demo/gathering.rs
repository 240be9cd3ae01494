//! The story of a group: somebody joins while nobody who invited is there, somebody is removed and goes on writing.

use std::time::{Duration, Instant};

use super::{
    fleet::Fleet,
    rights::{Cell, Found, Rights, Row},
    teller::Teller,
    wire::{Answer, Ask, Crdt, Seat, Word},
};
use crate::{error::CliError, progress::Progress};

const NAMES: [&str; 4] = ["A", "B", "C", "D"];
const A: usize = 0;
const B: usize = 1;
const C: usize = 2;
const D: usize = 3;
/// How long any step may take; each takes milliseconds.
const SOON: Duration = Duration::from_secs(10);

/// What was written when: each phase has a part of the documents' text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Before,
    After,
    /// By the one who was removed, when it was.
    Later,
    /// When everything is over: whoever reads it has everything that comes to it.
    End,
}

const PHASES: usize = 4;

impl Phase {
    fn part(self) -> usize {
        self as usize
    }

    /// What a member writes in this phase. Nobody else writes it.
    fn word(self, member: usize) -> String {
        format!("{:?} by {}. ", self, NAMES[member])
    }

    /// Everything that was written in this phase.
    fn words(self, by: &[usize]) -> Vec<String> {
        by.iter().map(|member| self.word(*member)).collect()
    }
}

/// The group's documents, and those who play.
struct Gathering {
    fleet: Fleet,
    documents: Vec<(Crdt, String)>,
    /// Each one's id.
    members: Vec<String>,
}

const COLUMNS: [&str; 4] = ["before", "after the removal", "new document, after it", "by C, removed"];

pub(crate) async fn tell(progress: &Progress) -> Result<Rights, CliError> {
    let teller = Teller::new(progress);
    let folder = tempfile::tempdir().map_err(CliError::io("cannot make a temporary folder"))?;
    teller.tell("A relay starts, and three people: A, B and C. Each is a process with a store of its own.");
    let fleet = Fleet::start(folder.path().to_owned(), &NAMES).await?;
    let mut group = Gathering::found(fleet).await?;
    teller.tell("A founded a group. B and C joined by invitations; A's device confirmed them as writers.");
    for member in [A, B, C] {
        group.write(Phase::Before, member).await?;
    }
    group.read_by(&[A, B, C], Phase::Before, &[A, B, C]).await?;
    teller.tell("They write into two documents, one of automerge and one of yrs, and read each other.");

    let invitation = group.invite(A).await?;
    group.fleet.send_away(A).await?;
    teller.tell("A makes one more invitation and goes away: its process has ended.");
    let asked = Instant::now();
    group.join(D, &invitation).await?;
    group.read_by(&[D], Phase::Before, &[A, B, C]).await?;
    let took = asked.elapsed().as_secs_f64();
    teller.tell(format!("D joins with nobody but the relay to admit it, and reads everything after {took:.2} s."));
    group.fleet.open(A).await?;
    group.fleet.get(A, &group.documents).await?;
    group.until_active(D, D).await?;
    group.write(Phase::Before, D).await?;
    let all = [A, B, C, D];
    group.read_by(&all, Phase::Before, &all).await?;
    teller.tell("A is back, and its device has confirmed D: now D writes, too.");

    group.fleet.cables[C].pull();
    group.fleet.wait_until(SOON, |fleet| !fleet.replicas[C].is_connected()).await;
    group.remove(A, C).await?;
    teller.tell("C's network is cut, and A removes C, who cannot have heard of it and goes on writing.");
    group.write(Phase::Later, C).await?;
    let left = [A, B, D];
    for member in left {
        group.until_gone(member, C).await?;
        group.write(Phase::After, member).await?;
    }
    let new = group.new_document(B).await?;
    group.read_by(&left, Phase::After, &left).await?;
    for member in [A, D] {
        group.fleet.get(member, std::slice::from_ref(&new)).await?;
    }
    group.until_read(&left, std::slice::from_ref(&new), &Phase::After.words(&[B])).await?;
    teller.tell("The others write on under a new key, and B makes a new document.");

    group.fleet.cables[C].put_back();
    group.fleet.replicas[C].ask(Ask::NetworkIsBack).await?;
    let refused = group.fleet.wait_until(SOON, |fleet| fleet.replicas[C].is_refused()).await;
    teller.tell(match refused {
        true => "C's network is back. The relay refuses C; it goes on writing all the same.",
        false => "C's network is back. NOBODY REFUSED IT.",
    });
    group.type_words(C, Phase::Later.part(), "Later still by C. ".into()).await?;
    // Whatever could have come from C had its chance before this.
    group.write(Phase::End, A).await?;
    group.read_by(&left, Phase::End, &[A]).await?;

    let members = group.try_everything(&new).await?;
    let rights = Rights::new(refused, teller.seconds(), &COLUMNS, members);
    group.fleet.close().await?;
    Ok(rights)
}

impl Gathering {
    /// A founds it with its documents; B and C join.
    async fn found(fleet: Fleet) -> Result<Self, CliError> {
        fleet.replicas[A].text(Ask::FoundGroup { name: "demo".into() }).await?;
        fleet.open(A).await?;
        let mut documents = Vec::new();
        for crdt in [Crdt::Automerge, Crdt::Yrs] {
            documents.push((crdt, fleet.replicas[A].text(Ask::Create { crdt, parts: PHASES }).await?));
        }
        let mut group = Self { fleet, documents, members: vec![String::new(); NAMES.len()] };
        group.members[A] = group.fleet.status(A).await?.replica;
        for member in [B, C] {
            let invitation = group.invite(A).await?;
            group.join(member, &invitation).await?;
            group.until_active(member, member).await?;
        }
        Ok(group)
    }

    /// An invitation that the relay knows.
    async fn invite(&self, by: usize) -> Result<String, CliError> {
        let invitation = self.fleet.replicas[by].text(Ask::Invite { role: "write".into() }).await?;
        self.fleet.replicas[by].ask(Ask::Acknowledged).await?;
        Ok(invitation)
    }

    async fn join(&mut self, member: usize, invitation: &str) -> Result<(), CliError> {
        self.fleet.replicas[member].ask(Ask::Join { invitation: invitation.into() }).await?;
        self.fleet.open(member).await?;
        self.fleet.get(member, &self.documents).await?;
        // A member is named after its first device.
        self.members[member] = self.fleet.status(member).await?.replica;
        Ok(())
    }

    async fn remove(&self, by: usize, member: usize) -> Result<(), CliError> {
        self.fleet.replicas[by].ask(Ask::Remove { member: self.members[member].clone() }).await?;
        self.fleet.replicas[by].ask(Ask::Acknowledged).await.map(drop)
    }

    async fn seat(&self, at: usize, member: usize) -> Result<Option<Seat>, CliError> {
        match self.fleet.replicas[at].ask(Ask::Members).await? {
            Answer::Members(seats) => Ok(seats.into_iter().find(|seat| seat.member == self.members[member])),
            other => Err(self.fleet.replicas[at].strange(&other)),
        }
    }

    /// Waits until somebody knows that a member has its whole role.
    async fn until_active(&self, at: usize, member: usize) -> Result<(), CliError> {
        let active = async |_: &Fleet| Ok(self.seat(at, member).await?.is_some_and(|seat| seat.active));
        let came = self.fleet.wait_for(SOON, active).await?;
        self.in_time(came, at, || format!("{} is not confirmed", NAMES[member]))
    }

    /// Waits until somebody knows that a member was removed.
    async fn until_gone(&self, at: usize, member: usize) -> Result<(), CliError> {
        let came = self.fleet.wait_for(SOON, async |_: &Fleet| Ok(self.seat(at, member).await?.is_none())).await?;
        self.in_time(came, at, || format!("{} is still there", NAMES[member]))
    }

    fn in_time(&self, came: bool, at: usize, what: impl FnOnce() -> String) -> Result<(), CliError> {
        let late = || format!("{} after {} s", what(), SOON.as_secs());
        if came { Ok(()) } else { Err(CliError::Replica { name: NAMES[at].into(), reason: late() }) }
    }

    /// A member writes its word of this phase into every document, durably.
    async fn write(&self, phase: Phase, member: usize) -> Result<(), CliError> {
        self.type_words(member, phase.part(), phase.word(member)).await
    }

    async fn type_words(&self, member: usize, part: usize, text: String) -> Result<(), CliError> {
        for (_, document) in &self.documents {
            let words = vec![Word { part, text: text.clone() }];
            let ask = Ask::Type { document: document.clone(), words, pause_us: 0 };
            self.fleet.replicas[member].ask(ask).await?;
        }
        Ok(())
    }

    /// One more document, with its maker's word in it.
    async fn new_document(&self, by: usize) -> Result<(Crdt, String), CliError> {
        let ask = Ask::Create { crdt: Crdt::Automerge, parts: PHASES };
        let document = self.fleet.replicas[by].text(ask).await?;
        let words = vec![Word { part: Phase::After.part(), text: Phase::After.word(by) }];
        self.fleet.replicas[by].ask(Ask::Type { document: document.clone(), words, pause_us: 0 }).await?;
        Ok((Crdt::Automerge, document))
    }

    /// Waits until these read what those wrote. What never comes is found in the table.
    async fn read_by(&self, readers: &[usize], phase: Phase, writers: &[usize]) -> Result<(), CliError> {
        self.until_read(readers, &self.documents, &phase.words(writers)).await
    }

    async fn until_read(
        &self,
        readers: &[usize],
        documents: &[(Crdt, String)],
        words: &[String],
    ) -> Result<(), CliError> {
        let all = async |_: &Fleet| {
            for reader in readers {
                if self.reads(*reader, documents, words).await? != Found::All {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        self.fleet.wait_for(SOON, all).await.map(drop)
    }

    /// What of these words a member can read in these documents, by trying it.
    async fn reads(&self, reader: usize, documents: &[(Crdt, String)], words: &[String]) -> Result<Found, CliError> {
        let mut found = Vec::new();
        for (crdt, document) in documents {
            let replica = &self.fleet.replicas[reader];
            found.push(match replica.ask(Ask::Look { crdt: *crdt, document: document.clone() }).await? {
                Answer::Parts(parts) => Found::of(words, &parts.concat()),
                Answer::Nothing => Found::None,
                other => return Err(replica.strange(&other)),
            });
        }
        Ok(match found[..] {
            [first, ..] if found.iter().all(|found| *found == first) => first,
            [] => Found::None,
            _ => Found::Some,
        })
    }

    /// Every member tries to read everything.
    async fn try_everything(&self, new: &(Crdt, String)) -> Result<Vec<Row>, CliError> {
        let later = [Phase::Later.word(C), "Later still by C. ".to_owned()];
        let mut rows = Vec::new();
        for (member, name) in NAMES.into_iter().enumerate() {
            let is_in = member != C;
            let tries = [
                (&self.documents[..], Phase::Before.words(&[A, B, C, D]), true),
                (&self.documents[..], Phase::After.words(&[A, B, D]), is_in),
                (std::slice::from_ref(new), Phase::After.words(&[B]), is_in),
                // It is nowhere but in the removed one's own copy.
                (&self.documents[..], later.to_vec(), !is_in),
            ];
            let mut cells = Vec::new();
            for (documents, words, promised) in tries {
                cells.push(Cell { found: self.reads(member, documents, &words).await?, promised });
            }
            let seat = self.seat(A, member).await?;
            let role = seat.map_or_else(|| "removed".to_owned(), |seat| seat.role);
            rows.push(Row { name, member: self.members[member].clone(), role, cells });
        }
        Ok(rows)
    }
}
