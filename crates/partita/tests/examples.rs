//! The examples do what they say.

/// As `examples/<name>.rs` is run, without its `main`.
macro_rules! example {
    ($name:ident, $path:literal) => {
        #[path = $path]
        #[allow(dead_code, unreachable_pub)]
        pub(crate) mod $name;

        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            $name::run().await.unwrap();
        }
    };
}

example!(by_region, "../../../examples/by_region.rs");
example!(publish, "../../../examples/publish.rs");
example!(group, "../../../examples/group.rs");
example!(notes, "../../../examples/notes.rs");
example!(custom_strategy, "../../../examples/custom_strategy.rs");
example!(custom_transport, "../../../examples/custom_transport.rs");
example!(custom_crdt, "../../../examples/custom_crdt.rs");

#[test]
fn the_guide_to_groups_quotes_the_program_that_is_compiled() {
    let (guide, program) = (include_str!("../../../docs/guides/groups.md"), include_str!("../../../examples/group.rs"));
    let blocks: Vec<&str> = guide.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() > 3);
    for part in blocks.iter().flat_map(|block| block.split("\n\n")) {
        assert!(program.contains(part.trim_end()), "not in examples/group.rs any more:\n{part}");
    }
}
