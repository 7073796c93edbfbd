//! Many cores in one virtual world.
