//! A real relay process holds nothing in its memory, nor in its files, of what its clients write. The same search finds a
//! plain payload there, so it can fail. (`crates/partita/tests/blind_relay.rs` searches the frames that it receives.)
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failure here is a finding

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use automerge::{ROOT, ReadDoc as _, transaction::Transactable as _};
use partita::{
    Context, Engine, EngineEvent, FileKeystore, SystemRandom,
    automerge::Automerge,
    core::{Refusal, Turn},
    group::{Group, Policy, Role, Terms},
    single_owner::SingleOwner,
};

/// Long, and made at run time: the test binary's own constants are not what is found.
fn canary() -> String {
    ["canary", "7c1e", "no", "relay", "may", "read", "this", "line"].join("-")
}

/// How often the needle stands in a process's writable memory. Pieces overlap, so that none hides between two.
fn in_memory(process: &Child, needle: &[u8]) -> usize {
    let folder = format!("/proc/{}", process.id());
    let mut memory = File::open(Path::new(&folder).join("mem")).unwrap();
    let maps = std::fs::read_to_string(Path::new(&folder).join("maps")).unwrap();
    let (mut found, mut searched) = (0, 0);
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (range, rights) = (words.next().unwrap(), words.next().unwrap());
        if !rights.starts_with("rw") {
            continue;
        }
        let (from, to) = range.split_once('-').unwrap();
        let (from, to) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
        let mut piece = vec![0; usize::try_from(to - from).unwrap()];
        if memory.seek(SeekFrom::Start(from)).is_ok() && memory.read_exact(&mut piece).is_ok() {
            searched += piece.len();
            found += piece.windows(needle.len()).filter(|window| *window == needle).count();
        }
    }
    assert!(searched > 1 << 20, "the relay's memory could be read");
    found
}

fn in_files(folder: &Path, needle: &[u8]) -> usize {
    let mut found = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        found += bytes.windows(needle.len()).filter(|window| *window == needle).count();
    }
    found
}

/// Whose context it is, and whether its payloads are sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Owner,
    OwnerPlain,
    Group,
}

/// Two devices that share a context through the relay at this address.
async fn two(kind: Kind, folder: &Path, url: &str) -> (Vec<Engine>, Vec<Context>) {
    if kind == Kind::Group {
        return two_of_a_group(folder, url).await;
    }
    let plain = kind == Kind::OwnerPlain;
    let first = FileKeystore::create(folder.join("a.key")).unwrap();
    let (_, mnemonic) = SingleOwner::create(&first, &mut SystemRandom).unwrap();
    let second = FileKeystore::create(folder.join("b.key")).unwrap();
    let request = SingleOwner::request(&second, &mut SystemRandom).unwrap();
    SingleOwner::accept(&second, &SingleOwner::certify(&mnemonic, &request)).unwrap();
    let mut engines = Vec::new();
    let mut contexts = Vec::new();
    for (name, keystore) in [("a", &first), ("b", &second)] {
        let owner = SingleOwner::open(keystore).unwrap();
        let (owner, id) = match plain {
            true => (owner.with_plain(), SingleOwner::open(keystore).unwrap().plain_context()),
            false => (owner, SingleOwner::open(keystore).unwrap().context()),
        };
        let engine = Engine::builder(folder.join(name)).strategy(owner).connect(url).open().await.unwrap();
        contexts.push(engine.context(id).await.unwrap());
        engines.push(engine);
    }
    (engines, contexts)
}

/// A founder and somebody who joins by an invitation; the group's name is the canary, too.
async fn two_of_a_group(folder: &Path, url: &str) -> (Vec<Engine>, Vec<Context>) {
    let keystore = |name: &str| Arc::new(FileKeystore::create(folder.join(name)).unwrap());
    let group = Group::create(keystore("a.key"), &mut SystemRandom, &canary(), Policy::default()).unwrap();
    let id = group.context();
    let ada = Engine::builder(folder.join("a")).strategy(group).connect(url).open().await.unwrap();
    let first = ada.context(id).await.unwrap();
    let invite = |group: &mut Group, turn: &mut Turn<'_>| group.invite(turn, Terms::new(Role::Write));
    let invitation = ada.with_strategy::<Group, _>(invite).await.unwrap().unwrap();
    first.acknowledged().await.unwrap();
    let group = Group::join(keystore("b.key"), &mut SystemRandom, &invitation).unwrap();
    let ben = Engine::builder(folder.join("b")).strategy(group).connect(url).open().await.unwrap();
    let second = ben.context(id).await.unwrap();
    (vec![ada, ben], vec![first, second])
}

