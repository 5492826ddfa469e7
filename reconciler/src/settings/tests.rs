use std::path::Path;

use super::*;

mod told_and_probed;

const DESIGN: &str = r#"
[source]
url = "/srv/config.git"
branch = "main"
path = "config"
interval = "5s"

[volume]
path = "./volume"
keep = 10

[[service]]
name = "scanner"
reads = ["config.toml#scanner", "config.toml#universe"]
process = { command = ["./scanner", "--listen", "127.0.0.1:50051"] }
pause = "freeze"
reload = { signal = "SIGUSR1" }
verify = { tier = "acknowledged", within = "10s" }
check = ["./scanner", "--check", "{candidate}/config.toml"]

[rollout]
pause_limit = "500ms"

[web]
listen = "127.0.0.1:8080"

[state]
path = "./state"
"#;

fn parse(text: &str) -> Result<Settings, SettingsError> {
    Settings::resolve(Path::new("/etc/lockstep/lockstep.toml"), text, true)
}

#[test]
fn the_designs_own_example_is_understood() {
    let settings = parse(DESIGN).unwrap();
    assert_eq!(settings.volume.path, Path::new("/etc/lockstep/volume"));
    assert_eq!(settings.state, Path::new("/etc/lockstep/state"));
    assert_eq!(settings.source.spec.url, "/srv/config.git");
    let scanner = &settings.services[0];
    assert_eq!(scanner.supervised().unwrap().command[0], "/etc/lockstep/scanner");
    assert_eq!(scanner.supervised().unwrap().stop_signal, "SIGTERM");
    assert_eq!(scanner.reload, Reload::Signal("SIGUSR1".to_owned()));
    assert_eq!(scanner.verify.within, Duration::from_secs(10));
}

#[test]
fn what_is_left_out_has_the_documented_default() {
    let settings = parse(
        "[source]\nurl = 'git://host/c.git'\n[volume]\npath = 'v'\n[[service]]\nname = 'a'\n\
         process = { command = ['a'] }\nreload = { watch = {} }\n",
    )
    .unwrap();
    assert_eq!(settings.source.spec.branch, "main");
    assert_eq!(settings.source.interval, Duration::from_secs(5));
    assert_eq!(settings.source.rewind, Rewind::Hold);
    assert_eq!(settings.volume.keep, 10);
    assert_eq!(settings.rollout.pause_limit, Duration::from_millis(500));
    assert_eq!(settings.rollout.bake, Duration::ZERO);
    assert!(settings.web.is_none());
    let service = &settings.services[0];
    assert_eq!(service.pause, Pause::None);
    assert_eq!(service.verify.tier, lockstep_core::service::Tier::Running);
    let process = service.supervised().unwrap();
    assert_eq!(process.restart, RestartPolicy::Always);
    assert_eq!(process.command, ["a"], "a bare name is looked up in PATH");
}

#[test]
fn what_opens_a_server_is_read_from_files_beside_the_settings() {
    let text = |source: &str| DESIGN.replace("url = \"/srv/config.git\"\n", &format!("{source}\n"));
    let settings = parse(&text(
        "url = 'ssh://git@host/c.git'\nssh_key = 'key'\nknown_hosts = '/etc/known'\ntimeout = '3s'",
    ))
    .unwrap();
    let spec = settings.source.spec;
    assert_eq!(spec.access.ssh_key.unwrap(), Path::new("/etc/lockstep/key"));
    assert_eq!(spec.access.known_hosts.unwrap(), Path::new("/etc/known"));
    assert_eq!(spec.bounds.silence, Duration::from_secs(3));
    for (source, words) in [
        (
            "url = 'ssh://git@host/c.git'",
            "source.ssh_key: cannot be used: ssh:// needs",
        ),
        (
            "url = 'https://host/c.git'\npassword_file = 'p'",
            "source.password_file: cannot be used: a password belongs",
        ),
        (
            "url = '/c.git'\nca_file = 'p'",
            "source.ca_file: cannot be used: the URL's kind",
        ),
        (
            "url = 'https://host/c.git'\ntoken_file = ''",
            "source.token_file: a file is expected",
        ),
        ("url = 'git@host:c.git'", "write ssh://USER@HOST/PATH"),
        (
            "url = '/c.git'\ntimeout = '1ms'",
            "source.timeout: between 1s and 2m",
        ),
    ] {
        let error = parse(&text(source)).unwrap_err().to_string();
        assert!(error.contains(words), "{words:?} is missing in:\n{error}");
    }
}

