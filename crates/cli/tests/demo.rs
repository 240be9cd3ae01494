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

#[test]
fn in_a_group_everybody_reads_what_the_rules_promise_and_the_table_shows_it() {
    let (code, out, err) = common::run(&["demo", "--strategy", "group", "--json"]);
    assert_eq!(code, Some(0), "{out}\n{err}");
    assert_eq!(err, "", "no progress in a pipe, no warnings");

    let result: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!((&result["ok"], &result["refused"]), (&Value::Bool(true), &Value::Bool(true)), "{out}");
    let found = |member: &Value| -> Vec<String> {
        let cells = member["cells"].as_array().unwrap().iter();
        cells.map(|cell| cell["found"].as_str().unwrap().to_owned()).collect()
    };
    let members = result["members"].as_array().unwrap();
    let names: Vec<&str> = members.iter().map(|member| member["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["A", "B", "C", "D"]);
    for member in members {
        let removed = member["role"] == "removed";
        assert_eq!(removed, member["name"] == "C");
        let promised = if removed { ["all", "none", "none", "all"] } else { ["all", "all", "all", "none"] };
        assert_eq!(found(member), promised, "{out}");
    }
    assert!(!out.contains("WRONG"), "{out}");
}