/// A relay process and its URL.
fn start_relay(folder: &Path, options: &[&str]) -> (Child, String) {
    let mut relay = Command::new(env!("CARGO_BIN_EXE_partita"))
        .args(["relay", "--listen", "127.0.0.1:0", "--store"])
        .arg(folder.join("store"))
        .args(options)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut url = String::new();
    BufReader::new(relay.stdout.take().unwrap()).read_line(&mut url).unwrap();
    (relay, url.trim().to_owned())
}

/// Writes the canary on one device and reads it on another, through a relay process; how often its memory and files hold it.
async fn search(kind: Kind) -> (usize, usize) {
    let folder = tempfile::tempdir().unwrap();
    let relay_folder = folder.path().join("relay");
    std::fs::create_dir(&relay_folder).unwrap();
    let (mut relay, url) = start_relay(&relay_folder, &[]);

    let (engines, contexts) = two(kind, folder.path(), &url).await;
    let note = contexts[0].create::<Automerge>().await.unwrap();
    note.change(|tx| tx.put(ROOT, "secret", canary())).unwrap().durable().await.unwrap();
    contexts[0].acknowledged().await.unwrap();
    let mut events = engines[1].events();
    let read = loop {
        if let Ok(note) = contexts[1].get::<Automerge>(note.id()).await {
            let (now, mut changes) = note.subscribe(|doc| doc.get(ROOT, "secret").unwrap().is_some()).unwrap();
            let mut here = now;
            while !here {
                changes.next().await.unwrap();
                here = note.read(|doc| doc.get(ROOT, "secret").unwrap().is_some());
            }
            break note;
        }
        let _ = events.recv().await;
    };
    let secret = read.read(|doc| doc.get(ROOT, "secret").unwrap().unwrap().0.into_string().unwrap());
    assert_eq!(secret, canary());

    let memory = in_memory(&relay, canary().as_bytes());
    relay.kill().unwrap();
    relay.wait().unwrap();
    let files = in_files(&relay_folder, canary().as_bytes());
    for engine in engines {
        engine.close().await.unwrap();
    }
    (memory, files)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_sealed_payload_is_in_a_relay_processs_memory_or_files() {
    assert_eq!(search(Kind::Owner).await, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_search_finds_a_plain_payload() {
    let (memory, files) = search(Kind::OwnerPlain).await;
    assert!(memory > 0 && files > 0, "memory {memory}, files {files}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_group_is_in_a_relay_processs_memory_or_files() {
    assert_eq!(search(Kind::Group).await, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_without_plain_contexts_is_given_nothing_that_it_could_read() {
    let folder = tempfile::tempdir().unwrap();
    let relay_folder = folder.path().join("relay");
    std::fs::create_dir(&relay_folder).unwrap();
    let (mut relay, url) = start_relay(&relay_folder, &["--without-plain"]);

    let keystore = FileKeystore::create(folder.path().join("a.key")).unwrap();
    SingleOwner::create(&keystore, &mut SystemRandom).unwrap();
    let owner = SingleOwner::open(&keystore).unwrap().with_plain();
    let (sealed, plain) = (owner.context(), owner.plain_context());
    let engine = Engine::builder(folder.path().join("a")).strategy(owner).open().await.unwrap();
    let mut events = engine.events();
    for id in [sealed, plain] {
        let note = engine.context(id).await.unwrap().create::<Automerge>().await.unwrap();
        note.change(|tx| tx.put(ROOT, "secret", canary())).unwrap().durable().await.unwrap();
    }
    engine.connect(&url).unwrap();
    engine.context(sealed).await.unwrap().acknowledged().await.unwrap();
    loop {
        if let EngineEvent::ContextRefused { context, why, .. } = events.recv().await.unwrap() {
            assert_eq!((context, why), (plain, Refusal::UnknownKind));
            break;
        }
    }
    engine.close().await.unwrap();
    relay.kill().unwrap();
    relay.wait().unwrap();
    assert_eq!(in_files(&relay_folder, canary().as_bytes()), 0);
}
