//! The requests from outside that wait for a look-up under way: in number and in bytes. No sockets.

use std::collections::HashMap;
use std::hash::Hash;

use reveille_sip::Message;

use crate::edge::LOOKUPS_MAX;
use crate::ways::{WAITING_BYTES_MAX, WAITING_MAX, Waits};

/// What waits, by what is looked up.
pub(crate) struct Asking<K> {
    waiting: HashMap<K, Vec<Message>>,
    bytes: usize,
}

impl<K: Clone + Eq + Hash> Asking<K> {
    pub(crate) fn new() -> Self {
        Self { waiting: HashMap::new(), bytes: 0 }
    }

    /// Whether that is being looked up.
    pub(crate) fn is_under_way(&self, key: &K) -> bool {
        self.waiting.contains_key(key)
    }

    /// Lets a message wait, the first one for a look-up that now begins; gives it back if there is no room.
    pub(crate) fn wait(&mut self, key: &K, message: Message) -> Result<(), Box<Message>> {
        let is_full = match self.waiting.get(key) {
            Some(waiting) => waiting.len() >= WAITING_MAX,
            None => self.waiting.len() >= LOOKUPS_MAX,
        };
        if is_full || self.bytes + message.bytes() > WAITING_BYTES_MAX {
            return Err(Box::new(message));
        }
        self.bytes += message.bytes();
        self.waiting.entry(key.clone()).or_default().push(message.kept());
        Ok(())
    }

    /// Those that wait for that, in order. When none does, the look-up is over.
    pub(crate) fn take(&mut self, key: &K) -> Vec<Message> {
        let waiting = self.waiting.get_mut(key).map(std::mem::take).unwrap_or_default();
        if waiting.is_empty() {
            self.waiting.remove(key);
        }
        self.bytes -= waiting.iter().map(Waits::bytes).sum::<usize>();
        waiting
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
        // Many look-ups, so that no one of them is full.
        while asking.wait(&(waiting % 7), long.clone()).is_ok() {
            waiting += 1;
        }
        assert_eq!(waiting, WAITING_BYTES_MAX / long.bytes());
        assert_eq!((0..7).map(|key| asking.take(&key).len()).sum::<usize>(), waiting);
        assert_eq!(asking.bytes, 0);
        assert!((0..7).all(|key| asking.is_under_way(&key) && asking.take(&key).is_empty()));
        assert!(!asking.is_under_way(&0));
        let short = message(0);
        for key in 0..LOOKUPS_MAX {
            assert!(asking.wait(&key, short.clone()).is_ok());
        }
        assert!(asking.wait(&LOOKUPS_MAX, short.clone()).is_err(), "no look-up more");
        for _ in 1..WAITING_MAX {
            assert!(asking.wait(&0, short.clone()).is_ok());
        }
        assert!(asking.wait(&0, short).is_err(), "no message more for this one");
    }

    #[test]
    fn what_waits_holds_only_itself() {
        let whole = message(5);
        let mut asking = Asking::new();
        asking.wait(&1, whole.clone()).unwrap();
        let kept = asking.take(&1).remove(0);
        assert_eq!(kept.as_bytes(), whole.as_bytes());
        assert_ne!(kept.as_bytes().as_ptr(), whole.as_bytes().as_ptr());
    }
}
