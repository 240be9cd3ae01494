//! The examples do what they say.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failure here is a finding

/// As `examples/<name>.rs` is run, without its `main`.
macro_rules! example {
    ($name:ident, $path:literal) => {
        #[path = $path]
        #[allow(dead_code)]
        mod $name;

        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            $name::run().await.unwrap();
        }
    };
}

example!(by_region, "../../../examples/by_region.rs");
example!(publish, "../../../examples/publish.rs");
example!(notes, "../../../examples/notes.rs");
example!(custom_strategy, "../../../examples/custom_strategy.rs");
example!(custom_transport, "../../../examples/custom_transport.rs");
example!(custom_crdt, "../../../examples/custom_crdt.rs");
