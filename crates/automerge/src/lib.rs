//! Automerge documents for Partita.
