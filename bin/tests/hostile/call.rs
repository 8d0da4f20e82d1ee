//! Calls: what a caller at a partner writes, right or wrong, and what whoever is called does.

use anyhow::{Context as _, Result, ensure};
use reveille_sim::phone::RawSip;
use reveille_sip::{Message, Name};
use tokio::time::Instant;

use crate::letter::{Letter, told};
use crate::witness::Heard;
use crate::world::PROMPT;

/// One call as its caller has it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// Its INVITE. Everything else is made of it.
    pub(crate) letter: Letter,
    /// Where requests within the dialog go: Request-URI and Route.
    target: String,
    pub(crate) routes: Vec<String>,
}

impl Call {
    /// A call from a domain to somebody at another.
    pub(crate) fn new(from: &str, to: &str, call_id: &str) -> Self {
        let letter = Letter::new(from, to, call_id).with(format!("Contact: <sip:mallory@edge.{from}>\r\n"));
        let letter = Letter { method: "INVITE", ..letter };
        Self { target: letter.uri.clone(), letter, routes: Vec::new() }
    }

    /// The request that begins it.
    pub(crate) fn invite(&self) -> String {
        self.letter.text()
    }

    /// A request of its transaction: CANCEL, or the ACK of a refusal.
    pub(crate) fn beside(&self, method: &'static str) -> String {
        let to_tag = (method == "ACK").then(|| TAG.to_owned());
        Letter { method, to_tag, more: String::new(), ..self.letter.clone() }.text()
    }

    /// Learns from the answer where what follows has to go (RFC 3261 §12.1.2).
    pub(crate) fn learn(&mut self, answer: &Message) -> Result<()> {
        answer.address(Name::Contact)?.uri_text().clone_into(&mut self.target);
        self.routes = answer.values(Name::RecordRoute).map(str::to_owned).collect();
        self.routes.reverse();
        Ok(())
    }

    /// A request within its dialog.
    pub(crate) fn within(&self, method: &'static str, count: u32) -> String {
        let routes: String = self.routes.iter().map(|route| format!("Route: {route}\r\n")).collect();
        let (to, branch) = (self.letter.uri.clone(), rand::random::<u64>());
        let via = self.letter.via.split(";branch=").next().unwrap_or_default();
        let letter = Letter {
            method,
            count,
            via: format!("{via};branch=z9hG4bK{branch:016x}"),
            to_tag: Some(TAG.to_owned()),
            more: routes,
            ..self.letter.clone()
        };
        // To stays what it was when the call began.
        letter.text().replacen(&to, &self.target, 1)
    }

    /// Calls, talks, and hangs up, with everything that belongs to it.
    pub(crate) async fn play(&mut self, link: &mut RawSip) -> Result<()> {
        self.begin(link).await?;
        self.end(link).await
    }

    /// Rings, is answered, and acknowledges.
    pub(crate) async fn begin(&mut self, link: &mut RawSip) -> Result<()> {
        link.send(self.invite(), PROMPT).await?;
        let mut has_rung = false;
        let accepted = loop {
            let answer = self.next(link).await.context("an INVITE")?;
            match answer.status() {
                Some(180) => has_rung = true,
                Some(101..200) => {}
                _ => break answer,
            }
        };
        ensure!(accepted.status() == Some(200) && has_rung, "an INVITE was answered {}", told(&accepted));
        self.learn(&accepted)?;
        link.send(self.within("ACK", 1), PROMPT).await?;
        Ok(())
    }

    /// Hangs up.
    pub(crate) async fn end(&self, link: &mut RawSip) -> Result<()> {
        link.send(self.within("BYE", 2), PROMPT).await?;
        let answer = self.next(link).await.context("a BYE")?;
        ensure!(answer.status() == Some(200), "a BYE was answered {}", told(&answer));
        Ok(())
    }

    /// The next answer to this call. A 100 is none.
    async fn next(&self, link: &mut RawSip) -> Result<Message> {
        let end = Instant::now() + PROMPT * 2;
        loop {
            let message = link.next(end.saturating_duration_since(Instant::now())).await?;
            let is_own = message.call_id() == Some(self.letter.call_id.as_str());
            if is_own && message.status().is_some_and(|status| status > 100) {
                return Ok(message);
            }
        }
    }
}

/// What whoever is called says to a request of a call: he takes it at once, unless its Call-ID says that he lets it
/// ring.
pub(crate) fn callee(heard: &Heard) -> Option<Vec<u8>> {
    let recorded: String = heard.fields("record-route").map(|value| format!("Record-Route: {value}\r\n")).collect();
    let begun = format!("{recorded}Contact: <sip:callee@10.9.9.9>\r\n");
    let ringing = || heard.answer("180 Ringing", &begun);
    match heard.method()? {
        "INVITE" if heard.call_id().contains("ring") => Some(ringing()),
        "INVITE" => Some([ringing(), heard.answer("200 OK", &begun)].concat()),
        "ACK" => Some(Vec::new()),
        _ => None,
    }
}

/// The tag of whoever is called.
const TAG: &str = "w";
