//! A cmdlet's answer on its way: in pieces, so that it shows whether anybody reads it. It keeps its seat until it has left,
//! since what is computed and not read is memory of ours.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::line::Line;
use super::seats::Seat;

/// The text of an answer, as far as it has not left.
pub(super) struct Answer {
    text: Vec<u8>,
    sent: usize,
    line: Line,
    _seat: Seat,
}

impl Answer {
    /// All of `text`, over that connection.
    pub(super) fn new(text: Vec<u8>, line: Line, seat: Seat) -> Self {
        line.sends();
        Self { text, sent: 0, line, _seat: seat }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let from = self.sent;
        if from == self.text.len() {
            return Poll::Ready(None);
        }
        let to = (from + PIECE).min(self.text.len());
        self.sent = to;
        // Whoever asks for more has written what he had.
        self.line.sends();
        // A copy: a piece that waits in a connection's buffer must not hold the whole.
        Poll::Ready(Some(Ok(Frame::data(Bytes::copy_from_slice(&self.text[from..to])))))
    }

    fn is_end_stream(&self) -> bool {
        self.sent == self.text.len()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact((self.text.len() - self.sent) as u64)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.line.has_sent();
    }
}

/// The longest answer.
pub(super) const ANSWER_MAX: usize = 32 << 20;
const PIECE: usize = 32 * 1024;
