//! One replica as a process of its own. It obeys lines on its standard input, and ends with it.

mod device;
mod paper;
mod steady;
mod typing;

use std::{io::Write as _, path::PathBuf, sync::Arc};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    sync::mpsc,
};

use self::device::Device;
use super::wire::{Answer, Ask, Line, Request};
use crate::error::CliError;

/// Which replica this is.
#[derive(Debug, clap::Args)]
pub(crate) struct ReplicaArgs {
    /// The redb file; its keys are beside it (FILE.key).
    #[arg(long)]
    store: PathBuf,
}

/// Obeys until it is told to close, or standard input ends: then nobody is there any more who could.
pub(crate) async fn run(args: ReplicaArgs) -> Result<bool, CliError> {
    let said = start_saying()?;
    let device = Arc::new(Device::new(args.store, said.clone()));
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await.map_err(CliError::io("cannot read standard input"))? {
        let request: Request = serde_json::from_str(&line).map_err(|error| CliError::Replica {
            name: "input".into(),
            reason: format!("a line is no request ({error})"),
        })?;
        if matches!(request.ask, Ask::Close) {
            let closed = device.close().await;
            said.say(answer(request.id, closed.map(|()| Answer::Done)));
            said.flushed().await;
            return Ok(true);
        }
        let (device, said) = (device.clone(), said.clone());
        tokio::spawn(async move {
            let result = device.obey(request.id, request.ask).await;
            said.say(answer(request.id, result));
        });
    }
    device.close().await?;
    Ok(true)
}

fn answer(id: u64, result: Result<Answer, CliError>) -> Line {
    match result {
        Ok(answer) => Line::Answer { id, answer },
        Err(error) => Line::Failure { id, reason: error.to_string() },
    }
}

/// Says lines on standard output, whole and in order.
#[derive(Debug, Clone)]
pub(crate) struct Said(mpsc::UnboundedSender<Say>);

enum Say {
    Line(Line),
    Flushed(tokio::sync::oneshot::Sender<()>),
}

impl Said {
    pub(crate) fn say(&self, line: Line) {
        // It is gone when standard output is closed: nobody listens.
        let _ = self.0.send(Say::Line(line));
    }

    async fn flushed(&self) {
        let (done, wait) = tokio::sync::oneshot::channel();
        let _ = self.0.send(Say::Flushed(done));
        let _ = wait.await;
    }
}

/// A thread of its own: a full pipe must not hold up the engine.
fn start_saying() -> Result<Said, CliError> {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let write = move || {
        let mut out = std::io::stdout().lock();
        while let Some(say) = receiver.blocking_recv() {
            let written = match say {
                Say::Line(line) => serde_json::to_string(&line)
                    .map_err(std::io::Error::from)
                    .and_then(|line| writeln!(out, "{line}"))
                    .and_then(|()| out.flush()),
                Say::Flushed(done) => {
                    let _ = done.send(());
                    Ok(())
                }
            };
            if written.is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("says".into()).spawn(write).map_err(CliError::io("cannot start a thread"))?;
    Ok(Said(sender))
}
