//! Membership scenarios that other projects test, in our own words: `tests/scenarios/*.txt`, each with its source.

use std::{collections::BTreeMap, fs, path::Path};

use super::world::{World, role_of, state_bytes};

#[derive(Debug, Default)]
struct Scenario {
    title: String,
    source: String,
    steps: Vec<Vec<String>>,
    expect: Vec<(String, String)>,
    source_says: BTreeMap<String, String>,
    notes: usize,
}

fn read(text: &str) -> Vec<Scenario> {
    let mut all = Vec::new();
    for block in text.split("\n\n").filter(|block| block.contains("scenario ")) {
        let mut one = Scenario::default();
        for line in block.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let (key, rest) = line.split_once(' ').unwrap_or((line, ""));
            let words: Vec<String> = rest.split_whitespace().map(str::to_owned).collect();
            match key {
                "scenario" => one.title = rest.into(),
                "source" => one.source = rest.into(),
                "do" => one.steps.push(words),
                "expect" => one.expect.push((words[0].clone(), words[1].clone())),
                "source-says" => drop(one.source_says.insert(words[0].clone(), words[1].clone())),
                "note" => one.notes += 1,
                other => panic!("{}: what is {other:?}?", one.title),
            }
        }
        assert!(!one.source.is_empty() && !one.steps.is_empty() && !one.expect.is_empty(), "{one:?}");
        assert!(one.source_says.is_empty() || one.notes > 0, "{}: it differs without a note why", one.title);
        all.push(one);
    }
    all
}

fn play(scenario: &Scenario) -> World {
    let [first, steps @ ..] = &scenario.steps[..] else { panic!("{}: nothing happens", scenario.title) };
    let founders: Vec<&str> = [first[1].as_str()].into_iter().chain(first[3..].iter().map(String::as_str)).collect();
    let mut world = World::founded(&founders);
    for step in steps {
        let mut parts = step.split(|word| word == "after");
        let said: Vec<&str> = parts.next().unwrap().iter().map(String::as_str).collect();
        let after: Vec<&str> = parts.next().unwrap_or_default().iter().map(String::as_str).collect();
        world.act(said[0], said[1], &said[2..], &after);
    }
    world
}

#[test]
fn scenarios_of_other_projects_end_as_written_in_every_order() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let (mut played, mut differing, mut orders_tried, mut failures) = (0, 0, 0, Vec::new());
    for file in ["p2panda", "localfirst-auth", "dcgka", "keyhive"] {
        let text = fs::read_to_string(folder.join(format!("{file}.txt"))).unwrap();
        for scenario in read(&text) {
            let mut world = play(&scenario);
            let state = world.all();
            for (name, expected) in &scenario.expect {
                let member = world.member(name);
                let role = role_of(&state, &member).map_or("out".into(), |role| role.to_string());
                if role != *expected {
                    let said = scenario.source_says.get(name);
                    failures.push(format!("{file}: {}: {name} is {role}, not {expected} ({said:?})", scenario.title));
                }
            }
            let orders = if world.said.len() <= 8 { world.orders() } else { Vec::new() };
            for order in orders.iter().take(1000) {
                assert_eq!(state_bytes(&world.heard(order)), state_bytes(&state), "{}: {order:?}", scenario.title);
                orders_tried += 1;
            }
            played += 1;
            differing += usize::from(!scenario.source_says.is_empty());
        }
    }
    println!("{played} scenarios in {orders_tried} orders, {differing} of which end differently at their source");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(played >= 34, "only {played} scenarios");
}
