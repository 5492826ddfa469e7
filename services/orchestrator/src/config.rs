//! The orchestrator's configuration: what it accepts, and what it says when it does not.

use lockstep_client::{Refusal, Snapshot, SwitchNumber};
use trader_config::{Invalid, OrchestratorView, Problem, locate, parse, summary};

use crate::session::Up;

/// The configuration that decisions are made with, and where it came from.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) view: OrchestratorView,
    pub(crate) switch: Option<SwitchNumber>,
    /// The document's name in its release.
    document: String,
    /// Where the account is written, for the refusal that only a session can give.
    account_at: Option<(u32, u32)>,
}

/// Reads and judges the configuration of one release.
pub(crate) fn load(snapshot: &Snapshot) -> Result<Config, Refusal> {
    let document = snapshot.document();
    let text = snapshot.text(document)?;
    let view = read(&text).map_err(|problems| refusal(document, &problems))?;
    let account = Invalid {
        key: "ibkr.account".to_owned(),
        message: String::new(),
    };
    let place = locate(&text, account);
    Ok(Config {
        view,
        switch: snapshot.switch(),
        document: document.to_owned(),
        account_at: place.line.zip(place.column),
    })
}

/// Reads and judges the text of a document.
pub(crate) fn read(text: &str) -> Result<OrchestratorView, Vec<Problem>> {
    parse(text)
}

/// Whether the session that is up could trade the account: the schema allows any name, the broker knows.
///
/// Without a session, or when the new values name another broker, nobody can know yet: then it is accepted.
pub(crate) fn judge_account(config: &Config, session: Option<&Up>) -> Result<(), Refusal> {
    let Some(up) = session.filter(|up| up.endpoint.is_that_of(&config.view.ibkr)) else {
        return Ok(());
    };
    let Err(reason) = up.account(&config.view.ibkr.account) else {
        return Ok(());
    };
    let refusal = Refusal::new(format!("ibkr.account: {reason}")).in_file(&config.document);
    Err(match config.account_at {
        Some((line, column)) => refusal.at(line, column),
        None => refusal,
    })
}

/// The status file has room for one place: that of the first problem.
fn refusal(file: &str, problems: &[Problem]) -> Refusal {
    let Problem {
        message,
        line,
        column,
        key: _,
    } = summary(problems);
    let refusal = Refusal::new(message).in_file(file);
    match line.zip(column) {
        Some((line, column)) => refusal.at(line, column),
        None => refusal,
    }
}
