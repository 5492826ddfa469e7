//! Other processes, as `/proc` shows them.
//!
//! [`stat`] parses, [`tree`] decides who belongs to whom, [`table`] and [`awaited`] read. Nothing here stops,
//! continues or signals anybody.

pub(crate) mod awaited;
pub(crate) mod stat;
pub(crate) mod table;
pub(crate) mod tree;
