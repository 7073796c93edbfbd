//! The `chargemesh` binary.

mod cli;

fn main() {}
