//! `partita group`: people share a group with nothing but this program and a relay. Every command is a process of its own,
//! so nobody but the relay runs between two of them.

#![allow(clippy::unwrap_used)] // in the helpers of a test

mod common;

use std::{
    io::Write as _,
    path::PathBuf,
    process::{Output, Stdio},
};

use common::{Relay, partita};
use serde_json::Value;
use tempfile::TempDir;

/// A folder with everybody's stores, and a relay.
struct Town {
    folder: TempDir,
    relay: Relay,
}

/// What a command came to.
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ended {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// It did what it was told.
    fn well(self) -> Self {
        assert_eq!(self.code, Some(0), "{}\n{}", self.out, self.err);
        self
    }

    /// It failed with this code, and said this.
    fn fails(self, code: i32, says: &[&str]) {
        assert_eq!(self.code, Some(code), "{}\n{}", self.out, self.err);
        for words in says {
            assert!(self.err.contains(words), "{:?} does not say {words:?}", self.err);
        }
    }
}

impl Town {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let relay = Relay::start("127.0.0.1:0", &folder.path().join("relay"));
        Self { folder, relay }
    }

    /// A town whose `ada` has founded a group.
    fn with_group(policy: &[&str]) -> Self {
        let town = Self::new();
        town.run("ada", &[&["create", "Garden"], policy].concat()).well();
        town
    }

    fn store(&self, who: &str) -> PathBuf {
        self.folder.path().join(who)
    }

    /// Somebody's command, without the relay.
    fn offline(&self, who: &str, command: &[&str]) -> Ended {
        let mut partita = partita();
        partita.arg("group").args(command).arg("--store").arg(self.store(who)).stdin(Stdio::null());
        Ended::of(partita.output().unwrap())
    }

    fn run(&self, who: &str, command: &[&str]) -> Ended {
        self.offline(who, &[command, &["--relay", &self.relay.url]].concat())
    }

    fn invite(&self, who: &str, terms: &[&str]) -> String {
        let invitation = self.run(who, &[&["invite"], terms].concat()).well().out;
        assert_eq!(invitation.lines().count(), 1, "the text alone is on standard output: {invitation}");
        invitation.trim_end().to_owned()
    }

    /// Joins with the text on standard input; where the relay is, the text says.
    fn join(&self, who: &str, invitation: &str) -> Ended {
        let mut partita = partita();
        partita.args(["group", "join", "-", "--store"]).arg(self.store(who));
        let mut child = partita.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        writeln!(child.stdin.take().unwrap(), "{invitation}").unwrap();
        Ended::of(child.wait_with_output().unwrap())
    }

    fn members(&self, who: &str) -> Value {
        serde_json::from_str(&self.run(who, &["members", "--json"]).well().out).unwrap()
    }

    /// Whom this device belongs to.
    fn id(&self, who: &str) -> String {
        let sight = self.offline(who, &["members", "--json"]).well().out;
        serde_json::from_str::<Value>(&sight).unwrap()["you"].as_str().unwrap().to_owned()
    }

    /// What somebody knows of a member: its role and its state.
    fn sees(&self, who: &str, whom: &str) -> Option<(String, String)> {
        let id = self.id(whom);
        let sight = self.members(who);
        let members = sight["members"].as_array().unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let found = members.iter().find(|member| member["member"] == id.as_str())?;
        Some((text(&found["role"]), text(&found["state"])))
    }

    /// Lets somebody in, with the role write, and has it confirmed.
    fn admit(&self, who: &str) {
        let invitation = self.invite("ada", &[]);
        self.join(who, &invitation).well();
        assert_eq!(self.sees("ada", who), Some(("write".into(), "active".into())));
    }
}

fn is(role: &str, state: &str) -> Option<(String, String)> {
    Some((role.into(), state.into()))
}

