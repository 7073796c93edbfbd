//! The one integration-test binary.

mod architecture;
mod bad_http;
mod flows;
mod support;
