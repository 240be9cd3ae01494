//! What an application may rely on where a change is over a limit.

use crate::common::{self, Device, Home, has, noise, put, shows, string};
use automerge::{AutomergeError, ObjType, ROOT, transaction::Transactable as _};
use partita::{
    AppendError, ChangeError, CommitError, Document, NodeConfig,
    automerge::Automerge,
    core::{CrdtError, Digest, DocumentType, Transact},
    yrs::Yrs,
};
use yrs::{GetString as _, ReadTxn as _, Text as _, WriteTxn as _};

const MOST: usize = 16 << 10;

async fn limited(home: &Home, url: &str) -> Device {
    let config = NodeConfig { max_payload: MOST as u64, ..NodeConfig::default() };
    Device::of(home.builder("a", false).config(config).connect(url).open().await.unwrap()).await
}

fn text(tx: &yrs::Transaction<'_>) -> String {
    tx.get_text("text").map(|text| text.get_string(tx)).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_too_large_is_taken_back_and_what_comes_after_it_counts() {
    let home = Home::new();
    home.enrol("b");
    let relay = home.relay("relay").await;
    let url = relay.url().to_string();
    let (a, b) = (limited(&home, &url).await, home.open("b", &[&url]).await);
    let plan = a.notes.create::<Automerge>().await.unwrap();
    put(&plan, "before", "x").durable().await.unwrap();
    let huge = put(&plan, "huge", &noise(4 * MOST));
    shows(&plan, "a document without the change", |doc| string(doc, "huge").is_none()).await;
    put(&plan, "after", "x").durable().await.unwrap();
    // Whoever asks late is told the same: that what came later is durable says nothing of this one.
    let error = huge.durable().await.unwrap_err();
    assert!(matches!(error, CommitError::Append(AppendError::TooLarge { .. })), "{error}");

    let note = a.notes.create::<Yrs>().await.unwrap();
    let write = |what: &str| {
        note.change(|tx| {
            tx.get_or_insert_text("text").insert(tx, 0, what);
            Ok(())
        })
    };
    write("before").unwrap().durable().await.unwrap();
    assert!(matches!(write(&noise(4 * MOST)), Err(ChangeError::Refused(CrdtError::TooLarge("payload")))));
    assert_eq!(note.read(text), "before");
    write("after ").unwrap().durable().await.unwrap();

    let (plan_b, note_b) = (b.get::<Automerge>(plan.id()).await, b.get::<Yrs>(note.id()).await);
    has(&plan_b, "after").await;
    shows(&note_b, "what came after", |tx| text(tx) == "after before").await;
    assert_eq!(plan_b.digest().unwrap(), plan.digest().unwrap());
    assert_eq!((plan_b.pending().unwrap(), note_b.pending().unwrap()), (0, 0));
    a.engine.close().await.unwrap();
    b.engine.close().await.unwrap();
    relay.close().await;
}

/// Waits until a document is like another one.
async fn becomes<T: DocumentType>(document: &Document<T>, digest: Digest) {
    let ((), mut changes) = document.subscribe(|_| ()).unwrap();
    common::patiently("everything", async {
        while document.digest().unwrap() != digest {
            changes.next().await.expect("the engine is open");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_that_is_too_large_for_one_entry_goes_into_several() {
    let home = Home::new();
    home.enrol("b");
    let relay = home.relay("relay").await;
    let url = relay.url().to_string();
    let (a, b) = (limited(&home, &url).await, home.open("b", &[&url]).await);
    let (plan, note) = (a.notes.create::<Automerge>().await.unwrap(), a.notes.create::<Yrs>().await.unwrap());
    let piece = noise(MOST / 4);
    let changes = 0..200;
    let plans: Vec<_> = changes.clone().map(|number| put(&plan, &number.to_string(), &piece)).collect();
    let insert = |tx: &mut yrs::TransactionMut<'_>| {
        tx.get_or_insert_text("text").insert(tx, 0, &piece);
        Ok(())
    };
    let notes: Vec<_> = changes.map(|_| note.change(insert).unwrap()).collect();
    for commit in plans.into_iter().chain(notes) {
        commit.durable().await.unwrap();
    }
    let (plan_b, note_b) = (b.get::<Automerge>(plan.id()).await, b.get::<Yrs>(note.id()).await);
    let (plan_a, note_a) = (plan.digest().unwrap(), note.digest().unwrap());
    becomes(&plan_b, plan_a).await;
    becomes(&note_b, note_a).await;
    a.engine.close().await.unwrap();
    b.engine.close().await.unwrap();
    relay.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::result_large_err)] // the library's own error
async fn a_change_that_others_would_refuse_is_refused_at_once() {
    let home = Home::new();
    let a = home.open("a", &[]).await;
    let plan = a.notes.create::<Automerge>().await.unwrap();
    let nest = |depth: usize| {
        plan.change(|tx| {
            let mut at = ROOT;
            for _ in 0..depth {
                at = tx.put_object(&at, "in", ObjType::Map)?;
            }
            Ok(())
        })
    };
    let before = plan.digest().unwrap();
    let refused = nest(65);
    assert!(matches!(refused, Err(ChangeError::Refused(CrdtError::TooLarge("nesting")))), "{refused:?}");
    assert_eq!(plan.digest().unwrap(), before);
    // Nor does it stay where the application keeps the answer to itself.
    let swallowed = plan.change_with(|doc| {
        let nested = Automerge::transact(doc, |tx| {
            let mut at = ROOT;
            for _ in 0..65 {
                at = tx.put_object(&at, "in", ObjType::Map)?;
            }
            Ok(())
        });
        assert!(nested.is_err());
        Ok(())
    });
    swallowed.unwrap().durable().await.unwrap();
    assert_eq!(plan.digest().unwrap(), before);
    // Nor where it answers with an error of its own; and what is changed next is not undone for it.
    let renamed = plan.change_with(|doc| {
        let nested = Automerge::transact(doc, |tx| {
            let mut at = ROOT;
            for _ in 0..65 {
                at = tx.put_object(&at, "in", ObjType::Map)?;
            }
            Ok(())
        });
        nested.map_err(|_| Transact::Closure(AutomergeError::Fail))
    });
    assert!(matches!(renamed, Err(ChangeError::Closure(AutomergeError::Fail))), "{renamed:?}");
    assert_eq!(plan.digest().unwrap(), before);
    nest(64).unwrap().durable().await.unwrap();
    let digest = plan.digest().unwrap();
    a.engine.close().await.unwrap();
    let a = home.open("a", &[]).await;
    assert_eq!(a.get::<Automerge>(plan.id()).await.digest().unwrap(), digest);
    a.engine.close().await.unwrap();
}
