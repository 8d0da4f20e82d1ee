//! Tables for `push_params.rs`: what clients in the field send, and what is made of it.

use super::*;

fn read(params: &str) -> Result<PushOffer, PushParamsError> {
    PushOffer::read(Params::new(params))
}

fn full(params: &str) -> PushParams {
    match read(params) {
        Ok(PushOffer::Full(push)) => *push,
        other => panic!("{params}: {other:?}"),
    }
}

/// provider, team, app, voip, message, corrections
type Row = (
    &'static str,
    PushProvider,
    Option<&'static str>,
    Option<&'static str>,
    Option<&'static str>,
    Option<&'static str>,
    &'static [Correction],
);

#[test]
fn every_dialect_becomes_one_reading() {
    use Correction::*;
    use PushProvider::*;
    let table: &[Row] = &[
        // RFC 8599's own example.
        (
            ";pn-provider=apns;pn-param=DEF123GHIJ.com.example.app.voip;pn-prid=00fc13adff78512",
            Apns,
            Some("DEF123GHIJ"),
            Some("com.example.app"),
            Some("00fc13adff78512"),
            None,
            &[],
        ),
        (
            "lr;PN-Provider=apns.dev;pn-param=TEAM1.a.b.remote;pn-prid=aa11",
            ApnsDev,
            Some("TEAM1"),
            Some("a.b"),
            None,
            Some("aa11"),
            &[],
        ),
        // Linphone: both services, either order, raw or escaped.
        (
            "pn-provider=apns;pn-param=T.a.b.voip&remote;pn-prid=T1:voip&T2:remote",
            Apns,
            Some("T"),
            Some("a.b"),
            Some("T1"),
            Some("T2"),
            &[],
        ),
        (
            "pn-provider=apns;pn-param=T.a.b.remote%26voip;pn-prid=T2%3Aremote%26T1%3Avoip",
            Apns,
            Some("T"),
            Some("a.b"),
            Some("T1"),
            Some("T2"),
            &[],
        ),
        (
            "pn-provider=apns;pn-param=T.a.b.voip&remote&;pn-prid=T1:voip&T2:remote&",
            Apns,
            Some("T"),
            Some("a.b"),
            Some("T1"),
            Some("T2"),
            &[EmptyPart],
        ),
        (
            "pn-provider=apns;pn-param=T.a.b.voip&remote;pn-prid=T1:voip&T2",
            Apns,
            Some("T"),
            Some("a.b"),
            Some("T1"),
            Some("T2"),
            &[LabelFromElimination],
        ),
        (
            "pn-provider=apns;pn-param=T.a.b.voip&remote;pn-prid=T1&T2:remote",
            Apns,
            Some("T"),
            Some("a.b"),
            Some("T1"),
            Some("T2"),
            &[LabelFromElimination],
        ),
        (
            "pn-provider=apns;pn-param=T.a.b.voip&remote;pn-prid=T1",
            Apns,
            Some("T"),
            Some("a.b"),
            None,
            Some("T1"),
            &[LabelGuessedMessage],
        ),
        // One service, token labelled or with both labels.
        ("pn-provider=apns;pn-param=T.a.b.voip;pn-prid=T1:voip", Apns, Some("T"), Some("a.b"), Some("T1"), None, &[]),
        (
            "pn-provider=apns;pn-param=T.a.b;pn-prid=T1",
            Apns,
            Some("T"),
            Some("a.b"),
            None,
            Some("T1"),
            &[ServiceAssumedMessage],
        ),
        (
            "pn-provider=apns;pn-param=com.example.app.voip;pn-prid=T1",
            Apns,
            None,
            Some("com.example.app"),
            Some("T1"),
            None,
            &[TeamMissing],
        ),
        // FCM tokens hold colons, and one serves both channels.
        (
            "pn-provider=fcm;pn-param=929724111839;pn-prid=eAb-1:APA91b_x:voip",
            Fcm,
            None,
            Some("929724111839"),
            Some("eAb-1:APA91b_x:voip"),
            Some("eAb-1:APA91b_x:voip"),
            &[],
        ),
        ("pn-provider=Firebase;pn-param=p;pn-prid=t", Fcm, None, Some("p"), Some("t"), Some("t"), &[ProviderSpelling]),
        (
            "pn-provider=webpush;pn-prid=https://p.example/s%3Fa%3D1%3B2",
            WebPush,
            None,
            None,
            Some("https://p.example/s?a=1;2"),
            Some("https://p.example/s?a=1;2"),
            &[],
        ),
        (
            "pn-provider=webpush;pn-param=x;pn-prid=https://p.example/s",
            WebPush,
            None,
            None,
            Some("https://p.example/s"),
            Some("https://p.example/s"),
            &[ParamIgnored],
        ),
        // Linphone before RFC 8599.
        (
            "app-id=org.example.phone.voip.dev;pn-type=apple;pn-tok=AB12",
            ApnsDev,
            None,
            Some("org.example.phone"),
            Some("AB12"),
            None,
            &[DialectLegacy, TeamMissing],
        ),
        (
            "app-id=org.example.phone.prod;pn-type=apple;pn-tok=AB12;pn-timeout=0",
            Apns,
            None,
            Some("org.example.phone"),
            None,
            Some("AB12"),
            &[DialectLegacy, TeamMissing],
        ),
        (
            "app-id=929724111839;pn-type=firebase;pn-tok=c:d",
            Fcm,
            None,
            Some("929724111839"),
            Some("c:d"),
            Some("c:d"),
            &[DialectLegacy],
        ),
        // FreeSWITCH's notificator.
        (
            "app-id=org.example;pn-voip-tok=V;pn-im-tok=M;pn-platform=iOS",
            Apns,
            None,
            Some("org.example"),
            Some("V"),
            Some("M"),
            &[DialectFreeSwitch, TeamMissing],
        ),
        (
            "app-id=org.example;pn-im-tok=M;pn-platform=android",
            Fcm,
            None,
            Some("org.example"),
            None,
            Some("M"),
            &[DialectFreeSwitch],
        ),
    ];
    for (params, provider, team, app, voip, message, corrected) in table {
        let push = full(params);
        assert_eq!(push.provider, *provider, "{params}");
        assert_eq!(push.team.as_deref(), *team, "{params}");
        assert_eq!(push.app.as_deref(), *app, "{params}");
        assert_eq!(push.voip.as_deref(), *voip, "{params}");
        assert_eq!(push.message.as_deref(), *message, "{params}");
        assert_eq!(push.corrected, *corrected, "{params}");
    }
}

