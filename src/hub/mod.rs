//! The central hub as one more peer: its settings, and the exchange of data with it. Off by default.

mod calls;
mod config;
mod data;
mod pace;
mod peer;
mod pull;
mod push;

pub use calls::{CallLog, LastCalls};
pub use config::{HubConfig, HubLimits};
pub use data::{Exchange, HubData, HubStartError, start};
pub use peer::HubFigure;
