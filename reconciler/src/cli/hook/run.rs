//! What the hooks do: which changes git asks about, and whether they may go live.
//!
//! Only the branch that is followed is judged. What is pushed elsewhere goes live nowhere.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use git2::Repository;
use lockstep_protocol::Revision;

use super::super::checkout::Checkout;
use super::super::{Failure, validate};
use super::judge::{Shown, judge, note};
use super::{Kind, Run};

/// Runs a hook; git's arguments are in `run`, its words for it on the standard input.
pub(super) fn run(run: Run) -> Result<(), Failure> {
    lockstep_source::set_up();
    let repo = repository()?;
    let config = |key: &str| {
        let config = repo.config().ok()?;
        config.get_string(key).ok().filter(|value| !value.is_empty())
    };
    let published = run
        .path
        .clone()
        .or_else(|| config("lockstep.path"))
        .unwrap_or_default();
    let branch = run.branch.clone().or_else(|| config("lockstep.branch"));
    match run.kind {
        Kind::Commit => {
            let checkout = Checkout::of_hook(repo, &objects(), &published)?;
            pre_commit(&checkout)
        }
        Kind::Push => {
            let remote = run
                .given
                .first()
                .cloned()
                .or_else(|| variable("PRE_COMMIT_REMOTE_NAME"));
            let branch = branch.unwrap_or_else(|| of_remote(&repo, remote.as_deref().unwrap_or("origin")));
            let pushed = pushed(&input()?)?;
            let checkout = Checkout::of_hook(repo, &objects(), &published)?;
            all(&checkout, &branch, pushed, Shown::Here, |at| {
                format!(
                    "nothing was pushed: the reconciler would reject {branch} at {at}. Mend it, or `git push --no-verify` \
                     pushes it all the same and it does not go live"
                )
            })
        }
        Kind::Receive => {
            let branch = branch.unwrap_or_else(|| of_head(&repo));
            let received = received(&input()?)?;
            let checkout = Checkout::of_hook(repo, &objects(), &published)?;
            all(&checkout, &branch, received, Shown::There, |at| {
                format!(
                    "{branch} is refused: the reconciler would reject {at}. Nothing of this push was taken. Mend it and \
                     push again"
                )
            })
        }
    }
}

fn pre_commit(checkout: &Checkout) -> Result<(), Failure> {
    let staged = checkout.staged()?;
    let base = validate::base_of(checkout, &staged).map(|(_, base)| base);
    if judge(checkout, &staged, base.as_ref(), Shown::Here)? {
        return Ok(());
    }
    note(
        "nothing was committed: the reconciler would reject what is staged. Mend it and `git add` it, or \
         `git commit --no-verify` commits it all the same and it does not go live",
        Shown::Here,
    );
    Err(Failure::told())
}

/// A ref that moves.
#[derive(Debug, PartialEq, Eq)]
struct Update {
    /// From where; from nowhere when it is new.
    old: Option<Revision>,
    /// To where; nowhere when it is deleted.
    new: Option<Revision>,
    /// Its whole name, at the repository that is followed.
    name: String,
}

/// Judges the updates of the followed branch.
fn all(
    checkout: &Checkout,
    branch: &str,
    updates: Vec<Update>,
    shown: Shown,
    refused: impl Fn(&str) -> String,
) -> Result<(), Failure> {
    let followed = format!("refs/heads/{branch}");
    for update in updates.into_iter().filter(|update| update.name == followed) {
        let Some(new) = &update.new else {
            note(
                &format!(
                    "{branch} is deleted: the reconciler then has nothing to follow, and what is live stays"
                ),
                shown,
            );
            continue;
        };
        let base = base(checkout, branch, &update, new, shown)?;
        if !judge(checkout, new, base.as_ref(), shown)? {
            note(&refused(new.short()), shown);
            return Err(Failure::told());
        }
    }
    Ok(())
}

/// What a new head is judged against, as far as it is at hand. That it does not descend from it is said.
fn base(
    checkout: &Checkout,
    branch: &str,
    update: &Update,
    new: &Revision,
    shown: Shown,
) -> Result<Option<Revision>, Failure> {
    let Some(old) = &update.old else { return Ok(None) };
    let mirror = checkout.mirror();
    if !mirror.has(old) {
        note(
            &format!(
                "{branch} is at {} there, which is not in this clone: `git fetch` brings it. Rules about the old value \
                 are not judged here",
                old.short()
            ),
            shown,
        );
        return Ok(None);
    }
    if mirror.has(new) && !mirror.is_ancestor(old, new).map_err(Failure::refused)? {
        note(
            &format!(
                "{branch} is rewound from {} to {}, which does not descend from it. If {0} or a later commit went live, \
                 the reconciler holds the new head and what is live stays, unless its settings say `rewind = \"allow\"`",
                old.short(),
                new.short()
            ),
            shown,
        );
    }
    Ok(Some(old.clone()))
}

/// The lines that git writes to a pre-receive hook: `OLD NEW REF`.
fn received(input: &str) -> Result<Vec<Update>, Failure> {
    let line = |line: &str| {
        let mut words = line.split(' ');
        let (old, new) = (id(words.next()?)?, id(words.next()?)?);
        let name = words.next()?.to_owned();
        Some(Update { old, new, name })
    };
    input
        .lines()
        .map(|text| line(text).ok_or_else(|| not_understood("pre-receive", "OLD NEW REF", text)))
        .collect()
}

