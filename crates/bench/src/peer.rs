//! samod, which is no part of the repository's workspace: its program is built when it is wanted, and asked.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde::{Deserialize, de::DeserializeOwned};

type Failure = Box<dyn std::error::Error>;

/// How a figure that stands beside samod's is asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct BesideSamod {
    /// Also print the figures as one line of JSON, the last one.
    #[arg(long)]
    pub(crate) json: bool,
    /// Without samod, which has to be built.
    #[arg(long)]
    pub(crate) alone: bool,
}

/// What samod's program prints of work that is timed once.
#[derive(Debug, Deserialize)]
pub(crate) struct Seconds {
    pub(crate) seconds: f64,
}

/// A program of a crate beside this one.
pub(crate) struct Peer(PathBuf);

impl Peer {
    /// Builds the crate in this folder, with its own lock file and target folder.
    ///
    /// # Errors
    /// When it cannot be built: its crates may not be reachable.
    pub(crate) fn build(folder: &str, program: &str) -> Result<Self, Failure> {
        let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let here = std::env::current_exe()?;
        let target = here.ancestors().nth(2).ok_or("this program lies nowhere")?.join("peers");
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.args(["build", "--release", "--locked", "--quiet", "--target-dir"]).arg(&target);
        match build.current_dir(&crate_folder).status() {
            Ok(status) if status.success() => Ok(Self(target.join("release").join(program))),
            Ok(status) => Err(format!("crates/bench/{folder} was not built: {status}").into()),
            Err(error) => Err(format!("crates/bench/{folder} was not built: {error}").into()),
        }
    }

    /// samod's, unless it is left out.
    pub(crate) fn samod(alone: bool) -> Option<Self> {
        let built = if alone { Err("left out".into()) } else { Self::build("samod", "partita-bench-samod") };
        built.inspect_err(|why| println!("samod: {why}")).ok()
    }

    /// Runs the program, and reads the JSON that it prints.
    ///
    /// # Errors
    /// When it fails, with what it says.
    pub(crate) fn ask<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T, Failure> {
        let answer = Command::new(&self.0).args(arguments).output()?;
        if !answer.status.success() {
            return Err(String::from_utf8_lossy(&answer.stderr).trim().to_owned().into());
        }
        Ok(serde_json::from_slice(&answer.stdout)?)
    }
}
