//! The stages of a test, in the order in which it comes to them: what it passed with how long it took, and where, by
//! whose fault and with which remedy it ended.
//!
//! A test walks the road that real requests go, so that a stage which passes here passes for them. Every test of the
//! product tells of itself in these words.

use std::time::Duration;

use crate::diagnosis::{Failure, Fault};

/// One stage. A test has those of its own road only.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Stage {
    /// What the settings here say about it: switches, filter, addresses.
    Settings,
    /// From home to our own Access Edge.
    OurEdge,
    /// Our own SRV record, by which partners find us.
    OwnName,
    /// Whether our edge may let it out, and which kind of way it takes.
    Policy,
    /// The partner's SRV record.
    Name,
    /// The addresses of the host that it names.
    Address,
    /// TCP.
    Connect,
    /// The TLS handshake up to where we have accepted the partner's certificate.
    TheirCertificate,
    /// The partner's first words, after it has seen our certificate.
    OurCertificate,
    /// An answer to the request itself.
    Sip,
    /// What the partner's edge says about us.
    PartnersPolicy,
    /// What the clearing house says about the request.
    Intake,
    /// Synced to the clearing house's disk.
    Journal,
    /// Handed to the push service's lane.
    Dispatch,
    /// Acknowledged by the test device.
    Probe,
    /// The user's sign-in at home.
    SignIn,
    /// The credentials for the A/V edge.
    Credentials,
    /// The A/V edge's addresses.
    RelayName,
    /// The connection to the A/V edge.
    RelayConnect,
    /// Whether the A/V edge takes the credentials.
    RelayAuth,
    /// An address of the A/V edge for the user's media.
    Allocation,
    /// A packet through it.
    Packet,
    /// The session between the test users.
    Session,
}

impl Stage {
    /// The stable name, on the wire and in what people read.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Settings => "settings",
            Self::OurEdge => "our-edge",
            Self::OwnName => "own-name",
            Self::Policy => "policy",
            Self::Name => "name",
            Self::Address => "address",
            Self::Connect => "connect",
            Self::TheirCertificate => "their-certificate",
            Self::OurCertificate => "our-certificate",
            Self::Sip => "sip",
            Self::PartnersPolicy => "partners-policy",
            Self::Intake => "intake",
            Self::Journal => "journal",
            Self::Dispatch => "dispatch",
            Self::Probe => "probe",
            Self::SignIn => "sign-in",
            Self::Credentials => "credentials",
            Self::RelayName => "relay-name",
            Self::RelayConnect => "relay-connect",
            Self::RelayAuth => "relay-auth",
            Self::Allocation => "allocation",
            Self::Packet => "packet",
            Self::Session => "session",
        }
    }

    /// The stage of that stable name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.as_str() == text)
    }

    /// Every stage, in order.
    pub const ALL: [Self; 23] = [
        Self::Settings,
        Self::OurEdge,
        Self::OwnName,
        Self::Policy,
        Self::Name,
        Self::Address,
        Self::Connect,
        Self::TheirCertificate,
        Self::OurCertificate,
        Self::Sip,
        Self::PartnersPolicy,
        Self::Intake,
        Self::Journal,
        Self::Dispatch,
        Self::Probe,
        Self::SignIn,
        Self::Credentials,
        Self::RelayName,
        Self::RelayConnect,
        Self::RelayAuth,
        Self::Allocation,
        Self::Packet,
        Self::Session,
    ];
}

/// One stage that a test came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Step {
    /// Which.
    pub stage: Stage,
    /// How long it took.
    pub took: Duration,
    /// Whether it was passed.
    pub passed: bool,
    /// What was found there, for people; may be empty.
    pub detail: String,
}

/// Where a test ended, and what to do about it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Trouble {
    /// Where.
    pub stage: Stage,
    /// What it was, for programs.
    pub failure: Failure,
    /// Whose fault it is, seen from here.
    pub fault: Fault,
    /// What an administrator reads, with the names in place.
    pub sentence: String,
    /// What to do: the complete command where there is one.
    pub remedy: String,
    /// Whether the same test may succeed later with nothing changed.
    pub retry_helps: bool,
}

impl Trouble {
    /// With what the table of diagnoses says about `failure`; `remedy` replaces its advice unless it is empty.
    pub fn new(stage: Stage, failure: Failure, sentence: impl Into<String>, remedy: impl Into<String>) -> Self {
        let diagnosis = failure.diagnosis();
        let remedy = Some(remedy.into()).filter(|remedy| !remedy.is_empty());
        Self {
            stage,
            failure,
            fault: diagnosis.fault,
            sentence: sentence.into(),
            remedy: remedy.unwrap_or_else(|| diagnosis.advice.to_owned()),
            retry_helps: diagnosis.retry_helps,
        }
    }

    /// The same, by somebody else's fault than the table says.
    #[must_use]
    pub const fn by(mut self, fault: Fault) -> Self {
        self.fault = fault;
        self
    }
}

/// How far a test came.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Walk {
    /// The stages that it came to, in order; the last one is where it ended.
    pub steps: Vec<Step>,
    /// Why it ended there, if it did not succeed.
    pub trouble: Option<Trouble>,
    /// What the administrator should know though it stopped nothing.
    pub hints: Vec<String>,
    /// From begin to end.
    pub took: Duration,
}

impl Walk {
    /// A stage was passed.
    pub fn pass(&mut self, stage: Stage, took: Duration, detail: impl Into<String>) {
        self.steps.push(Step { stage, took, passed: true, detail: detail.into() });
    }

    /// The walk ends here. Of several troubles the first is told: what comes after it may follow from it.
    pub fn fail(&mut self, took: Duration, trouble: Trouble) {
        self.steps.push(Step { stage: trouble.stage, took, passed: false, detail: trouble.sentence.clone() });
        self.trouble.get_or_insert(trouble);
    }

    /// Whether every stage was passed.
    pub const fn succeeded(&self) -> bool {
        self.trouble.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_has_a_name_of_its_own_that_reads_back() {
        let mut names: Vec<&str> = Stage::ALL.iter().map(|stage| stage.as_str()).collect();
        assert!(Stage::ALL.iter().all(|stage| Stage::parse(stage.as_str()) == Some(*stage)));
        assert!(Stage::ALL.is_sorted(), "the order of the list is that of the walk");
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Stage::ALL.len());
        assert_eq!(Stage::parse("nowhere"), None);
    }

    #[test]
    fn the_first_trouble_is_the_one_that_is_told() {
        let mut walk = Walk::default();
        walk.pass(Stage::Settings, Duration::ZERO, "");
        walk.fail(Duration::ZERO, Trouble::new(Stage::Policy, Failure::FederationOff, "federation is off", ""));
        walk.fail(Duration::ZERO, Trouble::new(Stage::Name, Failure::SrvNotFound, "no record", "publish it"));
        let trouble = walk.trouble.as_ref().expect("it failed");
        assert_eq!(trouble.stage, Stage::Policy);
        assert_eq!(trouble.remedy, "Set-CsAccessEdgeConfiguration -AllowFederatedUsers $True");
        assert!(!walk.succeeded() && walk.steps.len() == 3);
    }
}
