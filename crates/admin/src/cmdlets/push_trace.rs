//! `CsPushTrace`: what became of pushes, as a home and as a clearing house know it.

use reveille_core::delivery::{PushState, Step};
use reveille_core::{Aor, PushId, Reason, SipDomain};
use reveille_store::{KnownPush, TRACED_MAX, TracedPush};

use crate::call::Call;
use crate::cmdlet::{About, Area, Cmdlet, Name, Outcome, Parameter, Pipeline, Running, Verb};
use crate::cmdlets::push_device::reason_of;
use crate::cmdlets::push_eligibility::word;
use crate::cmdlets::push_lane::remedy_of;
use crate::cmdlets::remedy::{self, Place};
use crate::desk::Desk;
use crate::failure::{Category, Failure};
use crate::kind::Kind;
use crate::ports::devices::Devices;
use crate::ports::house::Lane;
use crate::value::Object;

const OUTPUTS: &[&str] = &[
    "Id",
    "Place",
    "State",
    "Reason",
    "Explanation",
    "Remedy",
    "Event",
    "Channel",
    "User",
    "Device",
    "Origin",
    "ClearingHouse",
    "App",
    "Created",
    "Since",
    "Attempt",
    "NextTry",
    "Expires",
    "Feedback",
    "FeedbackOwed",
    "FeedbackOver",
];
const STATES: Kind = Kind::Choice(&["accepted", "journaled", "not-pushed", "owed", "requested", "sending"]);
const REASONS: [&str; Reason::ALL.len()] = {
    let mut names = [""; Reason::ALL.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = Reason::ALL[index].as_str();
        index += 1;
    }
    names
};
/// Pushes that a home reads at once.
const PAGE: usize = 1000;
/// Pushes that a home looks at for those that are wanted.
const LOOKED_AT: usize = TRACED_MAX;

/// `Get-CsPushTrace`
pub(super) struct Get;

impl Cmdlet for Get {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: Name::new(Verb::Get, "CsPushTrace"),
                summary: "Shows pushes, newest first: where each is in its life, why it was not sent, and what mends that",
                description: "A home shows the pushes that it owes and has asked for; a clearing house what its journal knows, \
                              for each organisation that has sent a push of that id. The id of a push is the same in every \
                              role's log. Accepted means that the push service took it: what a phone showed only the phone \
                              knows. A home learns the end of a push from its clearing house if it did not go well; \
                              journaled there is the end of the good ones.",
                parameters: &[
                    Parameter::new("Id", Kind::Text, "One push, by its id")
                        .at(1)
                        .alias(&["Push"])
                        .from(Pipeline::ByName),
                    Parameter::new(
                        "User",
                        Kind::User,
                        "Pushes for this user: bob, bob@contoso.com or sip:bob@contoso.com",
                    )
                    .from(Pipeline::ByName),
                    Parameter::new("Device", Kind::Text, "Pushes for this device, as Get-CsPushDevice shows it")
                        .from(Pipeline::ByName),
                    Parameter::new("Origin", Kind::Domain, "Pushes of this organisation; for a clearing house"),
                    Parameter::new("State", STATES, "Pushes in this state"),
                    Parameter::new("Reason", Kind::Choice(&REASONS), "Pushes that were not sent for this reason"),
                    Parameter::new("Last", Kind::Int { min: 1, max: 10_000 }, "How many, of the newest")
                        .alias(&["First"])
                        .or("20"),
                ],
                outputs: OUTPUTS,
                area: Area::Users,
                notes: &[
                    "Of the newest 100,000 pushes those are shown that fit; homes keep them for 7 days, clearing houses for 25 hours.",
                ],
                examples: &[
                    ("Get-CsPushTrace -User bob -Last 5", "What became of the last five pushes for Bob."),
                    (
                        "Get-CsPushTrace -State not-pushed | Format-Table Id, User, Reason, Remedy",
                        "The last pushes that were not sent, and why.",
                    ),
                    (
                        "Get-CsPushTrace -Id 01JD3Z8X4Q6W2N5V7B9M1C3K5T -Origin contoso.com",
                        "One push, as the publisher sees it.",
                    ),
                ],
                ..About::DEFAULT
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(async {
            if desk.ports.devices.is_none() && desk.ports.house.is_none() {
                return desk.ports.home().map(|_| Outcome::default());
            }
            let wanted = Wanted::read(call)?;
            let mut outcome = Outcome::default();
            // An origin is a clearing house's word, and a user a home's.
            if let (Some(home), false) = (desk.ports.devices.as_deref(), call.value("Origin").is_some()) {
                wanted.at_home(home, desk, &mut outcome).await?;
            }
            if !wanted.of_user() {
                wanted.at_house(desk, &mut outcome).await?;
            } else if desk.ports.devices.is_none() {
                desk.ports.home()?;
            }
            match wanted.id {
                Some(id) if outcome.objects.is_empty() => {
                    let message = format!(
                        "No push {id} is known here. Homes remember pushes for 7 days, clearing houses for 25 hours; the id \
                         is the one that logs and Get-CsPushTrace show."
                    );
                    Err(Failure::new(Category::ObjectNotFound, "PushNotFound", message).of(id.to_string()))
                }
                _ => Ok(outcome),
            }
        })
    }
}

