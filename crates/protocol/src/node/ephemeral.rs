//! What this node says and nobody keeps: presence, cursors. What others say is in `heard.rs`.

use std::time::Duration;

use partita_core::{Bytes, ContextId, DocumentId, HeaderPrefix, Now, Signature, StrategyError};

use super::{AppendError, Node};
use crate::message::{Ephemeral, MAX_EPHEMERAL};

/// After how long this node repeats what it said last, so that it does not count as gone.
const REPEAT: Duration = Duration::from_secs(10);
/// How many messages a second this node says about one document; what is said faster goes into the next one.
const OWN_INTERVAL: Duration = Duration::from_millis(50);

/// What this node says about a document.
#[derive(Debug)]
pub(super) struct Saying {
    plain: Bytes,
    said_at: Duration,
    /// Whether it changed since then.
    due: bool,
}

impl Node {
    /// Says something about a document to whoever has the context open now: presence, a cursor. It is sealed and signed
    /// like an entry and never stored; a newer message takes its place, and it is over when the connection is. Empty
    /// bytes take it back. What is said faster than twenty times a second is skipped up to the last.
    ///
    /// # Errors
    /// [`AppendError`]: a replica that may not write in the context may not say anything either.
    pub fn say_ephemeral(
        &mut self,
        now: Now,
        context: ContextId,
        document: DocumentId,
        plain: Bytes,
    ) -> Result<(), AppendError> {
        self.now = now;
        let limit = MAX_EPHEMERAL as u64 / 2;
        if plain.len() as u64 > limit {
            return Err(AppendError::TooLarge { len: plain.len() as u64, limit });
        }
        let local = self.contexts.get_mut(&context).ok_or(AppendError::NoContext(context))?;
        let before = local.saying.get(&document);
        let said_at = before.map(|saying| saying.said_at);
        let wait = said_at.is_some_and(|at| now.monotonic.saturating_sub(at) < OWN_INTERVAL);
        local.saying.insert(document, Saying { plain, said_at: said_at.unwrap_or_default(), due: true });
        if wait {
            self.saying.insert((context, document));
            return Ok(());
        }
        self.say_now(context, document)
    }

    fn say_now(&mut self, context: ContextId, document: DocumentId) -> Result<(), AppendError> {
        let time = self.clock.tick(self.now);
        let Self { contexts, strategies, rng, replica, identity, now, .. } = self;
        let local = contexts.get_mut(&context).ok_or(AppendError::NoContext(context))?;
        let Some(saying) = local.saying.get_mut(&document) else {
            return Ok(());
        };
        saying.said_at = now.monotonic;
        saying.due = false;
        let strategy = &strategies[local.strategy];
        let epoch = strategy.epoch(&context).map_err(AppendError::NotAllowed)?;
        let mut message = Ephemeral {
            context,
            document,
            sender: *replica,
            time,
            epoch,
            payload: Bytes::new(),
            signature: Signature::from_bytes([0; 64]),
        };
        let header = message.header();
        let prefix = HeaderPrefix { header: &header, author: *replica, epoch };
        message.payload = strategy.seal(&prefix, &saying.plain, &mut **rng).map_err(AppendError::NotAllowed)?;
        message.sign(&identity.key);
        if saying.plain.is_empty() {
            local.saying.remove(&document);
        }
        if !self.may_speak(&message, &message.header()) {
            let why = "this replica has no right to write in the context, so it may not say anything there either";
            return Err(AppendError::NotAllowed(StrategyError(why.into())));
        }
        self.pass_on(message, Bytes::new(), None);
        Ok(())
    }

    /// Time passed: what waited is said, and what this node says is repeated.
    pub(super) fn repeat_ephemeral(&mut self) {
        let now = self.now.monotonic;
        let is_due = |saying: &Saying| saying.due || now.saturating_sub(saying.said_at) >= REPEAT;
        let due: Vec<_> = self
            .contexts
            .values()
            .flat_map(|local| local.saying.iter().map(|(document, saying)| (local.info.id, *document, saying)))
            .filter(|(_, _, saying)| is_due(saying))
            .map(|(context, document, _)| (context, document))
            .collect();
        self.saying.clear();
        for (context, document) in due {
            let _ = self.say_now(context, document); // it was allowed when it was said first
        }
    }

    /// When what waits may be said.
    pub(super) fn saying_due(&self) -> Option<Duration> {
        let saying = |(context, document)| self.contexts.get(context)?.saying.get(document);
        let due = self.saying.iter().filter_map(|(context, document)| saying((context, document)));
        due.map(|saying| saying.said_at.saturating_add(OWN_INTERVAL)).min()
    }

    /// What waited for its interval to pass.
    pub(super) fn say_due(&mut self) {
        let now = self.now.monotonic;
        let passed = |(context, document): &(ContextId, DocumentId)| {
            let saying = self.contexts.get(context).and_then(|local| local.saying.get(document));
            saying.is_none_or(|saying| now.saturating_sub(saying.said_at) >= OWN_INTERVAL)
        };
        let due: Vec<_> = self.saying.iter().filter(|name| passed(name)).copied().collect();
        for name in due {
            self.saying.remove(&name);
            let _ = self.say_now(name.0, name.1); // it was allowed when it was said first
        }
    }
}
