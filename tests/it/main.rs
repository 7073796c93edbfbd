//! The one integration-test binary.

mod architecture;
mod attacker;
mod bad_http;
mod bad_mesh;
mod crash;
mod flows;
mod push;
mod real_data;
mod rebuild;
mod support;
