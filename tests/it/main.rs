//! The one integration-test binary.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod agreements;
mod architecture;
mod attacker;
mod audience;
mod authdata;
mod backend_cli;
mod bad_http;
mod bad_mesh;
mod cards;
mod charging;
mod cli;
mod conformance;
mod crash;
mod flows;
mod https;
mod hub;
mod ownership;
mod partners;
mod push;
mod real_data;
mod real_demo;
mod rebuild;
mod reload;
mod replay;
mod replayed_start;
mod rotation;
mod slots;
mod support;
mod trust_cli;
mod trust_ops;
mod vectors;
