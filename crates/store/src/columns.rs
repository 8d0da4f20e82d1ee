//! How our values stand in columns, the same in every store: ids as 16 bytes that sort by time, instants as
//! milliseconds, enums by their stable names.

use std::fmt;
use std::str::FromStr;

use rusqlite::Row;
use rusqlite::types::Type;
use serde::de::value::{Error as WordError, StrDeserializer};
use serde::de::{DeserializeOwned, IntoDeserializer};
use serde::{Deserialize, Serialize};

use reveille_core::delivery::PushState;
use reveille_core::{Reason, Timestamp};

/// An id as it is stored: big-endian, so that bytes sort as the ids do.
pub(crate) const fn id(value: u128) -> [u8; 16] {
    value.to_be_bytes()
}

/// Reads an id back.
pub(crate) fn id_at(row: &Row<'_>, column: usize) -> rusqlite::Result<u128> {
    row.get::<_, [u8; 16]>(column).map(u128::from_be_bytes)
}

/// Reads an id that may be missing.
pub(crate) fn id_or_none_at(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<u128>> {
    Ok(row.get::<_, Option<[u8; 16]>>(column)?.map(u128::from_be_bytes))
}

/// An instant as it is stored. The end of time is where SQL's integers end.
pub(crate) fn instant(value: Timestamp) -> i64 {
    i64::try_from(value.millis()).unwrap_or(i64::MAX)
}

/// Reads an instant back.
pub(crate) fn instant_at(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    row.get::<_, i64>(column).map(|millis| Timestamp::from_millis(millis.max(0).cast_unsigned()))
}

/// Reads an instant that may be missing.
pub(crate) fn instant_or_none_at(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    let millis = row.get::<_, Option<i64>>(column)?;
    Ok(millis.map(|millis| Timestamp::from_millis(millis.max(0).cast_unsigned())))
}

/// A sequence number as it is stored.
pub(crate) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Reads a sequence number back.
pub(crate) fn number_at(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(|value| value.max(0).cast_unsigned())
}

/// How many rows a query may answer.
pub(crate) fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// Reads a name by the type's own parser.
pub(crate) fn parsed_at<T: FromStr>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text = row.get_ref(column)?.as_str()?;
    text.parse().map_err(|_| unknown(column))
}

/// A fieldless enum by the name it has on the wire.
pub(crate) fn word<T: Serialize>(value: &T) -> String {
    // A unit variant is always a JSON string without escapes.
    serde_json::to_string(value).unwrap_or_default().trim_matches('"').to_owned()
}

/// Reads a fieldless enum back.
pub(crate) fn word_at<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text: StrDeserializer<'_, WordError> = row.get_ref(column)?.as_str()?.into_deserializer();
    T::deserialize(text).map_err(|_| unknown(column))
}

/// A value as JSON text.
pub(crate) fn json<T: Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|failure| rusqlite::Error::ToSqlConversionFailure(Box::new(failure)))
}

/// Reads a value back from JSON text.
pub(crate) fn json_at<'row, T: Deserialize<'row>>(row: &'row Row<'_>, column: usize) -> rusqlite::Result<T> {
    serde_json::from_str(row.get_ref(column)?.as_str()?).map_err(|_| unknown(column))
}

/// The reason's name, for the column beside the state.
pub(crate) const fn reason(state: PushState) -> Option<&'static str> {
    match state {
        PushState::NotPushed(reason) => Some(reason.as_str()),
        PushState::Owed | PushState::Requested | PushState::Journaled | PushState::Sending | PushState::Accepted => {
            None
        }
    }
}

/// Reads a state from its column and the reason's, which is the next one.
pub(crate) fn state_at(row: &Row<'_>, column: usize) -> rusqlite::Result<PushState> {
    Ok(match row.get_ref(column)?.as_str()? {
        "owed" => PushState::Owed,
        "requested" => PushState::Requested,
        "journaled" => PushState::Journaled,
        "sending" => PushState::Sending,
        "accepted" => PushState::Accepted,
        "not-pushed" => {
            let reason = row.get_ref(column + 1)?.as_str()?;
            PushState::NotPushed(Reason::parse(reason).ok_or_else(|| unknown(column + 1))?)
        }
        _ => return Err(unknown(column)),
    })
}

/// The longest text kept about one push, in characters.
pub(crate) const DETAIL_CHARS_MAX: usize = 512;

/// `text` cut to what is kept of it.
pub(crate) fn detail(text: &str) -> &str {
    text.char_indices().nth(DETAIL_CHARS_MAX).map_or(text, |(end, _)| &text[..end])
}

/// A value that this version does not know.
pub(crate) fn unknown(column: usize) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(UnknownValue))
}

/// Says no more than that: the value itself may be a secret.
#[derive(Debug)]
struct UnknownValue;

impl fmt::Display for UnknownValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the value is not known")
    }
}

impl std::error::Error for UnknownValue {}

#[cfg(test)]
mod tests {
    use super::*;
    use reveille_core::{Channel, Event};
    use rusqlite::Connection;

    #[test]
    fn every_state_and_every_reason_reads_back_from_its_columns() {
        let db = Connection::open_in_memory().unwrap();
        let plain =
            [PushState::Owed, PushState::Requested, PushState::Journaled, PushState::Sending, PushState::Accepted];
        let reasons = Reason::ALL.iter().map(|&reason| PushState::NotPushed(reason));
        for state in plain.into_iter().chain(reasons) {
            let kept = db.query_row("SELECT ?1, ?2", (state.as_str(), reason(state)), |row| state_at(row, 0)).unwrap();
            assert_eq!(kept, state);
        }
        assert!(db.query_row("SELECT 'perhaps', NULL", (), |row| state_at(row, 0)).is_err());
    }

    #[test]
    fn every_event_and_channel_reads_back_from_its_word() {
        let db = Connection::open_in_memory().unwrap();
        for event in Event::ALL {
            let kept: Event = db.query_row("SELECT ?1", [word(&event)], |row| word_at(row, 0)).unwrap();
            assert_eq!(kept, event);
        }
        for channel in [Channel::Message, Channel::Voip] {
            let kept: Channel = db.query_row("SELECT ?1", [word(&channel)], |row| word_at(row, 0)).unwrap();
            assert_eq!(kept, channel);
        }
    }

    #[test]
    fn ids_sort_as_bytes_as_they_do_as_numbers() {
        assert!(id(255) < id(256) && id(1 << 100) < id(u128::MAX));
    }

    #[test]
    fn a_long_detail_is_cut_between_characters() {
        assert_eq!(detail("short"), "short");
        let long = "é".repeat(DETAIL_CHARS_MAX + 1);
        assert_eq!(detail(&long).chars().count(), DETAIL_CHARS_MAX);
    }
}