#[test]
fn somebody_joins_while_the_inviter_does_not_run_and_is_confirmed_when_it_runs_again() {
    let town = Town::with_group(&[]);
    let invitation = town.invite("ada", &[]);
    let joined = town.join("ben", &invitation).well();
    assert!(joined.err.contains("\"Garden\""), "it reads the group's name: {}", joined.err);
    assert!(joined.err.contains("the role read until") && joined.err.contains("then it is write"), "{}", joined.err);
    assert_eq!(town.sees("ben", "ben"), is("read", "pending"));

    assert_eq!(town.sees("ada", "ben"), is("write", "active"), "an admin's device confirms by itself");
    assert_eq!(town.sees("ben", "ben"), is("write", "active"));
    let table = town.run("ben", &["members"]).well().out;
    assert!(table.contains("\"Garden\"") && table.contains(&format!("{} (you)", &town.id("ben")[..8])), "{table}");
}

#[test]
fn whoever_is_removed_is_told_so_and_can_change_nothing_more() {
    let town = Town::with_group(&[]);
    town.admit("ben");
    let ben = town.id("ben");
    town.run("ada", &["remove", &ben[..6]]).well();
    assert_eq!(town.sees("ada", "ben"), None);

    let told = town.run("ben", &["members"]).well();
    assert!(told.out.contains("You are not in this group any more"), "{}", told.out);
    assert!(told.err.contains("this device was removed"), "{}", told.err);
    assert_eq!(town.members("ben")["removed"], true);
    town.run("ben", &["rotate"]).fails(3, &["removed from the group"]);
}

#[test]
fn where_admins_confirm_by_hand_a_newcomer_waits_until_one_confirms_or_refuses_it() {
    let town = Town::with_group(&["--confirm-by-hand"]);
    for who in ["ben", "cay"] {
        let invitation = town.invite("ada", &["--role", "admin"]);
        town.join(who, &invitation).well();
        assert_eq!(town.sees("ada", who), is("read", "pending"));
    }
    let (ben, cay) = (town.id("ben"), town.id("cay"));
    let waiting = town.run("ada", &["members"]).well().out;
    assert!(waiting.contains(&format!("{} joined by the invitation", &ben[..8])), "{waiting}");

    town.run("ada", &["confirm", &ben]).well();
    town.run("ada", &["refuse", &cay]).well();
    assert_eq!(town.sees("ben", "ben"), is("admin", "active"));
    assert_eq!(town.sees("ben", "cay"), None);
    town.run("ada", &["confirm", &cay])
        .fails(2, &["no device that waits for a decision begins with", "as far as is known here"]);
}

#[test]
fn roles_change_in_both_directions_and_only_admins_change_them() {
    let town = Town::with_group(&[]);
    town.admit("ben");
    let ben = town.id("ben");
    town.run("ada", &["role", &ben, "read"]).well();
    assert_eq!(town.sees("ben", "ben"), is("read", "active"));
    town.run("ben", &["role", &ben, "admin"]).fails(3, &["needs the role admin", "has read"]);
    town.run("ada", &["role", &ben, "admin"]).well();
    assert_eq!(town.sees("ben", "ben"), is("admin", "active"));
    town.run("ada", &["role", &ben, "king"]).fails(2, &["king"]);
}

#[test]
fn a_member_leaves_and_the_last_admin_cannot() {
    let town = Town::with_group(&[]);
    town.admit("ben");
    town.run("ada", &["leave"]).fails(3, &["last admin", "make another member an admin"]);
    let left = town.run("ben", &["leave"]).well();
    assert!(left.err.contains("The relay has it"), "{}", left.err);
    assert_eq!(town.sees("ada", "ben"), None);
    assert!(town.offline("ben", &["members"]).well().out.contains("You are not in this group any more"));
}