/// What is asked for.
struct Wanted<'a> {
    id: Option<PushId>,
    user: Option<&'a str>,
    device: Option<&'a str>,
    origin: Option<SipDomain>,
    state: Option<&'a str>,
    reason: Option<&'a str>,
    last: usize,
}

impl<'a> Wanted<'a> {
    fn read(call: &'a Call) -> Result<Self, Failure> {
        let id = match call.text("Id") {
            Some(text) => Some(text.parse().map_err(|_| {
                let message = format!(
                    "\"{text}\" is not the id of a push: 26 letters and digits, as in 01JD3Z8X4Q6W2N5V7B9M1C3K5T."
                );
                Failure::new(Category::InvalidArgument, "NotAPushId", message).of(text)
            })?),
            None => None,
        };
        Ok(Self {
            id,
            user: call.text("User"),
            device: call.text("Device"),
            origin: call.domain("Origin"),
            state: call.text("State"),
            reason: call.text("Reason"),
            last: call.int("Last").and_then(|last| usize::try_from(last).ok()).unwrap_or(20),
        })
    }

    /// Whether only a home could know.
    const fn of_user(&self) -> bool {
        self.user.is_some() || self.device.is_some()
    }

    fn fits(&self, state: PushState) -> bool {
        let reason = reason_of(state).map(Reason::as_str);
        self.state.is_none_or(|wanted| wanted == state.as_str()) && self.reason.is_none_or(|it| reason == Some(it))
    }

    async fn at_home(&self, home: &dyn Devices, desk: &Desk, outcome: &mut Outcome) -> Result<(), Failure> {
        let user = self.user.map(|text| remedy::user(home, text)).transpose()?;
        let found = match self.id {
            Some(id) => {
                let found = home.push(id).await.map_err(|error| remedy::unread(desk, &error))?;
                found.into_iter().filter(|known| user.as_ref().is_none_or(|user| *user == known.owed.user)).collect()
            }
            None => self.newest(home, user.as_ref(), desk, outcome).await?,
        };
        let (settings, site, server, edge) = (desk.settings.snapshot(), home.site(), home.name(), home.edge());
        let place = Place { settings: &settings, site: &site, server: &server, edge: &edge };
        // Which app a push is for, the device knows.
        let mut apps = std::collections::HashMap::new();
        for known in &found {
            let key = (known.owed.user.clone(), known.owed.device.clone());
            if !apps.contains_key(&known.owed.user) {
                let devices = home.devices(Some(key.0.clone()), usize::MAX).await;
                let of = devices.into_iter().filter_map(|it| Some((it.record.device, it.record.identity?.app)));
                apps.insert(key.0.clone(), of.collect::<std::collections::HashMap<_, _>>());
            }
            let app = apps.get(&key.0).and_then(|of| of.get(&key.1));
            outcome.objects.push(of_home(known, app, &place).into());
        }
        Ok(())
    }

