//! Random histories: whatever the trees, the roads and the restarts, what is published is what was asked for,
//! and no kept release ever changes.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::*;
use lockstep_core::tree::{Tree, TreePath};
use lockstep_protocol::FileMode;
use proptest::prelude::*;

/// One step of a history.
#[derive(Debug, Clone)]
enum Step {
    /// Files put and removed, then published.
    Publish(Vec<(String, Option<(u8, bool)>)>),
    /// An earlier tree, published again: by its place in the history.
    Back(usize),
    /// Retention, and the next spare.
    Tidy,
    /// The coordinator dies and another starts.
    Restart,
}

/// Paths that collide: a name may be a file in one tree and a folder in the next.
fn path() -> impl Strategy<Value = String> {
    proptest::collection::vec(prop_oneof!["a", "b", "c d", "é"], 1..4).prop_map(|parts| parts.join("/"))
}

fn step() -> impl Strategy<Value = Step> {
    let edit = (path(), proptest::option::weighted(0.7, (0_u8..4, any::<bool>())));
    prop_oneof![
        6 => proptest::collection::vec(edit, 0..6).prop_map(Step::Publish),
        2 => (0_usize..8).prop_map(Step::Back),
        3 => Just(Step::Tidy),
        1 => Just(Step::Restart),
    ]
}

/// Puts a file in, taking out what cannot be beside it: its folders as files, and what lies below it.
fn put(tree: &mut Tree, store: &mut Store, path: &str, content: u8, executable: bool) {
    let clash =
        |other: &str| other.starts_with(&format!("{path}/")) || path.starts_with(&format!("{other}/"));
    let gone: Vec<TreePath> = tree
        .iter()
        .map(|(p, _)| p.clone())
        .filter(|p| clash(p.as_str()))
        .collect();
    for path in gone {
        tree.remove(&path);
    }
    let mode = if executable {
        FileMode::Executable
    } else {
        FileMode::Regular
    };
    tree.insert(TreePath::new(path).unwrap(), store.file(&[content; 3], mode));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_is_published_as_it_was_asked_for(steps in proptest::collection::vec(step(), 1..16)) {
        let folder = quick_folder();
        let root = folder.path();
        let mut store = Store::default();
        let (mut volume, _) = open(root, options());
        let mut tree = Tree::new();
        let mut history: Vec<(u64, Tree)> = Vec::new();
        // What each release held when it got its name.
        let mut written: BTreeMap<String, BTreeMap<String, (u32, Vec<u8>)>> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Publish(edits) => {
                    for (path, edit) in edits {
                        match edit {
                            Some((content, executable)) => put(&mut tree, &mut store, &path, content, executable),
                            None => tree.remove(&TreePath::new(&path).unwrap()),
                        }
                    }
                    let number = history.len() as u64 + 1;
                    history.push((number, tree.clone()));
                    publish(&mut volume, &store, &tree, number);
                }
                Step::Back(place) if !history.is_empty() => {
                    let (number, older) = history[place % history.len()].clone();
                    tree = older;
                    publish(&mut volume, &store, &tree, number);
                }
                Step::Back(_) => continue,
                Step::Tidy => {
                    volume.tidy(&BTreeSet::new()).unwrap();
                }
                Step::Restart => {
                    drop(volume);
                    volume = open(root, options()).0;
                }
            }
            if current_number(root).is_some() {
                assert_live(root, &tree, &store);
            }
            for name in names(&root.join(".lockstep/releases")) {
                let now = contents(&root.join(".lockstep/releases").join(&name));
                let then = written.entry(name.clone()).or_insert_with(|| now.clone());
                assert_eq!(&now, then, "{name} never changes");
            }
            assert_eq!(volume.check_drift().unwrap(), []);
        }
    }
}
