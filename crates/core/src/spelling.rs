//! How near two words are, so that a misspelt one is answered with the one that was meant.

/// How many letters must be changed, added, left out or swapped with their neighbour to make one of the other.
pub fn distance(one: &str, other: &str) -> usize {
    let (one, other) = (one.to_ascii_lowercase().into_bytes(), other.to_ascii_lowercase().into_bytes());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (row, a) in one.iter().enumerate() {
        let mut next = vec![row + 1];
        for (column, b) in other.iter().enumerate() {
            let change = last[column] + usize::from(a != b);
            let mut least = change.min(last[column + 1] + 1).min(next[column] + 1);
            if row > 0 && column > 0 && *a == other[column - 1] && one[row - 1] == *b {
                least = least.min(before[column - 1] + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut last, next);
    }
    last[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_of_two_words_counts_their_differences() {
        for (one, other, expected) in [("ProxyFqdn", "proxyfqdn", 0), ("ProxyFqnd", "ProxyFqdn", 1), ("abc", "", 3)] {
            assert_eq!(distance(one, other), expected, "{one} {other}");
        }
    }
}
