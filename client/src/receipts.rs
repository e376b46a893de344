//! The file of receipts: `sha256sum -c` understands it.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use ferry_proto::{Digest, RelPath};

use crate::exit::Failure;

/// A file of receipts in the making.
pub(crate) struct Receipts {
    file: BufWriter<File>,
}

impl Receipts {
    pub(crate) fn create(path: &Path) -> Result<Self, Failure> {
        match File::create(path) {
            Ok(file) => Ok(Receipts { file: BufWriter::new(file) }),
            Err(error) => Err(Failure::local(format!("cannot write {}: {error}", path.display()))),
        }
    }

    pub(crate) fn add(&mut self, digest: &Digest, name: &RelPath) -> io::Result<()> {
        write_line(&mut self.file, digest, name.as_bytes())
    }

    /// Everything is on the disk when this returns, if it is a disk: pipes and terminals have nothing to sync.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.file.flush()?;
        match self.file.get_ref().sync_all() {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            result => result,
        }
    }
}

/// Escapes as coreutils do: a leading backslash says that the name has escapes in it.
fn write_line(out: &mut impl Write, digest: &Digest, name: &[u8]) -> io::Result<()> {
    let is_odd = name.iter().any(|b| matches!(b, b'\\' | b'\n' | b'\r'));
    if is_odd {
        out.write_all(b"\\")?;
    }
    write!(out, "{}  ", digest.hex())?;
    for &byte in name {
        match byte {
            b'\\' => out.write_all(b"\\\\")?,
            b'\n' => out.write_all(b"\\n")?,
            b'\r' => out.write_all(b"\\r")?,
            byte => out.write_all(&[byte])?,
        }
    }
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use ferry_proto::Algorithm;

    use super::*;

    #[test]
    fn odd_names_are_escaped_as_coreutils_do() {
        let digest = Algorithm::Sha256.digest(b"");
        let mut out = Vec::new();
        write_line(&mut out, &digest, b"new\nline\\").unwrap();
        assert_eq!(out, format!("\\{}  new\\nline\\\\\n", digest.hex()).as_bytes());
        out.clear();
        write_line(&mut out, &digest, b"plain name").unwrap();
        assert_eq!(out, format!("{}  plain name\n", digest.hex()).as_bytes());
    }
}
