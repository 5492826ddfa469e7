//! Hanging up from outside: whoever wants the program to end is not to wait for a server that says nothing.

use tokio::sync::watch;

/// Ends whatever a mirror says to its server, now and from now on. Local repositories do not notice.
#[derive(Debug, Clone)]
pub struct HangUp(watch::Sender<bool>);

impl Default for HangUp {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl HangUp {
    /// Ends it.
    pub fn now(&self) {
        self.0.send_replace(true);
    }

    /// Comes to an end when it is hung up.
    pub(crate) async fn wanted(&self) {
        let mut receiver = self.0.subscribe();
        // The sender is here, so this cannot fail.
        let _ = receiver.wait_for(|wanted| *wanted).await;
    }
}
