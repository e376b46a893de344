//! A machine whose power can be cut, with a store and a ledger on its disk: after a cut, whatever was not synced may be
//! found as it was before, as it was last, or in part.
//!
//! It keeps to what POSIX promises, which is less than most file systems do. Of a file that was not synced, each page
//! may be old, new or zeros, and its length old, new or in between. Of a folder that was not synced, each name may lead
//! to what it led to at any time since; what moves from one folder to another may be found in either, in both, or in
//! none. Nothing that happened in one folder keeps anything in another from being found or lost. The ledger loses
//! nothing but what was being written, and that as a whole.
//!
//! The store promises what [`Store`](crate::Store) says and no more, so `stage` makes nothing durable, and
//! [`Staged::sync`](crate::Staged::sync) bytes but not the name that they are staged under.

mod data;
mod disk;
mod ledger;
mod machine;
mod names;
mod store;

pub use self::{
    ledger::ForgetfulLedger,
    machine::{Machine, PowerCut, PowerOff},
    store::{ForgetfulStaged, ForgetfulStore},
};

#[cfg(test)]
mod tests;
