//! How values lie in columns. Reading them checks them: a user may have written to the database too.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use ferry_proto::{Algorithm, Attributes, Digest, Fingerprint, Owner, RelPath, Timestamp, Xattrs};
use ferry_store::{Digests, StageId};
use rusqlite::{
    Error, Row,
    types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, Type, ValueRef},
};

/// A value that lies in one column.
pub(super) struct Column<T>(pub(super) T);

/// The columns of a row in the order of its statement. To look each of them up by its name costs more than to find the row.
pub(super) struct Fields<'a> {
    row: &'a Row<'a>,
    taken: usize,
}

impl<'a> Fields<'a> {
    /// From the first on.
    pub(super) fn of(row: &'a Row<'_>) -> Self {
        Fields { row, taken: 0 }
    }

    /// The next one as it lies there.
    pub(super) fn look(&mut self) -> rusqlite::Result<ValueRef<'a>> {
        self.taken += 1;
        self.row.get_ref(self.taken - 1)
    }

    /// The value of the next one.
    pub(super) fn take<T: FromSql>(&mut self) -> rusqlite::Result<T> {
        self.taken += 1;
        self.row.get(self.taken - 1)
    }

    /// The value of the next one, where it needs a form of its own.
    pub(super) fn column<T>(&mut self) -> rusqlite::Result<T>
    where
        Column<T>: FromSql,
    {
        self.take::<Column<T>>().map(|Column(value)| value)
    }
}

/// The columns `sha256` and `blake3` of a file, where there are any.
pub(super) fn digests(fields: &mut Fields<'_>) -> rusqlite::Result<Option<Digests>> {
    let mut column = |algorithm: Algorithm| {
        let bytes: Option<[u8; 32]> = fields.take()?;
        Ok::<_, Error>(bytes.map(|bytes| Digest::new(algorithm, bytes)))
    };
    let found = [column(Algorithm::Sha256)?, column(Algorithm::Blake3)?];
    Ok(Digests::of(found.into_iter().flatten()))
}

/// The columns `algorithm` and `digest`, where there is one.
pub(super) fn digest(fields: &mut Fields<'_>) -> rusqlite::Result<Option<Digest>> {
    let number: Option<u8> = fields.take()?;
    let bytes: Option<[u8; 32]> = fields.take()?;
    let (Some(number), Some(bytes)) = (number, bytes) else { return Ok(None) };
    let algorithm = Algorithm::from_number(number).ok_or_else(|| damaged("digest algorithm"))?;
    Ok(Some(Digest::new(algorithm, bytes)))
}

/// The columns `modified` and `modified_nanos`, where there is a time.
pub(super) fn modified(fields: &mut Fields<'_>) -> rusqlite::Result<Option<Timestamp>> {
    let (Some(seconds), Some(nanos)) = (fields.take()?, fields.take()?) else { return Ok(None) };
    Timestamp::new(seconds, nanos).map(Some).map_err(|_| damaged("time"))
}

/// The columns of the table of attributes, from `uid` to `xattrs`.
pub(super) fn attributes(fields: &mut Fields<'_>) -> rusqlite::Result<Attributes> {
    let ids = (fields.take()?, fields.take()?);
    let (user, group) = (fields.take()?, fields.take()?);
    let owner = match ids {
        (Some(uid), Some(gid)) => Some(Owner::new(uid, gid, user, group).map_err(|_| damaged("owner"))?),
        _ => None,
    };
    let xattrs = match fields.look()?.as_blob_or_null()? {
        Some(bytes) => Some(Xattrs::from_bytes(bytes).map_err(|_| damaged("list of extended attributes"))?),
        None => None,
    };
    Ok(Attributes { owner, xattrs })
}

/// A row that no version of this program wrote.
pub(super) fn damaged(what: &'static str) -> Error {
    Error::FromSqlConversionFailure(0, Type::Null, Box::new(Damaged(what)))
}

