//! Charging between whole nodes: from one backend's HTTP call through two nodes to the other backend and back, and
//! what becomes of it when something on the way fails.

mod bad_answers;
mod cards;
mod cdr;
mod cdr_crash;
mod cdr_facts;
mod crash;
mod disk_full;
mod evidence;
mod faults;
mod hub;
mod late;
mod link;
mod load;
mod lost;
mod operations;
mod privacy;
mod reconcile;
mod stage;
