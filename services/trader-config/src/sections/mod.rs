//! The sections of the document: one type each, with defaults, units, bounds and the effect of a change.
//!
//! The doc comments become the schema's descriptions: write them for the person who edits the value.
//! Bounds are written once, as schema attributes; [`crate::bounds`] applies them in the services.

mod broker;
mod market;
mod running;
mod strategy;
mod trading;
mod values;

pub use broker::Ibkr;
pub use market::{Data, Universe};
pub use running::{Level, LineFormat, Logging, Scanner, ScannerAddress};
pub use strategy::{BearRally, BullPullback, HighBase, LowBase, Strategy};
pub use trading::{Mode, Options, Schedule, Trading};
pub use values::{InvalidSymbol, InvalidTime, Symbol, TimeOfDay};
