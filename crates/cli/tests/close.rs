//! A replica closes whenever it is told to.

mod common;

use common::replica::Replica;
use serde_json::json;

/// The end of a commit may reach the engine together with the request to stop. It was once thrown away with everything
/// that came after the request: the engine then waited for it for ever, in one of forty closes.
#[test]
fn a_replica_that_is_told_to_close_while_it_types_closes_and_keeps_what_it_typed() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("a");
    let mut replica = Replica::start(&store);
    replica.ask(json!({"do": "found"}));
    replica.ask(json!({"do": "open"}));
    let document = replica.text(json!({"do": "create", "crdt": "automerge", "parts": 1}));
    replica.close();

    for round in 0..100u64 {
        let mut replica = Replica::start(&store);
        replica.ask(json!({"do": "open"}));
        replica.ask(json!({"do": "get", "crdt": "automerge", "document": document}));
        let words: Vec<_> = (0..6).map(|n| json!({"part": 0, "text": format!("{round}.{n} ")})).collect();
        let pause_us = 100 * (round % 4);
        let typing = replica.begin(json!({"do": "type", "document": document, "words": words, "pause_us": pause_us}));
        std::thread::sleep(std::time::Duration::from_micros(30 * round)); // anywhere in the typing
        let durable = replica.durable(typing);
        replica.close();

        let mut replica = Replica::start(&store);
        replica.ask(json!({"do": "open"}));
        replica.ask(json!({"do": "get", "crdt": "automerge", "document": document}));
        let text = replica.parts(&document).concat();
        for n in 0..durable {
            assert!(text.contains(&format!("{round}.{n} ")), "word {n} of round {round} is lost");
        }
    }
}
