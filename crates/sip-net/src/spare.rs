//! Buffers that circulate among the connections of one thread.
//!
//! Most connections are quiet most of the time and should hold no memory, and a busy one should not ask the allocator
//! at every turn. So a connection gives its buffer here when it has nothing in it, and whoever needs one next on the same
//! thread takes it. A few buffers for each thread serve any number of connections.

use std::cell::RefCell;

use bytes::BytesMut;
use reveille_sip::Message;

/// Buffers kept for each thread.
const KEPT: usize = 8;
/// The largest that is kept; what a burst needed goes back to the allocator.
pub(crate) const BYTES_MAX: usize = 64 * 1024;
/// Messages that a batch which is kept has room for.
const BATCH_MAX: usize = 128;

thread_local! {
    static SPARE: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
    static BATCH: RefCell<Vec<Message>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer, with memory if there is one to spare.
pub(crate) fn take() -> BytesMut {
    SPARE.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// Gives a buffer back; whatever it holds is forgotten.
///
/// Memory that a message still shares is not taken: it would be freed only when somebody uses the buffer.
pub(crate) fn give(mut buffer: BytesMut) {
    buffer.clear();
    // Room in front, from bytes that were taken off, is room again.
    let kept = buffer.capacity() >= LEAST || buffer.try_reclaim(LEAST);
    if kept && buffer.capacity() <= BYTES_MAX {
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < KEPT {
                spare.push(buffer);
            }
        });
    }
}

/// An empty batch of messages, with memory if there is some to spare.
pub(crate) fn take_batch() -> Vec<Message> {
    BATCH.take()
}

/// Gives a batch back; the messages in it are dropped.
pub(crate) fn give_batch(mut batch: Vec<Message>) {
    batch.clear();
    if batch.capacity() <= BATCH_MAX {
        BATCH.set(batch);
    }
}

/// Less is not worth keeping.
const LEAST: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_and_only_a_little_is_kept() {
        let mut used = BytesMut::with_capacity(8 * 1024);
        used.extend_from_slice(b"text");
        let at = used.as_ptr();
        give(used);
        let again = take();
        assert!(again.is_empty() && again.as_ptr() == at && again.capacity() >= 8 * 1024);
        give(BytesMut::with_capacity(BYTES_MAX + 1));
        assert_eq!(take().capacity(), 0, "a large one is not kept");
        for _ in 0..2 * KEPT {
            give(BytesMut::with_capacity(LEAST));
        }
        assert_eq!((0..2 * KEPT).filter(|_| take().capacity() > 0).count(), KEPT);
    }

    #[test]
    fn memory_that_a_message_still_shares_is_left_to_it() {
        let mut used = BytesMut::with_capacity(8 * 1024);
        used.resize(8 * 1024, b'x');
        let shared = used.split_to(8 * 1024).freeze();
        give(used);
        assert_eq!(take().capacity(), 0);
        assert_eq!(shared.len(), 8 * 1024);
    }

    #[test]
    fn memory_comes_back_once_nobody_shares_it() {
        let mut used = BytesMut::with_capacity(8 * 1024);
        used.resize(8 * 1024, b'x');
        drop(used.split_to(8 * 1024).freeze());
        give(used);
        assert!(take().capacity() >= LEAST);
    }
}
