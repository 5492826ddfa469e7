//! The situations in which a crash or a failing disk may come, and what must hold whatever came.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::Path;

use lockstep_core::tree::{Tree, TreePath};
use lockstep_protocol::{FileMode, SwitchNumber};
use lockstep_volume::{Current, OpenOptions, OutcomeKind, Term, Volume};

use super::{
    Store, assert_live, current_number, document, intent, links, live_document, names, open, options,
    outcome, publish,
};

/// A situation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// The first rollout, on a folder that is empty until then.
    First,
    /// A change without a spare: by hard links.
    Links,
    /// A change over a spare, and a recycled one after it.
    Spare,
    /// Back to a kept release.
    Back,
    /// A start among what a dead coordinator left: half a build, a staged switch, an intent.
    Restart,
    /// A first rollout that is taken back.
    Withdraw,
    /// Damaged files and links are healed.
    Heal,
    /// The first rollout, on a folder with files of somebody else that are taken over.
    Adopt,
    /// The same, taken back.
    AdoptAndWithdraw,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::First,
        Self::Links,
        Self::Spare,
        Self::Back,
        Self::Restart,
        Self::Withdraw,
        Self::Heal,
        Self::Adopt,
        Self::AdoptAndWithdraw,
    ];

    /// How a volume is opened in it.
    pub fn options(self) -> OpenOptions {
        OpenOptions {
            adopt: self.adopts(),
            ..options()
        }
    }

    fn adopts(self) -> bool {
        matches!(self, Self::Adopt | Self::AdoptAndWithdraw)
    }
}

/// What lies on the volume before it is taken over: a file and a folder that the release has too, others, a link.
pub const THEIRS: [(&str, &str); 5] = [
    ("a.toml", "theirs"),
    ("d/x", "theirs"),
    ("d/only/here", "theirs"),
    ("notes.txt", "theirs"),
    (".hidden", "theirs"),
];

/// Puts it there.
pub fn put_theirs(root: &Path) {
    for (path, contents) in THEIRS {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, contents).unwrap();
    }
    std::os::unix::fs::symlink("notes.txt", root.join("link")).unwrap();
}

/// Fails unless each of their files is found under its own path or where it is kept, and nowhere twice; and unless a
/// reader of a path finds a file as long as nothing else is live.
pub fn assert_theirs_kept(root: &Path) {
    let kept = root.join(".lockstep/adopted-1");
    let settled = current_number(root).is_some();
    for (path, contents) in THEIRS {
        let read = |path: &Path| std::fs::read_to_string(path).ok();
        let at_its_place = std::fs::symlink_metadata(root.join(path.split('/').next().unwrap()))
            .is_ok_and(|meta| !meta.is_symlink());
        let found = if at_its_place {
            root.join(path)
        } else {
            kept.join(path)
        };
        assert_eq!(read(&found).as_deref(), Some(contents), "{found:?}");
        if !settled {
            assert_eq!(
                read(&root.join(path)).as_deref(),
                Some(contents),
                "{path} for a reader"
            );
        } else if path == "a.toml" || path == "d/x" {
            assert!(root.join(path).exists(), "{path} for a reader");
        }
    }
    let link = std::fs::read_link(root.join("link")).or_else(|_| std::fs::read_link(kept.join("link")));
    assert!(settled || link.is_ok(), "their link");
}

/// A volume in a situation, and the trees that it goes between.
pub struct Stage {
    pub scenario: Scenario,
    pub store: Store,
    pub old: Option<Tree>,
    pub new: Option<Tree>,
    pub next: Tree,
    volume: Option<Volume>,
}

type Done = Result<(), Box<dyn Error>>;

impl Stage {
    /// The trees of a situation, without a volume.
    pub fn trees(scenario: Scenario) -> Self {
        let mut store = Store::default();
        let mut old = store.tree(&[
            ("a.toml", "1"),
            ("d/x", "same"),
            ("d/e/z", "1"),
            ("gone/y", "1"),
            ("f", "file"),
        ]);
        let run = store.file(b"run", FileMode::Executable);
        old.insert(TreePath::new("d/run").unwrap(), run);
        let new = store.tree(&[
            ("a.toml", "2"),
            ("d/x", "same"),
            ("d/run", "run"),
            ("f/now", "folder"),
            ("new", ""),
        ]);
        let next = store.tree(&[("a.toml", "3"), ("d/x", "changed"), ("last", "3")]);
        let (old, new) = match scenario {
            Scenario::First | Scenario::Adopt => (None, Some(new)),
            Scenario::AdoptAndWithdraw => (None, None),
            Scenario::Withdraw => (Some(old), None),
            Scenario::Heal => (Some(old.clone()), Some(old)),
            Scenario::Links | Scenario::Spare | Scenario::Back | Scenario::Restart => (Some(old), Some(new)),
        };
        Self {
            scenario,
            store,
            old,
            new,
            next,
            volume: None,
        }
    }

