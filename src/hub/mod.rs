//! The central hub as one more peer: its settings. Off by default.

mod config;

pub use config::{HubConfig, HubLimits};
