//! The partita command: relay, demo, replay.
