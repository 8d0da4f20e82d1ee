//! Whom a request of a call is for, and who has to prove what before it goes there. Pure: what was read goes in.
//!
//! Home puts itself into the way of every dialog twice, once for each side (RFC 5658): the value that faces a phone names
//! that phone, the one that faces our edge says so. A request inside the dialog brings both back, its sender's on top,
//! so the last of ours tells where it goes, and the first whose phone must have sent it.

use reveille_core::{Aor, SipDomain};
use reveille_sip::{Host, Uri};

use super::token::Party;

/// The user part of the Record-Route that faces our edge.
pub(crate) const EDGE: &str = "edge";

/// Where a request came from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Origin {
    /// Somebody's client, which must prove whose.
    Client,
    /// Our edge, which has admitted whoever stands behind it.
    Edge,
    /// A proxy that has authenticated its users itself.
    Proxy,
}

/// What one of our Route values says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Mine {
    /// The edge is on that side.
    Edge,
    /// It has a user part that we have not written, or with a key that is gone.
    Forged,
    /// A connection is on that side whose client has never registered there.
    Flow(String),
    /// This phone is on that side.
    Party(Party),
    /// Nothing: a client that was told to send everything here wrote it.
    Plain,
}

/// Whom a request is for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Toward {
    /// Somebody in another organisation: our edge knows the way.
    Edge,
    /// Whoever is on the other end of this connection.
    Flow(String),
    /// One phone, which is in a dialog already.
    Party(Party),
    /// One of our users, wherever he is.
    User(Aor),
}

/// Why a request goes nowhere.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Nowhere {
    /// A domain that is not ours, asked for from outside.
    #[error("{0} is not served here, and nothing from outside is passed on to elsewhere")]
    NotOurs(SipDomain),
    /// It belongs to no dialog of ours, and its address is no user's.
    #[error(
        "the Request-URI names no user of the form sip:user@domain, and no Route of ours says whose dialog this is"
    )]
    NoUser,
    /// A dialog whose token nobody here can read.
    #[error("this dialog is not known here (any more): its Route header names this server and nobody it knows")]
    Lost,
    /// A Route of somebody else's making.
    #[error("the Route header names this server and was not written by it")]
    Forged,
    /// Nobody of that name.
    #[error("{0} is no user here")]
    Unknown(Aor),
}

impl Nowhere {
    /// What is answered.
    pub(crate) const fn status(&self) -> u16 {
        match self {
            Self::Forged => 403,
            // RFC 3261 §12.2.1.2: whoever hears it takes the dialog for ended, and the phone hangs up.
            Self::Lost => 481,
            Self::NoUser | Self::NotOurs(_) | Self::Unknown(_) => 404,
        }
    }
}

/// What is known of a request.
#[derive(Clone, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) origin: Origin,
    /// Without what named us in it.
    pub(crate) request_uri: &'a str,
    /// Whether To has a tag.
    pub(crate) in_dialog: bool,
    /// What our own Route values say, top first.
    pub(crate) mine: &'a [Mine],
}

/// Whom the request is for. `knows` tells our users; `domains` are ours, and the first is
/// the one that users are kept under; `name` is this server's own.
pub(crate) fn toward(
    facts: &Facts<'_>,
    (domains, name): (&[SipDomain], &str),
    knows: impl Fn(&Aor) -> bool,
) -> Result<Toward, Nowhere> {
    if facts.mine.contains(&Mine::Forged) {
        return Err(if facts.in_dialog { Nowhere::Lost } else { Nowhere::Forged });
    }
    // Outside of a dialog Route says nothing: where a new request goes is home's to decide.
    if facts.in_dialog {
        match facts.mine.last() {
            Some(Mine::Party(party)) => return Ok(Toward::Party(party.clone())),
            Some(Mine::Flow(token)) => return Ok(Toward::Flow(token.clone())),
            // What came from there does not go back there.
            Some(Mine::Edge) if facts.origin != Origin::Edge => return Ok(Toward::Edge),
            Some(Mine::Edge | Mine::Forged | Mine::Plain) | None => {}
        }
    }
    let uri = Uri::parse(facts.request_uri).ok().filter(Uri::is_sip).ok_or(Nowhere::NoUser)?;
    let host = match uri.host() {
        Some(Host::Domain(host)) if host.eq_ignore_ascii_case(name) => domains[0].clone(),
        Some(Host::Domain(host)) => host.parse().map_err(|_| Nowhere::NoUser)?,
        _ => return Err(Nowhere::NoUser),
    };
    if !domains.contains(&host) {
        return match facts.origin {
            Origin::Edge => Err(Nowhere::NotOurs(host)),
            Origin::Client | Origin::Proxy => Ok(Toward::Edge),
        };
    }
    let user = uri.user().and_then(|user| Aor::new(user, domains[0].clone()).ok()).ok_or(Nowhere::NoUser)?;
    if knows(&user) { Ok(Toward::User(user)) } else { Err(Nowhere::Unknown(user)) }
}

