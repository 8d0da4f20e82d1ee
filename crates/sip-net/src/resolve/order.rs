//! The order in which SRV records are tried (RFC 2782).

use super::Srv;

/// Sorts SRV records into the order in which to try them: by priority, and at random by weight among equals.
///
/// `random(n)` gives a number in `0..=n`.
///
/// ```
/// # use reveille_sip_net::{Srv, in_order};
/// let srv = |priority, target: &str| Srv { priority, weight: 0, port: 5061, target: target.into(), ttl: 60 };
/// let order = in_order(vec![srv(20, "b"), srv(10, "a")], |_| 0);
/// assert_eq!(order[0].target, "a");
/// ```
pub fn in_order(records: Vec<Srv>, random: impl FnMut(u32) -> u32) -> Vec<Srv> {
    order_by(records, |record| (record.priority, record.weight), random)
}

/// The same for whatever has a priority and a weight.
pub(crate) fn order_by<T>(
    mut records: Vec<T>,
    rank: impl Fn(&T) -> (u16, u16),
    mut random: impl FnMut(u32) -> u32,
) -> Vec<T> {
    let weight = |record: &T| u32::from(rank(record).1);
    // RFC 2782: records of weight 0 go to the front of their priority, so that they have a small chance when the random
    // number is 0.
    records.sort_by_key(|record| (rank(record).0, weight(record) != 0));
    let mut order = Vec::with_capacity(records.len());
    while let Some(priority) = records.first().map(|record| rank(record).0) {
        let equals = records.iter().take_while(|record| rank(record).0 == priority).count();
        let total: u32 = records[..equals].iter().map(weight).sum();
        let chosen = random(total).min(total);
        let mut sum = 0;
        let at = records[..equals]
            .iter()
            .position(|record| {
                sum += weight(record);
                sum >= chosen
            })
            .unwrap_or(0);
        order.push(records.remove(at));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn srv(priority: u16, weight: u16, target: &str) -> Srv {
        Srv { priority, weight, port: 5061, target: target.into(), ttl: 60 }
    }

    fn order(records: &[Srv], random: impl FnMut(u32) -> u32) -> String {
        in_order(records.to_vec(), random).into_iter().map(|record| record.target).collect()
    }

    #[test]
    fn records_are_tried_by_priority_and_among_equals_by_weight() {
        let equals = [srv(1, 10, "a"), srv(1, 20, "b"), srv(1, 0, "c")];
        let rows: [(&str, &[Srv], u32, &str); 9] = [
            ("nothing", &[], 0, ""),
            ("by priority", &[srv(3, 0, "c"), srv(1, 0, "a"), srv(2, 0, "b")], 0, "abc"),
            ("priority beats weight", &[srv(2, 65_535, "b"), srv(1, 0, "a")], 65_535, "ab"),
            ("weight 0 comes first on a 0", &equals, 0, "cab"),
            ("the running sum reaches 1 at a", &equals, 1, "abc"),
            ("the running sum reaches 10 at a", &equals, 10, "abc"),
            ("the running sum reaches 11 at b", &equals, 11, "bac"),
            ("the running sum reaches 30 at b", &equals, 30, "bac"),
            ("a number too large is the largest", &equals, u32::MAX, "bac"),
        ];
        for (row, records, number, expected) in rows {
            assert_eq!(order(records, |_| number), expected, "{row}");
        }
    }

    #[test]
    fn the_random_number_ranges_over_the_weights_that_are_left() {
        let mut asked = Vec::new();
        order(&[srv(1, 10, "a"), srv(1, 20, "b"), srv(2, 7, "c")], |limit| {
            asked.push(limit);
            limit
        });
        assert_eq!(asked, [30, 10, 7]);
    }

    #[test]
    fn every_record_is_first_for_its_share_of_numbers() {
        let records = [srv(1, 1, "a"), srv(1, 3, "b")];
        let firsts: String = (0..=4).map(|number| order(&records, |_| number).remove(0)).collect();
        assert_eq!(firsts, "aabbb");
    }
}
