//! How a service is told, and where a probe looks.

use lockstep_core::service::{HttpReload, Method};

use super::super::*;
use super::{DESIGN, parse, refused};

#[test]
fn a_service_is_told_in_exactly_one_way() {
    let text = DESIGN.replace("{ signal = \"SIGUSR1\" }", "{ signal = \"SIGUSR1\", watch = {} }");
    let error = parse(&text).unwrap_err().to_string();
    assert!(error.contains("exactly one is expected of { signal"), "{error}");
}

#[test]
fn a_probe_says_where_it_looks() {
    let text = |probe: &str| {
        DESIGN.replace(
            "tier = \"acknowledged\", ",
            &format!("tier = \"probed\", probe = {probe}, "),
        )
    };
    let settings = parse(&text(
        "{ http = \"http://127.0.0.1:80/health?x=1\", every = \"200ms\" }",
    ))
    .unwrap();
    let probe = settings.services[0].probe.clone().unwrap();
    let expected = ProbeKind::Http {
        authority: "127.0.0.1:80".to_owned(),
        path: "/health?x=1".to_owned(),
        states: None,
    };
    assert_eq!(probe.kind, expected);
    assert_eq!(probe.every, Duration::from_millis(200));
    let error = parse(&text("{ http = \"https://h/\" }")).unwrap_err().to_string();
    assert!(
        error.contains("is not of the form http://HOST:PORT/PATH"),
        "{error}"
    );
}

/// The example with the tier `probed` and a probe, for a service that reads everything.
fn probed(probe: &str) -> String {
    DESIGN
        .replace(
            "reads = [\"config.toml#scanner\", \"config.toml#universe\"]\n",
            "",
        )
        .replace(
            "tier = \"acknowledged\", ",
            &format!("tier = \"probed\", probe = {probe}, "),
        )
}

#[test]
fn a_probe_is_a_command_or_looks_into_an_answer() {
    let kind = |text: &str| {
        parse(&probed(text)).unwrap().services[0]
            .probe
            .clone()
            .unwrap()
            .kind
    };
    let words = ["/etc/lockstep/healthy", "{candidate}"].map(str::to_owned);
    assert_eq!(
        kind("{ exec = ['./healthy', '{candidate}'] }"),
        ProbeKind::Exec(words.to_vec())
    );
    for (written, equals) in [("revision", Equals::Revision), ("digest", Equals::Digest)] {
        let expected = ProbeKind::Http {
            authority: "h:80".to_owned(),
            path: "/info".to_owned(),
            states: Some(States {
                place: Place::Json("/a/b".to_owned()),
                equals,
            }),
        };
        let text = format!("{{ http = 'http://h/info', json = '/a/b', equals = '{written}' }}");
        assert_eq!(kind(&text), expected);
        // The label has the name of what it states, where no other is written.
        for (label, more) in [
            (written, ""),
            ("hash", ", label = 'hash', labels = { job = 'a' }"),
        ] {
            let labels = [("job".to_owned(), "a".to_owned())];
            let expected = ProbeKind::Http {
                authority: "h:80".to_owned(),
                path: "/metrics".to_owned(),
                states: Some(States {
                    place: Place::Metric {
                        name: "a_info".to_owned(),
                        label: label.to_owned(),
                        labels: labels.into_iter().filter(|_| !more.is_empty()).collect(),
                    },
                    equals,
                }),
            };
            let text =
                format!("{{ http = 'http://h/metrics', metric = 'a_info', equals = '{written}'{more} }}");
            assert_eq!(kind(&text), expected);
        }
    }
}

#[test]
fn a_probe_that_can_never_pass_is_refused() {
    for (probe, words) in [
        ("{ }", "probe: exactly one is expected of http"),
        (
            "{ tcp = 'h:1', exec = ['a'] }",
            "probe: exactly one is expected of http",
        ),
        ("{ exec = [] }", "probe.exec: a program is expected"),
        ("{ exec = [''] }", "probe.exec: a program is expected"),
        ("{ exec = ['a', \"\\u0000\"] }", "probe.exec: \"\\0\" holds a NUL"),
        (
            "{ http = 'http://h/', json = '/a' }",
            "probe.json: what it must equal",
        ),
        (
            "{ http = 'http://h/', equals = 'digest' }",
            "probe.equals: where it stands is expected too",
        ),
        (
            "{ http = 'http://h/', json = 'a.b', equals = 'digest' }",
            "probe.json: \"a.b\" is no JSON pointer",
        ),
        (
            "{ http = 'http://h/', metric = 'a', json = '/a', equals = 'digest' }",
            "probe: one of json and metric is expected, not both",
        ),
        (
            "{ http = 'http://h/', metric = 'a' }",
            "probe.metric: what it must equal",
        ),
        (
            "{ http = 'http://h/', metric = 'a-b', equals = 'digest' }",
            "probe.metric: \"a-b\" is no name of a metric",
        ),
        (
            "{ http = 'http://h/', metric = 'a', label = '1', equals = 'digest' }",
            "probe.labels: \"1\" is no name of a label",
        ),
        (
            "{ http = 'http://h/', metric = 'a', labels = { digest = 'x' }, equals = 'digest' }",
            "probe.labels: \"digest\" is the one that is looked into",
        ),
        (
            "{ http = 'http://h/', labels = { a = 'x' } }",
            "probe.labels: only a metric has labels",
        ),
        (
            "{ tcp = 'h:1', metric = 'a', equals = 'digest' }",
            "probe.metric: only an answer over http",
        ),
        (
            "{ tcp = 'h:1', json = '/a', equals = 'digest' }",
            "probe.json: only an answer over http",
        ),
    ] {
        refused(&probed(probe), &[words]);
    }
    let error = parse(&probed("{ http = 'http://h/', json = '/a', equals = 'name' }"));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("unknown variant `name`"), "{error}");
    let part = probed("{ http = 'http://h/', json = '/a', equals = 'revision' }")
        .replace("pause = \"freeze\"", "reads = [\"config.toml#scanner\"]");
    refused(&part, &["probe.equals: a service that reads only a part"]);
}

#[test]
fn a_reload_over_http_has_a_url_and_a_method() {
    let text = |reload: &str| DESIGN.replace("{ signal = \"SIGUSR1\" }", reload);
    let reload = |text: &str| parse(text).unwrap().services[0].reload.clone();
    let expected = |method, authority: &str, path: &str| {
        Reload::Http(HttpReload {
            method,
            authority: authority.to_owned(),
            path: path.to_owned(),
        })
    };
    assert_eq!(
        reload(&text("{ http = \"http://127.0.0.1:9090/-/reload\" }")),
        expected(Method::Post, "127.0.0.1:9090", "/-/reload")
    );
    assert_eq!(
        reload(&text("{ http = \"http://localhost\", method = \"PUT\" }")),
        expected(Method::Put, "localhost:80", "/")
    );
    for (wrong, words) in [
        (
            "{ http = \"https://h/\" }",
            "reload: http: \"https://h/\" is not of the form",
        ),
        ("{ http = \"http://h/a b\" }", "reload: http: \"/a b\" is no path"),
        (
            "{ watch = {}, method = \"GET\" }",
            "method: only a reload over http has one",
        ),
        (
            "{ http = \"http://h/\", watch = {} }",
            "reload: exactly one is expected",
        ),
        (
            "{ http = \"http://h/\", method = \"BREW\" }",
            "unknown variant `BREW`",
        ),
    ] {
        let error = parse(&text(wrong)).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}
