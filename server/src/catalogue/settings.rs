//! What one command of `ferryd` tells another.

use std::net::SocketAddr;

use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::{Catalogue, CatalogueError, columns};

const LISTEN: &str = "listen";

const BROWSERS: &str = "browsers";

/// Where browsers are served, and how they know whom they talk to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// As it was bound, with the real port.
    pub address: SocketAddr,
    /// The name that somebody has vouched for, where the certificate says one.
    pub name: Option<String>,
    /// What curl calls the pinned public key, where nobody vouches for the certificate.
    pub pin: Option<String>,
}

impl Catalogue {
    /// Tells where the server listens: the addresses as they were bound, with the real port.
    pub fn set_listen(&self, addresses: &[SocketAddr]) -> Result<(), CatalogueError> {
        let text: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
        self.set(LISTEN, &text.join(" "))
    }

    /// Where the running server listens, or the last one did; empty before the first start.
    pub fn listen(&self) -> Result<Vec<SocketAddr>, CatalogueError> {
        self.setting(LISTEN, |text| {
            let addresses = text.split_whitespace();
            addresses
                .map(|address| address.parse().map_err(|_| columns::damaged("listening address")))
                .collect()
        })
    }

    /// Tells where the server listens for browsers, if it does.
    pub fn set_site(&self, site: Option<&Site>) -> Result<(), CatalogueError> {
        let text = site.and_then(|site| serde_json::to_string(site).ok());
        self.set(BROWSERS, &text.unwrap_or_default())
    }

    /// Where the running server listens for browsers, or the last one did.
    pub fn site(&self) -> Result<Option<Site>, CatalogueError> {
        self.setting(BROWSERS, |text| match text {
            "" => Ok(None),
            text => serde_json::from_str(text).map(Some).map_err(|_| columns::damaged("place for browsers")),
        })
    }

    fn set(&self, key: &str, value: &str) -> Result<(), CatalogueError> {
        self.write("note where the server listens", |tx| {
            tx.prepare_cached("INSERT OR REPLACE INTO settings (key, value) VALUES (?1, ?2)")?
                .execute(params![key, value])?;
            Ok(())
        })
    }

    /// One that was never set is empty.
    fn setting<T>(
        &self,
        key: &str,
        of: impl FnOnce(&str) -> rusqlite::Result<T>,
    ) -> Result<T, CatalogueError> {
        self.read("look up where the server listens", |db| {
            let text: Option<String> = db
                .prepare_cached("SELECT value FROM settings WHERE key = ?1")?
                .query_row([key], |row| row.get(0))
                .optional()?;
            of(&text.unwrap_or_default())
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
        assert_eq!(catalogue.site().unwrap(), None);
        for (name, pin) in [(Some("nas.example"), None), (None, Some("sha256//AA=="))] {
            let [name, pin] = [name, pin].map(|text| text.map(str::to_owned));
            let site = Site { address: addresses[0], name, pin };
            catalogue.set_site(Some(&site)).unwrap();
            assert_eq!(catalogue.site().unwrap(), Some(site));
        }
        catalogue.set_site(None).unwrap();
        assert_eq!((catalogue.site().unwrap(), catalogue.listen().unwrap().len()), (None, 1));
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