#[test]
fn an_invitation_that_was_used_or_revoked_lets_nobody_in_and_one_for_many_does() {
    let town = Town::with_group(&[]);
    let once = town.invite("ada", &[]);
    town.join("ben", &once).well();
    town.join("late", &once).fails(3, &["used or revoked", "Ask for a new one"]);

    let many = town.invite("ada", &["--many", "--role", "read", "--history", "from-now", "--expires", "7"]);
    town.join("cay", &many).well();
    town.join("dan", &many).well();
    let sight = town.members("ada");
    let open = sight["invitations"].as_array().unwrap();
    assert_eq!((open.len(), open[0]["role"].as_str(), open[0]["expires"].is_u64()), (1, Some("read"), true), "{sight}");
    let id = open[0]["invitation"].as_str().unwrap();
    town.run("ada", &["revoke", &id[..8]]).well();
    assert_eq!(town.members("ada")["invitations"].as_array().unwrap().len(), 0);
    town.join("eve", &many).fails(3, &["used or revoked"]);
    assert_eq!(town.sees("ada", "cay"), is("read", "active"), "who is in stays in");
}

#[test]
fn another_device_of_a_member_joins_and_is_lost_while_the_member_stays() {
    let town = Town::with_group(&[]);
    let invitation = town.invite("ada", &["--device"]);
    town.join("phone", &invitation).well();
    assert_eq!(town.id("phone"), town.id("ada"));
    let devices = |sight: &Value| sight["members"][0]["devices"].as_array().unwrap().len();
    assert_eq!(devices(&town.members("ada")), 2);
    let phone = town.members("phone")["device"].as_str().unwrap().to_owned();
    town.run("ada", &["remove", "--device", &phone]).well();
    assert_eq!(devices(&town.members("ada")), 1);
    assert_eq!(town.members("phone")["removed"], true);
}

#[test]
fn a_device_that_is_away_is_declared_dormant_by_an_admin_and_is_not_once_it_ran_again() {
    let town = Town::with_group(&[]);
    town.admit("ben");
    let device = town.members("ben")["device"].as_str().unwrap().to_owned();
    let dormant = |who: &str| {
        let sight = town.members(who);
        let members = sight["members"].as_array().unwrap().clone();
        members.iter().flat_map(|member| member["dormant"].as_array().unwrap().clone()).collect::<Vec<_>>()
    };
    town.run("ada", &["dormant", &device]).well();
    assert_eq!(dormant("ada"), [device.as_str()]);
    assert!(town.run("ada", &["members"]).well().out.contains("(dormant)"));
    assert!(town.run("ada", &["history"]).well().out.contains("declared the device"));
    let other = town.members("ada")["device"].as_str().unwrap().to_owned();
    town.run("ben", &["dormant", &other]).fails(3, &["admin"]);
    assert!(dormant("ada").is_empty(), "ben's device ran, and said so");
}

#[test]
fn the_history_says_who_did_what_and_whether_it_counts() {
    let town = Town::with_group(&[]);
    town.admit("ben");
    town.run("ben", &["rotate"]).well();
    let text = town.run("ada", &["history"]).well().out;
    for what in ["founded the group", "made the invitation", "joined by the invitation", "confirmed", "began the key"] {
        assert!(text.contains(what), "{text}");
    }
    let steps = town.run("ada", &["history", "--json"]).well().out;
    let steps: Vec<Value> = serde_json::from_str(&steps).unwrap();
    let mut rotated = steps.iter().filter(|step| step["what"].as_str().unwrap().starts_with("began the key"));
    assert!(
        rotated.next_back().is_some_and(|step| step["device"] == town.id("ben").as_str() && step["counts"] == true)
    );
}

#[test]
fn what_is_done_without_a_relay_is_stored_and_goes_out_at_the_next_run() {
    let town = Town::new();
    let created = town.offline("ada", &["create", "Garden", "--pad", "--rotate-after", "30"]).well();
    assert!(created.err.contains("stored here") && created.err.contains("--relay"), "{}", created.err);
    let invitation = town.offline("ada", &["invite"]).well().out;
    town.join("ben", invitation.trim()).fails(2, &["--relay URL"]);
    town.run("ben", &["join", invitation.trim()]).fails(3, &["never reached the relay"]);

    town.run("ada", &["members"]).well();
    // The same store tries again: joining can be interrupted.
    town.run("ben", &["join", invitation.trim()]).well();
    assert_eq!(town.sees("ada", "ben"), is("write", "active"));
}

