//! `partita demo`: the README's first command.

mod common;

use serde_json::Value;

#[test]
fn the_demonstration_ends_well_and_says_so() {
    let (code, out, err) = common::run(&["demo", "--json"]);
    assert_eq!(code, Some(0), "{out}\n{err}");
    assert_eq!(err, "", "no progress in a pipe, no warnings");

    let result: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!(result["ok"], true, "{out}");
    assert_eq!(result["lost"], 0);
    assert!(result["durable_before_kill"].as_u64().unwrap() > 0, "the kill came before anything was durable: {out}");
    let replicas = result["replicas"].as_array().unwrap();
    assert_eq!(replicas.len(), 3);
    for replica in replicas {
        assert_eq!(replica["digest"], replicas[0]["digest"]);
        assert_eq!(replica["entries"], replicas[0]["entries"]);
        assert_eq!((replica["documents"].as_u64(), replica["set_aside"].as_u64()), (Some(2), Some(0)));
        assert!(replica["latency_ms_p50"].as_f64().unwrap() > 0.0);
        assert!(out.contains(&replica["digest"].as_str().unwrap()[..16]), "the table has it too");
    }
}
