//! Tests of the road: how a home asks its own edge for one, and what edge and clearing house tell of it.
//!
//! A test is a request of our own home like any other, with `Reveille-Probe: 1` for its own edge. That edge walks the
//! way by itself, on a connection made for this test, and tells in `Reveille-Stage` how far it came: one value for each
//! stage, in order. Neither field ever passes the border, in either direction (docs/border.md). What the partner's
//! clearing house tells of a probe stands in the parameters of its `Push-Result`.

mod answer;

use std::fmt::Write as _;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reveille_core::stage::{Stage, Walk};
use reveille_core::{Aor, SipDomain};
use reveille_sip::{Method, Name, Params, PrintError, RequestBuilder};

pub use answer::{Answer, Said};

/// What the request's field holds; an edge that does not know a later form walks this one.
pub const ASKED: &str = "1";
/// The word of [`Told::why`] where no name server could say what is so.
pub const NAME_SERVERS_FAIL: &str = "name-servers";
/// The same where what answered at the partner's address is our own edge.
pub const OURSELVES: &str = "ourselves";
/// Stages that are read of one answer.
const TOLD_MAX: usize = 16;

/// What a test is to find out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Order {
    /// The edge to go through, as the administrator names it; home's own when absent.
    pub edge: Option<SipDomain>,
    /// Whether a missing SRV record of our own is only a hint.
    pub ignore_own_name: bool,
    /// Where it goes.
    pub goal: Goal,
}

/// Where a test goes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Goal {
    /// To the edge of a partner and what stands behind it.
    Partner {
        /// Whose.
        domain: SipDomain,
        /// The server that the way must lead to.
        proxy: Option<SipDomain>,
    },
    /// To the clearing house, with a push request that is journaled and answered.
    Push {
        /// Whose test device is to be woken; without it the request goes no further than the journal.
        device: Option<TestDevice>,
        /// How long the device may take to acknowledge.
        patience: Duration,
    },
}

/// A device that a test wakes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TestDevice {
    /// Whose it is.
    pub user: Aor,
    /// Which of the user's devices; the one that registered last when absent.
    pub device: Option<String>,
}

/// How a test went.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Report {
    /// The home that ran it.
    pub home: SipDomain,
    /// Every stage, and the trouble if there was one.
    pub walk: Walk,
    /// What the network answered, in the terms of SIP: status and phrase.
    pub status: Option<(u16, String)>,
    /// Who diagnosed the trouble; home itself if nobody else did.
    pub source: String,
}

/// One stage, as our own edge tells it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Told {
    /// Which.
    pub stage: Stage,
    /// How long it took.
    pub took: Duration,
    /// Whether it was passed.
    pub passed: bool,
    /// The name that it is about: the host that a record leads to, the server connected to.
    pub name: Option<String>,
    /// A stable word for how it failed, where the diagnosis is not all that is known.
    pub why: Option<String>,
    /// The first name of a certificate that was shown and names somebody else.
    pub shown: Option<String>,
}

impl Told {
    /// A stage that was passed.
    pub const fn passed(stage: Stage, took: Duration) -> Self {
        Self { stage, took, passed: true, name: None, why: None, shown: None }
    }

    /// A stage that was not.
    pub fn failed(stage: Stage, took: Duration) -> Self {
        Self { passed: false, ..Self::passed(stage, took) }
    }

