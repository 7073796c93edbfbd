//! chargemesh: a peer-to-peer EV roaming node.
#![doc = include_str!("ARCHITECTURE.md")]

pub mod backend;
pub mod config;
pub mod engine;
pub mod facade;
pub mod hub;
pub mod identity;
pub mod mesh;
pub mod node;
pub mod oicp;
pub mod outbound;
pub mod pins;
pub mod planted;
pub mod protocol;
pub mod roaming;
pub mod storage;
pub mod tls;
