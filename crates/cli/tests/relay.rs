//! `partita relay`: what an operator meets.

#![cfg(unix)]
#![allow(clippy::unwrap_used)] // in the helpers of a test

mod common;

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use common::{Relay, partita, replica::Replica, run};
use redb::ReadableDatabase as _;
use serde_json::json;

/// A relay's store that is there and closed.
fn store_in(folder: &Path) -> String {
    let store = folder.join("relay.partita");
    assert_eq!(Relay::start("127.0.0.1:0", &store).signal("TERM").code(), Some(0));
    store.to_str().unwrap().to_owned()
}

/// Runs a relay that cannot run: it must end with 3 and say this.
fn fails(store: &str, listen: &str, says: &[&str]) {
    let (code, out, err) = run(&["relay", "--listen", listen, "--store", store]);
    assert_eq!((code, out.as_str()), (Some(3), ""), "{err}");
    for word in says {
        assert!(err.contains(word), "{err:?} does not say {word:?}");
    }
}

#[test]
fn it_prints_its_url_and_stops_cleanly_and_keeps_its_id() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("relay.partita");
    let relay = Relay::start("127.0.0.1:0", &store);
    let (url, address) = (relay.url.clone(), relay.address());
    let (_, id) = url.strip_prefix("ws://127.0.0.1:").unwrap().split_once('#').unwrap();
    assert_eq!(id.len(), 64);
    assert_eq!(relay.signal("TERM").code(), Some(0));

    let again = Relay::start(&format!("ws://{address}"), &store);
    assert_eq!(again.url, url, "whoever pinned the relay finds it again");
    assert_eq!(again.signal("INT").code(), Some(0));
}

#[test]
fn a_port_in_use_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let relay = Relay::start("127.0.0.1:0", &folder.path().join("first"));
    let address = relay.address();
    fails(folder.path().join("second").to_str().unwrap(), &address, &[&address, "in use"]);
}

#[test]
fn a_store_that_another_relay_has_open_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("relay.partita");
    let _relay = Relay::start("127.0.0.1:0", &store);
    fails(store.to_str().unwrap(), "127.0.0.1:0", &["in use", "close the other program"]);
}

#[test]
fn a_store_without_its_key_never_becomes_another_relay() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_in(folder.path());
    std::fs::remove_file(format!("{store}.key")).unwrap();
    fails(&store, "127.0.0.1:0", &["missing", ".key"]);
    assert!(!Path::new(&format!("{store}.key")).exists());
}

#[test]
fn a_store_of_a_later_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_in(folder.path());
    let meta: redb::TableDefinition<'_, &str, &[u8]> = redb::TableDefinition::new("meta");
    let database = redb::Database::open(&store).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(meta).unwrap().insert("format", &99u64.to_be_bytes()[..]).unwrap();
    transaction.commit().unwrap();
    drop(database);
    fails(&store, "127.0.0.1:0", &["format 99", "later version"]);

    let database = redb::Database::open(&store).unwrap();
    let table = database.begin_read().unwrap().open_table(meta).unwrap();
    assert_eq!(table.get("format").unwrap().unwrap().value(), 99u64.to_be_bytes(), "it is still of that version");
}

#[test]
fn a_file_that_is_no_store_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_in(folder.path());
    std::fs::write(&store, "my diary, which happens to be here").unwrap();
    fails(&store, "127.0.0.1:0", &["is not a Partita store"]);
    assert_eq!(std::fs::read(&store).unwrap(), b"my diary, which happens to be here");
}

#[test]
fn a_damaged_store_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_in(folder.path());
    let mut bytes = std::fs::read(&store).unwrap();
    bytes[16..].fill(0xa5);
    std::fs::write(&store, bytes).unwrap();
    fails(&store, "127.0.0.1:0", &["damaged"]);
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("missing").join("relay.partita");
    fails(store.to_str().unwrap(), "127.0.0.1:0", &["missing"]);
}

/// Opening a large store that was not closed may take minutes. Here its key is what takes long: whoever reads a pipe waits for
/// what is written to it.
#[test]
fn a_relay_that_still_opens_ends_when_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let (store, key) = (folder.path().join("relay.partita"), folder.path().join("relay.partita.key"));
    assert!(Command::new("mkfifo").args(["-m", "600"]).arg(&key).status().unwrap().success());
    let mut command = partita();
    command.args(["relay", "--listen", "127.0.0.1:0", "--store"]).arg(&store);
    let mut relay = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let process = relay.id().to_string();
    // This waits for the relay to open the other end: it listens to signals by then.
    let writes = std::fs::OpenOptions::new().write(true).open(&key).unwrap();
    let (ended, ends) = mpsc::channel();
    std::thread::spawn(move || ended.send(relay.wait().unwrap().code()));
    assert!(Command::new("kill").args(["-TERM", &process]).status().unwrap().success());
    let code = ends.recv_timeout(Duration::from_secs(60));
    if code.is_err() {
        let _ = Command::new("kill").args(["-KILL", &process]).status();
    }
    drop(writes);
    assert_eq!(code, Ok(Some(0)), "it went on opening");
}

