//! Who is in the group, and how it came to be so.

use partita::group::{Group, GroupError, HistoryItem, InvitationInfo, MemberInfo};
use serde::Serialize;

use super::{
    Place, ask,
    describe::{self, utc},
    pick::short,
    session::{Heard, Session},
};
use crate::{error::CliError, progress::Progress, table::table};

/// The group as this device knows it.
#[derive(Debug, Serialize)]
struct Sight {
    group: String,
    name: Option<String>,
    device: String,
    /// The member whose device this is.
    you: String,
    /// Whether this device is in the group no more, as far as it or the relay knows.
    removed: bool,
    /// Whether the relay was asked, and what is here is all that it has.
    current: bool,
    members: Vec<MemberRow>,
    waiting: Vec<Waiting>,
    invitations: Vec<OpenInvitation>,
}

#[derive(Debug, Serialize)]
struct MemberRow {
    member: String,
    you: bool,
    role: String,
    history: &'static str,
    state: &'static str,
    devices: Vec<String>,
    /// Those of them for which nobody waits.
    dormant: Vec<String>,
}

/// A device that waits for a decision, and the invitation that it used.
#[derive(Debug, Serialize)]
struct Waiting {
    device: String,
    invitation: String,
}

#[derive(Debug, Serialize)]
struct OpenInvitation {
    invitation: String,
    terms: String,
    role: String,
    /// The member whose further device it is for.
    device_of: Option<String>,
    /// In seconds since 1970.
    expires: Option<u64>,
}

pub(crate) async fn run(place: &Place, json: bool, progress: &Progress) -> Result<bool, CliError> {
    let session = Session::open(place, progress).await?;
    let heard = session.heard().clone();
    let mut sight = session.ask(|group, _| Sight::of(group)).await?;
    // An admin's device may have confirmed somebody by itself: that should get out.
    let delivered = session.finish().await?;
    sight.removed |= matches!(heard, Heard::Refused(partita::core::Refusal::Revoked));
    sight.current = heard == Heard::Everything;
    if json {
        println!("{}", to_json(&sight)?);
    } else {
        print!("{}", sight.text());
    }
    ask::warn(&heard);
    Ok(!matches!((heard, delivered), (Heard::Silence(_), _) | (_, Heard::Silence(_))))
}

impl Sight {
    fn of(group: &Group) -> Self {
        let me = group.member();
        Self {
            group: group.context().to_string(),
            name: group.name(),
            device: group.device().to_string(),
            you: me.to_string(),
            removed: group.status().why_not == Some(GroupError::Removed),
            current: false,
            members: group.members().iter().map(|member| MemberRow::of(member, member.id == me)).collect(),
            waiting: group.waiting().into_iter().map(Waiting::of).collect(),
            invitations: group.invitations().iter().map(OpenInvitation::of).collect(),
        }
    }

    fn text(&self) -> String {
        let name = self
            .name
            .as_deref()
            .map_or_else(|| "a group whose name cannot be read here".into(), |name| format!("{name:?}"));
        let mut text = format!("{name}  {}\n", self.group);
        if self.removed {
            text += "You are not in this group any more.\n";
        }
        let head = ["member", "role", "history", "state", "devices"].map(str::to_owned);
        let rows = self.members.iter().map(MemberRow::cells);
        text += &format!("\n{}", table(&std::iter::once(head.to_vec()).chain(rows).collect::<Vec<_>>(), &[]));
        for waiting in &self.waiting {
            let (device, invitation) = (short(&waiting.device), short(&waiting.invitation));
            text += &format!(
                "\n{device} joined by the invitation {invitation} and waits for an admin, who confirms or refuses it."
            );
        }
        for open in &self.invitations {
            let whom = open
                .device_of
                .as_ref()
                .map_or_else(String::new, |member| format!(" for a device of {}", short(member)));
            text += &format!("\nopen invitation {}{whom}: {}", short(&open.invitation), open.terms);
        }
        if !self.waiting.is_empty() || !self.invitations.is_empty() {
            text.push('\n');
        }
        text
    }
}

impl MemberRow {
    fn of(member: &MemberInfo, you: bool) -> Self {
        Self {
            member: member.id.to_string(),
            you,
            role: describe::role(member.role),
            history: describe::history(member.history),
            state: describe::membership(member.membership),
            devices: member.devices.iter().map(ToString::to_string).collect(),
            dormant: member.dormant.iter().map(ToString::to_string).collect(),
        }
    }

    fn cells(&self) -> Vec<String> {
        let you = if self.you { " (you)" } else { "" };
        let device =
            |id: &String| format!("{}{}", short(id), if self.dormant.contains(id) { " (dormant)" } else { "" });
        let devices = self.devices.iter().map(device).collect::<Vec<_>>().join(" ");
        vec![
            format!("{}{you}", short(&self.member)),
            self.role.clone(),
            self.history.into(),
            self.state.into(),
            devices,
        ]
    }
}

impl Waiting {
    fn of((device, invitation): (partita::core::ReplicaId, partita::core::ReplicaId)) -> Self {
        Self { device: device.to_string(), invitation: invitation.to_string() }
    }
}

impl OpenInvitation {
    fn of(open: &InvitationInfo) -> Self {
        Self {
            invitation: open.id.to_string(),
            terms: describe::terms(&open.terms),
            role: open.terms.role.to_string(),
            device_of: open.member.map(|member| member.to_string()),
            expires: open.terms.expires,
        }
    }
}

/// One step, with whole ids.
#[derive(Debug, Serialize)]
struct Step {
    time: String,
    device: String,
    entry: String,
    what: String,
    counts: bool,
}

impl Step {
    fn of(item: &HistoryItem) -> Self {
        Self {
            time: utc(item.time.to_duration()),
            device: item.device.to_string(),
            entry: item.entry.to_string(),
            what: describe::action(&item.action),
            counts: item.counts,
        }
    }

    fn cells(&self) -> Vec<String> {
        let counts = if self.counts { "" } else { "does not count" };
        vec![self.time.clone(), short(&self.device), self.what.clone(), counts.into()]
    }
}

pub(crate) async fn history(place: &Place, json: bool, progress: &Progress) -> Result<bool, CliError> {
    let session = Session::open(place, progress).await?;
    let heard = session.heard().clone();
    let items = session.ask(|group, _| group.history()).await?;
    let delivered = session.finish().await?;
    let steps: Vec<Step> = items.iter().map(Step::of).collect();
    if json {
        println!("{}", to_json(&steps)?);
    } else {
        let head = ["when, by its own clock", "device", "what it did", ""].map(str::to_owned);
        let rows = steps.iter().map(Step::cells);
        print!("{}", table(&std::iter::once(head.to_vec()).chain(rows).collect::<Vec<_>>(), &[]));
    }
    ask::warn(&heard);
    Ok(!matches!((heard, delivered), (Heard::Silence(_), _) | (_, Heard::Silence(_))))
}

fn to_json<T: Serialize>(value: &T) -> Result<String, CliError> {
    serde_json::to_string(value).map_err(|error| CliError::io("the result")(error.into()))
}