    /// Prepares the situation. Nothing in here is the subject of a test.
    pub fn set(root: &Path, scenario: Scenario) -> Self {
        let mut stage = Self::trees(scenario);
        let oldest = stage
            .store
            .tree(&[("a.toml", "0"), ("d/x", "same"), ("gone/y", "0")]);
        if scenario.adopts() {
            put_theirs(root);
        }
        let Some(old) = stage.old.clone() else {
            return stage;
        };
        let nobody = BTreeSet::new();
        let (mut volume, _) = open(root, options());
        let store = &stage.store;
        match scenario {
            Scenario::First
            | Scenario::Links
            | Scenario::Withdraw
            | Scenario::Adopt
            | Scenario::AdoptAndWithdraw => {
                publish(&mut volume, store, &old, 2);
            }
            Scenario::Spare => {
                publish(&mut volume, store, &oldest, 1);
                publish(&mut volume, store, &old, 2);
                volume.tidy(&nobody).unwrap();
            }
            Scenario::Back => {
                publish(&mut volume, store, stage.new.as_ref().unwrap(), 3);
                publish(&mut volume, store, &old, 2);
            }
            Scenario::Restart => {
                publish(&mut volume, store, &old, 2);
                let oldest = volume.build(&document(&oldest, 1), &oldest, store).unwrap();
                let switch = volume.highest_switch().next();
                let intent = intent(&volume, &oldest, switch);
                volume.journal_intent(&intent).unwrap();
                std::mem::forget(volume.stage_switch(&oldest, switch).unwrap());
                std::fs::create_dir(root.join(".lockstep/term-1/build-99")).unwrap();
                std::fs::write(root.join(".lockstep/term-1/build-99/half"), "h").unwrap();
                std::fs::write(
                    root.join(".lockstep/manifests")
                        .join(oldest.name().as_str().replace('-', "-f")),
                    "",
                )
                .unwrap();
                drop(volume);
                return stage;
            }
            Scenario::Heal => {
                publish(&mut volume, store, &old, 2);
                volume.tidy(&nobody).unwrap();
            }
        }
        stage.volume = Some(volume);
        stage
    }

    /// Goes from the old tree to the new one. May be called again after it failed.
    pub fn go(&mut self, root: &Path) -> Done {
        let mut volume = match self.volume.take() {
            Some(volume) => volume,
            None => {
                let unfenced = Volume::open(root, self.scenario.options())?;
                let term = unfenced.highest_term().next();
                unfenced.fence(term)?.0
            }
        };
        let done = self.go_with(&mut volume, root);
        self.volume = Some(volume);
        done
    }

    fn go_with(&self, volume: &mut Volume, root: &Path) -> Done {
        match (self.scenario, &self.new) {
            (Scenario::AdoptAndWithdraw, _) => {
                let switch = volume.highest_switch().next();
                let to = &self.next;
                let (_, staged) = volume.prepare_switch(&document(to, 9), to, &self.store, switch)?;
                let switched = staged.commit()?;
                volume.after_unpause(&switched)?;
                volume.withdraw()?;
                volume.tidy(&BTreeSet::new())?;
                Ok(())
            }
            (Scenario::Withdraw, _) | (_, None) => {
                volume.withdraw()?;
                volume.tidy(&BTreeSet::new())?;
                Ok(())
            }
            (Scenario::Heal, Some(tree)) => {
                tamper(root);
                volume.check_drift()?;
                rollout(volume, &self.store, tree, 2)
            }
            (_, Some(tree)) => rollout(volume, &self.store, tree, 3),
        }
    }

    /// Gives the volume up without a word, as a crash does.
    pub fn die(&mut self) {
        self.volume = None;
    }

    /// Fails unless readers see the whole old tree or the whole new one. Returns whether it is the new one.
    pub fn assert_old_or_new(&self, root: &Path) -> bool {
        if self.scenario.adopts() {
            assert_theirs_kept(root);
        }
        if self.scenario == Scenario::AdoptAndWithdraw {
            return current_number(root).is_none();
        }
        if current_number(root).is_none() {
            assert!(
                self.old.is_none() || self.new.is_none(),
                "there was a release before and after"
            );
            return self.new.is_none();
        }
        let digest = live_document(root).digest;
        let whole = |tree: &Option<Tree>| tree.as_ref().is_some_and(|tree| tree.digest() == digest);
        let is_new = whole(&self.new) && (self.scenario != Scenario::Heal || !damaged(root));
        let tree = if whole(&self.new) { &self.new } else { &self.old };
        let tree = tree
            .as_ref()
            .unwrap_or_else(|| panic!("{digest} is neither the old nor the new release"));
        assert!(
            tree.digest() == digest,
            "{digest} is neither the old nor the new release"
        );
        if self.scenario != Scenario::Heal || is_new {
            let folder = super::current(root);
            assert_eq!(super::contents(&folder), super::expected(tree, &self.store));
        }
        is_new
    }

