//! The compiled sets of features (tests/package/features.txt) include every feature alone, and
//! every three features in each combination of on and off.
//!
//! All 4,096 sets would take hours. A mistake in `cfg` involves only a few features. Three cover a
//! file that is compiled for two features and breaks without a third.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

type Set = BTreeSet<String>;

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

/// Each feature with the features that it turns on.
fn features() -> BTreeMap<String, Set> {
    let manifest = read("Cargo.toml");
    let section = manifest.split("[features]\n").nth(1).unwrap().split("\n[").next().unwrap();
    let lines = section.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    let named: BTreeMap<String, Set> = lines
        .map(|line| {
            let (name, list) = line.split_once(" = ").unwrap();
            let list = list.split('"').skip(1).step_by(2).filter(|item| !item.contains([':', '/', '?']));
            (name.to_owned(), list.map(str::to_owned).collect())
        })
        .filter(|(name, _)| name != "default")
        .collect();
    assert!(named.values().flatten().all(|turned_on| named.contains_key(turned_on)));
    named
}

/// All features that are on if these are requested.
fn closure(features: &BTreeMap<String, Set>, asked: Set) -> Set {
    let more: Set = asked.iter().flat_map(|feature| &features[feature]).cloned().collect();
    if more.is_subset(&asked) { asked } else { closure(features, &asked | &more) }
}

fn sets(features: &BTreeMap<String, Set>) -> Vec<Set> {
    let text = read("tests/package/features.txt");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let asked = |line: &str| line.split(',').filter(|name| *name != "none").map(str::to_owned).collect();
    lines.map(|line| closure(features, asked(line))).collect()
}

#[test]
fn every_feature_is_compiled_alone() {
    let features = features();
    let sets = sets(&features);
    assert!(sets.contains(&Set::new()), "without any feature");
    for feature in features.keys() {
        assert!(sets.contains(&closure(&features, Set::from([feature.clone()]))), "`{feature}` alone");
    }
}

#[test]
fn every_three_features_are_compiled_in_each_combination_of_on_and_off() {
    let features = features();
    let mut sets = sets(&features);
    sets.push(features.keys().cloned().collect()); // the lints of all targets
    let names: Vec<&String> = features.keys().collect();
    let triples = (0..names.len()).flat_map(|a| (a + 1..names.len()).map(move |b| (a, b)));
    let triples = triples.flat_map(|(a, b)| (b + 1..names.len()).map(move |c| [a, b, c]));
    let mut combinations = 0;
    for triple in triples.map(|triple| triple.map(|index| names[index])) {
        for bits in 0..8_u8 {
            let on: Set = (0..3).filter(|bit| bits >> bit & 1 == 1).map(|bit| triple[bit].clone()).collect();
            let is = |set: &Set| {
                triple.iter().filter(|name| set.contains(**name)).copied().cloned().collect::<Set>()
            };
            if is(&closure(&features, on.clone())) != on {
                continue; // a feature that is off here is turned on by one that is on
            }
            combinations += 1;
            assert!(sets.iter().any(|set| is(set) == on), "no set has of {triple:?} exactly {on:?}");
        }
    }
    println!("{combinations} combinations in {} sets", sets.len());
    assert!(combinations > 1_500);
}

/// A reader of the README decides in a few minutes whether to continue. The book has the rest.
#[test]
fn the_readme_names_every_feature_and_is_short() {
    let readme = read("README.md");
    for feature in features().keys() {
        assert!(readme.contains(&format!("`{feature}`")), "no word of `{feature}`");
    }
    assert!(readme.lines().count() <= 150, "{} lines", readme.lines().count());
}
