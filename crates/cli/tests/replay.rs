//! `partita replay`, as a user runs it: the project's own traces, real ones where they are, and files that are none.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::{Value, json};

/// How much of a long trace is typed in tests.
const PREFIX: usize = 4_000;

const CRDTS: [&str; 2] = ["automerge", "yrs"];

fn replay(trace: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_partita")).arg("replay").arg(trace).args(more).output().unwrap()
}

/// Replays and gives back the last line.
fn report(trace: &Path, crdt: &str, replicas: &str) -> Value {
    let output = replay(trace, &["--crdt", crdt, "--replicas", replicas, "--json"]);
    let out = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{crdt}, {}: {out}{errors}", trace.display());
    assert!(errors.is_empty(), "nothing but results in a pipe: {errors}");
    serde_json::from_str(out.lines().last().unwrap()).unwrap()
}

fn assert_matches(report: &Value, replicas: usize) {
    assert_eq!(report["matches"], true, "{report}");
    assert_eq!(report["matches_after_reopen"], true, "{report}");
    assert_eq!(report["replicas"], replicas, "{report}");
    assert_eq!(report["store_bytes"].as_array().unwrap().len(), replicas, "{report}");
    assert!(report["wire_bytes"].as_u64().unwrap() > 0, "{report}");
    assert!(report["entries"].as_u64().unwrap() > 0, "{report}");
    assert_eq!(report["digest"].as_str().unwrap().len(), 64, "{report}");
}

fn own(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traces").join(name)
}

/// A trace beside the repository, if somebody put it there.
fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/traces").join(name);
    if !path.exists() {
        eprintln!("skipped: {} is not there", path.display());
    }
    path.exists().then_some(path)
}

fn in_folder(contents: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace");
    std::fs::write(&path, contents).unwrap();
    (folder, path)
}

fn packed(contents: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(contents).unwrap();
    gzip.finish().unwrap()
}

#[test]
fn one_types_emoji_and_combining_characters_and_the_others_follow() {
    for crdt in CRDTS {
        let report = report(&own("sequential.json"), crdt, "3");
        assert_matches(&report, 3);
        assert_eq!(report["transactions"], 160);
        assert_eq!(report["crdt"], crdt);
    }
}

#[test]
fn three_agents_type_at_once_and_surplus_replicas_follow() {
    for crdt in CRDTS {
        assert_matches(&report(&own("concurrent.json"), crdt, "1"), 3);
        assert_matches(&report(&own("concurrent.json"), crdt, "4"), 4);
    }
}

#[test]
fn a_packed_trace_is_known_by_its_content() {
    let (_folder, path) = in_folder(&packed(&std::fs::read(own("sequential.json")).unwrap()));
    assert_matches(&report(&path, "yrs", "2"), 2);
}

/// Two agents type at one place, one of whom does not know that the character between them is gone. A text CRDT whose
/// answer depends on who has the lower id gets this right in one of two runs.
#[test]
fn text_beside_deleted_text_stays_on_its_side() {
    let trace = json!({"kind": "concurrent", "numAgents": 2, "endContent": "«a😀b»", "txns": [
        {"agent": 0, "parents": [], "patches": [[0, 0, "«-»"]]},
        {"agent": 0, "parents": [0], "patches": [[1, 1, ""]]},
        {"agent": 0, "parents": [1], "patches": [[1, 0, "a😀"]]},
        {"agent": 1, "parents": [0], "patches": [[2, 0, "b"]]},
    ]});
    let (_folder, path) = in_folder(trace.to_string().as_bytes());
    for crdt in CRDTS {
        for _ in 0..4 {
            assert_matches(&report(&path, crdt, "2"), 2);
        }
    }
}

/// A trace may begin with a text, and so may a concurrent one, whose agents then all begin with it.
#[test]
fn the_text_at_the_start_is_everybodys() {
    let trace = json!({"kind": "concurrent", "numAgents": 2, "startContent": "👋 x", "endContent": "1👋 x2", "txns": [
        {"agent": 0, "parents": [], "patches": [[0, 0, "1"]]},
        {"agent": 1, "parents": [], "patches": [[3, 0, "2"]]},
    ]});
    let (_folder, path) = in_folder(trace.to_string().as_bytes());
    for crdt in CRDTS {
        assert_matches(&report(&path, crdt, "1"), 2);
    }
}