#[test]
fn an_unknown_key_is_named_with_its_line() {
    let error = parse(&DESIGN.replace("keep = 10", "kept = 10"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("line 10") && error.contains("unknown field `kept`"),
        "{error}"
    );
    assert!(error.contains("expected `path` or `keep`"), "{error}");
}

#[test]
fn all_wrong_values_are_named_at_once() {
    let text = DESIGN
        .replace("keep = 10", "keep = 1")
        .replace("\"SIGUSR1\"", "\"SIGFOO\"")
        .replace("\"500ms\"", "\"5s\"")
        .replace("tier = \"acknowledged\"", "tier = \"probed\"");
    let error = parse(&text).unwrap_err().to_string();
    for words in [
        "volume.keep: at least 2 releases",
        "\"SIGFOO\" is no signal",
        "rollout.pause_limit: at least 10ms and at most 2s",
        "tier \"probed\" needs a probe",
    ] {
        assert!(error.contains(words), "{words:?} is missing in:\n{error}");
    }
}

/// Asserts that a text is refused, with one line for each of these.
#[track_caller]
fn refused(text: &str, words: &[&str]) {
    let error = parse(text).unwrap_err().to_string();
    for words in words {
        assert!(error.contains(words), "{words:?} is missing in:\n{error}");
    }
    assert_eq!(error.lines().count(), words.len() + 1, "{error}");
}

#[test]
fn what_can_never_work_is_refused() {
    refused(
        &DESIGN.replace("\"500ms\"", "\"1us\""),
        &["rollout.pause_limit: at least 10ms"],
    );
    let process = |rest: &str| {
        DESIGN.replace(
            "{ command = [\"./scanner\", \"--listen\", \"127.0.0.1:50051\"] }",
            &format!("{{ command = [\"./scanner\", \"a\\u0000b\"], {rest} }}"),
        )
    };
    refused(
        &process(
            "env = { \"A=B\" = \"1\", \"\" = \"2\", C = \"\\u0000\", LOCKSTEP_INSTANCE = \"x\" }, \
             stop = { signal = \"SIGSTOP\", within = \"1s\" }, user = \"nobody-by-this-name\"",
        ),
        &[
            "process: command: \"a\\0b\" holds a NUL",
            "process: env: \"A=B\" cannot be a variable's name",
            "process: env: \"\" cannot be a variable's name",
            "process: env: \"\\0\" holds a NUL",
            "process: env: LOCKSTEP_INSTANCE is set by Lockstep itself",
            "process: stop.signal: SIGSTOP ends no process",
            "process: user: there is no user nobody-by-this-name",
        ],
    );
    let verify = |probe: &str| {
        DESIGN.replace(
            "tier = \"acknowledged\", ",
            &format!("tier = \"probed\", probe = {probe}, "),
        )
    };
    refused(
        &verify("{ tcp = \":\" }"),
        &["probe.tcp: \":\" is not of the form HOST:PORT"],
    );
    refused(
        &verify("{ http = \"http://host:99999/\" }"),
        &["probe.http: \"host:99999\" is not of the form HOST:PORT, with a port from 1 to 65535"],
    );
    refused(
        &DESIGN
            .replace("path = \"./volume\"", "path = \"\"")
            .replace("path = \"./state\"", "path = \"/var/lib/lockstep\""),
        &["volume.path: a folder is expected"],
    );
}

#[test]
fn a_user_is_looked_for_only_where_the_services_run() {
    let text = DESIGN.replace("{ command = [", "{ user = \"nobody-by-this-name\", command = [");
    refused(&text, &["there is no user nobody-by-this-name"]);
    Settings::parse(Path::new("/etc/lockstep/lockstep.toml"), &text).unwrap();
}

#[test]
fn each_mistake_in_the_source_is_named() {
    let text = DESIGN
        .replace("url = \"/srv/config.git\"", "url = \"ftp://host/config.git\"")
        .replace("branch = \"main\"", "branch = \"a..b\"")
        .replace("path = \"config\"", "path = \"../config\"");
    refused(&text, &["  source.url: ", "  source.branch: ", "  source.path: "]);
    refused(
        &DESIGN.replace("url = \"/srv/config.git\"", "url = \"\""),
        &["source.url: a repository is expected"],
    );
}

#[test]
fn the_state_folder_does_not_lie_in_the_volume() {
    let error = parse(&DESIGN.replace("\"./state\"", "\"./volume/state\""))
        .unwrap_err()
        .to_string();
    assert!(error.contains("must not lie in one another"), "{error}");
}

/// The design's example with another `process`.
fn with_process(process: &str) -> String {
    let line = DESIGN
        .lines()
        .find(|line| line.starts_with("process = "))
        .unwrap();
    DESIGN.replace(line, &format!("process = {{ {process} }}"))
}

#[test]
fn a_service_may_be_found_by_its_pid_file() {
    let text = with_process("pid_file = '/run/s.pid', executable = 's', status_file = 'run/status.json'");
    let settings = parse(&text).unwrap();
    let scanner = &settings.services[0];
    assert!(scanner.supervised().is_none());
    let foreign = scanner.foreign().unwrap();
    assert_eq!(foreign.pid_file, Path::new("/run/s.pid"));
    assert_eq!(foreign.executable, Path::new("/etc/lockstep/s"));
    assert_eq!(
        foreign.status_file.as_deref(),
        Some(Path::new("/etc/lockstep/run/status.json"))
    );
    assert_eq!(
        (foreign.user.as_deref(), foreign.offer_file.as_deref()),
        (None, None)
    );
    assert_eq!(scanner.stop_within(), Duration::ZERO);
}

#[test]
fn what_says_how_to_run_a_service_does_not_go_with_a_pid_file_and_the_other_way_round() {
    let said = |text: &str| parse(text).unwrap_err().to_string();
    let error = said(&with_process(
        "pid_file = '/run/s.pid', command = ['s'], cwd = '/', env = { A = 'b' }, restart = 'never', \
         stop = { signal = 'SIGTERM' }",
    ));
    for key in ["command", "cwd", "env", "stop", "restart"] {
        assert!(
            error.contains(&format!("process: {key}: Lockstep neither starts nor ends")),
            "{key}: {error}"
        );
    }
    assert!(
        error.contains("executable: the file that the process of `pid_file` executes is expected"),
        "{error}"
    );
    assert!(error.contains("`process.status_file` is expected"), "{error}");

    let error = said(&with_process(
        "command = ['s'], executable = '/s', status_file = 'x', offer_file = 'y'",
    ));
    for key in ["executable", "status_file", "offer_file"] {
        assert!(
            error.contains(&format!("process: {key}: it belongs to `pid_file`")),
            "{key}: {error}"
        );
    }
    let error = said(&with_process("user = 'root'"));
    assert!(
        error.contains("command: a program is expected") && error.contains("or `pid_file`"),
        "{error}"
    );
}

#[test]
fn a_pid_file_needs_what_its_tier_needs_and_is_never_restarted() {
    let found = "pid_file = '/run/s.pid', executable = '/s', status_file = '/s.json'";
    let said = |text: &str| parse(text).unwrap_err().to_string();
    let restarted = with_process(found)
        .replace("pause = \"freeze\"\n", "")
        .replace("{ signal = \"SIGUSR1\" }", "{ restart = {} }");
    let error = said(&restarted);
    assert!(
        error.contains("reload: restart: Lockstep does not start the process of a `pid_file`"),
        "{error}"
    );
    let voting = |process: &str| with_process(process).replace("\"acknowledged\"", "\"voting\"");
    assert!(said(&voting(found)).contains("`process.offer_file` is expected"));
    assert!(parse(&voting(&format!("{found}, offer_file = '/o.json'"))).is_ok());
    assert!(
        said(&voting(&format!("{found}, offer_file = '/s.json'"))).contains("it cannot be the status file")
    );
    let error = said(&with_process(&format!("{found}, offer_file = '/o.json'")));
    assert!(error.contains("only tier \"voting\" is made offers"), "{error}");
    let error = said(&with_process(
        "pid_file = '', executable = '/s/', status_file = '/s.json'",
    ));
    assert!(
        error.contains("pid_file: a file is expected") && error.contains("executable: a file is expected"),
        "{error}"
    );
    let error = said(&with_process(&format!("{found}, user = 'nobody-of-this-name'")));
    assert!(error.contains("there is no user nobody-of-this-name"), "{error}");
}

#[cfg(feature = "otlp")]
#[test]
fn traces_go_to_a_collector_over_plain_http_and_to_none_unless_it_is_named() {
    let with = |url: &str| format!("{DESIGN}\n[telemetry]\notlp = \"{url}\"\n");
    assert_eq!(parse(DESIGN).unwrap().telemetry, None);
    let telemetry = parse(&with("http://collector:4318/base")).unwrap().telemetry;
    assert_eq!(telemetry.unwrap().otlp, "http://collector:4318/base");
    refused(&with("https://collector:4318"), &["telemetry.otlp"]);
    refused(&with("collector:4318"), &["OTLP over HTTP is expected"]);
}

#[test]
fn how_much_output_is_kept_is_a_size_and_a_number() {
    let output = |keys: &str| {
        let text = with_process(&format!("command = ['s'], output = {{ {keys} }}"));
        parse(&text).map(|settings| settings.services[0].supervised().unwrap().output)
    };
    assert_eq!(
        parse(DESIGN).unwrap().services[0].supervised().unwrap().output,
        Limits::default()
    );
    let limits = |max_size, keep| Limits { max_size, keep };
    assert_eq!(output("max_size = '64KiB'").unwrap(), limits(65536, 3));
    assert_eq!(output("max_size = 5000, keep = 1").unwrap(), limits(5000, 1));
    for (wrong, words) in [
        ("max_size = '1KiB'", "output.max_size: at least 4KiB is expected"),
        ("max_size = 'much'", "max_size"),
        ("keep = 0", "output.keep: 1 to 100"),
        ("keep = 101", "output.keep: 1 to 100"),
        ("size = 1", "unknown field `size`"),
    ] {
        let error = output(wrong).unwrap_err().to_string();
        assert!(error.contains(words), "{wrong}: {error}");
    }
}

/// Settings with one window of these keys.
fn windowed(keys: &str) -> String {
    format!("{DESIGN}\n[[window]]\nname = \"market-hours\"\nkind = \"deny\"\n{keys}\n")
}

#[test]
fn windows_have_a_schedule_on_the_clock_of_a_zone_and_dates_that_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("holidays.txt"),
        "# the exchange's\n2026-11-26  # Thanksgiving\n\n2026-12-25\n",
    )
    .unwrap();
    let text = windowed(
        "cron = '30 9 * * 1-5'\nduration = '6h 30m'\ntime_zone = 'America/New_York'\n\
         except = ['2026-07-03', 2026-09-07]\nexcept_file = 'holidays.txt'",
    );
    let settings = Settings::parse(&folder.path().join("lockstep.toml"), &text).unwrap();
    let closed = |at: &str| {
        let gate = settings.windows.at(at.parse().unwrap());
        matches!(gate, lockstep_core::window::Gate::Closed(_))
    };
    assert!(closed("2026-11-24T15:00:00Z"));
    for holiday in ["2026-11-26", "2026-12-25", "2026-07-03", "2026-09-07"] {
        assert!(!closed(&format!("{holiday}T15:00:00Z")), "{holiday}");
    }
    // Where none is named it is UTC's clock.
    let utc = parse(&windowed("cron = '0 12 * * *'\nduration = '1h'")).unwrap();
    let gate = utc.windows.at("2026-11-24T12:30:00Z".parse().unwrap());
    assert!(matches!(gate, lockstep_core::window::Gate::Closed(_)));
}

