//! Partita: documents that work offline, never lose a change, and sync with exactly the replicas that may have them.
