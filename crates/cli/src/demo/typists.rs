//! Who types what, and how far each has come.

use std::time::Duration;

use indicatif::ProgressBar;

use super::{
    fleet::Fleet,
    manuscript::Manuscript,
    process::Asked,
    story::NAMES,
    wire::{Ask, Crdt, Word},
};
use crate::{error::CliError, progress::Progress};

/// How long one stretch of typing may take; each is planned to take a few seconds.
const STRETCH: Duration = Duration::from_secs(30);

/// One replica's typing in one document.
#[derive(Debug)]
struct Job {
    replica: usize,
    document: String,
    words: Vec<Word>,
    /// So many words were reported durable in earlier stretches.
    done: usize,
    /// The stretch under way: how many words it has, and the request.
    running: Option<(usize, Asked)>,
}

impl Job {
    /// How many words were reported durable so far.
    fn durable(&self, fleet: &Fleet) -> usize {
        let now = |(_, asked): &(usize, Asked)| fleet.replicas[self.replica].durable(asked.id);
        self.done + self.running.as_ref().map_or(0, now)
    }

    fn goal(&self, share: f64) -> usize {
        (self.words.len() as f64 * share).round() as usize
    }
}

#[derive(Debug)]
pub(crate) struct Typists<'s> {
    manuscript: &'s Manuscript,
    jobs: Vec<Job>,
    progress: &'s Progress,
}

impl<'s> Typists<'s> {
    pub(crate) fn new(manuscript: &'s Manuscript, documents: &[(Crdt, String)], progress: &'s Progress) -> Self {
        let job = |replica, document: &String| Job {
            replica,
            document: document.clone(),
            words: manuscript.words_of(replica),
            done: 0,
            running: None,
        };
        let jobs =
            (0..NAMES.len()).flat_map(|replica| documents.iter().map(move |(_, document)| job(replica, document)));
        Self { manuscript, jobs: jobs.collect(), progress }
    }

    /// All type until each has this share of its words, over this time, and until that is durable.
    pub(crate) async fn type_until(&mut self, fleet: &Fleet, share: f64, over: Duration) -> Result<(), CliError> {
        self.begin(fleet, share, over).await?;
        self.finish(fleet).await
    }

    /// All begin to type.
    pub(crate) async fn begin(&mut self, fleet: &Fleet, share: f64, over: Duration) -> Result<(), CliError> {
        for job in &mut self.jobs {
            let words = job.words.get(job.done..job.goal(share)).unwrap_or_default().to_vec();
            let pause_us = u64::try_from(over.as_micros()).unwrap_or(0) / words.len().max(1) as u64;
            let count = words.len();
            let ask = Ask::Type { document: job.document.clone(), words, pause_us };
            job.running = Some((count, fleet.replicas[job.replica].begin(ask).await?));
        }
        Ok(())
    }

    /// Waits until everything that was begun is durable.
    pub(crate) async fn finish(&mut self, fleet: &Fleet) -> Result<(), CliError> {
        let all =
            |jobs: &[Job]| jobs.iter().map(|job| job.running.as_ref().map_or(0, |(count, _)| *count)).sum::<usize>();
        let bar = self.progress.bar(all(&self.jobs) as u64, "typing");
        let before: usize = self.jobs.iter().map(|job| job.done).sum();
        let jobs = &self.jobs;
        let done = |fleet: &Fleet| {
            let durable = jobs.iter().map(|job| job.durable(fleet)).sum::<usize>() - before;
            bar.set_position(durable as u64);
            durable >= all(jobs)
        };
        fleet.wait_until(STRETCH, done).await;
        bar.finish_and_clear();
        for job in &mut self.jobs {
            if let Some((count, asked)) = job.running.take() {
                asked.answer().await?;
                job.done += count;
            }
        }
        Ok(())
    }

    /// Waits until a replica has this share of all its words.
    pub(crate) async fn wait_for(&self, fleet: &Fleet, replica: usize, share: f64) -> Result<(), CliError> {
        let bar: ProgressBar = self.progress.spinner("typing");
        let mut mine = self.jobs.iter().filter(|job| job.replica == replica);
        let first = mine.next();
        fleet.wait_until(STRETCH, |fleet| first.is_none_or(|job| job.durable(fleet) >= job.goal(share))).await;
        bar.finish_and_clear();
        Ok(())
    }

    /// Kills a replica while it types. How many of its changes had been reported durable: that is counted after its
    /// death, since reports may still lie in the pipe.
    pub(crate) async fn kill(&mut self, fleet: &mut Fleet, replica: usize) -> Result<usize, CliError> {
        let killed = fleet.kill_and_restart(replica).await?;
        let mut durable = 0;
        for job in self.jobs.iter_mut().filter(|job| job.replica == replica) {
            if let Some((_, asked)) = job.running.take() {
                job.done += killed.durable(asked.id);
            }
            durable += job.done;
        }
        Ok(durable)
    }

    /// How many words a replica has typed in all documents, as far as is known here.
    pub(crate) fn words(&self, replica: usize) -> usize {
        self.jobs.iter().filter(|job| job.replica == replica).map(|job| job.done).sum()
    }

    /// Looks into a replica's documents how far it has come; it goes on from there. How many of the changes that were
    /// reported durable are missing.
    pub(crate) async fn look_again(&mut self, fleet: &Fleet, replica: usize) -> Result<usize, CliError> {
        let mut lost = 0;
        for job in self.jobs.iter_mut().filter(|job| job.replica == replica) {
            let parts = fleet.read(replica, &job.document).await?;
            let present = self.manuscript.present(&job.words, &parts);
            lost += job.done.saturating_sub(present);
            job.done = present;
        }
        Ok(lost)
    }
}
