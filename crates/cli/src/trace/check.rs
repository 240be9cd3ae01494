//! Whether a trace can be typed at all.

use super::{Place, Sight, Trace, TraceError};

pub(super) fn check(trace: &Trace) -> Result<(), TraceError> {
    match trace.agents {
        None => positions(trace),
        Some(agents) => sights(trace, agents),
    }
}

/// Without concurrency a text's length is all it takes to judge positions.
fn positions(trace: &Trace) -> Result<(), TraceError> {
    let mut length = trace.start.chars().count();
    for (transaction, it) in trace.transactions.iter().enumerate() {
        for (patch, change) in it.patches.iter().enumerate() {
            let rest = length.checked_sub(change.position).and_then(|rest| rest.checked_sub(change.deleted));
            if rest.is_none() {
                let (position, deleted) = (change.position, change.deleted);
                return Err(TraceError::Position { transaction, place: Place { patch, position, deleted, length } });
            }
            length = length - change.deleted + change.inserted.chars().count();
        }
    }
    Ok(())
}

/// What an agent sees only grows.
fn sights(trace: &Trace, agents: usize) -> Result<(), TraceError> {
    let mut sights: Vec<Sight<'_>> = (0..agents).map(|_| Sight::new(trace)).collect();
    for (index, transaction) in trace.transactions.iter().enumerate() {
        if let Some(sight) = sights.get_mut(transaction.agent) {
            sight.step(index)?;
        }
    }
    Ok(())
}