/// The lines that git writes to a pre-push hook: `LOCAL-REF LOCAL REMOTE-REF REMOTE`. The pre-commit framework says
/// the same by variables.
fn pushed(input: &str) -> Result<Vec<Update>, Failure> {
    let line = |line: &str| {
        let mut words = line.split(' ').skip(1);
        let new = id(words.next()?)?;
        let name = words.next()?.to_owned();
        let old = id(words.next()?)?;
        Some(Update { old, new, name })
    };
    if input.is_empty()
        && let (Some(name), Some(new)) = (
            variable("PRE_COMMIT_REMOTE_BRANCH"),
            variable("PRE_COMMIT_TO_REF"),
        )
    {
        let old = variable("PRE_COMMIT_FROM_REF").and_then(|old| id(&old).flatten());
        return Ok(vec![Update {
            old,
            new: id(&new).flatten(),
            name,
        }]);
    }
    input
        .lines()
        .map(|text| {
            let form = "LOCAL-REF LOCAL REMOTE-REF REMOTE";
            line(text).ok_or_else(|| not_understood("pre-push", form, text))
        })
        .collect()
}

/// A commit id; nothing, within, for the zeros that stand for none.
fn id(text: &str) -> Option<Option<Revision>> {
    if !text.is_empty() && text.bytes().all(|byte| byte == b'0') {
        return Some(None);
    }
    Revision::new(text).ok().map(Some)
}

fn not_understood(hook: &str, form: &str, text: &str) -> Failure {
    Failure::misuse(format!(
        "{text:?} is no line of a {hook} hook, which git writes as {form}: let git run it"
    ))
}

fn input() -> Result<String, Failure> {
    let mut text = String::new();
    let read = std::io::stdin().read_to_string(&mut text);
    read.map_err(|error| {
        Failure::refused(format!(
            "what git says on the standard input cannot be read: {error}"
        ))
    })?;
    Ok(text)
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The repository that git runs the hook in.
fn repository() -> Result<Repository, Failure> {
    let opened = match std::env::var_os("GIT_DIR") {
        Some(folder) => Repository::open(Path::new(&folder)),
        None => Repository::discover("."),
    };
    opened.map_err(|error| {
        Failure::refused(format!(
            "there is no git repository here: {}. Git runs hooks where it needs them",
            error.message()
        ))
    })
}

/// The folders in which git looks for objects besides the repository's own: what is pushed lies apart until it is taken.
fn objects() -> Vec<PathBuf> {
    let own = std::env::var_os("GIT_OBJECT_DIRECTORY").map(PathBuf::from);
    let others = std::env::var_os("GIT_ALTERNATE_OBJECT_DIRECTORIES").unwrap_or_default();
    let others: Vec<_> = std::env::split_paths(&others).collect();
    let all = own.into_iter().chain(others);
    all.filter(|folder| !folder.as_os_str().is_empty())
        .map(|folder| std::path::absolute(&folder).unwrap_or(folder))
        .collect()
}

/// The branch that a bare repository's HEAD names.
fn of_head(repo: &Repository) -> String {
    of_symbolic(repo, "HEAD", "refs/heads/")
}

/// The branch that a remote's HEAD named when it was cloned.
fn of_remote(repo: &Repository, remote: &str) -> String {
    let prefix = format!("refs/remotes/{remote}/");
    of_symbolic(repo, &format!("{prefix}HEAD"), &prefix)
}

fn of_symbolic(repo: &Repository, name: &str, prefix: &str) -> String {
    let named = || {
        let reference = repo.find_reference(name).ok()?;
        let target = reference.symbolic_target().ok()??;
        Some(target.strip_prefix(prefix)?.to_owned())
    };
    named().unwrap_or_else(|| "main".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "1111111111111111111111111111111111111111";
    const NEW: &str = "2222222222222222222222222222222222222222";
    const NONE: &str = "0000000000000000000000000000000000000000";

    fn update(old: &str, new: &str) -> Update {
        let [old, new] = [old, new].map(|text| id(text).unwrap());
        Update {
            old,
            new,
            name: "refs/heads/main".to_owned(),
        }
    }

    #[test]
    fn the_lines_of_both_hooks_are_understood() {
        let lines = format!(
            "{OLD} {NEW} refs/heads/main\n{NONE} {NEW} refs/heads/main\n{OLD} {NONE} refs/heads/main\n"
        );
        let expected = [update(OLD, NEW), update(NONE, NEW), update(OLD, NONE)];
        assert_eq!(received(&lines).unwrap(), expected);
        let lines = format!(
            "refs/heads/x {NEW} refs/heads/main {OLD}\nHEAD {NEW} refs/heads/main {NONE}\n(delete) {NONE} refs/heads/main {OLD}\n"
        );
        assert_eq!(pushed(&lines).unwrap(), expected);
        assert_eq!(received("").unwrap(), []);
    }

    #[test]
    fn other_lines_are_refused_with_what_was_expected() {
        for line in [
            "",
            "main",
            &format!("{OLD} {NEW}"),
            &format!("{OLD} new refs/heads/main"),
        ] {
            let failure = received(&format!("{line}\n")).unwrap_err();
            assert!(
                failure.code == 2 && failure.message.contains("OLD NEW REF"),
                "{}",
                failure.message
            );
        }
        let failure = pushed("a b c d\n").unwrap_err();
        assert!(failure.message.contains("REMOTE-REF"), "{}", failure.message);
    }
}
