//! Whoever follows the guide to groups literally gets where it says.

#![cfg(unix)]
#![allow(clippy::unwrap_used)] // in the helpers of a test

mod common;

use std::process::Command;

use common::Relay;

const GUIDE: &str = include_str!("../../../docs/guides/groups.md");
/// Ben's line of the table, as a person would look it up.
const LOOK_UP: &str = "BEN=$(partita group members --store ben.partita | sed -n 's/^\\([0-9a-f]*\\) (you).*/\\1/p')";

/// The guide's commands with what the reader puts in, or does before.
fn commands(relay: &str) -> Vec<String> {
    let typed = GUIDE.lines().filter_map(|line| line.strip_prefix("$ "));
    let here = typed.filter(|line| !line.starts_with("cargo install") && !line.starts_with("partita relay"));
    here.map(|line| match line.split_once('=') {
        Some(("RELAY", _)) => format!("RELAY='{relay}'"),
        Some(("BEN", _)) => LOOK_UP.to_owned(),
        _ => line.to_owned(),
    })
    .collect()
}

#[test]
fn the_guide_s_commands_can_be_typed_one_after_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Relay::start("127.0.0.1:0", &folder.path().join("relay.partita"));
    let commands = commands(&relay.url);
    assert!(commands.len() > 12, "{commands:?}");
    // The shell ends at the first command that fails, and says which it was.
    let script = format!("set -eux\npartita() {{ \"$PROGRAM\" \"$@\"; }}\n{}", commands.join("\n"));
    let program = env!("CARGO_BIN_EXE_partita");
    let ended = Command::new("sh").args(["-c", &script]).env("PROGRAM", program).current_dir(folder.path()).output();
    let ended = ended.unwrap();
    let (out, err) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "{out}\n{err}");
    for said in ["pending", "You are not in this group any more", "removed", "joined by the invitation"] {
        assert!(out.contains(said), "{said:?} is not in\n{out}");
    }
}