#[test]
fn the_beginning_of_a_long_real_trace() {
    let Some(path) = shared("automerge-paper.json.gz") else { return };
    let mut trace: Value = {
        let file = flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap());
        serde_json::from_reader(std::io::BufReader::new(file)).unwrap()
    };
    trace["txns"].as_array_mut().unwrap().truncate(PREFIX);
    // What plain text makes of it.
    let mut text: Vec<char> = trace["startContent"].as_str().unwrap().chars().collect();
    for patch in trace["txns"].as_array().unwrap().iter().flat_map(|one| one["patches"].as_array().unwrap()) {
        let (position, deleted) = (patch[0].as_u64().unwrap() as usize, patch[1].as_u64().unwrap() as usize);
        text.splice(position..position + deleted, patch[2].as_str().unwrap().chars());
    }
    trace["endContent"] = text.into_iter().collect::<String>().into();
    let (_folder, path) = in_folder(&packed(trace.to_string().as_bytes()));
    for crdt in CRDTS {
        assert_matches(&report(&path, crdt, "3"), 3);
    }
}

/// Automerge has its whole run in a release build, by hand: restoring old versions takes it a while.
#[test]
fn two_authors_of_a_real_trace() {
    let Some(path) = shared("friendsforever.json.gz") else { return };
    assert_matches(&report(&path, "yrs", "3"), 3);
}

#[test]
fn a_wrong_end_is_said_and_the_result_is_printed_all_the_same() {
    let trace = json!({"startContent": "", "endContent": "wrong", "txns": [{"patches": [[0, 0, "right"]]}]});
    let (_folder, path) = in_folder(trace.to_string().as_bytes());
    for crdt in CRDTS {
        let output = replay(&path, &["--crdt", crdt, "--replicas", "1", "--json"]);
        assert_eq!(output.status.code(), Some(1));
        let report: Value = serde_json::from_slice(output.stdout.trim_ascii()).unwrap();
        assert_eq!((&report["matches"], &report["matches_after_reopen"]), (&json!(false), &json!(false)));
    }
}

/// Each is refused before or while it is typed, with the file, the place in it, and what a trace looks like.
#[test]
fn what_is_no_trace_is_refused() {
    let one = |txn: Value| json!({"endContent": "", "kind": "concurrent", "numAgents": 1, "txns": [txn]}).to_string();
    let mut cut = packed(&std::fs::read(own("sequential.json")).unwrap());
    cut.truncate(cut.len() / 2);
    let cases: [(Vec<u8>, &str); 9] = [
        (b"# Heading".to_vec(), "line 1"),
        (Vec::new(), "line 1"),
        (packed(b"{}"), "endContent"),
        (cut, "cannot be read"),
        (packed(&vec![b' '; 129 << 20]), "longer than 128 MiB"),
        (one(json!({"agent": 1, "patches": []})).into(), "agent 1"),
        (one(json!({"agent": 0, "parents": [7], "patches": []})).into(), "parent 7"),
        (
            one(json!({"agent": 0, "patches": [[1, 0, "x"]]})).into(),
            "transaction 0, patch 0 deletes 0 at 1 in a text of 0",
        ),
        (
            one(json!({"agent": 0, "patches": [[0, 0, "äx"], [1, 2, "z"]]})).into(),
            "patch 1 deletes 2 at 1 in a text of 2",
        ),
    ];
    for (contents, place) in cases {
        let (_folder, path) = in_folder(&contents);
        for crdt in CRDTS {
            let output = replay(&path, &["--crdt", crdt, "--json"]);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(3), "{said}");
            assert!(output.stdout.is_empty());
            assert!(said.contains(path.to_str().unwrap()) && said.contains(place), "{place}: {said}");
            assert!(said.contains("a trace is JSON"), "{said}");
        }
    }
}

#[test]
fn a_trace_that_is_not_there_is_an_error_of_the_environment() {
    let output = replay(Path::new("no/such/trace.json"), &["--crdt", "yrs"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("no/such/trace.json") && said.contains("a trace is JSON"), "{said}");
}

#[test]
fn a_wrong_command_line_is_told_from_a_wrong_trace() {
    for wrong in [&["--crdt", "abacus"][..], &["--crdt", "yrs", "--replicas", "0"], &[]] {
        assert_eq!(replay(&own("sequential.json"), wrong).status.code(), Some(2));
    }
}
