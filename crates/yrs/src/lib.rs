//! Yrs (Yjs) documents for Partita.