#[test]
fn without_a_token_it_is_a_question_and_without_parameters_nothing() {
    assert_eq!(read("pn-provider=fcm"), Ok(PushOffer::Query(Some(PushProvider::Fcm))));
    assert_eq!(read("pn-provider"), Ok(PushOffer::Query(None)));
    assert_eq!(read("pn-provider=;lr"), Ok(PushOffer::Query(None)));
    assert_eq!(read("lr;transport=tls;app-id=x"), Ok(PushOffer::Absent));
    assert_eq!(read("pn-provider=acme"), Ok(PushOffer::Query(Some(PushProvider::Other("acme".into())))));
}

#[test]
fn what_cannot_be_used_is_refused_with_a_reason() {
    use PushParamsError::*;
    let long = format!("pn-provider=fcm;pn-param=p;pn-prid={}", "x".repeat(4097));
    for (params, error) in [
        ("pn-provider=apns;pn-prid=T", AppMissing),
        ("pn-provider=fcm;pn-prid=T", AppMissing),
        ("pn-provider=apns;pn-param=T..voip;pn-prid=T", AppMissing),
        ("pn-provider=apns;pn-param=T.a.voip;pn-prid=", TokenMissing),
        ("pn-provider=apns;pn-param=T.a.voip;pn-prid=&", TokenMissing),
        ("pn-provider=apns;pn-param=T.a.voip;pn-prid=:voip", TokenMissing),
        ("pn-provider=apns;pn-param=T.a.voip;pn-prid=A:sound", LabelMalformed),
        ("pn-provider=apns;pn-param=T.a.voip;pn-prid=A:voip&B:voip", LabelMalformed),
        ("pn-provider=apns;pn-param=T.a.voip&remote;pn-prid=A&B", LabelMalformed),
        ("pn-prid=A", ProviderMissing),
        ("pn-tok=A;app-id=b", ProviderMissing),
        ("pn-tok=A;pn-type=apple", AppMissing),
        ("pn-voip-tok=A;app-id=b", ProviderMissing),
        ("pn-provider=fcm;pn-param=p;pn-prid=a;PN-PRID=b", Repeated { name: "pn-prid" }),
        ("pn-provider=fcm;pn-param=p;pn-prid=a%00", ValueMalformed { name: "pn-prid" }),
        ("pn-provider=fcm;pn-param=p;pn-prid=a%0d%0ab", ValueMalformed { name: "pn-prid" }),
        ("pn-provider=fcm;pn-param=p;pn-prid=a%2", ValueMalformed { name: "pn-prid" }),
        (long.as_str(), TooLong { name: "pn-prid", limit: 4096 }),
    ] {
        assert_eq!(read(params), Err(error), "{}", &params[..params.len().min(80)]);
    }
    let fits = long.replacen('x', "", 1);
    assert_eq!(full(&fits).voip.map(|token| token.len()), Some(4096));
}

#[test]
fn debug_output_shows_only_the_tail_of_a_token() {
    let shown =
        format!("{:?}", full("pn-provider=apns;pn-param=T.a.voip&remote;pn-prid=0123456789abcdef:voip&shorty:remote"));
    assert!(shown.contains("…cdef") && !shown.contains("bcdef") && !shown.contains("orty"), "{shown}");
}

#[test]
fn stripping_removes_all_push_parameters_and_nothing_else() {
    for (uri, stripped) in [
        ("sip:b@h", "sip:b@h"),
        ("sip:b@h;lr;app-id=x", "sip:b@h;lr;app-id=x"),
        ("sip:b@h:5061;transport=tls;pn-provider=apns;pn-prid=x;ob", "sip:b@h:5061;transport=tls;ob"),
        ("sip:b@h;PN-Prid=x;pn-param=y;pn-provider;pn-purr=z", "sip:b@h"),
        ("sip:b@h;pn-tok=a;app-id=b;pn-type=apple?Subject=pn-tok", "sip:b@h?Subject=pn-tok"),
        ("sip:b@h;%70n-prid=x;lr", "sip:b@h;lr"),
        ("sip:u;pn-x=1@h;lr", "sip:u;pn-x=1@h;lr"),
        ("sip:h?a=b;pn-prid=c", "sip:h?a=b;pn-prid=c"),
    ] {
        assert_eq!(strip_push_params(uri), stripped, "{uri}");
    }
}
