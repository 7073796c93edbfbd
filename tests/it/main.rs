//! The one integration-test binary.

mod architecture;
mod attacker;
mod bad_http;
mod bad_mesh;
mod cli;
mod crash;
mod flows;
mod rebuild;
mod support;
