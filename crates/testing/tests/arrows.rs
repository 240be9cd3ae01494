//! The arrows of the house point down: who may depend on whom, over `cargo metadata`.
//!
//! A crate that is missing here has no place in the house yet: give it one. `docs/architecture.md` shows the house.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failure here is a finding

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

/// Each of our crates and those of ours that it may name, from the ground up: a row names only rows above it.
const HOUSE: &[(&str, &[&str])] = &[
    ("partita-crypto", &[]),
    ("partita-core", &["partita-crypto"]),
    ("partita-protocol", &["partita-core", "partita-crypto"]),
    ("partita-redb", &["partita-core"]),
    ("partita-websocket", &["partita-core"]),
    ("partita-sync", &["partita-core", "partita-crypto", "partita-protocol"]),
    ("partita-automerge", &["partita-core"]),
    ("partita-yrs", &["partita-core"]),
    ("partita-group", PLUGIN),
    ("partita-multi-context", PLUGIN),
    ("partita-single-owner", PLUGIN),
    (
        "partita",
        &[
            "partita-automerge",
            "partita-core",
            "partita-crypto",
            "partita-group",
            "partita-multi-context",
            "partita-protocol",
            "partita-redb",
            "partita-single-owner",
            "partita-sync",
            "partita-websocket",
            "partita-yrs",
        ],
    ),
    (
        "partita-relay",
        &[
            "partita-core",
            "partita-crypto",
            "partita-group",
            "partita-protocol",
            "partita-redb",
            "partita-single-owner",
            "partita-sync",
            "partita-websocket",
        ],
    ),
    ("partita-testing", &["partita-core", "partita-crypto", "partita-protocol"]),
    (
        "partita-sim",
        &[
            "partita",
            "partita-core",
            "partita-crypto",
            "partita-group",
            "partita-multi-context",
            "partita-protocol",
            "partita-redb",
            "partita-single-owner",
            "partita-sync",
            "partita-testing",
        ],
    ),
    ("partita-cli", &["partita", "partita-core", "partita-redb", "partita-relay"]),
    (
        "partita-bench",
        &[
            "partita",
            "partita-core",
            "partita-crypto",
            "partita-group",
            "partita-multi-context",
            "partita-protocol",
            "partita-redb",
            "partita-relay",
            "partita-single-owner",
            "partita-testing",
        ],
    ),
];

/// What a partition plugin may name of ours.
const PLUGIN: &[&str] = &["partita-core", "partita-crypto"];

/// What must be nowhere in the tree of a crate, however deep.
const NEVER: &[(&str, &[&str])] = &[
    ("partita-crypto", PURE),
    ("partita-core", PURE),
    ("partita-protocol", PURE),
    ("partita-automerge", &["tokio", "redb", "yrs"]),
    ("partita-yrs", &["tokio", "redb", "automerge"]),
    ("partita-relay", &["automerge", "yrs"]),
    ("partita-sync", &["redb", "automerge", "yrs"]),
    ("partita-redb", &["tokio", "automerge", "yrs"]),
    ("partita-websocket", &["redb", "automerge", "yrs"]),
];

/// What nothing deterministic has in its tree.
const PURE: &[&str] = &["tokio", "mio", "redb", "automerge", "yrs"];

/// Crates that must not reach `rand` but through the one that is known to bring it: uhlc, whose timestamp type is
/// used. That nothing calls uhlc's own clock and random ids, a lint sees to (`clippy.toml` of these crates).
const RAND_EXPLAINED: &[(&str, &str)] =
    &[("partita-crypto", "nothing"), ("partita-core", "uhlc"), ("partita-protocol", "uhlc")];

/// Packages by name, and what each names as a normal dependency on any platform. Versions of one name are one node.
#[derive(Clone, Default)]
struct Graph {
    arrows: BTreeMap<String, BTreeSet<String>>,
    plugins: BTreeSet<String>,
}

impl Graph {
    fn of(metadata: &Metadata) -> Self {
        let name = |id| metadata[id].name.to_string();
        let plugins = metadata.workspace_root.join("plugins");
        let mut graph = Self::default();
        for node in metadata.resolve.iter().flat_map(|resolve| &resolve.nodes) {
            let normal = node.deps.iter().filter(|dep| {
                let mut kinds = dep.dep_kinds.iter();
                kinds.any(|kind| kind.kind == DependencyKind::Normal)
            });
            graph.arrows.entry(name(&node.id)).or_default().extend(normal.map(|dep| name(&dep.pkg)));
            if metadata[&node.id].manifest_path.starts_with(&plugins) {
                graph.plugins.insert(name(&node.id));
            }
        }
        graph
    }

    fn with(&self, from: &str, to: &str) -> Self {
        let mut graph = self.clone();
        graph.arrows.entry(from.into()).or_default().insert(to.into());
        graph
    }

    fn direct(&self, from: &str) -> impl Iterator<Item = &str> {
        self.arrows.get(from).into_iter().flatten().map(String::as_str)
    }

    /// The way from one package to another that does not pass through `around`; `None` when there is none.
    fn way(&self, from: &str, to: &str, around: &str) -> Option<String> {
        let mut ways = vec![vec![from]];
        let mut seen = BTreeSet::from([from]);
        while let Some(way) = ways.pop() {
            let last = *way.last()?;
            if last == to {
                return Some(way.join(" -> "));
            }
            for next in self.direct(last).filter(|next| *next != around) {
                if seen.insert(next) {
                    ways.push([&way[..], &[next]].concat());
                }
            }
        }
        None
    }

