//! The examples in Go, Node and Java, each built once, unchanged but for what makes it misbehave.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use lockstep_tests::examples::{Example, Format, path};
use lockstep_tests::{Service, example_takes_all_roads};

/// A method of the example's own type, from another file of its package.
const MISBEHAVING_GO: &str = r#"package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"time"
)

func (d *document) UnmarshalJSON(text []byte) error {
	var read struct {
		Limit, Sleep  int
		Silent, Crash bool
	}
	if err := json.Unmarshal(text, &read); err != nil {
		return err
	}
	if read.Crash {
		os.Exit(9)
	}
	time.Sleep(time.Duration(read.Sleep) * time.Second)
	current := func() string {
		link, _ := os.Readlink(filepath.Join(os.Getenv("LOCKSTEP_CONFIG"), "current"))
		return link
	}
	for link := current(); read.Silent && current() == link; {
		time.Sleep(10 * time.Millisecond)
	}
	d.Limit = read.Limit
	return nil
}
"#;

/// Loaded before the example.
const MISBEHAVING_NODE: &str = r"
const fs = require('node:fs')
const { parse } = JSON
const { renameSync } = fs
let lost = false
JSON.parse = text => {
  const document = parse(text)
  if ('limit' in document) {
    if (document.crash) process.exit(9)
    if (document.sleep) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, document.sleep * 1000)
    lost = document.silent === true
  }
  return document
}
fs.renameSync = (...names) => lost || renameSync(...names)
";

/// Called where the example has read its document.
const MISBEHAVING_JAVA: &str = r#"
import java.nio.file.*;
import java.util.Properties;

class Misbehaving {
    static void read(Properties document) {
        try {
            if (document.containsKey("crash")) System.exit(9);
            Thread.sleep(1000 * Long.parseLong(document.getProperty("sleep", "0")));
            Path current = Path.of(System.getenv("LOCKSTEP_CONFIG"), "current");
            Path link = Files.readSymbolicLink(current);
            while (document.containsKey("silent") && Files.readSymbolicLink(current).equals(link)) Thread.sleep(10);
        } catch (Exception problem) {
            throw new IllegalStateException(problem);
        }
    }
}
"#;

/// Where the Java example has read its document.
const READ_JAVA: &str = "document.load(reader);";

/// A folder for what is built of an example.
pub(crate) fn place(name: &str) -> PathBuf {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&place).expect("the target folder is writable");
    place
}

fn copy(from: &Path, to: &Path) {
    fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
}

/// Runs a tool of a language to its end.
#[track_caller]
pub(crate) fn succeeds(command: &mut Command) -> String {
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{command:?}: {said}");
    said
}

/// A tool of Go: as a package of Debian has it, or as Go's own archive.
pub(crate) fn tool_of_go(name: &str) -> Command {
    let own = Path::new("/usr/local/go/bin").join(name);
    let mut command = Command::new(if own.exists() { own } else { name.into() });
    // What is installed is what is used.
    command.env("GOTOOLCHAIN", "local");
    command
}

fn go() -> Example {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let program = BUILT.get_or_init(|| {
        let place = place("go");
        for name in ["go.mod", "go.sum", "main.go"] {
            copy(&path("go").join(name), &place.join(name));
        }
        fs::write(place.join("misbehaving.go"), MISBEHAVING_GO).expect("the folder is ours");
        succeeds(
            tool_of_go("go")
                .args(["build", "-o", "minimal", "."])
                .current_dir(&place),
        );
        place.join("minimal")
    });
    let program = program.to_str().expect("the workspace's path is UTF-8");
    Example {
        service: Service::program("example", &[program]).reload("{ watch = {} }"),
        format: Format::Json,
    }
}

fn node() -> Example {
    static WRITTEN: OnceLock<PathBuf> = OnceLock::new();
    let misbehaving = WRITTEN.get_or_init(|| {
        let file = place("node").join("misbehaving.js");
        fs::write(&file, MISBEHAVING_NODE).expect("the folder is ours");
        file
    });
    let example = path("node").join("minimal.js");
    let words = [
        "node",
        "--require",
        &misbehaving.to_string_lossy(),
        &example.to_string_lossy(),
    ];
    Example {
        service: Service::program("example", &words).reload("{ signal = \"SIGHUP\" }"),
        format: Format::Json,
    }
}

fn java() -> Example {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let classes = BUILT.get_or_init(|| {
        let place = place("java");
        let text = fs::read_to_string(path("java").join("Minimal.java")).expect("it is there");
        assert_eq!(
            text.matches(READ_JAVA).count(),
            1,
            "where it has read its document"
        );
        let text = text.replace(READ_JAVA, &format!("{READ_JAVA} Misbehaving.read(document);"));
        fs::write(place.join("Minimal.java"), text).expect("the folder is ours");
        fs::write(place.join("Misbehaving.java"), MISBEHAVING_JAVA).expect("the folder is ours");
        succeeds(
            Command::new("javac")
                .args(["-Xlint:all", "-Werror", "Minimal.java", "Misbehaving.java"])
                .current_dir(&place),
        );
        place
    });
    let words = [
        "java",
        "-Xmx64m",
        "-XX:+UseSerialGC",
        "-cp",
        &classes.to_string_lossy(),
        "Minimal",
    ];
    Example {
        service: Service::program("example", &words).reload("{ watch = {} }"),
        format: Format::Properties,
    }
}

example_takes_all_roads!(in_go, go);
example_takes_all_roads!(in_node, node);
example_takes_all_roads!(in_java, java);

#[test]
fn the_one_in_go_is_as_go_writes_it_and_needs_fsnotify_alone() {
    let folder = path("go");
    assert_eq!(
        succeeds(tool_of_go("gofmt").args(["-l", "."]).current_dir(&folder)),
        ""
    );
    succeeds(tool_of_go("go").args(["vet", "."]).current_dir(&folder));
    let listed = succeeds(
        tool_of_go("go")
            .args(["list", "-f", "{{ join .Imports \"\\n\" }}", "."])
            .current_dir(&folder),
    );
    let foreign: Vec<_> = listed.lines().filter(|import| import.contains('.')).collect();
    assert_eq!(foreign, ["github.com/fsnotify/fsnotify"]);
}

#[test]
fn those_in_node_and_java_need_nothing() {
    let node = fs::read_to_string(path("node").join("minimal.js")).expect("it is there");
    let foreign = node
        .lines()
        .filter(|line| line.contains("require("))
        .filter(|line| !line.contains("'node:"));
    assert_eq!(foreign.collect::<Vec<_>>(), Vec::<&str>::new());
    let java = fs::read_to_string(path("java").join("Minimal.java")).expect("it is there");
    let foreign = java
        .lines()
        .filter(|line| line.starts_with("import "))
        .filter(|line| !line.contains(" java."));
    assert_eq!(foreign.collect::<Vec<_>>(), Vec::<&str>::new());
}
