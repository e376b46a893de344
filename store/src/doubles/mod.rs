//! Stand-ins for tests: a ledger in memory; a wrapper for stores and ledgers that writes down what is called and lets
//! things happen at chosen calls; and a machine whose power can be cut, with a store and a ledger on it.

mod forgetful;
mod memory;
mod script;

pub use self::{
    forgetful::{ForgetfulLedger, ForgetfulStaged, ForgetfulStore, Machine, PowerCut, PowerOff},
    memory::MemoryLedger,
    script::{Script, Scripted, Trouble},
};