    /// Every arrow that should not be.
    fn wrong(&self) -> Vec<String> {
        let ours = |name: &str| name == "partita" || name.starts_with("partita-");
        let mut wrong = Vec::new();
        for from in self.arrows.keys().filter(|name| ours(name)) {
            let row = HOUSE.iter().find(|(name, _)| name == from).map(|(_, allowed)| *allowed);
            let allowed = if self.plugins.contains(from) { PLUGIN } else { row.unwrap_or(&[]) };
            if row.is_none() {
                wrong.push(format!("{from} has no place in the house"));
            }
            let upwards = self.direct(from).filter(|to| ours(to) && !allowed.contains(to));
            wrong.extend(upwards.map(|to| format!("{from} must not name {to}")));
        }
        let plugins = self.plugins.iter().map(|plugin| (plugin.as_str(), PURE));
        for (from, never) in NEVER.iter().copied().chain(plugins) {
            let ways = never.iter().filter_map(|to| self.way(from, to, ""));
            wrong.extend(ways.map(|way| format!("forbidden: {way}")));
        }
        for (from, explained) in RAND_EXPLAINED {
            let way = self.way(from, "rand", explained);
            wrong.extend(way.map(|way| format!("unexplained randomness: {way}")));
        }
        wrong
    }
}

fn house() -> Graph {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml");
    let metadata = MetadataCommand::new().manifest_path(manifest).exec().unwrap();
    Graph::of(&metadata)
}

#[test]
fn arrows_only_point_down() {
    assert_eq!(house().wrong(), [""; 0]);
}

/// One that nobody uses lets a leak through unseen.
#[test]
fn every_arrow_that_is_allowed_is_there() {
    let house = house();
    for (from, allowed) in HOUSE.iter().filter(|(from, _)| !house.plugins.contains(*from)) {
        let used: Vec<&str> = house.direct(from).collect();
        let unused: Vec<_> = allowed.iter().filter(|to| !used.contains(*to)).collect();
        assert!(unused.is_empty(), "{from} does not name {unused:?}");
    }
}

#[test]
fn the_house_stands_on_the_ground() {
    for (at, (name, allowed)) in HOUSE.iter().enumerate() {
        let below: Vec<_> = HOUSE[..at].iter().map(|(name, _)| *name).collect();
        assert!(allowed.iter().all(|other| below.contains(other)), "{name} names a row that is not above its own");
    }
}

#[test]
fn everything_that_the_rules_name_is_in_the_graph() {
    let house = house();
    let never = NEVER.iter().flat_map(|(name, never)| never.iter().chain([name]));
    for name in HOUSE.iter().map(|(name, _)| name).chain(never) {
        assert!(house.arrows.contains_key(*name), "{name} is gone or renamed: its rule holds for nothing");
    }
    assert!(!house.plugins.is_empty());
    assert!(house.way("partita-core", "rand", "").is_some(), "uhlc brings rand no more: forbid it altogether");
}

#[test]
fn a_forbidden_arrow_is_found() {
    let house = house();
    for (from, to) in [
        ("partita-core", "tokio"),
        ("partita-core", "redb"),
        ("partita-core", "automerge"),
        ("partita-core", "yrs"),
        ("partita-core", "rand"),
        ("partita-core", "partita-protocol"),
        ("partita-crypto", "partita-core"),
        ("partita-protocol", "tokio"),
        ("partita-protocol", "redb"),
        ("partita-protocol", "partita-single-owner"),
        ("partita-relay", "automerge"),
        ("partita-relay", "yrs"),
        ("partita-relay", "partita-automerge"),
        ("partita-relay", "partita"),
        ("partita-multi-context", "partita-protocol"),
        ("partita-group", "partita-protocol"),
        ("partita-group", "partita-single-owner"),
        ("partita-group", "tokio"),
        ("partita-multi-context", "partita-single-owner"),
        ("partita-single-owner", "partita-protocol"),
        ("partita-single-owner", "partita-sync"),
        ("partita-single-owner", "tokio"),
        ("partita-automerge", "partita-yrs"),
        ("partita-sync", "partita"),
        ("partita-sync", "partita-redb"),
        ("partita-newcomer", "partita-core"),
    ] {
        let before = house.wrong().len();
        assert!(house.with(from, to).wrong().len() > before, "{from} -> {to} went unnoticed");
    }
}

#[test]
fn a_forbidden_crate_is_found_behind_an_innocent_one() {
    let wrong = house().with("bytes", "tokio").wrong();
    assert!(wrong.iter().any(|way| way.ends_with("bytes -> tokio")), "{wrong:?}");
    let wrong = house().with("tracing", "yrs").wrong();
    assert!(wrong.iter().any(|way| way.starts_with("forbidden: partita-relay -> ")), "{wrong:?}");
}

#[test]
fn a_new_plugin_that_leans_on_more_than_core_and_crypto_is_found() {
    let mut house = house().with("partita-group", "partita-sync");
    house.plugins.insert("partita-group".into());
    assert!(house.wrong().contains(&"partita-group must not name partita-sync".into()));
}
