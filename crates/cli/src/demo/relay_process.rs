//! The demonstration's relay: `partita relay`, as anybody would run it.

use std::{path::Path, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use crate::error::CliError;

/// A running relay. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct RelayProcess {
    /// The process, for as long as it is to run.
    _child: Child,
    /// `127.0.0.1:port`.
    pub(crate) address: String,
    /// The relay's id, which devices pin.
    pub(crate) id: String,
}

impl RelayProcess {
    pub(crate) async fn start(store: &Path) -> Result<Self, CliError> {
        let program = std::env::current_exe().map_err(CliError::io("cannot find this program's own file"))?;
        let mut child = Command::new(program)
            .args(["relay", "--listen", "127.0.0.1:0", "--max-connections", "256", "--store"])
            .arg(store)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(CliError::io("cannot start the relay's process"))?;
        let silent = || CliError::Replica { name: "relay".into(), reason: "it ended without saying its URL".into() };
        let output = child.stdout.take().ok_or_else(silent)?;
        let line =
            BufReader::new(output).lines().next_line().await.map_err(CliError::io("cannot read the relay's URL"));
        let url = line?.ok_or_else(silent)?;
        let (address, id) = url.strip_prefix("ws://").and_then(|rest| rest.split_once('#')).ok_or_else(silent)?;
        Ok(Self { address: address.into(), id: id.into(), _child: child })
    }
}
