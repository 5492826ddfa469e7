//! A file beyond the limit is refused by its header. Alone in its process, because it measures the process.

#![allow(clippy::unwrap_used, reason = "a test has no use for a failure")]

use lockstep_source::testing::Origin;
use lockstep_source::{Mirror, SourceSpec};
use tempfile::TempDir;

#[test]
fn a_file_of_50_mb_is_refused_without_being_loaded() {
    let (origin, state) = (Origin::new(), TempDir::new().unwrap());
    origin.write_file("big.bin", vec![0; 50 << 20]);
    let head = origin.publish("Big");
    let dir = state.path().join("mirror.git");
    let spec = SourceSpec::new(origin.url(), "main");
    Mirror::open(&dir, spec.clone()).unwrap().fetch().unwrap();

    // A mirror that has not read anything yet.
    let mirror = Mirror::open(&dir, spec).unwrap();
    let before = start_measuring_peak();
    let refused = mirror.tree(&head, None).unwrap_err();
    let more = peak_resident_bytes().saturating_sub(before);
    assert_eq!(
        refused.to_string(),
        format!(
            "revision {} cannot be published:\n  big.bin has 52428800 bytes, 10485760 are allowed. Keep large data \
             elsewhere, or raise the limit on bytes a file in the policy",
            head.short()
        )
    );
    assert!(more < 10 << 20, "the process grew by {more} bytes");
    assert!(
        mirror
            .file(&head, "big.bin")
            .unwrap_err()
            .to_string()
            .contains("it has 52428800 bytes")
    );
    let more = peak_resident_bytes().saturating_sub(before);
    assert!(more < 10 << 20, "the process grew by {more} bytes");
}

/// Forgets the peak so far, and gives what is resident now.
fn start_measuring_peak() -> u64 {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    peak_resident_bytes()
}

fn peak_resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}
