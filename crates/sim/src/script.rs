//! Answers written in advance, for one token or for whichever comes next.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

/// How often a list of answers is played.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Times {
    /// From beginning to end, so many times; then the ordinary rules decide again.
    Exactly(u32),
    /// Over and over, until the scripts are cleared.
    Always,
}

/// The simulator holds as many scripts as it can.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("there are already {SCRIPTS_MAX} scripts; clear some first")]
pub struct TooManyScripts;

/// Scripts by token. A token's own script goes before the one for any token.
#[derive(Debug)]
pub(crate) struct Scripts<A> {
    /// Spares the lock when nothing is scripted.
    any_script: AtomicBool,
    by_token: Mutex<ByToken<A>>,
}

/// `None` is any token.
type ByToken<A> = HashMap<Option<Box<str>>, VecDeque<Script<A>>>;

#[derive(Debug)]
struct Script<A> {
    answers: Box<[A]>,
    at: usize,
    times: Times,
}

impl<A: Clone> Scripts<A> {
    pub(crate) fn new() -> Self {
        Self { any_script: AtomicBool::new(false), by_token: Mutex::new(HashMap::new()) }
    }

    /// Adds a script behind those that the token already has; `None` is any token.
    pub(crate) fn add(&self, token: Option<&str>, answers: Vec<A>, times: Times) -> Result<(), TooManyScripts> {
        if answers.is_empty() || times == Times::Exactly(0) {
            return Ok(());
        }
        let mut by_token = self.by_token.lock();
        if by_token.values().map(VecDeque::len).sum::<usize>() >= SCRIPTS_MAX {
            return Err(TooManyScripts);
        }
        let script = Script { answers: answers.into(), at: 0, times };
        by_token.entry(token.map(Box::from)).or_default().push_back(script);
        self.any_script.store(true, Ordering::Release);
        Ok(())
    }

    pub(crate) fn clear(&self) {
        self.by_token.lock().clear();
        self.any_script.store(false, Ordering::Release);
    }

    /// Takes the answer for the next push to this token, if one is scripted.
    pub(crate) fn next(&self, token: &str) -> Option<A> {
        if !self.any_script.load(Ordering::Acquire) {
            return None;
        }
        let mut by_token = self.by_token.lock();
        for key in [Some(Box::from(token)), None] {
            let Some(queue) = by_token.get_mut(&key) else { continue };
            let Some(script) = queue.front_mut() else { continue };
            let answer = script.answers[script.at].clone();
            script.at += 1;
            if script.at == script.answers.len() {
                script.at = 0;
                if let Times::Exactly(left) = &mut script.times {
                    *left -= 1;
                    if *left == 0 {
                        queue.pop_front();
                    }
                }
            }
            if queue.is_empty() {
                by_token.remove(&key);
            }
            return Some(answer);
        }
        None
    }
}

const SCRIPTS_MAX: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn played(scripts: &Scripts<u16>, token: &str, pushes: usize) -> Vec<Option<u16>> {
        (0..pushes).map(|_| scripts.next(token)).collect()
    }

    #[test]
    fn a_list_is_played_in_order_as_often_as_told() {
        let scripts = Scripts::new();
        scripts.add(Some("a"), vec![503, 200], Times::Exactly(2)).unwrap();
        scripts.add(Some("a"), vec![410], Times::Exactly(1)).unwrap();
        assert_eq!(played(&scripts, "a", 6), [Some(503), Some(200), Some(503), Some(200), Some(410), None]);
        assert!(scripts.by_token.lock().is_empty());
    }

    #[test]
    fn a_tokens_own_script_goes_before_the_one_for_any() {
        let scripts = Scripts::new();
        scripts.add(None, vec![503], Times::Always).unwrap();
        scripts.add(Some("a"), vec![410], Times::Exactly(1)).unwrap();
        assert_eq!(played(&scripts, "a", 3), [Some(410), Some(503), Some(503)]);
        assert_eq!(played(&scripts, "b", 1), [Some(503)]);
        scripts.clear();
        assert_eq!(played(&scripts, "b", 1), [None]);
    }

    #[test]
    fn an_empty_script_is_no_script() {
        let scripts = Scripts::new();
        scripts.add(None, vec![], Times::Always).unwrap();
        scripts.add(None, vec![500], Times::Exactly(0)).unwrap();
        assert_eq!(played(&scripts, "a", 1), [None]);
    }

    #[test]
    fn scripts_are_bounded() {
        let scripts = Scripts::new();
        for _ in 0..3 {
            scripts.by_token.lock().entry(None).or_default().extend((0..SCRIPTS_MAX / 3 + 1).map(|_| Script {
                answers: Box::new([1]),
                at: 0,
                times: Times::Always,
            }));
        }
        assert_eq!(scripts.add(None, vec![1], Times::Always), Err(TooManyScripts));
    }
}
