//! The release archive, as somebody meets it who has nothing but it.
//!
//! Run by `cargo e2e release`, which builds the archive first and names it; the other scenarios then run with its
//! programs as well.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// Names the archive that is tested.
const ARCHIVE: &str = "LOCKSTEP_ARCHIVE";

const PROGRAMS: [&str; 4] = ["broker", "lockstep", "orchestrator", "scanner"];

fn archive() -> PathBuf {
    std::env::var_os(ARCHIVE)
        .map(PathBuf::from)
        .expect("LOCKSTEP_ARCHIVE names the archive: run `cargo e2e release`, which builds one")
}

fn checkout() -> PathBuf {
    fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).expect("the checkout is there")
}

/// The archive, unpacked into a folder of its own.
struct Unpacked {
    place: TempDir,
    name: String,
}

impl Unpacked {
    fn new() -> Self {
        let archive = archive();
        let place = TempDir::with_prefix("lab-release-").expect("there is room");
        succeeds(
            Command::new("tar")
                .arg("-xzf")
                .arg(&archive)
                .arg("-C")
                .arg(place.path()),
        );
        let file = archive.file_name().expect("it is a file").to_string_lossy();
        let name = file.strip_suffix(".tar.gz").expect("it is a .tar.gz").to_owned();
        Self { place, name }
    }

    fn root(&self) -> PathBuf {
        self.place.path().join(&self.name)
    }

    fn program(&self, name: &str) -> PathBuf {
        self.root().join("bin").join(name)
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Runs one of its programs where there is nothing but the archive: no shell, no libc, no git, no certificates.
    /// The system's folders are the ones that a kernel gives to any program.
    fn alone(&self, words: &[&str]) -> Output {
        let root = self.place.path();
        for folder in ["dev", "proc", "tmp"] {
            fs::create_dir_all(root.join(folder)).expect("there is room");
        }
        let script = r#"mount --rbind /dev "$0/dev" && mount -t proc proc "$0/proc" || exit 90
                        /usr/sbin/chroot "$0" "$@"
                        exit $?"#;
        let mut command = Command::new("unshare");
        // Only root may do this without a user namespace.
        if !rustix::process::geteuid().is_root() {
            command.arg("--map-root-user");
        }
        command
            .args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script])
            .arg(root)
            .arg(format!("/{}/bin/{}", self.name, words[0]))
            .args(&words[1..])
            .env_clear()
            .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
        command.output().expect("unshare can be run")
    }
}

#[track_caller]
fn succeeds(command: &mut Command) -> String {
    let output = command.output().expect("it can be run");
    assert!(output.status.success(), "{command:?}: {}", said(&output));
    String::from_utf8(output.stdout).expect("it is text")
}