impl ToSql for Column<&RelPath> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.as_bytes().into())
    }
}

impl FromSql for Column<RelPath> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        RelPath::new(value.as_blob()?).map(Column).map_err(FromSqlError::other)
    }
}

/// Milliseconds since 1970. What does not fit is 300 million years away, and is cut to there.
impl ToSql for Column<SystemTime> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(millis(self.0).into())
    }
}

impl FromSql for Column<SystemTime> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let millis = value.as_i64()?;
        let distance = Duration::from_millis(millis.unsigned_abs());
        let time =
            if millis < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
        time.map(Column).ok_or(FromSqlError::OutOfRange(millis))
    }
}

impl ToSql for Column<u64> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        // The protocol knows no larger size, so this is an error and not a number to be cut.
        let number = i64::try_from(self.0).map_err(|error| Error::ToSqlConversionFailure(error.into()))?;
        Ok(number.into())
    }
}

impl FromSql for Column<u64> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let number = value.as_i64()?;
        u64::try_from(number).map(Column).map_err(|_| FromSqlError::OutOfRange(number))
    }
}

impl ToSql for Column<Fingerprint> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.bytes().as_slice().into())
    }
}

impl FromSql for Column<Fingerprint> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        FromSql::column_result(value).map(|bytes| Column(Fingerprint::from_bytes(bytes)))
    }
}

/// Most significant byte first, so that the bytes in hexadecimal are what the id prints as.
impl ToSql for Column<StageId> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.0.to_be_bytes().to_vec().into())
    }
}

impl FromSql for Column<StageId> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        FromSql::column_result(value).map(|bytes| Column(StageId(u128::from_be_bytes(bytes))))
    }
}

#[derive(Debug)]
struct Damaged(&'static str);

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a row has a {} that cannot be", self.0)
    }
}

impl std::error::Error for Damaged {}

fn millis(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |n| -n),
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    fn round_trip<T: FromSql>(value: impl ToSql) -> rusqlite::Result<T> {
        Connection::open_in_memory().unwrap().query_one("SELECT ?1", [value], |row| row.get(0))
    }

    #[test]
    fn values_come_back() {
        for millis in [0, 1, 1_795_000_000_123, 253_402_300_799_999] {
            for time in
                [UNIX_EPOCH + Duration::from_millis(millis), UNIX_EPOCH - Duration::from_millis(millis)]
            {
                assert_eq!(round_trip::<Column<SystemTime>>(Column(time)).unwrap().0, time);
            }
        }
        for size in [0, 1, i64::MAX as u64] {
            assert_eq!(round_trip::<Column<u64>>(Column(size)).unwrap().0, size);
        }
        for id in [0, 1, u128::MAX, 1 << 127] {
            assert_eq!(round_trip::<Column<StageId>>(Column(StageId(id))).unwrap().0, StageId(id));
        }
        let key = Fingerprint::from_bytes([0xfe; 32]);
        assert_eq!(round_trip::<Column<Fingerprint>>(Column(key)).unwrap().0, key);
        let path = RelPath::new(b"new\nline/latin-\xe9").unwrap();
        assert_eq!(round_trip::<Column<RelPath>>(Column(&path)).unwrap().0, path);
    }

    #[test]
    fn hostile_09_numbers_that_do_not_fit_are_errors() {
        assert!(round_trip::<i64>(Column(u64::MAX)).is_err());
        assert!(round_trip::<Column<u64>>(-1).is_err());
        assert!(round_trip::<Column<Fingerprint>>(vec![0u8; 31]).is_err());
        assert!(round_trip::<Column<StageId>>(vec![0u8; 17]).is_err());
    }

    #[test]
    fn promise_4_a_path_from_the_database_is_checked_too() {
        for path in [&b"../etc/passwd"[..], b"/etc/passwd", b".ferry/catalogue.db", b""] {
            assert!(round_trip::<Column<RelPath>>(path.to_vec()).is_err());
        }
    }
}
