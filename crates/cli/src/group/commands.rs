//! The commands that change something.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use partita::{
    EngineEvent, RelayUrl, SystemRandom,
    core::ContextId,
    group::{Action, Group, History, Invitation, MemberInfo, Membership, Policy, Role, Terms, Uses},
};
use tokio::{sync::broadcast::error::RecvError, time::timeout};

use super::{
    Place, ask,
    describe::role,
    pick::{pick, short},
    session::{Heard, Session, group_of, keystore_or_new},
};
use crate::{error::CliError, progress::Progress};

const DAY: u64 = 24 * 60 * 60;

pub(crate) fn policy(confirm_by_hand: bool, pad: bool, rotate_after: Option<u64>) -> Policy {
    let policy = Policy::default().confirm_by_hand(confirm_by_hand).pad(pad);
    match rotate_after {
        Some(days) => policy.rotate_after(Duration::from_secs(days * DAY)),
        None => policy,
    }
}

pub(crate) fn terms(role: Role, history: History, many: bool, expires: Option<u64>) -> Terms {
    let terms = Terms::new(role).history(history).uses(if many { Uses::Many } else { Uses::Once });
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    expires.map_or(terms, |days| terms.expires(now + days * DAY))
}

pub(crate) async fn create(place: &Place, name: &str, policy: Policy, progress: &Progress) -> Result<bool, CliError> {
    let keystore = keystore_or_new(place)?;
    if let Some(group) = group_of(&keystore)? {
        return Err(CliError::OtherGroup { store: place.store.clone(), group });
    }
    let group = Group::create(keystore, &mut SystemRandom, name, policy)?;
    // Nothing of it can be at the relay: there is nothing to wait for before it is brought.
    let session = Session::begin(group, place.relay.clone(), place, progress).await?;
    let (context, device) = (session.context(), session.device());
    let delivered = session.finish().await?;
    println!("group   {context}\ndevice  {device}");
    Ok(ask::report(&format!("The group {name:?} is founded, and you are its admin."), &delivered))
}

/// With these terms, or for a device of one's own.
pub(crate) async fn invite(place: &Place, terms: Option<Terms>, progress: &Progress) -> Result<bool, CliError> {
    let session = Session::open(place, progress).await?;
    let invitation = session
        .decide(move |group, turn| match terms {
            Some(terms) => group.invite(turn, terms),
            None => group.invite_device(turn),
        })
        .await?;
    let invitation = match &place.relay {
        Some(url) => invitation.at(url.to_string()),
        None => invitation,
    };
    // The text is worth nothing before the entry is stored: it is printed last.
    let delivered = session.finish().await?;
    println!("{}", *invitation.text());
    Ok(ask::report(
        &format!("Whoever has this text can join; it is the invitation {}.", short(invitation.id())),
        &delivered,
    ))
}

pub(crate) async fn join(place: &Place, text: &str, progress: &Progress) -> Result<bool, CliError> {
    let invitation = ask::invitation(text)?;
    let relay = match (&place.relay, invitation.relay()) {
        (Some(relay), _) => relay.clone(),
        (None, Some(url)) => url.parse::<RelayUrl>().map_err(partita::OpenError::from)?,
        (None, None) => return Err(CliError::NoRelay),
    };
    let keystore = keystore_or_new(place)?;
    // Somebody may try again what was interrupted.
    let group = match group_of(&keystore)? {
        // Whoever left, or was removed, comes back by another invitation; whoever is in stays in.
        Some(group) if group == invitation.context() => Group::join(keystore, &mut SystemRandom, &invitation)?,
        Some(group) => return Err(CliError::OtherGroup { store: place.store.clone(), group }),
        None => Group::join(keystore, &mut SystemRandom, &invitation)?,
    };
    let session = Session::begin(group, Some(relay), place, progress).await?;
    if let Heard::Refused(why) = session.heard() {
        let why = *why;
        session.finish().await?;
        return Err(CliError::InvitationRefused(why));
    }
    let me = own_membership(&session, place.limit(), progress).await?;
    let (name, promised) = session.ask(move |group, _| (group.name(), promised(group, &invitation))).await?;
    let (context, device) = (session.context(), session.device());
    let delivered = session.finish().await?;
    let Some(me) = me else {
        ask::report("This device is not in the group yet: run the same command again.", &delivered);
        return Ok(false);
    };
    println!("group   {context}\ndevice  {device}\nmember  {}", me.id);
    Ok(ask::report(&welcome(context, name, &me, promised), &delivered))
}

/// Waits until this device is a member's, which it makes itself by accepting.
async fn own_membership(
    session: &Session<'_>,
    limit: Duration,
    progress: &Progress,
) -> Result<Option<MemberInfo>, CliError> {
    let spinner = progress.spinner("joining");
    let (mut events, device) = (session.events(), session.device());
    let joined = async {
        loop {
            let mine = move |member: &MemberInfo| member.devices.contains(&device);
            if let Some(me) = session.ask(move |group, _| group.members().into_iter().find(mine)).await? {
                return Ok(Some(me));
            }
            match events.recv().await {
                Ok(EngineEvent::ContextRefused { why, .. }) => return Err(CliError::InvitationRefused(why)),
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Ok(None),
            }
        }
    };
    let me = timeout(limit, joined).await.unwrap_or(Ok(None));
    spinner.finish_and_clear();
    me
}

