//! The OICP 2.3 vocabulary: ids, codes, messages, validation and repair. Pure: knows nothing of the mesh.

pub mod acknowledgement;
pub mod charging;
mod check;
pub mod conform;
pub mod decimal;
pub mod evco;
pub mod evse_status;
pub mod finding;
pub mod geo;
pub mod id;
mod id_scan;
pub mod json;
mod json_parse;
pub mod json_schema;
pub mod json_write;
pub mod lint;
mod lint_forms;
pub mod page;
pub mod price_key;
pub mod pricing;
mod pricing_answer;
mod pricing_schema;
pub mod pull;
pub mod push;
pub mod reading;
pub mod record;
pub mod register;
mod repair;
mod schema;
pub mod status_code;
pub mod time;

#[cfg(test)]
mod tests;