#[test]
fn wrong_windows_are_named_each_with_its_key() {
    refused(
        &windowed(
            "cron = '30 9 * *'\nduration = '1h'\nexcept = ['26 November', 5]\n\
             emergency = [{ key = 'config.toml' }, { key = 'a.toml#b', to = [] }, { key = 'a.toml#b', to = [[1]] }]",
        ),
        &[
            "window[0] \"market-hours\": except: 26 November is no date",
            "window[0] \"market-hours\": except: 5 is no date",
            "window[0] \"market-hours\": emergency: \"config.toml\" names no key",
            "window[0] \"market-hours\": emergency: `to` is empty",
            "window[0] \"market-hours\": emergency: to: texts, numbers",
            "window[0] \"market-hours\": cron: \"30 9 * *\" cannot be read",
        ],
    );
    refused(
        &windowed("cron = '0 0 * * *'\nduration = '1h'\ntime_zone = 'Mars/Olympus'"),
        &["time_zone: \"Mars/Olympus\" is no time zone"],
    );
    refused(
        &windowed("cron = '0 0 * * *'\nduration = '1h'\nexcept_file = 'nowhere.txt'"),
        &["except_file: /etc/lockstep/nowhere.txt cannot be read"],
    );
    refused(
        &windowed("cron = '0 0 30 2 *'\nduration = '1h'"),
        &["window: \"market-hours\" never begins"],
    );
    refused(
        &windowed("cron = '* * * * *'\nduration = '1m'"),
        &["window: no change could ever go out"],
    );
}

