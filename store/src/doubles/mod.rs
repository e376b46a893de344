//! Stand-ins for tests: a ledger in memory, and a wrapper for stores and ledgers that writes down what is called
//! and lets things happen at chosen calls.

mod memory;
mod script;

pub use self::{
    memory::MemoryLedger,
    script::{Script, Scripted, Trouble},
};
