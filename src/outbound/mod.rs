//! Calls to OICP hubs, backends and running nodes: OICP over HTTP. Only here reqwest is named.

mod backend;
mod client;
mod error;
mod pricing;
mod tls;

pub use backend::{BackendClient, BackendTarget, CallFailure, Config, ReservationPath};
pub use client::{ANSWER_BYTES_MAX, HubClient, Received, TIMEOUT_S};
pub use error::OutboundError;
pub use tls::Tls;