fn said(output: &Output) -> String {
    format!(
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// The types of a program's segments, as its header names them.
fn segments(program: &Path) -> Vec<u32> {
    let bytes = fs::read(program).expect("it is there");
    assert_eq!(
        bytes[..5],
        [0x7f, b'E', b'L', b'F', 2],
        "it is a program of 64 bits"
    );
    let number = |at: usize, length: usize| {
        let mut value = [0; 8];
        value[..length].copy_from_slice(&bytes[at..at + length]);
        usize::try_from(u64::from_le_bytes(value)).expect("it is small")
    };
    let (table, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    (0..count)
        .map(|entry| u32::try_from(number(table + entry * size, 4)).expect("it has four bytes"))
        .collect()
}

#[test]
fn all_that_belongs_to_an_installation_is_in_it_and_nothing_else() {
    let archive = archive();
    let listed = succeeds(Command::new("tar").arg("-tvzf").arg(&archive));
    let unpacked = Unpacked::new();
    let paths: BTreeSet<_> = listed
        .lines()
        .map(|line| {
            let (facts, path) = line
                .split_once(&unpacked.name)
                .expect("all of it lies in one folder");
            assert!(facts.contains(" 0/0 "), "root owns it: {line}");
            let program = path.starts_with("/bin/") || path.ends_with("minimal.py");
            let mode = if program { "-rwxr-xr-x" } else { "-rw-r--r--" };
            assert!(
                facts.starts_with(mode) || path.starts_with("/services/examples/"),
                "{line}"
            );
            path[1..].to_owned()
        })
        .collect();
    let below = |folder: &str| -> BTreeSet<&str> {
        paths
            .iter()
            .filter_map(|path| path.strip_prefix(folder))
            .collect()
    };
    assert_eq!(below("bin/"), BTreeSet::from(PROGRAMS));
    assert_eq!(
        below("completions/"),
        BTreeSet::from(["_lockstep", "lockstep.bash", "lockstep.fish"])
    );
    assert_eq!(
        below("licences/"),
        BTreeSet::from(["RUST-STANDARD-LIBRARY.html", "THIRD-PARTIES.txt"])
    );
    let commands = succeeds(Command::new(unpacked.program("lockstep")).arg("--help"));
    for page in [
        "lockstep.1",
        "lockstep-run.1",
        "lockstep-doctor.1",
        "lockstep-demo.1",
    ] {
        assert!(below("man/man1/").contains(page), "{page} of\n{commands}");
    }
    // What the checkout has is there as it is there.
    let kept = succeeds(Command::new("git").arg("-C").arg(checkout()).args([
        "ls-files",
        "--",
        "CHANGELOG.md",
        "LICENSE",
        "README.md",
        "config-repo-template",
        "docs",
        "packaging",
        "services/examples",
        "services/protocol/README.md",
        "services/protocol/schema",
    ]));
    for path in kept.lines() {
        let (there, here) = (checkout().join(path), unpacked.root().join(path));
        assert!(
            fs::read(&there).expect("git lists it") == fs::read(&here).expect(path),
            "{path} differs"
        );
    }
    let made = ["bin/", "completions/", "licences/", "man/man1/"];
    let others: Vec<_> = paths
        .iter()
        .filter(|path| !made.iter().any(|folder| path.starts_with(folder)))
        .filter(|path| !kept.lines().any(|line| line == path.as_str()))
        .collect();
    assert_eq!(others, ["sbom.cdx.json"]);
    // And whoever fetched it can see that it is whole.
    let folder = archive.parent().expect("it lies somewhere");
    let file = archive.file_name().expect("it is a file").to_string_lossy();
    succeeds(
        Command::new("sha256sum")
            .args(["--check", "--quiet", &format!("{file}.sha256")])
            .current_dir(folder),
    );
}

#[test]
fn the_programs_need_no_loader_and_no_library_and_know_nothing_of_where_they_were_built() {
    const DYNAMIC: u32 = 2;
    const INTERPRETER: u32 = 3;
    let unpacked = Unpacked::new();
    let home = std::env::home_dir().expect("there is a home folder");
    for name in PROGRAMS {
        let program = unpacked.program(name);
        let segments = segments(&program);
        assert!(segments.len() > 3, "{name}: {segments:?}");
        assert!(!segments.contains(&INTERPRETER), "{name} asks for a loader");
        // One that may be loaded anywhere has this, and names no library in it.
        if segments.contains(&DYNAMIC) {
            let needed = succeeds(
                Command::new("readelf")
                    .args(["--dynamic", "--wide"])
                    .arg(&program),
            );
            assert!(!needed.contains("NEEDED"), "{name}: {needed}");
        }
        let bytes = fs::read(&program).expect("it is there");
        let folders = [checkout(), home.join(".cargo"), home.join(".rustup"), archive()];
        for folder in folders {
            let folder = folder.to_string_lossy().into_owned().into_bytes();
            let found = bytes.windows(folder.len()).any(|window| window == folder);
            assert!(!found, "{name} has {} in it", String::from_utf8_lossy(&folder));
        }
    }
}

#[test]
fn it_plays_the_demo_and_examines_itself_where_there_is_nothing_else() {
    let unpacked = Unpacked::new();
    let output = unpacked.alone(&["lockstep", "demo", "--script", "--keep", "--dir", "/tmp/demo"]);
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    let good = text.lines().filter(|line| line.starts_with("ok  ")).count();
    assert_eq!(good, 10, "eight steps, the processes and the broker:\n{text}");
    println!("{text}");

    let doctor = unpacked.alone(&["lockstep", "doctor", "--settings", "/tmp/demo/lockstep.toml"]);
    let text = said(&doctor);
    assert!(doctor.status.success(), "{text}");
    assert!(text.contains("\n0 problems, "), "{text}");
    println!("{text}");
}

#[test]
fn the_bill_of_materials_lists_what_is_linked_with_its_checksum_and_licence() {
    let unpacked = Unpacked::new();
    let bill: Value = serde_json::from_str(&unpacked.text("sbom.cdx.json")).expect("it is JSON");
    assert_eq!(
        (&bill["bomFormat"], &bill["specVersion"]),
        (&"CycloneDX".into(), &"1.5".into())
    );
    let components = bill["components"].as_array().expect("there are some");
    let text = |component: &Value, key: &str| component[key].as_str().unwrap_or_default().to_owned();
    let names: BTreeSet<_> = components.iter().map(|one| text(one, "name")).collect();
    for name in [
        "tokio",
        "git2",
        "libgit2-sys",
        "libgit2",
        "ring",
        "russh",
        "rust-std",
        "lockstep-core",
    ] {
        assert!(names.contains(name), "{name} is linked and not in {names:?}");
    }
    // Macros, what only builds, and what only tests are in no program.
    for name in [
        "serde_derive",
        "syn",
        "cc",
        "prost-build",
        "proptest",
        "rcgen",
        "stateright",
        "lockstep-tests",
    ] {
        assert!(!names.contains(name), "{name} is not linked");
    }
    // Each crate of the registry is the one that Cargo.lock pins, and its licence's text is there.
    let lock = fs::read_to_string(checkout().join("Cargo.lock")).expect("it is there");
    let lock: toml::Table = toml::from_str(&lock).expect("it is TOML");
    let pinned: BTreeSet<_> = lock["package"]
        .as_array()
        .expect("there are some")
        .iter()
        .filter_map(|package| {
            let text = |key: &str| package.get(key)?.as_str();
            Some(format!(
                "{} {} {}",
                text("name")?,
                text("version")?,
                text("checksum")?
            ))
        })
        .collect();
    let licences = unpacked.text("licences/THIRD-PARTIES.txt");
    let mut crates = 0;
    for one in components
        .iter()
        .filter(|one| text(one, "purl").starts_with("pkg:cargo/"))
    {
        crates += 1;
        let (name, version) = (text(one, "name"), text(one, "version"));
        let checksum = one["hashes"][0]["content"].as_str().unwrap_or_default();
        assert!(pinned.contains(&format!("{name} {version} {checksum}")), "{one}");
        assert!(!text(&one["licenses"][0], "expression").is_empty(), "{one}");
        assert!(
            licences
                .lines()
                .any(|line| line.starts_with(&format!("  {name} {version} "))),
            "{name} {version} has no licence in licences/THIRD-PARTIES.txt"
        );
    }
    assert!(crates > 100, "{crates}");
    for notice in ["libgit2 is Copyright", "Rich Felker", "Jean-loup Gailly"] {
        assert!(licences.contains(notice), "{notice} is in no licence");
    }
    // The programs in it are those beside it, and everything that something depends on is listed.
    for name in PROGRAMS {
        let sum = succeeds(Command::new("sha256sum").arg(unpacked.program(name)));
        let one = components
            .iter()
            .find(|one| text(one, "bom-ref") == format!("bin/{name}"));
        let one = one.unwrap_or_else(|| panic!("{name} is not listed"));
        assert_eq!(one["hashes"][0]["content"].as_str(), sum.split(' ').next());
    }
    let known: BTreeSet<_> = components.iter().map(|one| text(one, "bom-ref")).collect();
    for one in bill["dependencies"].as_array().expect("there are some") {
        for needed in one["dependsOn"].as_array().into_iter().flatten() {
            assert!(
                known.contains(needed.as_str().unwrap_or_default()),
                "{needed} of {one}"
            );
        }
    }
}

/// Takes as long as a whole release build: `cargo e2e release --twice`.
#[test]
#[ignore = "it builds everything again"]
fn another_checkout_of_the_same_commit_gives_the_same_bytes() {
    let git = |words: &[&str]| succeeds(Command::new("git").arg("-C").arg(checkout()).args(words));
    assert_eq!(
        git(&["status", "--porcelain"]),
        "",
        "only what is committed can be built from another checkout"
    );
    let place = TempDir::with_prefix("lab-release-again-").expect("there is room");
    let other = place.path().join("elsewhere/under-another-name");
    succeeds(
        Command::new("git")
            .args(["clone", "--quiet", "--no-hardlinks"])
            .arg(checkout())
            .arg(&other),
    );
    let mut cargo = Command::new("cargo");
    cargo
        .args(["archive", "--out"])
        .arg(place.path().join("out"))
        .current_dir(&other)
        .env("CARGO_TARGET_DIR", place.path().join("built"));
    // What cargo tells the test it runs is not meant for another cargo.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PKG_") {
            cargo.env_remove(name);
        }
    }
    succeeds(&mut cargo);
    let (first, second) = (
        archive(),
        place
            .path()
            .join("out")
            .join(archive().file_name().expect("it is a file")),
    );
    let sum = |path: &Path| {
        let line = succeeds(Command::new("sha256sum").arg(path));
        line.split(' ').next().unwrap_or_default().to_owned()
    };
    assert_eq!(
        sum(&first),
        sum(&second),
        "{} and {}",
        first.display(),
        second.display()
    );
}
