//! A stream: where it is cut into reads never changes what it says.

use bytes::BytesMut;
use reveille_sip::{Frame, Limits, Side, StreamFramer};

/// The first byte chooses the side and how many cuts follow, two bytes each; the rest is the stream.
pub(crate) fn stream(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else { return };
    let side = if choice & 1 == 0 { Side::Accepted } else { Side::Initiated };
    let cuts = usize::from(choice >> 1 & 15).min(rest.len() / 2);
    let (positions, stream) = rest.split_at(2 * cuts);
    let mut ends: Vec<usize> = positions
        .chunks_exact(2)
        .map(|pair| (usize::from(pair[0]) << 8 | usize::from(pair[1])) % (stream.len() + 1))
        .collect();
    ends.sort_unstable();
    // Small bounds, so that inputs of a fuzzer's size pass them too.
    for limits in [Limits::default(), small()] {
        let whole = frames(stream, &[], side, limits);
        assert_eq!(frames(stream, &ends, side, limits), whole, "cut at {ends:?}");
        if stream.len() <= 4096 {
            let every: Vec<usize> = (1..stream.len()).collect();
            assert_eq!(frames(stream, &every, side, limits), whole, "cut at every byte");
        }
    }
}

fn small() -> Limits {
    Limits { header_bytes_max: 300, header_count_max: 9, body_bytes_max: 10, skip_bytes_max: 40 }
}

/// What the framer makes of a stream that arrives in pieces which end at `ends`.
fn frames(stream: &[u8], ends: &[usize], side: Side, limits: Limits) -> Vec<String> {
    let mut framer = StreamFramer::new(limits, side);
    let (mut buffer, mut frames, mut begin) = (BytesMut::new(), Vec::new(), 0);
    for end in ends.iter().copied().chain([stream.len()]) {
        buffer.extend_from_slice(&stream[begin..end]);
        begin = end;
        loop {
            match framer.next(&mut buffer) {
                Ok(None) => break,
                Ok(Some(Frame::Message(message))) => frames.push(format!("{:?}", message.as_bytes())),
                Ok(Some(Frame::Bad { message, fault })) => frames.push(format!("{fault} {:?}", message.as_bytes())),
                Ok(Some(keep_alive)) => frames.push(format!("{keep_alive:?}")),
                Err(error) => {
                    frames.push(error.to_string());
                    assert_eq!(framer.next(&mut buffer).expect_err("a lost stream stays lost"), error);
                    return frames;
                }
            }
        }
        // A header, a body and nothing else are held back.
        let bound = limits.header_bytes_max as usize + limits.body_bytes_max as usize + stream.len();
        assert!(buffer.len() <= bound);
    }
    frames
}
