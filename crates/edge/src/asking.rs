//! The requests from outside that wait for a look-up under way: in number and in bytes, of all and of each peer. No
//! sockets.

use std::collections::HashMap;
use std::hash::Hash;

use reveille_sip::Message;

use crate::edge::LOOKUPS_MAX;
use crate::ways::{Part, WAITING_BYTES_MAX, WAITING_BYTES_PER_ASKER, WAITING_MAX, Waits};

/// What waits, by what is looked up.
pub(crate) struct Asking<K> {
    waiting: HashMap<K, Waiting>,
    /// What each peer has of it. Nobody is in here who has nothing.
    parts: HashMap<Box<str>, Part>,
    bytes: usize,
}

/// Those that wait for one look-up.
struct Waiting {
    peer: Box<str>,
    messages: Vec<Message>,
}

impl<K: Clone + Eq + Hash> Asking<K> {
    pub(crate) fn new() -> Self {
        Self { waiting: HashMap::new(), parts: HashMap::new(), bytes: 0 }
    }

    /// Whether that is being looked up.
    pub(crate) fn is_under_way(&self, key: &K) -> bool {
        self.waiting.contains_key(key)
    }

    /// Lets a message of a peer wait, the first one for a look-up that now begins; gives it back if there is no room.
    /// `most` says how many look-ups may then be under way for this peer.
    pub(crate) fn wait(&mut self, key: &K, peer: &str, most: usize, message: Message) -> Result<(), Box<Message>> {
        let part = self.parts.get(peer).copied().unwrap_or_default();
        let is_full = match self.waiting.get(key) {
            Some(waiting) => waiting.messages.len() >= WAITING_MAX,
            None => self.waiting.len() >= LOOKUPS_MAX || part.look_ups >= most,
        };
        let bytes = message.bytes();
        if is_full || self.bytes + bytes > WAITING_BYTES_MAX || part.bytes + bytes > WAITING_BYTES_PER_ASKER {
            return Err(Box::new(message));
        }
        let begins = usize::from(!self.waiting.contains_key(key));
        let waiting = self.waiting.entry(key.clone());
        let waiting = waiting.or_insert_with(|| Waiting { peer: peer.into(), messages: Vec::new() });
        waiting.messages.push(message.kept());
        self.bytes += bytes;
        let part = Part { look_ups: part.look_ups + begins, bytes: part.bytes + bytes };
        self.parts.insert(peer.into(), part);
        Ok(())
    }

    /// Those that wait for that, in order. When none does, the look-up is over.
    pub(crate) fn take(&mut self, key: &K) -> Vec<Message> {
        let Some(waiting) = self.waiting.get_mut(key) else { return Vec::new() };
        let messages = std::mem::take(&mut waiting.messages);
        let bytes = messages.iter().map(Waits::bytes).sum::<usize>();
        self.bytes -= bytes;
        let ended = messages.is_empty();
        if let Some(part) = self.parts.get_mut(&waiting.peer) {
            part.bytes -= bytes;
            part.look_ups -= usize::from(ended);
            if part.look_ups == 0 {
                self.parts.remove(&waiting.peer);
            }
        }
        if ended {
            self.waiting.remove(key);
        }
        messages
    }
}

impl Waits for Message {
    fn bytes(&self) -> usize {
        self.as_bytes().len()
    }

    /// It shares the buffer that it was read into with what came beside it, and would hold all of that.
    fn kept(self) -> Self {
        self.detached()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use reveille_sip::{Limits, parse_datagram};

    use super::*;

    fn message(body: usize) -> Message {
        let text = format!(
            "MESSAGE sip:push@push.example.net SIP/2.0\r\nVia: SIP/2.0/TLS a;branch=z9hG4bK1\r\n\
             From: <sip:mcx@a.example>;tag=1\r\nTo: <sip:push@push.example.net>\r\nCall-ID: 1\r\nCSeq: 1 MESSAGE\r\n\
             Content-Length: {body}\r\n\r\n{}",
            "x".repeat(body)
        );
        parse_datagram(Bytes::from(text), &Limits::default()).unwrap()
    }

    #[test]
    fn what_waits_is_bounded_in_bytes_and_in_look_ups_and_gives_its_room_back() {
        let mut asking = Asking::new();
        let long = message(60 * 1024);
        let mut waiting = 0;
        // Many look-ups of many peers, so that no one of them is full.
        while asking.wait(&(waiting % 24), &format!("p{}", waiting % 12), 128, long.clone()).is_ok() {
            waiting += 1;
        }
        assert_eq!(waiting, WAITING_BYTES_MAX / long.bytes());
        assert_eq!((0..24).map(|key| asking.take(&key).len()).sum::<usize>(), waiting);
        assert_eq!(asking.bytes, 0);
        assert!((0..24).all(|key| asking.is_under_way(&key) && asking.take(&key).is_empty()));
        assert!(!asking.is_under_way(&0) && asking.parts.is_empty());
        let short = message(0);
        for key in 0..LOOKUPS_MAX {
            assert!(asking.wait(&key, &format!("p{key}"), 8, short.clone()).is_ok());
        }
        assert!(asking.wait(&LOOKUPS_MAX, "other", 8, short.clone()).is_err(), "no look-up more");
        for _ in 1..WAITING_MAX {
            assert!(asking.wait(&0, "p0", 8, short.clone()).is_ok());
        }
        assert!(asking.wait(&0, "p0", 8, short).is_err(), "no message more for this one");
    }

    #[test]
    fn one_peer_has_a_part_of_the_look_ups_and_of_the_bytes_and_the_others_have_the_rest() {
        let mut asking = Asking::new();
        let (short, long) = (message(0), message(60 * 1024));
        // Of domains that nobody has listed it may ask for fewer at once.
        let began = |asking: &mut Asking<u32>, keys: std::ops::Range<u32>, most| {
            keys.filter(|key| asking.wait(key, "slow", most, short.clone()).is_ok()).count()
        };
        assert_eq!(began(&mut asking, 0..100, 8), 8);
        assert_eq!(began(&mut asking, 100..200, 64), 56);
        assert!(asking.wait(&300, "other", 8, short.clone()).is_ok());
        let waiting = (0..1000).filter(|_| asking.wait(&0, "slow", 8, long.clone()).is_ok()).count();
        assert!((20..=WAITING_BYTES_PER_ASKER / long.bytes()).contains(&waiting), "{waiting}");
        assert!(asking.wait(&300, "other", 8, long).is_ok());
        // What has ended makes room for another.
        assert!(!asking.take(&1).is_empty() && asking.take(&1).is_empty());
        assert_eq!(began(&mut asking, 400..500, 64), 1);
    }

    #[test]
    fn what_waits_holds_only_itself() {
        let whole = message(5);
        let mut asking = Asking::new();
        asking.wait(&1, "p", 8, whole.clone()).unwrap();
        let kept = asking.take(&1).remove(0);
        assert_eq!(kept.as_bytes(), whole.as_bytes());
        assert_ne!(kept.as_bytes().as_ptr(), whole.as_bytes().as_ptr());
    }
}