    /// The newest pushes that fit, page by page.
    async fn newest(
        &self,
        home: &dyn Devices,
        user: Option<&Aor>,
        desk: &Desk,
        outcome: &mut Outcome,
    ) -> Result<Vec<KnownPush>, Failure> {
        let (mut found, mut before, mut looked_at) = (Vec::new(), None, 0);
        while found.len() < self.last {
            let page = home.pushes(user.cloned(), before, PAGE).await.map_err(|error| remedy::unread(desk, &error))?;
            let Some(oldest) = page.last().map(|known| known.owed.push) else { break };
            (before, looked_at) = (Some(oldest), looked_at + page.len());
            let fit = |known: &KnownPush| {
                self.fits(known.owed.state) && self.device.is_none_or(|device| device == known.owed.device)
            };
            found.extend(page.into_iter().filter(fit));
            if looked_at >= LOOKED_AT {
                outcome.warnings.push(format!("Only the newest {LOOKED_AT} pushes were looked at."));
                break;
            }
        }
        found.truncate(self.last);
        Ok(found)
    }

    async fn at_house(&self, desk: &Desk, outcome: &mut Outcome) -> Result<(), Failure> {
        let Some(house) = desk.ports.house.as_deref() else { return Ok(()) };
        let narrowed = self.state.is_some() || self.reason.is_some();
        let most = if narrowed { LOOKED_AT } else { self.last };
        let found = match self.id {
            Some(id) => house.traces(id, self.origin.clone()).await,
            None => house.latest(self.origin.clone(), most).await,
        };
        let found = found.map_err(|error| remedy::unread(desk, &error))?;
        let fit = found.iter().filter(|push| self.fits(push.traced.state));
        let lanes = house.lanes();
        outcome.objects.extend(fit.take(self.last).map(|push| of_house(push, &lanes).into()));
        Ok(())
    }
}

fn begin(id: PushId, place: &str, state: PushState, detail: &str, remedy: Option<String>) -> Object {
    let reason = reason_of(state);
    let detail = remedy::said(detail);
    let explanation = match (reason, detail.as_str()) {
        (None, detail) => detail.to_owned(),
        (Some(reason), "") => reason.sentence().to_owned(),
        (Some(reason), detail) if detail.contains(reason.sentence()) => detail.to_owned(),
        // The provider's own word, or what the other side has said.
        (Some(reason), detail) => format!("{}: {detail}", reason.sentence()),
    };
    Object::new("PushTrace")
        .with("Id", id.to_string())
        .with("Place", place)
        .with("State", state.as_str())
        .with("Reason", reason.map(Reason::as_str))
        .with("Explanation", explanation)
        .with("Remedy", remedy)
}

/// A push as home knows it.
fn of_home(known: &KnownPush, app: Option<&reveille_core::AppKey>, place: &Place<'_>) -> Object {
    let owed = &known.owed;
    let open = matches!(owed.state, PushState::Owed | PushState::Requested);
    // What is tried again and again finds no way.
    let stuck = (open && !known.detail.is_empty()).then_some(Reason::NoRoute);
    let reason = reason_of(owed.state).or(stuck);
    let remedy = reason.map(|reason| place.remedy(reason, &owed.user, app, Some(owed.push)));
    begin(owed.push, "home", owed.state, &known.detail, remedy)
        .with("Event", word(owed.event))
        .with("Channel", owed.channel.as_str())
        .with("User", owed.user.to_sip_uri())
        .with("Device", owed.device.as_str())
        .with("Origin", owed.user.domain().as_str())
        .with("ClearingHouse", owed.clearing_house.as_str())
        .with("App", app.map(ToString::to_string))
        .with("Created", owed.created.to_string())
        .with("Since", known.moved.to_string())
        .with("Attempt", owed.attempt)
        .with("NextTry", open.then(|| owed.due.to_string()))
        .with("Expires", owed.expires.to_string())
        .with("Feedback", "")
        .with("FeedbackOwed", "")
        .with("FeedbackOver", "")
}

