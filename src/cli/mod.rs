//! The command line: part of the binary, sees only the public API.

pub(crate) mod demo;
