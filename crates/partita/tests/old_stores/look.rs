//! An old store is opened, and everything in it said in lines of text. What this says of a store of today, and of one written
//! years ago, must be the same for ever: add to it only what old stores then lack.

use std::{
    fs::{self, OpenOptions},
    io::{Read as _, Write as _},
    path::Path,
    sync::Arc,
};

use automerge::{ROOT, ReadDoc as _};
use flate2::read::GzDecoder;
use partita::{
    Context, DocumentError, Engine, FileKeystore,
    automerge::Automerge,
    core::{ContextId, DocumentId},
    group::Group,
    single_owner::SingleOwner,
    yrs::Yrs,
};
use yrs::{GetString as _, ReadTxn as _};

pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

/// Lays an old store and its keys into a folder, as an engine expects them: nothing is ever opened where it is kept.
pub(crate) fn copy(kept: &Path, folder: &Path) -> Result<(), Error> {
    let mut store = Vec::new();
    GzDecoder::new(fs::File::open(kept.join("store.gz"))?).read_to_end(&mut store)?;
    fs::write(folder.join("store"), store)?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600); // the repository does not keep it
    options.open(folder.join("store.key"))?.write_all(&fs::read(kept.join("keys.json"))?)?;
    Ok(())
}

/// Opens the store in a folder: an owner's two contexts, and a group.
pub(crate) async fn open(folder: &Path) -> Result<(Engine, [ContextId; 3]), Error> {
    let keystore = Arc::new(FileKeystore::open(folder.join("store.key"))?);
    let owner = SingleOwner::open(&*keystore)?.with_plain();
    let group = Group::all(&*keystore)?.first().copied().ok_or("the keystore lists no group")?;
    let contexts = [owner.context(), owner.plain_context(), group];
    let group = Group::open(keystore, &group)?;
    let engine = Engine::builder(folder.join("store")).strategy(owner).strategy(group).open().await?;
    for context in contexts {
        engine.context(context).await?; // it is loaded: only now does the strategy know what is in the store
    }
    Ok((engine, contexts))
}

/// A line for everything that a reader of these contexts sees.
pub(crate) async fn look(engine: &Engine, contexts: &[ContextId]) -> Result<Vec<String>, Error> {
    let mut lines = Vec::new();
    for id in contexts {
        let context = engine.context(*id).await?;
        for document in context.documents().await? {
            for (key, text) in read(&context, document).await? {
                lines.push(format!("{id} {document} {key} {}", shown(&text)));
            }
        }
        for entry in context.set_aside().await? {
            lines.push(format!("{id} {} set aside: {}", entry.document, entry.reason));
        }
    }
    let name = engine.with_strategy::<Group, _>(|group, _| group.name()).await?;
    lines.push(format!("group {}", name.unwrap_or_default()));
    Ok(lines)
}

async fn read(context: &Context, document: DocumentId) -> Result<Vec<(String, String)>, Error> {
    match context.get::<Automerge>(document).await {
        Ok(document) => Ok(document.read(|doc| -> Result<_, automerge::AutomergeError> {
            let mut found = Vec::new();
            for key in doc.keys(ROOT) {
                let text = doc.get(ROOT, &key)?.and_then(|(value, _)| value.into_string().ok());
                found.push((key, text.unwrap_or_default()));
            }
            Ok(found)
        })?),
        Err(DocumentError::WrongType { .. }) => {
            let document = context.get::<Yrs>(document).await?;
            let text = document.read(|doc| doc.get_text("text").map(|text| text.get_string(doc)));
            Ok(vec![("text".into(), text.unwrap_or_default())])
        }
        Err(error) => Err(error.into()),
    }
}

/// Short texts as they are, long ones by length and hash.
fn shown(text: &str) -> String {
    if text.len() < 100 {
        return text.into();
    }
    let hash = partita::crypto::hash("partita test old store", &[text.as_bytes()]);
    format!("({} bytes, {hash})", text.len())
}
