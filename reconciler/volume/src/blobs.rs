//! Where the bytes of files come from.

use lockstep_core::tree::BlobId;

/// Gives the contents of git objects; the source's mirror does.
pub trait Blobs {
    /// The contents of one blob.
    ///
    /// # Errors
    /// When the object is missing or unreadable.
    fn read(&self, blob: BlobId) -> Result<Vec<u8>, BlobsError>;
}

/// A blob could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct BlobsError {
    /// What the store says.
    pub message: String,
    /// The error behind it.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl BlobsError {
    /// An error without another behind it.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            source: None,
        }
    }
}
