//! The product: decides, never does. Told what happened and when, it answers with what must be
//! remembered ([`change`]) and what is to be done.

pub mod change;
