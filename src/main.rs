//! The `chargemesh` binary.

fn main() {}
