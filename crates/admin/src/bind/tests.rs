//! What is typed becomes a call, or is refused with the place.

use super::*;
use crate::cmdlet::{Name, Verb};

const SETS: &[&str] = &["Identity", "Instance"];

const SET: About = About {
    name: Name::new(Verb::Set, "CsMcxConfiguration"),
    parameters: &[
        Parameter::new("Identity", Kind::Scope, "Which").at(2).of(&["Identity"]),
        Parameter::new("Instance", Kind::Instance("McxConfiguration"), "Which")
            .of(&["Instance"])
            .from(Pipeline::ByValue),
        Parameter::new("PushNotificationProxyUri", Kind::SipUri, "Where"),
        Parameter::new("SessionExpirationInterval", Kind::Int { min: 120, max: 4_294_967_295 }, "How long"),
        Parameter::new("SessionShortExpirationInterval", Kind::Int { min: 120, max: 4_294_967_295 }, "How long"),
        Parameter::new("Force", Kind::Switch, "Never asks"),
    ],
    sets: SETS,
    changes: true,
    ..About::DEFAULT
};

const NEW: About = About {
    name: Name::new(Verb::New, "CsHostingProvider"),
    parameters: &[
        Parameter::new("Identity", Kind::Text, "Its name").required().at(2),
        Parameter::new("Enabled", Kind::Bool, "Whether it is used").required(),
        Parameter::new("ProxyFqdn", Kind::Domain, "Its edge").required(),
    ],
    changes: true,
    ..About::DEFAULT
};

fn named(name: &str) -> Element {
    Element::Parameter { name: name.into(), attached: None }
}

fn value(value: impl Into<Value>) -> Element {
    Element::Value(value.into())
}

fn call(about: &'static About, elements: &[Element]) -> Result<Call, BindError> {
    bind(about, elements)?.finish(Caller::default())
}

#[test]
fn names_places_and_short_names_find_their_parameters() {
    let uri = "sip:push@push.lync.com";
    let done = call(&SET, &[value("global"), named("push"), value(uri), named("Force"), named("wi")]).unwrap();
    assert_eq!((done.text("Identity"), done.text("PushNotificationProxyUri")), (Some("global"), Some(uri)));
    assert!(done.is_on("Force") && done.what_if && done.set == "Identity");
    let off = Element::Parameter { name: "Force".into(), attached: Some(Value::Bool(false)) };
    assert!(!call(&SET, &[off]).unwrap().is_on("Force"));
}

#[test]
fn what_cannot_be_bound_says_which_element_and_why() {
    for (about, elements, at, part) in [
        (&SET, vec![named("PushNotificationProxyUrl"), value("x")], Some(0), "Did you mean -PushNotificationProxyUri?"),
        (&SET, vec![named("Session"), value(500i64)], Some(0), "is ambiguous. Possible matches include: -SessionE"),
        (&SET, vec![named("Push")], Some(0), "Missing an argument for parameter 'PushNotificationProxyUri'"),
        (&SET, vec![named("Push"), value("push.lync.com")], Some(0), "begins with sip:"),
        (&SET, vec![value("global"), value("more")], Some(1), "accepts argument 'more'"),
        (&SET, vec![named("Force"), named("Force")], Some(1), "more than once"),
        (&NEW, vec![value("LyncOnline"), named("Enabled"), value(true)], None, "mandatory parameters: ProxyFqdn."),
        (&NEW, vec![value("LyncOnline"), named("Enabled"), value("true")], Some(1), "write $True"),
        (&SET, vec![value("")], Some(0), "parameter 'Identity', because it is empty"),
        (&SET, vec![named("Identity"), value(Value::Null)], Some(0), "parameter 'Identity', because it is empty"),
        (&NEW, vec![value(" "), named("Enabled"), value(true)], Some(0), "because it is empty"),
    ] {
        let error = call(about, &elements).unwrap_err();
        assert_eq!(error.element, at, "{error}");
        assert!(error.message.contains(part), "{error}");
    }
    let instance = Object::new("McxConfiguration");
    let both = call(&SET, &[value("global"), named("Instance"), value(instance)]).unwrap_err();
    assert!(both.message.contains("-Identity and -Instance exclude each other"), "{both}");
}

#[test]
fn an_object_of_the_pipeline_fills_what_takes_it() {
    let bound = bind(&SET, &[named("push"), value("sip:push@push.lync.com")]).unwrap();
    let instance = Value::from(Object::new("McxConfiguration").with("Identity", "global"));
    let done = bound.with_input(&instance).unwrap().finish(Caller::default()).unwrap();
    assert_eq!((done.set, done.value("Instance")), ("Instance", Some(&instance)));
    let other = bound.with_input(&Object::new("AllowedDomain").into()).unwrap_err();
    assert!(other.message.contains("cannot take a AllowedDomain from the pipeline"), "{other}");
    let named = bind(&SET, &[value("global")]).unwrap().with_input(&instance).unwrap_err();
    assert!(named.message.contains("exclude each other"), "{named}");
}

#[test]
fn what_a_program_sends_has_whole_names() {
    let sent = Object::default().with("identity", "LyncOnline").with("Enabled", true).with("ProxyFqdn", "p.example");
    assert!(bind_object(&NEW, &sent).unwrap().finish(Caller::default()).is_ok());
    let short = Object::default().with("Ident", "LyncOnline");
    assert_eq!(bind_object(&NEW, &short).unwrap_err().id, "NamedParameterNotFound");
}
