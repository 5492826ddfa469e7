//! A tree by difference equals the whole tree, and both equal what a plain model of the rules says: over random
//! edits with renames, flips between file and folder, flips of modes, collisions that come and go, and limits.

#![allow(clippy::unwrap_used, reason = "a test has no use for a failure")]

use std::collections::{BTreeMap, HashSet};

use git2::{Oid, Repository, Signature};
use lockstep_core::tree::Tree;
use lockstep_protocol::{FileMode, Revision};
use lockstep_source::{Limits, Mirror, SourceError, SourceSpec, TreeRefused};
use proptest::prelude::*;
use tempfile::TempDir;

/// Small enough to be reached.
const LIMITS: Limits = Limits {
    file_bytes: 9,
    files: 7,
    total_bytes: 40,
};
const NAMES: [&str; 9] = ["a", "A", "b", "dir", "Dir", "é", "É", "current", ".dot"];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Node {
    File { bytes: u8, seed: u8, executable: bool },
    Symlink,
    Submodule,
}

impl Node {
    fn mode(self) -> i32 {
        match self {
            Self::File {
                executable: false, ..
            } => 0o100_644,
            Self::File { executable: true, .. } => 0o100_755,
            Self::Symlink => 0o120_000,
            Self::Submodule => 0o160_000,
        }
    }

    fn contents(self) -> Vec<u8> {
        match self {
            Self::File { bytes, seed, .. } => vec![seed; bytes.into()],
            Self::Symlink => b"target".to_vec(),
            Self::Submodule => Vec::new(),
        }
    }
}

type Model = BTreeMap<Vec<&'static str>, Node>;

#[derive(Debug, Clone)]
enum Edit {
    Put(Vec<&'static str>, Node),
    Remove(usize),
    /// Moves whatever lies at or below a prefix of an existing path.
    Rename {
        which: usize,
        depth: usize,
        to: Vec<&'static str>,
    },
    FlipMode(usize),
    /// Takes away all that cannot be published, so that bases come up often.
    Tidy,
}

fn path() -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(prop::sample::select(NAMES.to_vec()), 1..4)
}

fn node() -> impl Strategy<Value = Node> {
    let file = |bytes: std::ops::Range<u8>| {
        (bytes, 0..3_u8, any::<bool>()).prop_map(|(bytes, seed, executable)| Node::File {
            bytes,
            seed,
            executable,
        })
    };
    prop_oneof![20 => file(0..9), 1 => file(9..11), 1 => Just(Node::Symlink), 1 => Just(Node::Submodule)]
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        6 => (path(), node()).prop_map(|(path, node)| Edit::Put(path, node)),
        3 => any::<usize>().prop_map(Edit::Remove),
        3 => (any::<usize>(), 1..3_usize, path()).prop_map(|(which, depth, to)| Edit::Rename { which, depth, to }),
        2 => any::<usize>().prop_map(Edit::FlipMode),
        2 => Just(Edit::Tidy),
    ]
}

/// Puts a node where it shall be: what lies above or below it at that path gives way, as in a work tree.
fn put(model: &mut Model, path: Vec<&'static str>, node: Node) {
    model.retain(|other, _| !other.starts_with(&path) && !path.starts_with(other));
    model.insert(path, node);
}

fn apply(model: &mut Model, edit: Edit) {
    let nth = |model: &Model, n: usize| model.keys().nth(n % model.len().max(1)).cloned();
    match edit {
        Edit::Put(path, node) => put(model, path, node),
        Edit::Remove(n) => {
            if let Some(path) = nth(model, n) {
                model.remove(&path);
            }
        }
        Edit::Rename { which, depth, to } => {
            let Some(path) = nth(model, which) else { return };
            let from = path[..depth.min(path.len())].to_vec();
            let moved: Vec<_> = model
                .iter()
                .filter(|(p, _)| p.starts_with(&from))
                .map(|(p, n)| (p.clone(), *n))
                .collect();
            model.retain(|p, _| !p.starts_with(&from));
            for (path, node) in moved {
                put(model, [&to[..], &path[from.len()..]].concat(), node);
            }
        }
        Edit::FlipMode(n) => {
            if let Some(path) = nth(model, n)
                && let Some(Node::File { executable, .. }) = model.get_mut(&path)
            {
                *executable = !*executable;
            }
        }
        Edit::Tidy => {
            let mut spellings = HashSet::new();
            let mut files = 0;
            model.retain(|path, node| {
                let fits = matches!(node, Node::File { bytes: 0..=9, .. }) && path[0] != "current";
                let new = spellings.insert(path.join("/").to_lowercase());
                files += 1;
                fits && new && files <= 4 && !path.iter().any(|name| ["A", "Dir", "É"].contains(name))
            });
        }
    }
}

