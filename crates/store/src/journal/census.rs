//! How many pushes each organisation has had taken: what a quota counts from after a restart.

use std::collections::HashMap;

use reveille_core::Timestamp;
use rusqlite::Connection;

use super::Counts;
use super::block::{place, read_keys, seq};
use super::view::Names;
use crate::columns;

/// How many pushes were received at `since` or later, by organisation, with numbers below `before`; newest first, about
/// `blocks` blocks at most. Answers before which number to go on; `None` when everything has been seen.
pub(super) fn received_since(
    db: &Connection,
    since: Timestamp,
    before: u64,
    blocks: usize,
) -> rusqlite::Result<(Counts, Option<u64>)> {
    let view = db.unchecked_transaction()?;
    let mut query = view.prepare_cached("SELECT no, keys FROM block WHERE no < ?1 ORDER BY no DESC LIMIT ?2")?;
    let mut rows = query.query((columns::number(place(before).0), columns::rows(blocks)))?;
    let (mut counts, mut seen, mut older) = (HashMap::<u32, u64>::new(), 0, 0);
    let mut next = None;
    while let Some(row) = rows.next()? {
        let no = columns::number_at(row, 0)?;
        let mut any = false;
        for key in read_keys(row.get_ref(1)?.as_blob()?)? {
            if key.received >= since {
                *counts.entry(key.origin_no).or_default() += 1;
                any = true;
            }
        }
        // A clock that was set back has left a few blocks in disorder.
        older = if any { 0 } else { older + 1 };
        (seen, next) = (seen + 1, Some(seq(no, 0)));
        if older >= OLDER_MAX {
            (seen, next) = (0, None);
            break;
        }
    }
    let mut names = Names::default();
    let named = |(no, count)| Ok((names.origin(&view, no)?, count));
    let counts = counts.into_iter().map(named).collect::<rusqlite::Result<_>>()?;
    Ok((counts, next.filter(|_| seen >= blocks)))
}

/// After so many blocks that are all older nothing younger is looked for.
const OLDER_MAX: u32 = 64;