/// Whether a token of ours names whoever the request is for, so that it needs no look at its addresses. An ACK goes
/// nowhere else: it cannot be answered, and so its sender can be asked for nothing.
pub(crate) fn stays_in_dialog(facts: &Facts<'_>) -> bool {
    let named = match facts.mine.last() {
        Some(Mine::Flow(_) | Mine::Party(_)) => true,
        // What came from there does not go back there.
        Some(Mine::Edge) => facts.origin != Origin::Edge,
        Some(Mine::Forged | Mine::Plain) | None => false,
    };
    facts.in_dialog && named
}

/// In whose name a client's request speaks, which it must prove: in a dialog the phone that its own Route names,
/// else whoever From names. `None` if that is no user of ours.
pub(crate) fn speaker(facts: &Facts<'_>, from: Option<&Aor>, domain: &SipDomain) -> Option<Aor> {
    match facts.mine.first() {
        // From of a callee is what the caller has once called, which need not be the callee's own address.
        Some(Mine::Party(party)) if facts.in_dialog => Some(party.user.clone()),
        _ => from.filter(|from| from.domain() == domain).cloned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::token::Tokens;
    use super::*;

    fn domain() -> SipDomain {
        "contoso.com".parse().expect("a domain")
    }

    fn aor(text: &str) -> Aor {
        text.parse().expect("an address")
    }

    fn party(user: &str) -> Party {
        let user = aor(user);
        Party { device: Tokens::new(&domain(), &[0; 32]).mark(&user, "phone"), user }
    }

    fn ask(origin: Origin, request_uri: &str, in_dialog: bool, mine: &[Mine]) -> Result<Toward, Nowhere> {
        let facts = Facts { origin, request_uri, in_dialog, mine };
        toward(&facts, (&[domain(), "litwareinc.com".parse().expect("a domain")], "home.contoso.com"), |user| {
            user.user() == "bob" || user.user() == "alice"
        })
    }

    #[test]
    fn a_new_request_goes_where_its_request_uri_says_and_never_from_outside_to_outside() {
        let bob = || Ok(Toward::User(aor("bob@contoso.com")));
        let not_ours = || Err(Nowhere::NotOurs("fabrikam.com".parse().expect("a domain")));
        for (origin, uri, expected) in [
            (Origin::Client, "sip:bob@contoso.com", bob()),
            (Origin::Edge, "sip:bob@CONTOSO.com;user=phone", bob()),
            (Origin::Proxy, "sips:bob@contoso.com", bob()),
            (Origin::Client, "sip:bob@home.contoso.com:5061", bob()),
            (Origin::Client, "sip:bob@litwareinc.com", bob()),
            (Origin::Edge, "sip:bob@litwareinc.com", bob()),
            (Origin::Client, "sip:nobody@contoso.com", Err(Nowhere::Unknown(aor("nobody@contoso.com")))),
            (Origin::Client, "sip:contoso.com", Err(Nowhere::NoUser)),
            (Origin::Client, "sip:carol@fabrikam.com", Ok(Toward::Edge)),
            (Origin::Proxy, "sip:carol@fabrikam.com", Ok(Toward::Edge)),
            (Origin::Edge, "sip:carol@fabrikam.com", not_ours()),
            (Origin::Client, "sip:carol@192.0.2.1", Err(Nowhere::NoUser)),
            (Origin::Edge, "sip:bob@192.0.2.1", Err(Nowhere::NoUser)),
            (Origin::Client, "tel:+15551", Err(Nowhere::NoUser)),
        ] {
            assert_eq!(ask(origin, uri, false, &[]), expected, "{origin:?} {uri}");
            // Whatever a client writes into Route changes nothing.
            assert_eq!(ask(origin, uri, false, &[Mine::Plain]), expected, "{origin:?} {uri}");
            assert_eq!(ask(origin, uri, false, &[Mine::Forged]), Err(Nowhere::Forged), "{origin:?} {uri}");
            assert_eq!(ask(origin, uri, false, &[Mine::Party(party("alice@contoso.com"))]), expected);
        }
    }

    #[test]
    fn in_a_dialog_the_last_of_our_routes_says_where_it_goes() {
        let (alice, bob) = (party("alice@contoso.com"), party("bob@contoso.com"));
        let (to_alice, to_bob) = (Mine::Party(alice), Mine::Party(bob.clone()));
        let contact = "sip:x@192.0.2.7:5062;transport=tcp";
        for (origin, mine, expected) in [
            (Origin::Client, vec![to_alice.clone(), to_bob.clone()], Ok(Toward::Party(bob.clone()))),
            (Origin::Client, vec![to_alice.clone(), Mine::Edge], Ok(Toward::Edge)),
            (Origin::Edge, vec![Mine::Edge, to_bob], Ok(Toward::Party(bob))),
            (Origin::Edge, vec![to_alice.clone(), Mine::Edge], Err(Nowhere::NoUser)),
            (Origin::Client, vec![to_alice.clone(), Mine::Flow("f".into())], Ok(Toward::Flow("f".into()))),
            (Origin::Client, vec![to_alice.clone(), Mine::Forged], Err(Nowhere::Lost)),
            (Origin::Edge, vec![Mine::Edge, Mine::Forged], Err(Nowhere::Lost)),
            (Origin::Client, vec![Mine::Forged, to_alice], Err(Nowhere::Lost)),
            (Origin::Client, vec![Mine::Plain], Err(Nowhere::NoUser)),
            (Origin::Edge, vec![], Err(Nowhere::NoUser)),
        ] {
            assert_eq!(ask(origin, contact, true, &mine), expected, "{origin:?} {mine:?}");
        }
        // A client that forgets its route set still reaches a user by his address.
        assert_eq!(ask(Origin::Client, "sip:bob@contoso.com", true, &[]), Ok(Toward::User(aor("bob@contoso.com"))));
    }

    #[test]
    fn an_ack_goes_nowhere_but_where_a_token_of_ours_leads() {
        let (alice, bob) = (Mine::Party(party("alice@contoso.com")), Mine::Party(party("bob@contoso.com")));
        for (origin, in_dialog, mine, expected) in [
            (Origin::Client, true, vec![alice.clone(), bob.clone()], true),
            (Origin::Client, true, vec![alice.clone(), Mine::Edge], true),
            (Origin::Client, true, vec![alice.clone(), Mine::Flow("f".into())], true),
            (Origin::Edge, true, vec![Mine::Edge, bob.clone()], true),
            (Origin::Client, false, vec![alice.clone(), bob.clone()], false),
            (Origin::Client, true, vec![], false),
            (Origin::Client, true, vec![Mine::Plain], false),
            (Origin::Client, true, vec![alice, Mine::Forged], false),
            (Origin::Edge, true, vec![bob, Mine::Edge], false),
            (Origin::Edge, true, vec![], false),
            (Origin::Proxy, true, vec![Mine::Plain], false),
        ] {
            let facts = Facts { origin, request_uri: "sip:bob@contoso.com", in_dialog, mine: &mine };
            assert_eq!(stays_in_dialog(&facts), expected, "{facts:?}");
        }
    }

    #[test]
    fn in_a_dialog_the_phone_named_by_its_own_route_must_have_sent_it() {
        let (alice, mallory) = (aor("alice@contoso.com"), aor("mallory@fabrikam.com"));
        let mine = [Mine::Party(party("bob@contoso.com")), Mine::Edge];
        for (in_dialog, mine, from, expected) in [
            (true, &mine[..], Some(&mallory), Some("bob@contoso.com")),
            (true, &mine[1..], Some(&alice), Some("alice@contoso.com")),
            (false, &mine[..], Some(&alice), Some("alice@contoso.com")),
            (false, &[], Some(&mallory), None),
            (false, &[], None, None),
        ] {
            let facts = Facts { origin: Origin::Client, request_uri: "sip:x@y", in_dialog, mine };
            assert_eq!(speaker(&facts, from, &domain()), expected.map(aor), "{in_dialog} {from:?}");
        }
    }
}
