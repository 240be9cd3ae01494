//! Writes a store as the program of today writes it, for the tests of all later ones to open.
//!
//! ```sh
//! cargo run -p partita --example write_old_store -- 0.1.0
//! ```
//!
//! makes `crates/partita/tests/old_stores/0.1.0`. To be done before each release, and before each change of an encoding or of
//! a store's format, with the program as it was before the change. A folder that is there is never written again: what lies in
//! it was made by a program that is gone. `docs/formats.md` says more.

#[path = "look.rs"]
mod look;

use std::{fs, path::Path, sync::Arc};

use automerge::{ROOT, transaction::Transactable as _};
use flate2::{Compression, write::GzEncoder};
use look::{Error, copy, look, open};
use partita::{
    Context, Document, Engine, FileKeystore, SystemRandom,
    automerge::Automerge,
    group::{Group, Policy},
    single_owner::SingleOwner,
    yrs::Yrs,
};
use yrs::{Text as _, WriteTxn as _};

/// What must be in the store, or it is of no use.
const WRITTEN: [&str; 8] = [
    "title sealed",
    "title plain",
    "title group",
    "key 19",
    "after the checkpoint",
    "after the second open",
    "text one and two",
    "text (",
];

#[tokio::main(flavor = "multi_thread")]
async fn main() -> Result<(), Error> {
    let name = std::env::args().nth(1).ok_or("say how the old store is to be called: the version that writes it")?;
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/old_stores").join(name);
    fs::create_dir(&kept)?; // an error where it is there already
    let folder = tempfile::tempdir()?;
    first(folder.path()).await?;
    again(folder.path()).await?;

    let file = fs::File::create_new(kept.join("store.gz"))?;
    let mut packed = GzEncoder::new(file, Compression::best());
    std::io::copy(&mut fs::File::open(folder.path().join("store"))?, &mut packed)?;
    packed.finish()?.sync_all()?;
    fs::copy(folder.path().join("store.key"), kept.join("keys.json"))?;

    let other = tempfile::tempdir()?;
    copy(&kept, other.path())?;
    let (engine, contexts) = open(other.path()).await?;
    let lines = look(&engine, &contexts).await?;
    engine.close().await?;
    for wanted in WRITTEN {
        if !lines.iter().any(|line| line.contains(wanted)) {
            return Err(format!("{wanted:?} is not in the store: {lines:#?}").into());
        }
    }
    let mut text = lines.join("\n");
    text.push('\n');
    fs::write(kept.join("expected.txt"), &text)?;
    println!("{}, {} bytes:\n{text}", kept.display(), fs::metadata(kept.join("store.gz"))?.len());
    Ok(())
}

/// The first open: documents of both types in all contexts, checkpoints, a large change.
async fn first(folder: &Path) -> Result<(), Error> {
    let keystore = Arc::new(FileKeystore::create(folder.join("store.key"))?);
    let (owner, _) = SingleOwner::create(&*keystore, &mut SystemRandom)?;
    let owner = owner.with_plain();
    let group = Group::create(keystore, &mut SystemRandom, "garden", Policy::default())?;
    let contexts = [("sealed", owner.context()), ("plain", owner.plain_context()), ("group", group.context())];
    let engine = Engine::builder(folder.join("store")).strategy(owner).strategy(group).open().await?;
    for (name, id) in contexts {
        let context = engine.context(id).await?;
        let plan = context.create::<Automerge>().await?;
        put(&plan, "title", name).await?;
        let note = context.create::<Yrs>().await?;
        insert(&note, "one").await?;
        if name == "plain" {
            // Longer than a row of the store, and than a fragment. It packs well, as yrs and this context leave it as it is.
            let long: String = (0..7500).map(|line| format!("line {line}\n")).collect();
            insert(&note, &long).await?;
        } else {
            for n in 0..20 {
                put(&plan, &format!("key {n}"), "x").await?;
            }
            checkpoint(&engine, &context).await?;
            put(&plan, "later", "after the checkpoint").await?;
        }
        insert(&note, " and two").await?;
    }
    Ok(engine.close().await?)
}

/// A second open: other logs, which go on from those of the first.
async fn again(folder: &Path) -> Result<(), Error> {
    let (engine, contexts) = open(folder).await?;
    for id in contexts {
        let context = engine.context(id).await?;
        let again = context.create::<Automerge>().await?;
        put(&again, "again", "after the second open").await?;
    }
    Ok(engine.close().await?)
}

async fn put(plan: &Document<Automerge>, key: &str, value: &str) -> Result<(), Error> {
    Ok(plan.change(|tx| tx.put(ROOT, key, value))?.durable().await?)
}

async fn insert(note: &Document<Yrs>, text: &str) -> Result<(), Error> {
    let commit = note.change(|tx| {
        let root = tx.get_or_insert_text("text");
        root.push(tx, text);
        Ok(())
    })?;
    Ok(commit.durable().await?)
}

/// Makes a checkpoint and waits until it has pruned what it stands for.
async fn checkpoint(engine: &Engine, context: &Context) -> Result<(), Error> {
    let mut events = engine.events();
    context.checkpoint().await?;
    loop {
        let status = engine.status().await?;
        if status.contexts.iter().any(|known| known.info.id == context.id() && known.pruned > 0) {
            return Ok(());
        }
        events.recv().await?;
    }
}
