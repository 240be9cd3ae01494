//! What Partita's tests share: in-memory store and transport, conformance suites.
