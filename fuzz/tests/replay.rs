//! Every seed and every input that ever crashed a target goes through it again, on any compiler.

use std::{fs, path::Path};

/// Feeds the files of `folder/target` to each target; how many each had.
fn feed(folder: &str) -> Vec<(&'static str, usize)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut fed = Vec::new();
    for name in partita_fuzz::TARGETS {
        let target = partita_fuzz::target(name).expect("every name in the list is a target");
        let mut count = 0;
        for file in fs::read_dir(root.join(name)).into_iter().flatten() {
            let path = file.expect("the folder can be listed").path();
            // The name is seen when the target ends the process.
            eprintln!("{}", path.display());
            target(&fs::read(&path).expect("the file can be read"));
            count += 1;
        }
        fed.push((*name, count));
    }
    fed
}

#[test]
fn every_target_takes_its_seeds() {
    for (name, count) in feed("seeds") {
        assert!(count > 0, "{name} has no seeds: run the example `seeds`");
    }
}

#[test]
fn what_crashed_once_does_not_again() {
    feed("crashers");
}

/// A target that is in the manifest and not in the list would never be fed.
#[test]
fn every_target_of_the_manifest_is_known() {
    let manifest = include_str!("../Cargo.toml");
    let names: Vec<&str> = manifest
        .split("[[bin]]\nname = \"")
        .skip(1)
        .map(|rest| &rest[..rest.find('"').expect("a name ends")])
        .collect();
    assert_eq!(names, partita_fuzz::TARGETS);
}
