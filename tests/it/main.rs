//! The one integration-test binary.

mod architecture;
mod cli;
mod flows;
mod support;