#[test]
fn a_relay_that_does_not_answer_is_named_and_the_exit_code_says_that_it_does_not_have_it() {
    let mut town = Town::with_group(&[]);
    let invitation = town.invite("ada", &[]);
    let (address, url) = (town.relay.address(), town.relay.url.clone());
    let elsewhere = Relay::start("127.0.0.1:0", &town.folder.path().join("elsewhere"));
    std::mem::replace(&mut town.relay, elsewhere).kill();
    let away = |who: &str, command: &[&str]| town.offline(who, &[command, &["--relay", &url, "--wait", "1"]].concat());
    away("ada", &["rotate"]).fails(1, &["It is stored here", "does not have it yet", &address]);
    let told = away("ada", &["members"]);
    assert!(told.out.contains("\"Garden\""), "what is known here is shown all the same: {}", told.out);
    told.fails(1, &["cannot be asked"]);
    away("ben", &["join", &invitation]).fails(1, &["run the same command again"]);
}

#[test]
fn what_cannot_be_meant_is_refused_with_a_reason() {
    let town = Town::with_group(&[]);
    town.run("ada", &["create", "Another"]).fails(3, &["belongs to the group", "another --store"]);
    town.run("nobody", &["members"]).fails(3, &["nobody.key"]);
    town.run("ada", &["remove", "zz"]).fails(2, &["no member begins with \"zz\""]);
    town.run("ben", &["join", "partita-invitation:aaaa"]).fails(2, &["this is no invitation"]);
    assert!(!town.store("ben").exists(), "nothing was made for a text that is none");
    town.offline("ada", &["members", "--relay", "relay.example.org"]).fails(2, &["relay's URL"]);
}

#[test]
fn of_two_who_used_one_invitation_apart_nobody_is_in_until_an_admin_decides() {
    let mut town = Town::with_group(&["--confirm-by-hand"]);
    let invitation = town.invite("ada", &[]);
    let mut other = Relay::start("127.0.0.1:0", &town.folder.path().join("other"));
    let url = other.url.clone();
    town.offline("ada", &["members", "--relay", &url]).well(); // the other relay has the group, too
    town.join("ben", &invitation).well();
    town.offline("cay", &["join", &invitation, "--relay", &url]).well();

    assert_eq!(town.sees("ada", "ben"), is("read", "pending"), "ada has heard of one of them alone");
    town.offline("ada", &["members", "--relay", &url]).well();
    for who in ["ben", "cay"] {
        assert_eq!(town.sees("ada", who), is("none", "suspended"));
    }
    let told = town.run("ben", &["members"]).well();
    assert!(told.err.contains("before an admin has confirmed it"), "{}", told.err);

    town.run("ada", &["confirm", &town.id("cay")]).well();
    town.run("ada", &["refuse", &town.id("ben")]).well();
    assert_eq!((town.sees("ada", "cay"), town.sees("ada", "ben")), (is("write", "active"), None));
    assert_eq!(town.members("ben")["removed"], true);
    std::mem::swap(&mut town.relay, &mut other);
    town.offline("ada", &["members", "--relay", &url]).well();
    assert_eq!(town.sees("cay", "cay"), is("write", "active"));
}

#[test]
fn with_the_keys_alone_and_a_relay_a_store_that_was_lost_comes_back() {
    let town = Town::with_group(&[]);
    town.admit("ben");
    for who in ["ada", "ben"] {
        std::fs::remove_file(town.store(who)).unwrap();
        let sight = town.members(who);
        assert_eq!(sight["name"], "Garden", "what is sealed can be read again: {sight}");
        assert_eq!(sight["members"].as_array().unwrap().len(), 2, "{sight}");
        town.run(who, &["rotate"]).well();
    }
    assert_eq!((town.sees("ben", "ada"), town.sees("ada", "ben")), (is("admin", "active"), is("write", "active")));
}

#[test]
fn a_store_whose_keys_are_gone_gets_no_new_ones() {
    let town = Town::with_group(&[]);
    std::fs::remove_file(town.store("ada").with_added_extension("key")).unwrap();
    town.run("ada", &["create", "Again"]).fails(3, &["ada.key"]);
}
