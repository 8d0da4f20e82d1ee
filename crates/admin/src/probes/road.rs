//! What the two tests of the road have in common: parameters, and the home that walks it.

use reveille_core::SipDomain;
use reveille_federation::probe::{Order, Report};

use crate::call::Call;
use crate::cmdlet::{Outcome, Parameter};
use crate::desk::Desk;
use crate::failure::{Category, Failure};
use crate::kind::Kind;

/// The Access Edge that is walked by.
pub(crate) const fn edge(name: &'static str, alias: &'static [&'static str]) -> Parameter {
    let help = "Our Access Edge, by a name of its inner side. The name of the outer side is taken with a hint";
    Parameter::new(name, Kind::Domain, help).required().at(2).alias(alias)
}

/// `-Certificate`
pub(crate) const CERTIFICATE: Parameter =
    Parameter::new("Certificate", Kind::Text, "Accepted, and without effect: home shows its own certificate");
/// `-Detailed`
pub(crate) const DETAILED: Parameter = Parameter::new(
    "Detailed",
    Kind::Switch,
    "Gives one object, also for a failure: stages with milliseconds, the one that failed, whose fault it is, and the remedy",
);
/// `-Force`
pub(crate) const FORCE: Parameter = Parameter::new("Force", Kind::Switch, "Accepted, and without effect");
/// `-IgnoreOwnName`
pub(crate) const IGNORE_OWN_NAME: Parameter = Parameter::new(
    "IgnoreOwnName",
    Kind::Switch,
    "Only hints at a missing SRV record of our own, for edges whose name servers do not know what the world sees",
);
/// `-OutLoggerVariable`
pub(crate) const LOGGER: Parameter = Parameter::new(
    "OutLoggerVariable",
    Kind::Variable,
    "The variable that keeps the record of the test, with ToHTML() and ToXML()",
)
.alias(&["olv"]);
/// `-OutVerboseVariable`
pub(crate) const VERBOSE: Parameter =
    Parameter::new("OutVerboseVariable", Kind::Variable, "The variable that keeps the steps").alias(&["ovv"]);

/// Has the home of this process walk the road.
pub(crate) async fn walk(desk: &Desk, order: Order) -> Result<Report, Failure> {
    let Some(road) = &desk.ports.road else {
        return Err(Failure::new(
            Category::ResourceUnavailable,
            "NoHome",
            "This process has no home, from which the test would leave: ask the one that has, with --socket or --url.",
        ));
    };
    let busy = || {
        Failure::new(
            Category::ResourceBusy,
            "TooManyTests",
            "Home runs as many tests as it may, or is about to stop: repeat the test in a moment.",
        )
    };
    road.probe(order).await.ok_or_else(busy)
}

/// A domain that the binder has read.
pub(crate) fn domain(call: &Call, name: &str) -> Result<SipDomain, Failure> {
    let missing = || Failure::new(Category::InvalidArgument, "ParameterMissing", format!("-{name} names no domain."));
    call.domain(name).ok_or_else(missing)
}

/// The outcome with a word about what has no effect.
pub(crate) fn warn(call: &Call, mut outcome: Outcome) -> Outcome {
    if call.value("Certificate").is_some() {
        outcome.warnings.push("-Certificate has no effect: home shows its own certificate to its edge.".into());
    }
    outcome
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::call::Caller;
    use crate::ports::road::Road;
    use crate::ports::{Asked, Ports};
    use crate::testing::desk_with;
    use crate::value::{Object, Value};

    /// A home whose tests all go the same way, or none.
    #[derive(Clone, Default)]
    pub(crate) struct Fixed {
        report: Option<Report>,
        pub(crate) orders: Arc<Mutex<Vec<Order>>>,
    }

    impl Fixed {
        pub(crate) fn new(report: Report) -> Self {
            Self { report: Some(report), ..Self::default() }
        }

        pub(crate) fn absent() -> Self {
            Self::default()
        }

        pub(crate) fn ports(&self) -> Ports {
            let road = self.report.is_some().then(|| Arc::new(self.clone()) as Arc<dyn Road>);
            Ports { road, ..Ports::default() }
        }
    }

    impl Road for Fixed {
        fn probe(&self, order: Order) -> Asked<'_, Option<Report>> {
            self.orders.lock().unwrap().push(order);
            Box::pin(async { self.report.clone() })
        }
    }

    /// Runs a cmdlet as a program would.
    pub(crate) async fn run(name: &str, line: &[(&str, &str)], home: &Fixed) -> Result<Outcome, Failure> {
        let mut parameters = Object::default();
        for (name, value) in line {
            parameters.set(
                *name,
                match *value {
                    "true" => Value::Bool(true),
                    number if number.parse::<i64>().is_ok() => Value::Int(number.parse().unwrap()),
                    text => Value::from(text),
                },
            );
        }
        crate::run::run(name, &parameters, &Caller::owner("tester"), &desk_with(home.ports())).await
    }

    #[tokio::test]
    async fn a_home_that_is_busy_says_so() {
        struct Busy;
        impl Road for Busy {
            fn probe(&self, _order: Order) -> Asked<'_, Option<Report>> {
                Box::pin(async { None })
            }
        }
        let ports = Ports { road: Some(Arc::new(Busy)), ..Ports::default() };
        let goal = reveille_federation::probe::Goal::Partner { domain: "a.example".parse().unwrap(), proxy: None };
        let order = Order { edge: None, ignore_own_name: false, goal };
        let failure = walk(&desk_with(ports), order).await.unwrap_err();
        assert!(failure.category.retry_helps(), "{failure}");
    }
}
