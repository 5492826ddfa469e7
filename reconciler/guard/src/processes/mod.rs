//! Other processes, as `/proc` shows them.
//!
//! [`stat`] parses, [`tree`] decides who belongs to whom, [`table`] reads. Nothing here stops,
//! continues or signals anybody.

pub(crate) mod stat;
pub(crate) mod table;
pub(crate) mod tree;
