//! The JSON of a trace.

use serde::{Deserialize, de::IgnoredAny};

use super::{MAX_AGENTS, Patch, Trace, TraceError, Transaction};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonTrace {
    kind: Option<String>,
    #[serde(default)]
    start_content: String,
    end_content: String,
    num_agents: Option<u64>,
    txns: Vec<JsonTransaction>,
}

#[derive(Deserialize)]
struct JsonTransaction {
    #[serde(default)]
    parents: Vec<u64>,
    #[serde(default)]
    agent: u64,
    patches: Vec<JsonPatch>,
}

/// The fourth item, if there is one, is a time.
#[derive(Deserialize)]
struct JsonPatch(
    usize,
    usize,
    String,
    #[serde(default)]
    #[allow(dead_code)]
    Option<IgnoredAny>,
);

pub(super) fn parse(bytes: &[u8]) -> Result<Trace, TraceError> {
    let json: JsonTrace = serde_json::from_slice(bytes)?;
    let agents = match json.kind.as_deref() {
        None | Some("sequential") => None,
        Some("concurrent") => {
            let found = json.num_agents.unwrap_or(0);
            let agents = usize::try_from(found).ok().filter(|agents| (1..=MAX_AGENTS).contains(agents));
            Some(agents.ok_or(TraceError::Agents { found, most: MAX_AGENTS })?)
        }
        Some(other) => return Err(TraceError::Kind(other.chars().take(40).collect())),
    };
    let transactions = json.txns.into_iter().enumerate();
    let transactions =
        transactions.map(|(index, transaction)| transaction.check(index, agents)).collect::<Result<_, _>>()?;
    Ok(Trace { start: json.start_content, end: json.end_content, agents, transactions })
}

impl JsonTransaction {
    /// Its agent exists, and its parents come before it.
    fn check(self, transaction: usize, agents: Option<usize>) -> Result<Transaction, TraceError> {
        let patches = self.patches.into_iter();
        let patches = patches.map(|JsonPatch(position, deleted, inserted, _)| Patch { position, deleted, inserted });
        let patches = patches.collect();
        let Some(agents) = agents else {
            return Ok(Transaction { agent: 0, parents: Vec::new(), patches });
        };
        let agent = usize::try_from(self.agent).ok().filter(|agent| *agent < agents);
        let agent = agent.ok_or(TraceError::Agent { transaction, agent: self.agent, agents })?;
        let before = |parent: u64| {
            let index = usize::try_from(parent).ok().filter(|parent| *parent < transaction);
            index.ok_or(TraceError::Parent { transaction, parent })
        };
        let parents = self.parents.into_iter().map(before).collect::<Result<_, _>>()?;
        Ok(Transaction { agent, parents, patches })
    }
}
