//! A relay, replicas and their cables.

use std::{path::PathBuf, time::Duration};

use tokio::sync::watch;

use super::{
    cable::Cable,
    process::{News, Process},
    relay_process::RelayProcess,
    wire::{Answer, Ask, Crdt, Status},
};
use crate::error::CliError;

/// How long replicas may take to agree.
const AGREEMENT: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Fleet {
    folder: PathBuf,
    names: &'static [&'static str],
    pub(crate) relay: RelayProcess,
    pub(crate) cables: Vec<Cable>,
    pub(crate) replicas: Vec<Process>,
    news: News,
}

impl Fleet {
    /// Starts the relay and the replicas; none of them belongs to anybody yet.
    pub(crate) async fn start(folder: PathBuf, names: &'static [&'static str]) -> Result<Self, CliError> {
        let relay = RelayProcess::start(&folder.join("relay.partita")).await?;
        let news = News::new(0);
        let mut fleet = Self { folder, names, relay, cables: Vec::new(), replicas: Vec::new(), news };
        for name in names {
            fleet.cables.push(Cable::plug_in(fleet.relay.address.clone()).await?);
            fleet.replicas.push(fleet.process(name)?);
        }
        Ok(fleet)
    }

    pub(crate) fn relay_store(&self) -> PathBuf {
        self.folder.join("relay.partita")
    }

    fn process(&self, name: &'static str) -> Result<Process, CliError> {
        Process::start(name, &self.folder.join(format!("{name}.partita")), self.news.clone())
    }

    /// Makes the first replica an owner's first device and certifies the others, as a person would: by carrying words and
    /// texts from one to the other.
    pub(crate) async fn enrol(&self) -> Result<(), CliError> {
        let (first, others) = self.replicas.split_first().ok_or_else(|| CliError::Change("no replicas".into()))?;
        let words = first.text(Ask::Found).await?;
        for other in others {
            let request = other.text(Ask::Request).await?;
            let certificate = first.text(Ask::Certify { words: words.clone(), request }).await?;
            other.ask(Ask::Accept { certificate }).await?;
        }
        Ok(())
    }

    /// Opens a replica's engine on its files, with a connection through its cable.
    pub(crate) async fn open(&self, replica: usize) -> Result<(), CliError> {
        self.replicas[replica].text(Ask::Open { connect: Some(self.url(replica)) }).await.map(drop)
    }

    /// The relay's URL at the end of a replica's cable.
    pub(crate) fn url(&self, replica: usize) -> String {
        format!("ws://{}#{}", self.cables[replica].address(), self.relay.id)
    }

    /// Closes a replica in good order. Another process waits on the same files, with nothing open.
    pub(crate) async fn send_away(&mut self, replica: usize) -> Result<(), CliError> {
        let waiting = self.process(self.names[replica])?;
        std::mem::replace(&mut self.replicas[replica], waiting).close().await
    }

    /// Kills a replica's process and starts another on the same files. Its engine is not open yet.
    /// What the killed one had said can still be asked of what is handed back.
    pub(crate) async fn kill_and_restart(&mut self, replica: usize) -> Result<Process, CliError> {
        // The old one must be gone first: it holds the lock of its store.
        self.replicas[replica].kill().await?;
        let restarted = self.process(self.names[replica])?;
        Ok(std::mem::replace(&mut self.replicas[replica], restarted))
    }

    /// Waits until something holds: looks whenever any replica said anything, until the time is over.
    pub(crate) async fn wait_until(&self, limit: Duration, holds: impl Fn(&Self) -> bool) -> bool {
        let mut news: watch::Receiver<u64> = self.news.subscribe();
        let wait = async {
            while !holds(self) {
                if news.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(limit, wait).await.is_ok()
    }

    /// Waits until something holds that only the replicas can tell: asks whenever any of them said anything. Whether it came
    /// to hold.
    pub(crate) async fn wait_for(
        &self,
        limit: Duration,
        mut holds: impl AsyncFnMut(&Self) -> Result<bool, CliError>,
    ) -> Result<bool, CliError> {
        let mut news = self.news.subscribe();
        let wait = async {
            loop {
                news.mark_unchanged(); // what is said from here on makes it ask again
                if holds(self).await? {
                    return Ok(true);
                }
                if news.changed().await.is_err() {
                    return Ok(false);
                }
            }
        };
        tokio::time::timeout(limit, wait).await.unwrap_or(Ok(false))
    }

    /// The digests of each replica's documents.
    pub(crate) async fn digests(&self) -> Result<Vec<Vec<(String, String)>>, CliError> {
        let mut all = Vec::new();
        for replica in &self.replicas {
            match replica.ask(Ask::Digests).await? {
                Answer::Digests(digests) => all.push(digests),
                other => return Err(replica.strange(&other)),
            }
        }
        Ok(all)
    }

    /// Waits until all replicas show the same; whether they do.
    pub(crate) async fn agree(&self) -> Result<bool, CliError> {
        let equal = async |fleet: &Self| Ok(fleet.digests().await?.windows(2).all(|pair| pair[0] == pair[1]));
        self.wait_for(AGREEMENT, equal).await
    }

    pub(crate) async fn read(&self, replica: usize, document: &str) -> Result<Vec<String>, CliError> {
        match self.replicas[replica].ask(Ask::Read { document: document.into() }).await? {
            Answer::Parts(parts) => Ok(parts),
            other => Err(self.replicas[replica].strange(&other)),
        }
    }

    pub(crate) async fn status(&self, replica: usize) -> Result<Status, CliError> {
        match self.replicas[replica].ask(Ask::Status).await? {
            Answer::Status(status) => Ok(status),
            other => Err(self.replicas[replica].strange(&other)),
        }
    }

    /// Opens both documents on a replica, as soon as they are there.
    pub(crate) async fn get(&self, replica: usize, documents: &[(Crdt, String)]) -> Result<(), CliError> {
        for (crdt, document) in documents {
            self.replicas[replica].text(Ask::Get { crdt: *crdt, document: document.clone() }).await?;
        }
        Ok(())
    }

    /// Closes all engines, then the relay.
    pub(crate) async fn close(self) -> Result<(), CliError> {
        for replica in self.replicas {
            replica.close().await?;
        }
        Ok(())
    }
}
