//! Handles that were opened lately. A device is woken many times by the same handle, and opening it once is enough.

use std::collections::HashMap;

use aws_lc_rs::digest::{Context, SHA256};
use reveille_core::DeviceToken;

/// Handles in each of the two generations.
const GENERATION: usize = 32_768;

/// Which handle, presented by whom and for what.
pub(super) type Mark = [u8; 32];

/// Opened handles in two generations: when the young one is full, it becomes the old one, and what was old is forgotten
/// unless it was asked for since.
#[derive(Default)]
pub(super) struct Opened {
    young: HashMap<Mark, DeviceToken>,
    old: HashMap<Mark, DeviceToken>,
}

/// The mark of a handle with what it must be bound to: who presents it for something else has another mark.
pub(super) fn mark(binding: &str, handle: &str) -> Mark {
    let mut context = Context::new(&SHA256);
    context.update(binding.as_bytes());
    context.update(b"\n");
    context.update(handle.as_bytes());
    let digest = context.finish();
    *digest.as_ref().first_chunk().expect("a SHA-256 has 32 bytes")
}

impl Opened {
    pub(super) fn find(&mut self, mark: &Mark) -> Option<DeviceToken> {
        if let Some(token) = self.young.get(mark) {
            return Some(token.clone());
        }
        let token = self.old.remove(mark)?;
        self.keep(*mark, token.clone());
        Some(token)
    }

    pub(super) fn keep(&mut self, mark: Mark, token: DeviceToken) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(mark, token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays_and_the_rest_goes_after_two_generations() {
        let mut opened = Opened::default();
        let marks: Vec<Mark> = (0..2 * GENERATION + 1).map(|number| mark("b", &number.to_string())).collect();
        for (number, mark) in marks.iter().enumerate() {
            assert!(number == 0 || opened.find(&marks[0]).is_some(), "{number}: the first is in use all the time");
            opened.keep(*mark, DeviceToken::new(number.to_string()));
        }
        assert!(opened.young.len() + opened.old.len() <= 2 * GENERATION);
        assert!(opened.find(&marks[1]).is_none());
        assert_eq!(opened.find(&marks[0]).unwrap().expose(), "0");
    }
}