#[test]
fn the_market_hours_of_the_docs_are_those_of_the_exchange() {
    let docs =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/windows.md")).unwrap();
    let block = |fence: &str| docs.split(fence).nth(1).unwrap().split("```").next().unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("holidays.txt"), block("```text\n")).unwrap();
    let text = format!("{DESIGN}\n{}", block("```toml\n"));
    let settings = Settings::parse(&folder.path().join("lockstep.toml"), &text).unwrap();
    for (at, open) in [
        ("2026-11-25T09:29:59", true),
        ("2026-11-25T09:30:00", false),
        ("2026-11-25T15:59:59", false),
        ("2026-11-25T16:00:00", true),
        ("2026-11-26T11:00:00", true),
        ("2026-11-27T12:59:59", false),
        ("2026-11-27T13:00:00", true),
        ("2026-11-28T11:00:00", true),
        ("2026-12-25T11:00:00", true),
        ("2027-07-01T15:00:00", false),
    ] {
        let local: jiff::civil::DateTime = at.parse().unwrap();
        let at = local.in_tz("America/New_York").unwrap().timestamp();
        let gate = settings.windows.at(at);
        assert_eq!(
            matches!(gate, lockstep_core::window::Gate::Open { .. }),
            open,
            "{local}: {gate:?}"
        );
    }
}
