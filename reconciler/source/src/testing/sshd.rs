//! A real `sshd`: a configuration, host keys and a port of its own, run as whoever runs the test.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::program::{Program, at_a_free_port};

/// Where Debian and others have it; it has to be named by its whole path.
const PLACES: [&str; 3] = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd"];

/// Serves this machine's files by `ssh://` to the holders of the keys it was told of, until it is dropped.
pub struct Sshd {
    folder: PathBuf,
    address: SocketAddr,
    program: Program,
}

impl Sshd {
    /// The program, if it is installed.
    #[must_use]
    pub fn program() -> Option<&'static Path> {
        PLACES.iter().map(Path::new).find(|place| place.is_file())
    }

    /// Starts one that keeps its files in a folder, which is made, and that knows nobody yet.
    ///
    /// # Panics
    /// When it is not installed or does not start.
    #[must_use]
    pub fn start(folder: &Path) -> Self {
        fs::create_dir_all(folder).expect("the folder can be made");
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).expect("it is ours");
        for kind in ["ed25519", "ecdsa"] {
            let file = folder.join(format!("host_{kind}"));
            if !file.exists() {
                ssh_key(&file, kind, "");
            }
        }
        fs::write(folder.join("authorized_keys"), "").expect("the folder is ours");
        at_a_free_port(|port| Self::start_at(folder, port))
    }

    /// The URL of a path on this machine.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("ssh://{}@localhost:{}{path}", user(), self.address.port())
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The line for `known_hosts` with its key of a kind.
    ///
    /// # Panics
    /// When the key is gone.
    #[must_use]
    pub fn known(&self, kind: &str) -> String {
        let key = fs::read_to_string(self.folder.join(format!("host_{kind}.pub"))).expect("it was made");
        let bare: Vec<_> = key.split(' ').take(2).map(str::trim).collect();
        format!("[localhost]:{} {}\n", self.address.port(), bare.join(" "))
    }

    /// Lets in the holders of these private keys, and nobody else.
    ///
    /// # Panics
    /// When a key has no public part beside it.
    pub fn authorize(&self, keys: &[&Path]) {
        let public = |key: &&Path| fs::read_to_string(key.with_extension("pub")).expect("ssh_key makes both");
        let text: String = keys.iter().map(public).collect();
        fs::write(self.folder.join("authorized_keys"), text).expect("the folder is ours");
    }

    /// Lets in the holder of this private key alone, with options as `authorized_keys` has them.
    ///
    /// # Panics
    /// When the key has no public part beside it.
    pub fn authorize_with(&self, options: &str, key: &Path) {
        let public = fs::read_to_string(key.with_extension("pub")).expect("ssh_key makes both");
        fs::write(self.folder.join("authorized_keys"), format!("{options}{public}"))
            .expect("the folder is ours");
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.program.log()
    }

    /// Ends it and starts it anew at the same port with other host keys, as a server that was set up again.
    ///
    /// # Panics
    /// When the port was taken by somebody else meanwhile.
    #[must_use]
    pub fn with_other_host_keys(self) -> Self {
        let (folder, port) = (self.folder.clone(), self.address.port());
        drop(self);
        for kind in ["ed25519", "ecdsa"] {
            for file in [format!("host_{kind}"), format!("host_{kind}.pub")] {
                fs::remove_file(folder.join(file)).expect("it was made");
            }
            ssh_key(&folder.join(format!("host_{kind}")), kind, "");
        }
        Self::start_at(&folder, port).expect("its port is still free")
    }

    fn start_at(folder: &Path, port: u16) -> Option<Self> {
        let program = Self::program().expect("sshd is installed: apt-get install openssh-server");
        let text = format!(
            "ListenAddress 127.0.0.1\nPort {port}\nHostKey {0}/host_ed25519\nHostKey {0}/host_ecdsa\nPidFile none\n\
             AuthorizedKeysFile {0}/authorized_keys\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nLogLevel VERBOSE\n\
             SetEnv GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0=*\n",
            folder.display()
        );
        let config = folder.join("sshd_config");
        fs::write(&config, text).expect("the folder is ours");
        // As root it wants this folder, which its package's own start makes; nothing is ever put there.
        if rustix::process::geteuid().is_root() {
            fs::create_dir_all("/run/sshd").expect("root may make it");
        }
        let mut command = Command::new(program);
        command.args(["-D", "-e", "-f"]).arg(&config);
        Some(Self {
            folder: folder.to_owned(),
            address: (Ipv4Addr::LOCALHOST, port).into(),
            program: Program::start(&mut command, "Server listening on")?,
        })
    }
}

/// Makes a private key of a kind (`ed25519`, `ecdsa`, `rsa`), with its public part beside it.
///
/// # Panics
/// When `ssh-keygen` cannot be run.
pub fn ssh_key(file: &Path, kind: &str, passphrase: &str) {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", kind, "-N", passphrase, "-C", "a test", "-f"])
        .arg(file)
        .stdin(Stdio::null())
        .status()
        .expect("ssh-keygen is installed: apt-get install openssh-client");
    assert!(made.success(), "ssh-keygen {kind}: {made}");
}

/// Who runs the test.
fn user() -> String {
    let out = Command::new("id").arg("-un").output().expect("id is installed");
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}
