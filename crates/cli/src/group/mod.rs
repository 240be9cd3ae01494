//! `partita group`: people who share a context, from the command line.
//!
//! Each command opens the store, hears what the relay has, does one thing, waits until the relay holds it, and closes. What
//! cannot reach the relay is stored and goes out at the next run.

mod ask;
mod commands;
mod describe;
mod members;
mod pick;
mod session;

use std::{path::PathBuf, time::Duration};

use clap::Subcommand;
use partita::{
    RelayUrl,
    group::{History, Role},
};

pub(crate) use self::{describe::role, pick::short};
use crate::{error::CliError, progress::Progress};

/// Found a group, invite people, and decide who may do what.
#[derive(Debug, clap::Args)]
pub(crate) struct GroupArgs {
    #[command(subcommand)]
    command: GroupCommand,
}

/// Where the group lies, and how it is reached.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Place {
    /// The redb file of this device; its keys are beside it (FILE.key). One file belongs to one group.
    #[arg(long, value_name = "FILE")]
    store: PathBuf,
    /// The relay's URL, with its id after the #, as the relay prints it. Without one, nothing leaves this device.
    #[arg(long, value_name = "URL")]
    relay: Option<RelayUrl>,
    /// How long to wait for the relay, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=3600))]
    wait: u64,
}

impl Place {
    fn limit(&self) -> Duration {
        Duration::from_secs(self.wait)
    }
}

#[derive(Debug, Subcommand)]
enum GroupCommand {
    /// Found a group, with this device's owner as its only member.
    Create {
        /// What people call it. Nobody outside reads it.
        name: String,
        /// Whoever joins by an invitation waits until an admin decides; otherwise any admin's device confirms by itself.
        #[arg(long)]
        confirm_by_hand: bool,
        /// Pad what is written: a relay sees only roughly how long it is.
        #[arg(long)]
        pad: bool,
        /// Change the key once it is so old, beside every time that somebody goes.
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u64).range(1..=36_500))]
        rotate_after: Option<u64>,
        #[command(flatten)]
        place: Place,
    },
    /// Print an invitation. Whoever has the text can join: hand it over as you would hand over a key.
    Invite {
        /// What the newcomer may do once it is confirmed: relay, read, write or admin.
        #[arg(long, default_value_t = Role::Write)]
        role: Role,
        /// What of the past the newcomer may read.
        #[arg(long, value_enum, default_value_t)]
        history: Past,
        /// It can be used any number of times, until it is revoked or expires.
        #[arg(long)]
        many: bool,
        /// After so many days it ends.
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u64).range(1..=36_500))]
        expires: Option<u64>,
        /// It is for one more device of yours, with what you may do yourself.
        #[arg(long, conflicts_with_all = ["role", "history", "many", "expires"])]
        device: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Join by an invitation, and wait until this device is in.
    Join {
        /// The invitation's text; - reads it from standard input, where no list of processes shows it.
        invitation: String,
        #[command(flatten)]
        place: Place,
    },
    /// Show who is in, who waits, and which invitations are open.
    Members {
        /// As JSON, with whole ids.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Admit a device that joined by an invitation.
    Confirm {
        /// The device, or how its id begins.
        device: String,
        #[command(flatten)]
        place: Place,
    },
    /// Do not admit a device that joined by an invitation.
    Refuse {
        /// The device, or how its id begins.
        device: String,
        #[command(flatten)]
        place: Place,
    },
    /// Change what a member may do.
    Role {
        /// The member, or how its id begins.
        member: String,
        /// relay, read, write or admin.
        role: Role,
        #[command(flatten)]
        place: Place,
    },
    /// Shut somebody out. What was readable stays read; what is written from now on is closed to it.
    Remove {
        /// The member, or how its id begins.
        member: String,
        /// It is a device, not a member: one that was lost, say. Its member stays.
        #[arg(long)]
        device: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Say that nobody waits for a device until it is back: history is pruned without it. It loses nothing by that.
    Dormant {
        /// The device, or how its id begins.
        device: String,
        #[command(flatten)]
        place: Place,
    },
    /// Leave the group, with all your devices.
    Leave {
        #[command(flatten)]
        place: Place,
    },
    /// Begin a new key: what is written from now on is sealed with it.
    Rotate {
        #[command(flatten)]
        place: Place,
    },
    /// End an invitation.
    Revoke {
        /// The invitation's id, or how it begins.
        invitation: String,
        #[command(flatten)]
        place: Place,
    },
    /// Show who did what and when, and whether it counts.
    History {
        /// As JSON, with whole ids.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
}

/// What of the past a newcomer may read, as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum Past {
    /// Everything that was ever written.
    #[default]
    All,
    /// What is written from now on.
    FromNow,
}

impl From<Past> for History {
    fn from(past: Past) -> Self {
        match past {
            Past::All => Self::All,
            Past::FromNow => Self::FromNow,
        }
    }
}

/// Does what was asked; false when it is done here and the relay, though named, does not have it.
pub(crate) async fn run(args: GroupArgs, progress: &Progress) -> Result<bool, CliError> {
    use GroupCommand as C;
    match args.command {
        C::Create { name, confirm_by_hand, pad, rotate_after, place } => {
            let policy = commands::policy(confirm_by_hand, pad, rotate_after);
            commands::create(&place, &name, policy, progress).await
        }
        C::Invite { place, device: true, .. } => commands::invite(&place, None, progress).await,
        C::Invite { role, history, many, expires, place, .. } => {
            let terms = commands::terms(role, history.into(), many, expires);
            commands::invite(&place, Some(terms), progress).await
        }
        C::Join { invitation, place } => commands::join(&place, &invitation, progress).await,
        C::Members { json, place } => members::run(&place, json, progress).await,
        C::Confirm { device, place } => commands::decide(&place, device, true, progress).await,
        C::Refuse { device, place } => commands::decide(&place, device, false, progress).await,
        C::Role { member, role, place } => commands::set_role(&place, member, role, progress).await,
        C::Remove { member, device: false, place } => commands::remove(&place, member, progress).await,
        C::Remove { member, device: true, place } => commands::remove_device(&place, member, progress).await,
        C::Dormant { device, place } => commands::declare_dormant(&place, device, progress).await,
        C::Leave { place } => commands::leave(&place, progress).await,
        C::Rotate { place } => commands::rotate(&place, progress).await,
        C::Revoke { invitation, place } => commands::revoke(&place, invitation, progress).await,
        C::History { json, place } => members::history(&place, json, progress).await,
    }
}
