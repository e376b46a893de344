//! What commands write to standard output: lines, which may be many.

use std::io::{self, BufWriter, ErrorKind, StdoutLock, Write};

use ferry_proto::{RelPath, escape};
use serde_json::{Map, Value};

/// Standard output, a line at a time.
pub(crate) struct Lines(BufWriter<StdoutLock<'static>>);

impl Lines {
    pub(crate) fn new() -> Self {
        Lines(BufWriter::new(io::stdout().lock()))
    }

    pub(crate) fn line(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.0, "{line}")
    }

    /// Writes what is still held back.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Whether whoever reads has seen enough.
pub(crate) fn has_seen_enough(error: &io::Error) -> bool {
    error.kind() == ErrorKind::BrokenPipe
}

/// An object, as one line that no terminal acts on.
pub(crate) fn object(object: Map<String, Value>) -> String {
    escape::json(&Value::Object(object).to_string())
}

/// A name, under the keys by which `ferry ls` gives it: where it is not UTF-8, escaped, and its bytes beside it.
pub(crate) fn insert_name(object: &mut Map<String, Value>, path: &RelPath) {
    insert_bytes(object, "name", path.as_bytes());
}

/// Bytes that should be text, in the same way.
pub(crate) fn insert_bytes(object: &mut Map<String, Value>, key: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => drop(object.insert(key.into(), text.into())),
        Err(_) => {
            object.insert(key.into(), escape::bytes(bytes).to_string().into());
            object.insert(format!("{key}_bytes"), bytes.into());
        }
    }
}