    /// With the name that it is about.
    #[must_use]
    pub fn at(self, name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// With the word for how it failed.
    #[must_use]
    pub fn why(self, why: impl Into<String>) -> Self {
        Self { why: Some(why.into()), ..self }
    }
}

/// The value of `Reveille-Stage`.
pub fn write(told: &[Told]) -> String {
    let mut value = String::with_capacity(32 * told.len());
    for (index, one) in told.iter().enumerate() {
        let between = if index == 0 { "" } else { ", " };
        let _ = write!(value, "{between}{};us={}", one.stage.as_str(), one.took.as_micros());
        if let Some(name) = &one.name {
            let _ = write!(value, ";name=\"{}\"", plain(name));
        }
        if !one.passed {
            value.push_str(";failed");
        }
        if let Some(why) = &one.why {
            let _ = write!(value, ";why=\"{}\"", plain(why));
        }
        if let Some(shown) = &one.shown {
            let _ = write!(value, ";shown=\"{}\"", plain(shown));
        }
    }
    value
}

/// Reads the values of `Reveille-Stage`; what a newer edge tells and we do not know is passed over.
pub fn read<'a>(values: impl IntoIterator<Item = &'a str>) -> Vec<Told> {
    let one = |value: &str| {
        let (stage, params) = value.split_once(';').unwrap_or((value, ""));
        let params = Params::new(params);
        let micros = params.unquoted("us").and_then(|us| us.parse().ok()).unwrap_or_default();
        let text = |name: &str| params.unquoted(name).map(|text| text.into_owned());
        Some(Told {
            stage: Stage::parse(stage.trim())?,
            took: Duration::from_micros(micros),
            passed: !params.has("failed"),
            name: text("name"),
            why: text("why"),
            shown: text("shown"),
        })
    };
    values.into_iter().filter_map(one).take(TOLD_MAX).collect()
}

/// What may stand between quotation marks in a list.
fn plain(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic() && !matches!(c, '"' | '\\' | ',' | ';')).take(255).collect()
}

/// How long the clearing house took with a probe, whether it is on its way to a device, and how its side finds ours.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Times {
    /// For reading it and for the rules.
    pub intake: Duration,
    /// Until it was synced to disk.
    pub journal: Duration,
    /// Whether it was handed to a lane; a probe without a device is not.
    pub dispatched: bool,
    /// The server by which the publisher's settings reach the sender's organisation (ProxyFqdn). Without one the sender's
    /// own SRV record decides, or nobody tells.
    pub back: Option<SipDomain>,
}

impl Times {
    /// As parameters of `Push-Result`, behind those that say what became of the request.
    pub fn write(&self, into: &mut String) {
        let Self { intake, journal, dispatched, back } = self;
        let dispatch = if *dispatched { "lane" } else { "none" };
        let _ =
            write!(into, ";intake-us={};journal-us={};dispatch={dispatch}", intake.as_micros(), journal.as_micros());
        if let Some(back) = back {
            let _ = write!(into, ";back={back}");
        }
    }

    /// Those of one value; nothing if it has none, as that of a clearing house that does not tell.
    pub fn read(value: &str) -> Option<Self> {
        let params = Params::new(value.split_once(';')?.1);
        let micros = |name: &str| params.unquoted(name)?.parse().ok().map(Duration::from_micros);
        Some(Self {
            intake: micros("intake-us")?,
            journal: micros("journal-us")?,
            dispatched: params.unquoted("dispatch").is_some_and(|word| word == "lane"),
            back: params.unquoted("back").and_then(|name| name.parse().ok()),
        })
    }
}

/// A request of a test, with the values that make it one transaction.
#[derive(Clone, Copy, Debug)]
pub struct Draft<'a> {
    /// MESSAGE with a push request, OPTIONS to a partner.
    pub method: Method<'a>,
    /// Our own name, for Via.
    pub sent_by: &'a str,
    /// The transaction's branch.
    pub branch: &'a str,
    /// Who speaks, a SIP URI.
    pub from: &'a str,
    /// Who is spoken to, a SIP URI.
    pub to: &'a str,
    /// Tells calls apart, and the From tag.
    pub call_id: &'a str,
    /// How many hops it may take.
    pub hops: u8,
    /// Whether our own edge is to tell the stages.
    pub asks: bool,
    /// What it carries: content type and body.
    pub body: Option<(&'a str, &'a [u8])>,
}

