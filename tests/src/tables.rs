//! The tables of one service in a settings file, to be changed or taken out.

/// Those of a service, as they are written.
///
/// # Panics
/// When there are none.
#[must_use]
pub fn of(text: &str, service: &str) -> String {
    let mut tables = text.split("[[service]]\n").skip(1);
    let table = tables
        .find(|table| table.starts_with(&format!("name = \"{service}\"")))
        .expect("the service is there");
    format!("[[service]]\n{}", table.split("\n[").next().unwrap_or_default())
}

/// The settings without a service.
///
/// # Panics
/// When it is not in them.
#[must_use]
pub fn without(text: &str, service: &str) -> String {
    text.replace(&of(text, service), "")
}
