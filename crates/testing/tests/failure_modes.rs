//! `docs/failure-modes.md` is true: each line is there once, its tests exist and name it, and what names a line is listed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failure here is a finding

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

const LINES: u32 = 46;
const PARTS: [&str; 2] = ["comes with records", "comes with change capture"];
/// What has to be guarded now: the rest needs parts that are not written yet.
const NOW: [(u32, u32); 6] = [(1, 10), (13, 18), (20, 24), (26, 26), (27, 37), (39, 46)];

/// A test that is said to guard a line.
type Guard = (u32, String, String);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The lines of the page with what it says of each.
fn rows(page: &str) -> BTreeMap<u32, String> {
    let mut rows = BTreeMap::new();
    for row in page.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let Ok(line) = cells[0].parse::<u32>() else { continue };
        assert_eq!(cells.len(), 4, "line {line} has its four cells");
        assert!(cells.iter().all(|cell| !cell.is_empty()), "line {line} has an empty cell");
        assert_eq!(rows.insert(line, cells[3].to_owned()), None, "line {line} is there twice");
    }
    rows
}

/// The tests that a cell names: a path, then names of tests in that file.
fn guards(line: u32, cell: &str) -> Vec<Guard> {
    let (mut file, mut found) = (None, Vec::new());
    for code in cell.split('`').skip(1).step_by(2) {
        if code.ends_with(".rs") {
            file = Some(code);
        } else {
            let file = file.unwrap_or_else(|| panic!("line {line}: {code} is in no file"));
            found.push((line, file.to_owned(), code.to_owned()));
        }
    }
    found
}

/// Every test whose comment names a line.
fn named(root: &Path) -> BTreeSet<Guard> {
    let mut found = BTreeSet::new();
    for path in sources(vec![root.join("crates"), root.join("plugins")]) {
        let file = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
        let mut waiting = Vec::new();
        for line in fs::read_to_string(&path).unwrap().lines().map(str::trim) {
            if let Some(of) = line.strip_prefix("/// Failure mode ") {
                let number = of.split_once(':').and_then(|(number, _)| number.parse().ok());
                waiting.push(number.unwrap_or_else(|| panic!("{file}: which line does {line:?} name?")));
            } else if let Some(at) = line.find("fn ").filter(|_| !line.starts_with("//")) {
                let name: String = line[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                found.extend(waiting.drain(..).map(|number| (number, file.clone(), name.clone())));
            }
        }
        assert_eq!(waiting, [0; 0], "{file}: no function follows");
    }
    found
}

/// All sources in these folders.
fn sources(mut folders: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn every_line_is_guarded_or_says_why_not() {
    let rows = rows(&fs::read_to_string(root().join("docs/failure-modes.md")).unwrap());
    assert_eq!(rows.keys().copied().collect::<Vec<_>>(), (1..=LINES).collect::<Vec<_>>());
    for (line, cell) in &rows {
        let now = NOW.iter().any(|(from, to)| (from..=to).contains(&line));
        let waits = PARTS.contains(&cell.as_str());
        assert_ne!(now, waits, "line {line}: {cell}");
    }
}

#[test]
fn what_the_page_names_exists_and_what_names_a_line_is_on_the_page() {
    let root = root();
    let rows = rows(&fs::read_to_string(root.join("docs/failure-modes.md")).unwrap());
    let listed: BTreeSet<_> = rows.iter().flat_map(|(line, cell)| guards(*line, cell)).collect();
    for (line, file, test) in &listed {
        let source = fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("line {line}: {file}: {error}"));
        assert!(source.contains(&format!("fn {test}(")), "line {line}: {file} has no {test}");
    }
    let named = named(&root);
    let silent: Vec<_> = listed.difference(&named).collect();
    assert!(silent.is_empty(), "their comments do not name the line: {silent:#?}");
    let unlisted: Vec<_> = named.difference(&listed).collect();
    assert!(unlisted.is_empty(), "the page does not list them: {unlisted:#?}");
}

/// Failure mode 26: no limit of a node is there for its description alone.
#[test]
fn every_limit_of_a_node_is_read_by_something() {
    let root = root();
    let config = fs::read_to_string(root.join("crates/protocol/src/config.rs")).unwrap();
    let (fields, _) = config.split_once("impl Default").unwrap();
    let fields: Vec<_> = fields
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub ")?.split_once(": "))
        .map(|(name, _)| name)
        .collect();
    assert!(fields.len() > 10, "{fields:?}");
    let node = sources(vec![root.join("crates/protocol/src/node")]);
    let node: String = node.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    for field in fields {
        let read = node.match_indices(&format!("config.{field}")).any(|(at, found)| {
            let next = node[at + found.len()..].trim_start();
            !next.starts_with("= ") && !next.starts_with(|c: char| c.is_alphanumeric() || c == '_')
        });
        assert!(read, "nothing reads `{field}`");
    }
}
