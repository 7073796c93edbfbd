//! The OICP 2.3 vocabulary: ids, codes, messages, validation and repair. Pure: knows nothing of the mesh.

mod check;
pub mod evco;
pub mod evse_status;
pub mod finding;
pub mod geo;
pub mod id;
mod id_scan;
pub mod json;
mod json_parse;
pub mod json_write;
pub mod push;
pub mod reading;
pub mod record;
mod repair;
mod schema;
pub mod status_code;
pub mod time;