/// A push as a clearing house knows it.
fn of_house(push: &TracedPush, lanes: &[Lane]) -> Object {
    let TracedPush { origin, id, lane, expires, traced } = push;
    // What is open waits for its lane: what is wrong with that is why.
    let open = matches!(traced.state, PushState::Journaled | PushState::Sending);
    let stuck = lanes.iter().find(|it| open && it.key == *lane).and_then(|it| Some((remedy_of(it)?, it)));
    let waits = stuck.as_ref().and_then(|(_, lane)| lane.trouble.as_ref()).map(|(_, why)| why.as_str());
    let remedy = reason_of(traced.state).map(|reason| {
        let (app, push) = (remedy::quoted(&lane.app.app), id.to_string());
        reason.remedy_with(&[("APP", &app), ("ORIGIN", origin.as_str()), ("PUSH", &push)])
    });
    let remedy = remedy.or_else(|| stuck.as_ref().map(|(remedy, _)| remedy.clone()));
    begin(*id, "clearing house", traced.state, waits.unwrap_or(&traced.detail), remedy)
        .with("Event", "")
        .with("Channel", lane.channel.as_str())
        .with("User", "")
        .with("Device", "")
        .with("Origin", origin.as_str())
        .with("ClearingHouse", "")
        .with("App", lane.app.to_string())
        .with("Created", traced.received.to_string())
        .with("Since", traced.at.to_string())
        .with("Attempt", traced.attempt)
        .with("NextTry", "")
        .with("Expires", expires.to_string())
        .with("Feedback", traced.news.map(|news| news.end.map_or(Step::FeedbackOwed, |end| end.step().0).as_str()))
        .with("FeedbackOwed", traced.news.map(|news| news.owed.to_string()))
        .with("FeedbackOver", traced.news.and_then(|news| news.end).map(|end| end.step().1.to_string()))
}

#[cfg(test)]
mod tests {
    use reveille_core::{Channel, LaneKey, Timestamp};
    use reveille_store::{FeedbackEnd, News, Traced};

    use super::*;
    use crate::cmdlets::fakes::{self, ClearingHouse, Home, NOW, column, run};

    fn at_house(number: u128, origin: &str, state: PushState) -> TracedPush {
        let at = Timestamp::from_millis(1);
        TracedPush {
            origin: origin.parse().expect("a domain"),
            id: PushId::from_u128(number),
            lane: LaneKey { app: fakes::app(), channel: Channel::Message },
            expires: at,
            traced: Traced { seq: 1, received: at, state, detail: String::new(), at, attempt: 0, news: None },
        }
    }

    fn home() -> Home {
        let denied = PushState::NotPushed(Reason::AppNotGranted);
        Home {
            pushes: vec![
                fakes::known_push(1, PushState::Owed, "504 Server time-out"),
                fakes::known_push(2, denied, ""),
                fakes::known_push(3, PushState::Journaled, ""),
                fakes::known_push(4, PushState::NotPushed(Reason::RejectedByProvider), "BadTopic"),
            ],
            ..Home::with([fakes::device("phone")])
        }
    }

