//! How much a revision publishes, counted whole and by what changed.
#![allow(clippy::unwrap_used, reason = "in a test the place says enough")]

use lockstep_source::testing::Origin;
use lockstep_source::{Limits, Mirror, SourceSpec, Tally};

fn limits() -> Limits {
    SourceSpec::new("", "main").limits
}

#[test]
fn a_change_is_counted_as_the_whole_is() {
    let origin = Origin::new();
    for (path, text) in [
        ("config/a.toml", "a = 1\n"),
        ("config/deep/er/b.toml", "b = 22\n"),
        ("config/.hidden", "not published"),
        ("config/deep/.dot", "published"),
        ("README.md", "outside"),
    ] {
        origin.write_file(path, text);
    }
    let first = origin.publish("first");
    origin.write_file("config/a.toml", "a = 1000\n");
    origin.remove("config/deep/er");
    origin.write_file("config/c/d/e.toml", "");
    let second = origin.publish("second");
    origin.remove("config/c");
    origin.write_file("config/c", "a file where a folder was");
    let third = origin.publish("third");

    let folder = tempfile::tempdir().unwrap();
    let spec = SourceSpec::new(origin.url(), "main").publishing("config");
    let mirror = Mirror::open(folder.path().join("mirror.git"), spec).unwrap();
    mirror.fetch().unwrap();
    let whole = |revision| mirror.tally(revision, None, &limits()).unwrap().unwrap();
    let since = |revision, base, tally| {
        mirror
            .tally(revision, Some((base, tally)), &limits())
            .unwrap()
            .unwrap()
    };
    let expected = Tally {
        files: 3,
        folders: 2,
        bytes: 22,
        largest: 9,
    };
    assert_eq!(whole(&first), expected);
    assert_eq!(
        whole(&second),
        Tally {
            files: 3,
            folders: 3,
            bytes: 18,
            largest: 9
        }
    );
    assert_eq!(
        whole(&third),
        Tally {
            files: 3,
            folders: 1,
            bytes: 43,
            largest: 25
        }
    );
    assert_eq!(since(&second, &first, expected), whole(&second));
    assert_eq!(since(&third, &second, whole(&second)), whole(&third));
    // Back again: the largest is a bound, all else is exact.
    let back = since(&first, &third, whole(&third));
    assert_eq!(Tally { largest: 9, ..back }, expected);
    assert_eq!(mirror.published_id(&first).unwrap().len(), 40);
}

#[test]
fn a_tally_is_within_limits_or_not() {
    let most = Limits {
        file_bytes: 10,
        files: 2,
        total_bytes: 15,
    };
    let tally = Tally {
        files: 2,
        folders: 1,
        bytes: 15,
        largest: 10,
    };
    assert!(tally.is_within(&most));
    for beyond in [
        Tally { files: 3, ..tally },
        Tally { folders: 3, ..tally },
        Tally { bytes: 16, ..tally },
        Tally { largest: 11, ..tally },
    ] {
        assert!(!beyond.is_within(&most), "{beyond:?}");
    }
}
