//! Attacks on the whole chain, each with its refusal.