#[test]
fn metrics_are_shown_where_the_second_line_says() {
    use std::io::{Read as _, Write as _};
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("relay.partita");
    let (relay, metrics) = Relay::start_with_metrics("127.0.0.1:0", &store);
    let address = metrics.strip_prefix("http://").unwrap().strip_suffix("/metrics").unwrap();
    for (path, says) in [("/metrics", "partita_relay_sessions 0"), ("/healthz", "alive"), ("/readyz", "ready")] {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: relay\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains(says), "{answer}");
    }
    let second = folder.path().join("second");
    let taken = ["relay", "--listen", "127.0.0.1:0", "--store", second.to_str().unwrap(), "--metrics", address];
    let (code, _, err) = run(&taken);
    assert_eq!(code, Some(3));
    assert!(err.contains(address) && err.contains("in use"), "{err}");
    assert_eq!(relay.signal("TERM").code(), Some(0));
}

/// A line that could not be written once took down the thread that had something to say: the node's, or whoever accepts.
#[test]
fn a_log_that_nobody_reads_disturbs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = partita();
    command.args(["relay", "--listen", "127.0.0.1:0", "--store"]).arg(folder.path().join("relay")).stdin(Stdio::null());
    let mut relay = command.env("RUST_LOG", "debug").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(relay.stderr.take());
    let mut url = String::new();
    BufReader::new(relay.stdout.take().unwrap()).read_line(&mut url).unwrap();
    let mut replica = Replica::start(&folder.path().join("a"));
    replica.ask(json!({"do": "found"}));
    replica.ask(json!({"do": "open", "connect": url.trim_end()}));
    replica.ask(json!({"do": "create", "crdt": "automerge", "parts": 1}));
    replica.ask(json!({"do": "acknowledged"}));
    replica.close();
    assert!(Command::new("kill").args(["-TERM", &relay.id().to_string()]).status().unwrap().success());
    assert_eq!(relay.wait().unwrap().code(), Some(0), "it had failed");
}

#[test]
fn a_log_filter_that_is_not_understood_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("missing").join("relay.partita");
    let args = ["relay", "--listen", "127.0.0.1:0", "--store", store.to_str().unwrap()];
    let output = partita().args(args).env("RUST_LOG", "partita=loud").output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(err.contains("RUST_LOG is not understood"), "{err}");
}

/// Connections over it are not even turned away: they wait.
#[test]
fn too_few_files_for_so_many_connections_are_said() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("missing").join("relay.partita");
    let says = |connections: &str| {
        let relay = "exec \"$PROGRAM\" relay --listen 127.0.0.1:0 --store \"$STORE\"";
        let script = format!("ulimit -n 600; {relay} {connections}");
        let mut command = Command::new("sh");
        command.args(["-c", &script]).env("PROGRAM", env!("CARGO_BIN_EXE_partita")).env("STORE", &store);
        let output = command.env_remove("RUST_LOG").output().unwrap();
        assert_eq!(output.status.code(), Some(3));
        String::from_utf8(output.stderr).unwrap().contains("too few open files")
    };
    assert!(says(""));
    assert!(!says("--max-connections 200"));
}

#[test]
fn wrong_usage_ends_with_2() {
    for args in [
        &[][..],
        &["relay"],
        &["relay", "--listen", "127.0.0.1:0"],
        &["relay", "--listen", "nonsense", "--store", "x"],
        &["relay", "--listen", "wss://127.0.0.1:1", "--store", "x"],
        &["relay", "--listen", "127.0.0.1:0", "--store", "x", "--max-connections", "none"],
        &["relay", "--listen", "127.0.0.1:0", "--store", "x", "--metrics", "9464"],
        &["demo", "--colour"],
        &["dance"],
    ] {
        let (code, out, err) = run(args);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{args:?}: {err}");
        assert!(err.contains("Usage") || err.contains("--help"), "{args:?}: {err}");
    }
}

#[test]
fn help_is_no_error() {
    let help = partita().arg("--help").output().unwrap();
    assert_eq!(help.status.code(), Some(0));
    let text = String::from_utf8(help.stdout).unwrap();
    assert!(text.contains("relay") && text.contains("demo") && text.contains("replay"), "{text}");
    assert!(!text.contains("demo-replica"), "that is no command for people:\n{text}");
}