impl Draft<'_> {
    /// Writes it for a TLS connection.
    pub fn write(&self) -> Result<Bytes, PrintError> {
        let Draft { method, sent_by, branch, from, to, call_id, hops, asks, body } = *self;
        let mut out = BytesMut::with_capacity(512 + body.map_or(0, |(_, body)| body.len()));
        let tag = &call_id[..call_id.len().min(16)];
        let mut request = RequestBuilder::new(&mut out, method, to);
        request
            .header(Name::Via, format_args!("SIP/2.0/TLS {sent_by};branch={branch}"))
            .header(Name::MaxForwards, format_args!("{hops}"))
            .header(Name::From, format_args!("<{from}>;tag={tag}"))
            .header(Name::To, format_args!("<{to}>"))
            .header(Name::CallId, call_id)
            .header(Name::CSeq, format_args!("1 {}", method.as_str()));
        if asks {
            request.header(Name::ReveilleProbe, ASKED);
        }
        let (content_type, body) = body.unwrap_or_default();
        if !body.is_empty() {
            request.content(content_type, body);
        }
        request.finish()?;
        drop(request);
        Ok(out.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_read_back_as_they_were_told() {
        let told = [
            Told::passed(Stage::Policy, Duration::from_micros(12)),
            Told::passed(Stage::Name, Duration::from_millis(3)).at("sipfed.online.lync.com"),
            Told {
                shown: Some("edge.example.net".into()),
                ..Told::failed(Stage::TheirCertificate, Duration::from_micros(900)).why("names-another")
            },
        ];
        let value = write(&told);
        assert_eq!(
            value,
            "policy;us=12, name;us=3000;name=\"sipfed.online.lync.com\", their-certificate;us=900;failed;why=\"names-another\";\
             shown=\"edge.example.net\""
        );
        assert_eq!(read(value.split(", ")), told);
    }

    #[test]
    fn what_cannot_be_read_is_passed_over_and_nobody_tells_without_end() {
        assert_eq!(read(["", "nowhere;us=1", ";", "policy;us=many"]), [Told::passed(Stage::Policy, Duration::ZERO)]);
        assert_eq!(read(std::iter::repeat_n("policy;us=1", 1000)).len(), TOLD_MAX);
        let forged = Told::passed(Stage::Name, Duration::ZERO).at("a\", policy;us=1\r\nX: \u{e9}");
        assert_eq!(write(&[forged]), "name;us=0;name=\"apolicyus=1X:\"");
    }

    #[test]
    fn the_times_of_a_clearing_house_are_parameters_that_others_pass_over() {
        let [intake, journal] = [7, 1200].map(Duration::from_micros);
        let times = Times { intake, journal, dispatched: true, back: "edge.contoso.com".parse().ok() };
        let mut value = "0;result=journaled".to_owned();
        times.write(&mut value);
        assert_eq!(value, "0;result=journaled;intake-us=7;journal-us=1200;dispatch=lane;back=edge.contoso.com");
        assert_eq!(Times::read(&value), Some(times));
        assert_eq!(crate::push_result::read([value.as_str()]).map(|results| results.len()), Ok(1));
        assert_eq!(Times::read("0;result=journaled"), None);
    }

    #[test]
    fn a_test_is_a_request_like_any_other_and_its_edge_is_asked() {
        let draft = Draft {
            method: Method::Options,
            sent_by: "home.contoso.com",
            branch: "z9hG4bK1",
            from: "sip:mcx@contoso.com",
            to: "sip:push.lync.com",
            call_id: "abc",
            hops: 70,
            asks: true,
            body: None,
        };
        let written = draft.write().unwrap();
        let message = reveille_sip::parse_datagram(written, &reveille_sip::Limits::default()).unwrap();
        assert_eq!(message.header(Name::ReveilleProbe), Some(ASKED));
        assert_eq!((message.max_forwards(), message.method()), (Some(70), Some(Method::Options)));
    }
}
