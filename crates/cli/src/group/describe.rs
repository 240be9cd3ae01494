//! What happened in a group, in words.

use std::time::Duration;

use partita::group::{Action, History, Membership, Role, Terms, Uses};

use super::pick::short;

pub(crate) fn role(role: Option<Role>) -> String {
    role.map_or_else(|| "none".into(), |role| role.to_string())
}

pub(crate) fn history(history: History) -> &'static str {
    match history {
        History::All => "all",
        History::FromNow => "from-now",
    }
}

pub(crate) fn membership(membership: Membership) -> &'static str {
    match membership {
        Membership::Active => "active",
        Membership::Pending => "pending",
        Membership::Suspended => "suspended",
        _ => "another state", // of a later version
    }
}

pub(crate) fn terms(terms: &Terms) -> String {
    let uses = if terms.uses == Uses::Many { ", any number of times" } else { "" };
    let expires = terms.expires.map(|end| format!(", until {}", utc(Duration::from_secs(end)))).unwrap_or_default();
    format!("role {}, history {}{uses}{expires}", terms.role, history(terms.history))
}

pub(crate) fn action(action: &Action) -> String {
    match action {
        Action::Created { founders } => format!("founded the group with {} as admin", list(founders)),
        Action::Added { member, role, history: past } => {
            format!("added {} (role {role}, history {})", short(member), history(*past))
        }
        Action::Removed { member } => format!("removed {}", short(member)),
        Action::RoleSet { member, role } => format!("gave {} the role {role}", short(member)),
        Action::DeviceAdded { member, device } => format!("added the device {} of {}", short(device), short(member)),
        Action::DeviceRemoved { device } => format!("removed the device {}", short(device)),
        Action::DeclaredDormant { device } => format!("declared the device {} dormant", short(device)),
        Action::DeviceKeyChanged => "changed its device's key".into(),
        Action::Rotated { epoch } => format!("began the key {}", short(epoch.0)),
        Action::Invited { invitation, terms: offered } => {
            format!("made the invitation {} ({})", short(invitation), terms(offered))
        }
        Action::InvitationRevoked { invitation } => format!("ended the invitation {}", short(invitation)),
        Action::Joined { invitation, .. } => format!("joined by the invitation {}", short(invitation)),
        Action::Confirmed { device } => format!("confirmed {}", short(device)),
        Action::Refused { device } => format!("did not admit {}", short(device)),
        Action::Left => "left".into(),
        Action::Vouched { entries } => format!("vouched for {entries} entries that a removal cut off"),
        Action::Renamed => "named the group".into(),
        _ => "did something that this version does not know".into(),
    }
}

fn list(ids: &[partita::group::MemberId]) -> String {
    ids.iter().map(short).collect::<Vec<_>>().join(", ")
}

/// A moment since 1970, as people write it, without seconds.
pub(crate) fn utc(since: Duration) -> String {
    let (days, rest) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", rest / 3600, rest / 60 % 60)
}

/// The year, month and day so many days after 1970-01-01. Years are counted from March: the leap day is their last.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // since 0000-03-01
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_the_calendar_has_them() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_399, "2000-02-28 23:59 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (951_868_800, "2000-03-01 00:00 UTC"),
            (1_798_761_599, "2026-12-31 23:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00 UTC"),
        ] {
            assert_eq!(utc(Duration::from_secs(seconds)), text);
        }
    }
}
