//! How much feedback each origin is owed: a home that never answers must not fill the disk.
//!
//! What a home is told of a push's end beside a verdict is news, and stands in the trace too. So there is a bound for it,
//! and what is beyond it is not kept. A verdict on a token is always kept: there are no more of those than
//! [`VERDICTS_MAX`](super::VERDICTS_MAX), each said and taken back.

use std::collections::HashMap;

use reveille_core::Alarm;
use rusqlite::Connection;

/// How much one origin is owed at the most, beside verdicts.
pub(super) const FEEDBACK_OF_ORIGIN_MAX: u64 = 100_000;

/// For each origin that was owed something in this life of the process.
#[derive(Debug)]
pub(super) struct Debts {
    owed: HashMap<u32, Debt>,
    most: u64,
}

/// What one origin is owed.
#[derive(Debug)]
struct Debt {
    /// At the most: what home has taken meanwhile is seen at the next count only.
    owed: u64,
    /// News that were not kept, since the last count.
    lost: u64,
}

impl Default for Debts {
    fn default() -> Self {
        Self { owed: HashMap::new(), most: FEEDBACK_OF_ORIGIN_MAX }
    }
}

impl Debts {
    /// Whether one more is kept: a verdict always, news while there is room. Rarely looks into the file.
    pub(super) fn keeps(&mut self, db: &Connection, origin_no: u32, is_verdict: bool) -> rusqlite::Result<bool> {
        let debt = match self.owed.get_mut(&origin_no) {
            Some(debt) => debt,
            None => self.owed.entry(origin_no).or_insert(Debt { owed: count(db, origin_no)?, lost: 0 }),
        };
        if debt.owed >= self.most && debt.lost.is_multiple_of(COUNT_EVERY) {
            debt.owed = count(db, origin_no)?;
            if debt.owed >= self.most {
                let (alarm, owed) = (Alarm::FeedbackLost, debt.owed);
                tracing::warn!(alarm = alarm.as_str(), origin_no, owed, lost = debt.lost, "{}", alarm.sentence());
            }
        }
        let is_full = debt.owed >= self.most;
        match is_full && !is_verdict {
            true => debt.lost += 1,
            false => *debt = Debt { owed: debt.owed + 1, lost: if is_full { debt.lost } else { 0 } },
        }
        Ok(!is_full || is_verdict)
    }
}

fn count(db: &Connection, origin_no: u32) -> rusqlite::Result<u64> {
    let mut count = db.prepare_cached("SELECT count(*) FROM feedback WHERE origin_no = ?1")?;
    count.query_row([origin_no], |row| crate::columns::number_at(row, 0))
}

/// After how many news that were not kept the file is looked at again: a count costs as much as some hundreds of them.
const COUNT_EVERY: u64 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_beyond_the_bound_are_not_kept_and_those_of_others_are() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch("CREATE TABLE feedback (origin_no INTEGER, no INTEGER, PRIMARY KEY (origin_no, no))").unwrap();
        let mut debts = Debts { most: 10, ..Debts::default() };
        let mut keep = |origin_no, no: u32, is_verdict| {
            let kept = debts.keeps(&db, origin_no, is_verdict).unwrap();
            if kept {
                db.execute("INSERT INTO feedback VALUES (?1, ?2)", (origin_no, no)).unwrap();
            }
            kept
        };
        let kept = (0..500).filter(|no| keep(1, *no, false)).count();
        assert_eq!((kept, keep(2, 0, false)), (10, true));
        assert!(keep(1, 600, true) && !keep(1, 601, false), "a verdict is kept all the same");
        // Home takes some: seen within a thousand.
        db.execute("DELETE FROM feedback WHERE origin_no = 1 AND no < 5", ()).unwrap();
        let kept = (1000..2001).filter(|no| keep(1, *no, false)).count();
        assert_eq!(kept, 4);
    }
}
