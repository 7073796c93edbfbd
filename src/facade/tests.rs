//! The facade over real HTTP, with the test at the other end of the engine.
