//! The environment variables that tell a supervised service how to take part.

/// The volume as the service sees it.
pub const CONFIG: &str = "LOCKSTEP_CONFIG";
/// Where the service writes its [`Status`](crate::Status).
pub const STATUS_FILE: &str = "LOCKSTEP_STATUS_FILE";
/// Where a voting service finds the [`Offer`](crate::Offer) it is asked about.
pub const OFFER_FILE: &str = "LOCKSTEP_OFFER_FILE";
/// The random token of this start of the service, echoed in its status.
pub const INSTANCE: &str = "LOCKSTEP_INSTANCE";