    /// Fails unless the volume starts again, is in order, and takes a further rollout.
    pub fn assert_recovers(mut self, root: &Path) {
        self.die();
        let was_new = self.assert_old_or_new(root);
        let used = used_numbers(root);
        let (mut volume, found) = open(root, self.scenario.options());
        assert!(
            found.highest_switch >= used,
            "{:?} < {used:?}",
            found.highest_switch
        );
        let wanted = if was_new { &self.new } else { &self.old };
        match (&found.current, wanted) {
            (Current::None, None) if self.scenario.adopts() => {
                assert_eq!(
                    links(root),
                    ["a.toml", "d", "notes.txt", ".hidden", "link"]
                        .map(str::to_owned)
                        .into()
                );
                let adopted = found.adopted.as_ref().expect("it is under way");
                assert_eq!(adopted.entries.len(), 5, "{adopted:?}");
                assert!(volume.check_drift().unwrap().is_empty());
            }
            // It is over when the outcome is recorded, which this does not do.
            (Current::Live { .. }, None) if self.scenario == Scenario::AdoptAndWithdraw => {
                volume.withdraw().unwrap();
                assert_theirs_kept(root);
            }
            (Current::None, None) => assert_eq!(links(root), BTreeSet::new()),
            (Current::Live { tree: Some(tree), .. }, Some(wanted)) => assert_eq!(tree, wanted),
            (current, wanted) => panic!("{current:?} for {wanted:?}"),
        }
        let was_new = was_new || self.scenario == Scenario::AdoptAndWithdraw;
        if self.scenario != Scenario::Heal
            && let Some(wanted) = wanted
        {
            assert_live(root, wanted, &self.store);
            assert!(volume.check_drift().unwrap().is_empty());
        }
        volume.tidy(&BTreeSet::new()).unwrap();
        assert_in_order(root, volume.term());
        assert_eq!(
            self.assert_old_or_new(root),
            was_new,
            "a start changes nothing for readers"
        );

        if self.scenario == Scenario::Heal {
            volume.check_drift().unwrap();
        }
        let adopting = root.join(".lockstep/adopting").is_symlink();
        assert!(
            adopting || was_new || !self.scenario.adopts(),
            "nothing has settled yet"
        );
        rollout(&mut volume, &self.store, &self.next, 9).unwrap();
        assert_live(root, &self.next, &self.store);
        assert!(volume.check_drift().unwrap().is_empty());
        assert!(
            current_number(root).unwrap() > used.0,
            "a number is never used twice"
        );
        if self.scenario.adopts() {
            assert_theirs_kept(root);
            assert!(
                !root.join(".lockstep/adopting").is_symlink(),
                "the take-over is over"
            );
            let (mut volume, found) = super::take_over(root);
            assert_eq!(found.adopted, None);
            assert!(volume.check_drift().unwrap().is_empty());
        }
    }
}

/// A whole rollout, as the coordinator makes it.
pub fn rollout(volume: &mut Volume, store: &Store, tree: &Tree, number: u64) -> Done {
    let prepared = volume.build(&document(tree, number), tree, store)?;
    let switch = volume.highest_switch().next();
    let intent = intent(volume, &prepared, switch);
    volume.journal_intent(&intent)?;
    let staged = volume.stage_switch(&prepared, switch)?;
    let switched = staged.commit()?;
    volume.after_unpause(&switched)?;
    volume.journal_outcome(&outcome(&intent, volume.term(), OutcomeKind::Settled))?;
    volume.tidy(&BTreeSet::new())?;
    Ok(())
}

/// Damages the release that is live now, once: a file through its link, and a link itself.
fn tamper(root: &Path) {
    if !damaged(root) {
        let file = root.join("d/x");
        std::fs::remove_file(root.join("a.toml")).unwrap();
        std::fs::write(root.join("a.toml"), "tampered").unwrap();
        super::write_in_place(&file, b"SAME");
    }
}

/// Whether the live release has the tampered file.
fn damaged(root: &Path) -> bool {
    std::fs::read(root.join("current/d/x")).is_ok_and(|bytes| bytes == b"SAME")
}

/// The highest switch number that anything on the volume has.
fn used_numbers(root: &Path) -> SwitchNumber {
    let folder = root.join(".lockstep/switches");
    let links = if folder.exists() {
        names(&folder)
    } else {
        BTreeSet::new()
    };
    let links = links.iter().map(|name| name.parse::<u64>().unwrap());
    SwitchNumber(links.chain(current_number(root)).max().unwrap_or(0))
}

/// Fails if anything lies on a tidied volume that has no business there.
pub fn assert_in_order(root: &Path, term: Term) {
    let own = root.join(".lockstep");
    let mut folders = names(&own);
    folders.retain(|name| {
        !name.starts_with("fenced-") || names(&own.join(name)) != ["journal".to_owned()].into()
    });
    folders.retain(|name| name != "adopting" && name != "adopted-1");
    let expected = ["lock", "manifests", "releases", "switches"].map(str::to_owned);
    let expected: BTreeSet<String> = expected.into_iter().chain([format!("term-{term}")]).collect();
    assert_eq!(folders, expected);
    assert_eq!(names(&own.join("manifests")), names(&own.join("releases")));
    let staging: Vec<String> = names(&own.join(format!("term-{term}")))
        .into_iter()
        .filter(|name| name != "journal" && !name.starts_with("reserve-"))
        .collect();
    assert!(
        staging.len() == 2 || staging.is_empty(),
        "a spare and its manifest, or nothing: {staging:?}"
    );
}
