//! A server's hook over real ssh: what whoever pushes reads of it, and what it leaves.

use std::process::Command;

use lockstep_source::testing::{Sshd, git, ssh_key};
use lockstep_tests::Ran;
use lockstep_tests::hooked::Hooked;

/// A repository behind an sshd, whose hook judges, and the words by which git reaches it.
struct Server {
    hooked: Hooked,
    sshd: Sshd,
    ssh: String,
}

impl Server {
    fn new() -> Self {
        let hooked = Hooked::new();
        hooked.install(&hooked.origin().bare(), &[]);
        let sshd = Sshd::start(&hooked.root().join("sshd"));
        let (key, hosts) = (hooked.root().join("key"), hooked.root().join("known_hosts"));
        ssh_key(&key, "ed25519", "");
        sshd.authorize(&[&key]);
        std::fs::write(&hosts, sshd.known("ed25519")).unwrap();
        let ssh = format!(
            "ssh -F none -i '{}' -o IdentitiesOnly=yes -o UserKnownHostsFile='{}'",
            key.display(),
            hosts.display()
        );
        Self { hooked, sshd, ssh }
    }

    fn push(&self, words: &[&str]) -> Ran {
        let url = self.sshd.url(self.hooked.origin().bare().to_str().unwrap());
        let mut command: Command = git(&self.hooked.origin().work());
        command.arg("push").args(["-q", &url]).args(words);
        command.env("GIT_SSH_COMMAND", &self.ssh);
        self.hooked.run(command)
    }
}

#[test]
fn a_push_over_ssh_is_taken_or_refused_with_the_diagnostics() {
    let server = Server::new();
    let hooked = &server.hooked;
    hooked.set("value = 2\n");
    server.push(&["HEAD:main"]).done();
    let good = hooked.head();
    assert_eq!(hooked.at_server("main"), good);

    hooked.set("value = 2\nother = \n");
    let said = server.push(&["HEAD:main", "HEAD:refs/heads/beside"]).failed(1);
    for words in [
        "remote: error[LS0101]",
        "--> config/config.toml:2:",
        "main is refused",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let lines = said.lines().filter_map(|line| line.strip_prefix("remote: "));
    assert!(
        lines.map(str::trim_end).all(|line| line.chars().count() <= 72),
        "{said}"
    );
    assert_eq!(
        (hooked.at_server("main"), hooked.at_server("beside")),
        (good.clone(), String::new())
    );
    let broken = format!("{}^{{commit}}", hooked.head());
    assert_eq!(hooked.at_server(&broken), "", "nothing of it stays");

    server
        .push(&["HEAD:refs/heads/draft", "HEAD:refs/tags/v1"])
        .done();
    hooked
        .git(&["reset", "-q", "--hard", &format!("{good}~1")])
        .done();
    hooked.set("value = 3\n");
    let ran = server.push(&["--force", "HEAD:main"]);
    assert!(
        ran.err.contains("remote: lockstep: main is rewound"),
        "{}",
        ran.err
    );
    ran.done();
    assert_eq!(hooked.at_server("main"), hooked.head());
}