/// The role that an invitation names.
fn promised(group: &Group, invitation: &Invitation) -> Option<Role> {
    group.history().into_iter().find_map(|item| match item.action {
        Action::Invited { invitation: id, terms } if id == invitation.id() => Some(terms.role),
        _ => None,
    })
}

fn welcome(context: ContextId, name: Option<String>, me: &MemberInfo, promised: Option<Role>) -> String {
    let name = name.map_or_else(|| short(context), |name| format!("{name:?}"));
    match me.membership {
        Membership::Active => format!("You are in the group {name}, with the role {}.", role(me.role)),
        Membership::Suspended => format!(
            "Somebody else used the same invitation to the group {name}: nobody who did is in before an admin decides."
        ),
        _ => format!(
            "You are in the group {name}, with the role {} until an admin's device confirms you; then it is {}.",
            role(me.role),
            role(promised)
        ),
    }
}

pub(crate) async fn decide(place: &Place, device: String, admit: bool, progress: &Progress) -> Result<bool, CliError> {
    let session = Session::open(place, progress).await?;
    let waiting = session.ask(|group, _| group.waiting()).await?;
    let device = pick("device that waits for a decision", &device, waiting.into_iter().map(|(device, _)| device))?;
    let decide = move |group: &mut Group, turn: &mut partita::core::Turn<'_>| match admit {
        true => group.confirm(turn, device),
        false => group.refuse(turn, device),
    };
    session.decide(decide).await?;
    let done = if admit { "is confirmed" } else { "is not admitted" };
    Ok(ask::report(&format!("{} {done}.", short(device)), &session.finish().await?))
}

pub(crate) async fn set_role(place: &Place, member: String, role: Role, progress: &Progress) -> Result<bool, CliError> {
    let session = Session::open(place, progress).await?;
    let members = session.ask(|group, _| group.members()).await?;
    let member = pick("member", &member, members.into_iter().map(|member| member.id))?;
    session.decide(move |group, turn| group.set_role(turn, member, role)).await?;
    Ok(ask::report(&format!("{} has the role {role}.", short(member)), &session.finish().await?))
}

pub(crate) async fn remove(place: &Place, member: String, progress: &Progress) -> Result<bool, CliError> {
    let session = Session::open(place, progress).await?;
    let members = session.ask(|group, _| group.members()).await?;
    let member = pick("member", &member, members.into_iter().map(|member| member.id))?;
    session.decide(move |group, turn| group.remove(turn, member)).await?;
    Ok(ask::report(&format!("{} is removed.", short(member)), &session.finish().await?))
}

pub(crate) async fn remove_device(place: &Place, device: String, progress: &Progress) -> Result<bool, CliError> {
    let session = Session::open(place, progress).await?;
    let members = session.ask(|group, _| group.members()).await?;
    let device = pick("device", &device, members.into_iter().flat_map(|member| member.devices))?;
    session.decide(move |group, turn| group.remove_device(turn, device)).await?;
    Ok(ask::report(&format!("The device {} is removed.", short(device)), &session.finish().await?))
}

pub(crate) async fn declare_dormant(place: &Place, device: String, progress: &Progress) -> Result<bool, CliError> {
    let session = Session::open(place, progress).await?;
    let members = session.ask(|group, _| group.members()).await?;
    let device = pick("device", &device, members.into_iter().flat_map(|member| member.devices))?;
    session.decide(move |group, turn| group.declare_dormant(turn, device)).await?;
    let done = format!("Nobody waits for the device {} until it is back.", short(device));
    Ok(ask::report(&done, &session.finish().await?))
}

pub(crate) async fn leave(place: &Place, progress: &Progress) -> Result<bool, CliError> {
    let session = Session::open(place, progress).await?;
    session.decide(Group::leave).await?;
    Ok(ask::report("You left the group.", &session.finish().await?))
}

pub(crate) async fn rotate(place: &Place, progress: &Progress) -> Result<bool, CliError> {
    let session = Session::open(place, progress).await?;
    session.decide(Group::rotate).await?;
    Ok(ask::report("What is written from now on is sealed with a new key.", &session.finish().await?))
}

pub(crate) async fn revoke(place: &Place, invitation: String, progress: &Progress) -> Result<bool, CliError> {
    let session = Session::open(place, progress).await?;
    let open = session.ask(|group, _| group.invitations()).await?;
    let invitation = pick("open invitation", &invitation, open.into_iter().map(|open| open.id))?;
    session.decide(move |group, turn| group.revoke_invitation(turn, invitation)).await?;
    Ok(ask::report(&format!("The invitation {} is ended.", short(invitation)), &session.finish().await?))
}
