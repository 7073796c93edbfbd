//! The one integration-test binary.

mod architecture;
mod attacker;
mod bad_http;
mod bad_mesh;
mod cards;
mod cli;
mod conformance;
mod crash;
mod flows;
mod ownership;
mod rebuild;
mod support;
