//! Which of several refusals goes back (§16.7 step 6), and what is added to it (step 7).

use smallvec::SmallVec;

use super::reply::Reply;
use crate::message::Message;
use crate::name::Name;

/// A final response other than a success, kept until all branches are over.
#[derive(Debug)]
pub(super) enum Candidate {
    /// One that came, and from which leg.
    Received(Box<Message>, usize),
    /// One of ours, for a leg that gave none.
    Made(Reply, usize),
}

/// The best response so far, and every challenge.
#[derive(Debug, Default)]
pub(super) struct Choice {
    best: Option<Candidate>,
    /// WWW-Authenticate and Proxy-Authenticate of every 401 and 407, with the leg they came from.
    challenges: Vec<(usize, Name, String)>,
    /// §16.7 step 5: after a 6xx no new branch may begin.
    pub(super) decided: bool,
}

/// Challenges to add to a response.
pub(super) type Challenges = SmallVec<[(Name, String); 2]>;

impl Candidate {
    pub(super) fn status(&self) -> u16 {
        match self {
            Self::Received(response, _) => response.status().unwrap_or(500),
            Self::Made(reply, _) => reply.status,
        }
    }

    pub(super) fn leg(&self) -> usize {
        match self {
            Self::Received(_, leg) | Self::Made(_, leg) => *leg,
        }
    }
}

impl Choice {
    pub(super) fn add(&mut self, candidate: Candidate) {
        self.decided |= candidate.status() >= 600;
        if let Candidate::Received(response, leg) = &candidate
            && matches!(response.status(), Some(401 | 407))
        {
            for name in [Name::WwwAuthenticate, Name::ProxyAuthenticate] {
                let room = CHALLENGES_MAX.saturating_sub(self.challenges.len());
                let values = response.headers(name).take(room);
                self.challenges.extend(values.map(|value| (*leg, name, value.to_owned())));
            }
        }
        if self.best.as_ref().is_none_or(|best| rank(candidate.status()) < rank(best.status())) {
            self.best = Some(candidate);
        }
    }

    /// Bytes that it holds.
    pub(super) fn held(&self) -> usize {
        let best = match &self.best {
            Some(Candidate::Received(response, _)) => response.as_bytes().len(),
            Some(Candidate::Made(reply, _)) => reply.content.as_ref().map_or(0, |(_, body)| body.len()),
            None => 0,
        };
        best + self.challenges.iter().map(|(_, _, value)| value.len()).sum::<usize>()
    }

    /// The response to send and the challenges of other legs that it has to carry; `None` if there was none at all.
    pub(super) fn take(&mut self) -> Option<(Candidate, Challenges)> {
        let best = self.best.take()?;
        // §16.7 step 7: so that the caller can answer all of them at once.
        let more = match best.status() {
            401 | 407 => {
                let others = self.challenges.drain(..).filter(|(leg, ..)| *leg != best.leg());
                others.map(|(_, name, value)| (name, value)).collect()
            }
            _ => Challenges::new(),
        };
        Some((best, more))
    }
}

/// Lower is better. §16.7 step 6: any 6xx; otherwise the lowest class, and in it what helps to ask again.
fn rank(status: u16) -> (u8, u8) {
    let preference = match status {
        401 | 407 | 415 | 420 | 484 => 0,
        // These say more about our own waiting and cancelling than about the callee.
        408 | 487 => 2,
        // To be passed on only where every other request would meet it too.
        503 => 2,
        _ => 1,
    };
    match status {
        600.. => (0, 0),
        ..400 => (1, preference),
        400..500 => (2, preference),
        500..600 => (3, preference),
    }
}

/// Many legs with many challenges each must not make one response without end.
const CHALLENGES_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::{Limits, parse_datagram};

    fn received(status: u16, more: &str, leg: usize) -> Candidate {
        let text = format!(
            "SIP/2.0 {status} X\r\nVia: SIP/2.0/UDP us;branch=z9hG4bK2\r\nFrom: <sip:a>;tag=1\r\nTo: <sip:b>;tag=2\r\n\
             {more}Call-ID: 1\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
        );
        let response = parse_datagram(text.into(), &Limits::default()).expect("a sound response");
        Candidate::Received(Box::new(response), leg)
    }

    #[test]
    fn the_best_of_several_refusals() {
        for (came, best, why) in [
            (&[486, 603, 302][..], 603, "a 6xx wins over everything"),
            (&[503, 486, 302], 302, "the lowest class"),
            (&[500, 404], 404, "the lowest class"),
            (&[404, 486, 407], 407, "a challenge helps to ask again"),
            (&[486, 415], 415, "so does an unsupported type"),
            (&[408, 487, 480], 480, "what a callee said, before what we made of silence"),
            (&[486, 404], 486, "of equals the first"),
            (&[503, 500], 500, "a 503 last"),
            (&[603, 604], 603, "of equals the first"),
        ] {
            let mut choice = Choice::default();
            for (leg, status) in came.iter().enumerate() {
                choice.add(received(*status, "", leg));
            }
            assert_eq!(choice.take().map(|(best, _)| best.status()), Some(best), "{came:?}: {why}");
        }
        assert!(Choice::default().take().is_none());
    }

    #[test]
    fn a_challenge_carries_those_of_the_other_legs() {
        let mut choice = Choice::default();
        let proxy = |realm: &str| format!("Proxy-Authenticate: Digest realm=\"{realm}\"\r\n");
        choice.add(received(407, &proxy("one"), 0));
        choice.add(received(401, "WWW-Authenticate: Digest realm=\"two\"\r\n", 1));
        choice.add(received(407, &proxy("three"), 2));
        choice.add(received(404, "", 3));
        let (best, more) = choice.take().expect("one");
        assert_eq!((best.status(), best.leg()), (407, 0));
        let more: Vec<_> = more.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let expected =
            [(Name::WwwAuthenticate, "Digest realm=\"two\""), (Name::ProxyAuthenticate, "Digest realm=\"three\"")];
        assert_eq!(more, expected);
    }
}
