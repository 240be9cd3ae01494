//! Contexts that come and go in a running engine, what is durable elsewhere, what is said and not kept.

use std::{
    future::Future as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
};

use crate::common::{self, Device, Home, has, patiently, put};
use partita::{
    ChangeError, ConnectionState, EngineError, EngineEvent, SendError,
    automerge::Automerge,
    core::{ContextId, ContextInfo, ContextKind, Refusal, StoreError, Turn},
    single_owner::SingleOwner,
};
use partita_relay::{Builder, Relay};
use partita_testing::{
    MemoryStore,
    strategy::{OPEN_KIND, OpenStrategy},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_context_closes_and_opens_again_while_the_connection_stays() {
    let home = Home::new();
    let (relay, a, b) = home.pair().await;
    let plan = a.notes.create::<Automerge>().await.unwrap();
    let plan_b = b.get::<Automerge>(plan.id()).await;
    let info = b.engine.status().await.unwrap().contexts.remove(0).info;
    let last = put(&plan_b, "last", "before the close");
    let mut connections = b.engine.events();
    b.engine.close_context(b.notes.id()).await.unwrap();
    last.durable().await.unwrap(); // what was changed is stored all the same
    assert!(matches!(plan_b.change(|_| Ok(())), Err(ChangeError::Unusable(_))));
    assert!(matches!(b.engine.context(b.notes.id()).await, Err(EngineError::NoContext(_))));
    put(&plan, "meanwhile", "x").durable().await.unwrap();
    has(&plan, "last").await;

    b.engine.open_context(info).await.unwrap();
    let plan_b = b.get::<Automerge>(plan.id()).await;
    has(&plan_b, "meanwhile").await;
    put(&plan_b, "again", "x").durable().await.unwrap();
    has(&plan, "again").await;
    while let Ok(event) = connections.try_recv() {
        assert!(!matches!(event, EngineEvent::Connection(_)), "{event:?}");
    }
    a.engine.close().await.unwrap();
    b.engine.close().await.unwrap();
    relay.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_of_a_kind_that_nobody_answers_for_is_refused_by_name() {
    let home = Home::new();
    let a = home.open("a", &[]).await;
    let kind = ContextKind::new("later/plugin").unwrap();
    let info = ContextInfo { id: ContextId::derive(&kind, &[7; 32]), kind: kind.clone() };
    let refused = patiently("the answer", a.engine.open_context(info.clone())).await;
    assert_eq!(refused.err(), Some(EngineError::NoStrategy(kind)));
    let unknown = a.engine.sync().send_for_context(info.id).await;
    assert_eq!(unknown.err(), Some(EngineError::Send(SendError::NoContext(info.id))));
    a.engine.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_was_ever_written_is_durable_at_the_relay_once_the_engine_says_so() {
    let home = Home::new();
    let a = home.open("a", &[]).await;
    let plan = a.notes.create::<Automerge>().await.unwrap();
    put(&plan, "written", "in an earlier open, without a network").durable().await.unwrap();
    let id = plan.id();
    a.engine.close().await.unwrap();

    let relay = home.relay("relay").await;
    let url = relay.url().to_string();
    let a = home.open("a", &[&url]).await;
    patiently("the relay's word", a.engine.acknowledged(Some(relay.replica()))).await.unwrap();
    patiently("the relay's word", a.notes.acknowledged_by(relay.replica())).await.unwrap();
    a.engine.close().await.unwrap();
    // So the device may be lost: another one finds it.
    home.enrol("b");
    let b = home.open("b", &[&url]).await;
    patiently("what the relay has", b.notes.caught_up()).await.unwrap();
    let documents = b.notes.documents().await.unwrap();
    assert_eq!(documents, [id]);
    b.engine.close().await.unwrap();
    relay.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn comparing_from_nothing_goes_on_without_loss_and_without_a_second_copy() {
    let home = Home::new();
    let (relay, a, b) = home.pair().await;
    let plan = a.notes.create::<Automerge>().await.unwrap();
    let plan_b = b.get::<Automerge>(plan.id()).await;
    for n in 0..20 {
        drop(put(&plan, &format!("a {n}"), "x"));
        drop(put(&plan_b, &format!("b {n}"), "x"));
        a.engine.sync().reset(a.notes.id()).await.unwrap();
        b.engine.sync().reset(b.notes.id()).await.unwrap();
    }
    has(&plan, "b 19").await;
    has(&plan_b, "a 19").await;
    assert_eq!(plan.digest(), plan_b.digest());
    let syncable = a.engine.sync().syncable_contexts(relay.replica()).await.unwrap();
    assert_eq!(syncable.iter().map(|(info, _)| info.id).collect::<Vec<_>>(), [a.notes.id()]);
    a.engine.sync().send_to(relay.replica(), a.notes.id()).await.unwrap();
    a.engine.sync().send_for_all_contexts().await.unwrap();
    let nobody = b.replica();
    let refused = a.engine.sync().send_to(nobody, a.notes.id()).await;
    assert_eq!(refused.err(), Some(EngineError::NotConnected(nobody)));
    a.engine.close().await.unwrap();
    b.engine.close().await.unwrap();
    relay.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_is_seen_on_the_other_device_and_gone_with_this_one() {
    let home = Home::new();
    let (relay, a, b) = home.pair().await;
    let plan = a.notes.create::<Automerge>().await.unwrap();
    let plan_b = b.get::<Automerge>(plan.id()).await;
    patiently("the relay", a.notes.acknowledged()).await.unwrap();
    plan.say("at line 7").await.unwrap();
    let seen = || async { !plan_b.heard().await.unwrap().is_empty() };
    b.until("the cursor", seen).await;
    assert_eq!(plan_b.heard().await.unwrap(), [(a.replica(), "at line 7".into())]);
    assert!(plan.say(vec![0; 5000]).await.is_err(), "it is no way to send files");
    a.engine.close().await.unwrap();
    let gone = || async { plan_b.heard().await.unwrap().is_empty() };
    b.until("the cursor's end", gone).await;
    b.engine.close().await.unwrap();
    relay.close().await;
}

/// Readers fill a wiped relay again, also with what somebody wrote who never comes back.
#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_wiped_while_all_are_away_is_filled_again_by_readers() {
    let home = Home::new();
    home.enrol("b");
    home.enrol("c");
    let relay = home.relay("relay").await;
    let url = relay.url().to_string();
    let (a, b) = (home.open("a", &[&url]).await, home.open("b", &[&url]).await);
    let plan = a.notes.create::<Automerge>().await.unwrap();
    for n in 0..50 {
        drop(put(&plan, &format!("key {n}"), "of a device that was then lost"));
    }
    let plan_b = b.get::<Automerge>(plan.id()).await;
    has(&plan_b, "key 49").await;
    a.engine.close().await.unwrap(); // and it never comes back
    b.engine.close().await.unwrap();
    relay.close().await;
    // The relay keeps its key: it is the same relay to everyone, with nothing in it.
    std::fs::remove_file(home.path().join("relay")).unwrap();
    std::fs::File::create(home.path().join("relay")).unwrap();

    let relay = home.relay("relay").await;
    assert_eq!(relay.url().to_string(), url);
    let b = home.open("b", &[&url]).await;
    patiently("the relay", b.notes.acknowledged_by(relay.replica())).await.unwrap();
    let c = home.open("c", &[&url]).await;
    let plan_c = c.get::<Automerge>(plan_b.id()).await;
    has(&plan_c, "key 49").await;
    let plan_b = b.get::<Automerge>(plan_b.id()).await;
    assert_eq!(plan_c.digest(), plan_b.digest());
    b.engine.close().await.unwrap();
    c.engine.close().await.unwrap();
    relay.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_without_the_plugin_refuses_one_kind_by_name_and_syncs_the_others() {
    let home = Home::new();
    home.enrol("b");
    let b = home.builder("b", false).listen("mem://b").open().await.unwrap();
    let url = format!("mem://b#{}", b.replica());
    let a = home.builder("a", true).connect(&url).open().await.unwrap();
    let mut events = a.events();
    let [sealed, plain] =
        a.with_strategy::<SingleOwner, _>(|owner, _| [owner.context(), owner.plain_context()]).await.unwrap();
    let note = a.context(sealed).await.unwrap().create::<Automerge>().await.unwrap();
    let refused = async {
        loop {
            if let Ok(EngineEvent::ContextRefused { context, why, .. }) = events.recv().await {
                return (context, why);
            }
        }
    };
    assert_eq!(patiently("the refusal", refused).await, (plain, Refusal::UnknownKind));
    let device = common::Device::of(b).await;
    device.get::<Automerge>(note.id()).await;
    a.close().await.unwrap();
    device.engine.close().await.unwrap();
}

async fn until_caught_up(events: &mut tokio::sync::broadcast::Receiver<EngineEvent>) {
    patiently("being caught up", async {
        while !matches!(events.recv().await.unwrap(), EngineEvent::CaughtUp { .. }) {}
    })
    .await;
}

/// Two devices that dial each other have two sessions.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_caught_up_over_two_connections_still_is_when_the_later_one_ends() {
    let home = Home::new();
    home.enrol("b");
    let a = Device::of(home.builder("a", false).listen("mem://a").open().await.unwrap()).await;
    let b = Device::of(home.builder("b", false).listen("mem://b").open().await.unwrap()).await;
    let (to_a, to_b) = (format!("mem://a#{}", a.replica()), format!("mem://b#{}", b.replica()));
    let mut events = a.engine.events();
    b.engine.connect(&to_a).unwrap();
    until_caught_up(&mut events).await;
    let mut later = a.engine.connect(&to_b).unwrap();
    until_caught_up(&mut events).await;
    assert_eq!(a.engine.disconnect(&to_b), Ok(true));
    patiently("the end", later.until(|state| *state == ConnectionState::Closed)).await.unwrap();
    assert_eq!(a.engine.status().await.unwrap().peers.len(), 1);
    patiently("being caught up", a.notes.caught_up()).await.unwrap();
    a.engine.close().await.unwrap();
    b.engine.close().await.unwrap();
}

/// Why a remote refuses the next entry that it refuses.
async fn refusal(events: &mut tokio::sync::broadcast::Receiver<EngineEvent>) -> Refusal {
    let refused = async {
        loop {
            if let Ok(EngineEvent::EntryRefused { why, .. }) = events.recv().await {
                return why;
            }
        }
    };
    patiently("the refusal", refused).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_draining_relay_refuses_goes_on_by_itself_when_the_relay_stays() {
    let home = Home::new();
    let relay = home.relay("relay").await;
    let a = home.open("a", &[&relay.url().to_string()]).await;
    let plan = a.notes.create::<Automerge>().await.unwrap();
    patiently("the relay", a.notes.acknowledged()).await.unwrap();
    relay.drain(true);
    let mut events = a.engine.events();
    put(&plan, "refused", "for now").durable().await.unwrap();
    assert_eq!(refusal(&mut events).await, Refusal::Draining);
    let status = a.engine.status().await.unwrap();
    assert!(status.sessions.iter().any(|session| !session.paused.is_empty()), "the status says that it waits");
    relay.drain(false);
    patiently("the relay, with no edit and no reconnect", a.notes.acknowledged()).await.unwrap();
    a.engine.close().await.unwrap();
    relay.close().await;
}

/// A full disk was the end of a relay, and of everybody's reading with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_relay_without_room_serves_what_it_has_and_takes_more_when_there_is_room() {
    const ENOUGH: u64 = 1 << 40;
    let home = Home::new();
    home.enrol("b");
    let free = Arc::new(AtomicU64::new(ENOUGH));
    let (looked, mut looks) = tokio::sync::mpsc::unbounded_channel();
    let left = free.clone();
    let look = move || {
        let left = left.load(Ordering::SeqCst);
        let _ = looked.send(left);
        Some(left)
    };
    let relay = Relay::builder(home.path().join("relay")).transport(home.network.clone()).free_space(look);
    let relay = relay.listen("mem://relay").open().await.unwrap();
    let url = relay.url().to_string();
    let a = home.open("a", &[&url]).await;
    let plan = a.notes.create::<Automerge>().await.unwrap();
    let b = home.open("b", &[&url]).await;
    b.get::<Automerge>(plan.id()).await;
    b.engine.close().await.unwrap();
    put(&plan, "before", "x").durable().await.unwrap();
    patiently("the relay", a.notes.acknowledged()).await.unwrap();

    free.store(Builder::DEFAULT_MIN_FREE_BYTES - 1, Ordering::SeqCst);
    let second_look = async {
        let mut short = 0;
        // A look begins when what the one before found was acted on.
        while short < 2 {
            short += u32::from(looks.recv().await.unwrap() < ENOUGH);
        }
    };
    patiently("two looks", second_look).await;
    let mut events = a.engine.events();
    put(&plan, "refused", "for now").durable().await.unwrap();
    assert_eq!(refusal(&mut events).await, Refusal::Draining);
    let b = home.open("b", &[&url]).await;
    has(&b.get::<Automerge>(plan.id()).await, "before").await;

    free.store(ENOUGH, Ordering::SeqCst);
    patiently("the relay, with no edit and no reconnect", a.notes.acknowledged()).await.unwrap();
    has(&b.get::<Automerge>(plan.id()).await, "refused").await;
    a.engine.close().await.unwrap();
    b.engine.close().await.unwrap();
    relay.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_is_told_when_the_store_has_failed() {
    let home = Home::new();
    let kept: Arc<Mutex<Option<Arc<MemoryStore>>>> = Arc::default();
    let keep = kept.clone();
    let builder = home.builder("a", false).strategy(OpenStrategy::new()).store(move |incarnation| {
        let store = Arc::new(MemoryStore::new(incarnation));
        *keep.lock().unwrap() = Some(store.clone());
        Ok(store)
    });
    let a = common::Device::of(builder.open().await.unwrap()).await;
    let plan = a.notes.create::<Automerge>().await.unwrap();
    put(&plan, "safe", "x").durable().await.unwrap();
    let notes = a.notes.clone();
    let waiting = tokio::spawn(async move { notes.acknowledged().await });
    let caught_up = a.notes.clone();
    let caught_up = tokio::spawn(async move { caught_up.caught_up().await });
    let store = kept.lock().unwrap().clone().unwrap();
    store.fail_next_commit(StoreError::Io("the disk is gone".into()));
    assert!(patiently("the failure", put(&plan, "lost", "x").durable()).await.is_err());
    let failed = |answer: Result<(), EngineError>| assert!(matches!(answer, Err(EngineError::Store(_))), "{answer:?}");
    failed(patiently("a relay's word", waiting).await.unwrap());
    failed(patiently("being caught up", caught_up).await.unwrap());
    let kind = ContextKind::new(OPEN_KIND).unwrap();
    let late = ContextInfo { id: ContextId::derive(&kind, &[3; 32]), kind };
    failed(patiently("a context that cannot be loaded", a.engine.open_context(late)).await.map(drop));
    failed(patiently("what is asked later", a.notes.acknowledged()).await);
    failed(a.engine.close().await);
}

/// A document that somebody reads just then cannot be looked into: what was changed in it before counts all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_relays_word_is_about_what_was_changed_before_also_while_somebody_reads_it() {
    let home = Home::new();
    let (relay, a, b) = home.pair().await;
    let plan = a.notes.create::<Automerge>().await.unwrap();
    patiently("the relay", a.notes.acknowledged()).await.unwrap();
    // It may be loaded again once more, now that what created it is written: a busy engine could not.
    plan.read(|_| ());

    // The engine is busy while a change is made, and the document is being read when it comes to look.
    let (busy, is_busy) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel();
    let engine = a.engine.clone();
    let working = tokio::spawn(async move {
        let work = move |_: &mut SingleOwner, _: &mut Turn<'_>| {
            busy.send(()).unwrap();
            may_go_on.recv().unwrap();
        };
        engine.with_strategy(work).await
    });
    is_busy.recv().unwrap();
    let last = put(&plan, "last", "x");
    let (reads, is_read) = mpsc::channel();
    let (stop, may_stop) = mpsc::channel();
    let read = plan.clone();
    let reading = tokio::task::spawn_blocking(move || {
        read.read(|_| {
            reads.send(()).unwrap();
            may_stop.recv().unwrap();
        })
    });
    is_read.recv().unwrap();
    let mut asked = Box::pin(a.notes.acknowledged());
    let mut look = || asked.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
    assert!(look().is_pending());
    go_on.send(()).unwrap();
    patiently("the engine", working).await.unwrap().unwrap();
    // Everything that was asked before is answered by now.
    a.engine.with_strategy(|_: &mut SingleOwner, _| ()).await.unwrap();
    assert!(look().is_pending(), "the change is in no entry yet");

    stop.send(()).unwrap();
    reading.await.unwrap();
    patiently("the relay", asked).await.unwrap();
    last.durable().await.unwrap();
    a.engine.close().await.unwrap();
    has(&b.get::<Automerge>(plan.id()).await, "last").await;
    b.engine.close().await.unwrap();
    relay.close().await;
}