    #[tokio::test]
    async fn the_newest_come_first_and_each_says_why_and_what_to_do() {
        let desk = fakes::desk(Some(home()), None);
        let all = run(&desk, "Get-CsPushTrace", &[]).await.expect("pushes");
        assert_eq!(column(&all, "State"), ["not-pushed", "journaled", "not-pushed", "owed"]);
        assert_eq!(column(&all, "NextTry")[3], NOW.to_string());
        assert_eq!(column(&all, "Explanation")[0], "the provider rejected the push as wrong: BadTopic");
        assert_eq!(
            column(&all, "Remedy")[2],
            "ask the publisher to grant it there: Set-CsPushApp -Identity org.example.chat -Serves @{Add=\"contoso.com\"} (or, \
             where Get-CsPushApp does not show it yet: New-CsPushApp -Identity org.example.chat -Serves contoso.com)"
        );
        let picked = |parameters: &'static [(&str, &str)]| {
            let desk = &desk;
            async move { column(&run(desk, "Get-CsPushTrace", parameters).await.expect("pushes"), "Id").len() }
        };
        assert_eq!(picked(&[("Last", "2")]).await, 2);
        assert_eq!(picked(&[("Reason", "app-not-granted")]).await, 1);
        assert_eq!(picked(&[("State", "owed"), ("User", "bob")]).await, 1);
        assert_eq!(picked(&[("Device", "tablet")]).await, 0);
        assert_eq!(picked(&[("Id", "00000000000000000000000003")]).await, 1);
    }

    #[tokio::test]
    async fn a_clearing_house_tells_organisations_apart_that_chose_one_id() {
        let gone = PushState::NotPushed(Reason::ConfigurationBroken);
        let house = ClearingHouse {
            pushes: vec![at_house(5, "contoso.com", PushState::Accepted), at_house(5, "fabrikam.com", gone)],
            ..ClearingHouse::default()
        };
        let desk = fakes::desk(None, Some(house));
        let id = ("Id", "00000000000000000000000005");
        let both = run(&desk, "Get-CsPushTrace", &[id]).await.expect("pushes");
        assert_eq!(column(&both, "Origin"), ["contoso.com", "fabrikam.com"]);
        assert!(
            column(&both, "Remedy")[1].ends_with("Test-CsPushCredential -App org.example.chat tells what is wrong")
        );
        let one = run(&desk, "Get-CsPushTrace", &[id, ("Origin", "contoso.com")]).await.expect("one");
        assert_eq!(column(&one, "State"), ["accepted"]);
        let broken = run(&desk, "Get-CsPushTrace", &[("Reason", "configuration-broken")]).await.expect("one");
        assert_eq!(column(&broken, "Origin"), ["fabrikam.com"]);
        let users = run(&desk, "Get-CsPushTrace", &[("User", "bob")]).await.expect_err("it knows no users");
        assert_eq!(&*users.id, "NotAHome");
    }

    #[tokio::test]
    async fn whether_its_home_has_heard_of_a_push_and_when_is_told() {
        let at = Timestamp::from_millis;
        let news = |end| Some(News { owed: at(5000), end });
        let with = |number, news| {
            let mut push = at_house(number, "contoso.com", PushState::NotPushed(Reason::Expired));
            push.traced.news = news;
            push
        };
        let house = ClearingHouse {
            pushes: vec![
                with(1, None),
                with(2, news(None)),
                with(3, news(Some(FeedbackEnd::Delivered(at(9000))))),
                with(4, news(Some(FeedbackEnd::GivenUp(at(9000))))),
            ],
            ..ClearingHouse::default()
        };
        let desk = fakes::desk(None, Some(house));
        for (id, feedback, owed, over) in [
            ("00000000000000000000000001", "", String::new(), String::new()),
            ("00000000000000000000000002", "feedback-owed", at(5000).to_string(), String::new()),
            ("00000000000000000000000003", "feedback-delivered", at(5000).to_string(), at(9000).to_string()),
            ("00000000000000000000000004", "feedback-given-up", at(5000).to_string(), at(9000).to_string()),
        ] {
            let told = run(&desk, "Get-CsPushTrace", &[("Id", id)]).await.expect("a push");
            let found = ["Feedback", "FeedbackOwed", "FeedbackOver"].map(|name| column(&told, name).remove(0));
            assert_eq!(found, [feedback.to_owned(), owed, over], "{id}");
        }
    }

    #[tokio::test]
    async fn an_id_that_is_none_or_unknown_is_said_to_be_so() {
        let desk = fakes::desk(Some(home()), None);
        for (id, expected) in [("bob", "NotAPushId"), ("01JD3Z8X4Q6W2N5V7B9M1C3K5T", "PushNotFound")] {
            let failure = run(&desk, "Get-CsPushTrace", &[("Id", id)]).await.expect_err("not there");
            assert_eq!(&*failure.id, expected);
        }
    }
}