/// The rules once more, as plainly as they can be said. None: it cannot be published.
fn expected(model: &Model) -> Option<Vec<(String, FileMode, u64)>> {
    let published: Vec<_> = model
        .iter()
        .filter(|(path, _)| !path[0].starts_with('.'))
        .collect();
    let mut spelled = BTreeMap::new();
    let mut files = Vec::new();
    for (path, node) in published {
        for depth in 1..=path.len() {
            let here = path[..depth].join("/");
            let folder = path[..depth - 1].join("/");
            let key = (folder, path[depth - 1].to_lowercase());
            if spelled
                .insert(key, here.clone())
                .is_some_and(|other| other != here)
            {
                return None;
            }
        }
        let Node::File {
            bytes, executable, ..
        } = *node
        else {
            return None;
        };
        if path[0] == "current" || u64::from(bytes) > LIMITS.file_bytes {
            return None;
        }
        let mode = if executable {
            FileMode::Executable
        } else {
            FileMode::Regular
        };
        files.push((path.join("/"), mode, u64::from(bytes)));
    }
    let folders: HashSet<_> = files
        .iter()
        .flat_map(|(path, _, _)| path.match_indices('/').map(|(at, _)| path[..at].to_owned()))
        .collect();
    if folders.len() as u64 > LIMITS.files {
        return None;
    }
    let total: u64 = files.iter().map(|(_, _, bytes)| bytes).sum();
    files.sort();
    (files.len() as u64 <= LIMITS.files && total <= LIMITS.total_bytes).then_some(files)
}

/// Writes a model as a git tree below `config` and commits it to the branch.
fn commit(repo: &Repository, model: &Model) -> Revision {
    let config = write_tree(
        repo,
        &model
            .iter()
            .map(|(path, node)| (&path[..], *node))
            .collect::<Vec<_>>(),
    );
    let mut root = repo.treebuilder(None).unwrap();
    root.insert("config", config, 0o040_000).unwrap();
    let tree = repo.find_tree(root.write().unwrap()).unwrap();
    let who = Signature::new("Ada", "ada@example.org", &git2::Time::new(1_767_225_600, 0)).unwrap();
    let parent = repo
        .find_reference("refs/heads/main")
        .ok()
        .and_then(|r| r.peel_to_commit().ok());
    let parents: Vec<_> = parent.iter().collect();
    let id = repo
        .commit(Some("refs/heads/main"), &who, &who, "Edit", &tree, &parents)
        .unwrap();
    Revision::new(&id.to_string()).unwrap()
}

fn write_tree(repo: &Repository, nodes: &[(&[&str], Node)]) -> Oid {
    let mut builder = repo.treebuilder(None).unwrap();
    let mut folders: BTreeMap<&str, Vec<(&[&str], Node)>> = BTreeMap::new();
    for (path, node) in nodes {
        if let [name] = path {
            let id = match node {
                Node::Submodule => Oid::from_str(&"ab".repeat(20)).unwrap(),
                Node::File { .. } | Node::Symlink => repo.blob(&node.contents()).unwrap(),
            };
            builder.insert(name, id, node.mode()).unwrap();
        } else {
            folders.entry(path[0]).or_default().push((&path[1..], *node));
        }
    }
    for (name, nodes) in folders {
        builder.insert(name, write_tree(repo, &nodes), 0o040_000).unwrap();
    }
    builder.write().unwrap()
}

fn outcome(result: Result<Tree, SourceError>) -> Result<Tree, TreeRefused> {
    result.map_err(|error| match error {
        SourceError::Refused(refused) => *refused,
        other => panic!("{other}"),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_tree_by_difference_equals_the_whole_tree(
        steps in prop::collection::vec(prop::collection::vec(edit(), 1..4), 1..14)
    ) {
        let root = TempDir::new().unwrap();
        let source = Repository::init_bare(root.path().join("origin.git")).unwrap();
        let url = root.path().join("origin.git").display().to_string();
        let spec = SourceSpec { limits: LIMITS, ..SourceSpec::new(url, "main").publishing("config") };
        let mirror = Mirror::open(root.path().join("mirror.git"), spec).unwrap();
        let mut model = Model::new();
        let mut bases: Vec<(Revision, Tree)> = Vec::new();
        for edits in steps {
            for edit in edits {
                apply(&mut model, edit);
            }
            let revision = commit(&source, &model);
            prop_assert_eq!(mirror.fetch().unwrap(), revision.clone());
            let whole = outcome(mirror.tree(&revision, None));
            // From the newest base and from the oldest one: differences of any size.
            for (base, tree) in bases.first().into_iter().chain(bases.last()) {
                let by_difference = outcome(mirror.tree(&revision, Some((base, tree))));
                prop_assert_eq!(&by_difference, &whole);
            }
            let files = whole.as_ref().ok().map(|tree| {
                tree.iter().map(|(path, file)| (path.to_string(), file.mode, file.size)).collect::<Vec<_>>()
            });
            prop_assert_eq!(files, expected(&model));
            if let Ok(tree) = whole {
                bases.push((revision, tree));
            }
        }
    }
}
