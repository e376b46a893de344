//! What one command of `ferryd` tells another.

use std::net::SocketAddr;

use rusqlite::{OptionalExtension, params};

use super::{Catalogue, CatalogueError, columns};

const LISTEN: &str = "listen";

/// Likewise, for browsers.
const WEB: &str = "web";

impl Catalogue {
    /// Tells where the server listens: the addresses as they were bound, with the real port.
    pub fn set_listen(&self, addresses: &[SocketAddr]) -> Result<(), CatalogueError> {
        self.set_addresses(LISTEN, addresses)
    }

    /// Where the running server listens, or the last one did; empty before the first start.
    pub fn listen(&self) -> Result<Vec<SocketAddr>, CatalogueError> {
        self.addresses(LISTEN)
    }

    /// Tells where the server listens for browsers, if it does.
    pub fn set_web(&self, address: Option<SocketAddr>) -> Result<(), CatalogueError> {
        self.set_addresses(WEB, address.as_slice())
    }

    /// Where the running server listens for browsers, or the last one did.
    pub fn web(&self) -> Result<Option<SocketAddr>, CatalogueError> {
        Ok(self.addresses(WEB)?.pop())
    }

    fn set_addresses(&self, key: &str, addresses: &[SocketAddr]) -> Result<(), CatalogueError> {
        let text: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
        self.write("note where the server listens", |tx| {
            tx.prepare_cached("INSERT OR REPLACE INTO settings (key, value) VALUES (?1, ?2)")?
                .execute(params![key, text.join(" ")])?;
            Ok(())
        })
    }

    fn addresses(&self, key: &str) -> Result<Vec<SocketAddr>, CatalogueError> {
        self.read("look up where the server listens", |db| {
            let text: Option<String> = db
                .prepare_cached("SELECT value FROM settings WHERE key = ?1")?
                .query_row([key], |row| row.get(0))
                .optional()?;
            let addresses = text.unwrap_or_default();
            addresses
                .split_whitespace()
                .map(|address| address.parse().map_err(|_| columns::damaged("listening address")))
                .collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{lock, tests::fresh},
        *,
    };

    #[test]
    fn listening_addresses_come_back() {
        let (_folder, catalogue) = fresh();
        assert_eq!(catalogue.listen().unwrap(), []);
        let addresses: Vec<SocketAddr> = ["[::]:7117", "127.0.0.1:1", "[fe80::1%2]:65535"]
            .into_iter()
            .map(|address| address.parse().unwrap())
            .collect();
        catalogue.set_listen(&addresses).unwrap();
        assert_eq!(catalogue.listen().unwrap(), addresses);
        catalogue.set_listen(&addresses[1..2]).unwrap();
        assert_eq!(catalogue.listen().unwrap(), addresses[1..2]);
        assert_eq!(catalogue.web().unwrap(), None);
        catalogue.set_web(Some(addresses[0])).unwrap();
        assert_eq!(catalogue.web().unwrap(), Some(addresses[0]));
        catalogue.set_web(None).unwrap();
        assert_eq!((catalogue.web().unwrap(), catalogue.listen().unwrap().len()), (None, 1));
    }

    #[test]
    fn a_damaged_setting_is_an_error_that_names_the_operation() {
        let (_folder, catalogue) = fresh();
        lock(&catalogue.writer).execute("INSERT INTO settings VALUES ('listen', 'here')", []).unwrap();
        let error = catalogue.listen().unwrap_err().to_string();
        assert!(error.contains("look up where the server listens"), "{error}");
        assert!(error.contains("a row has a listening address that cannot be"), "{error}");
    }
}
