//! The one integration-test binary.

mod architecture;
mod flows;
mod support;
