//! The OICP 2.3 vocabulary: ids, codes, messages, validation and repair. Pure: knows nothing of the mesh.

pub mod evco;
pub mod id;
mod id_scan;
pub mod json;
mod json_parse;
pub mod json_write;
pub mod reading;
pub mod status_code;
