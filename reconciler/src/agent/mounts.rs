//! Mounts that would never move: a single file or folder out of a release, bound into a service's view.

use std::path::Path;

/// Why an instance would never see a switch, if its mount table says so.
pub(crate) fn pinned_to_a_release(pid: u32) -> Option<String> {
    let table = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("mountinfo")).ok()?;
    pinned(&table)
}

fn pinned(table: &str) -> Option<String> {
    table.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        let (_, inside) = root.split_once("/.lockstep/releases/")?;
        Some(format!(
            "its mount {point} is bound to {inside} of one release and would never move; mount the whole volume \
             instead of a file of it"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::pinned;

    #[test]
    fn a_file_bound_out_of_a_release_is_found() {
        let table = "36 35 98:0 / / rw - ext4 /dev/a rw\n\
                     40 36 98:0 /srv/v/.lockstep/releases/abc-def/config.toml /etc/app.toml ro - ext4 /dev/a rw\n";
        let why = pinned(table).unwrap();
        assert!(
            why.starts_with("its mount /etc/app.toml is bound to abc-def/config.toml"),
            "{why}"
        );
    }

    #[test]
    fn a_whole_volume_is_fine() {
        assert_eq!(pinned("40 36 98:0 /srv/v /config ro - ext4 /dev/a rw\n"), None);
    }
}
