//! Ways out that a name server others wrote tells of: our edge asks a Knot for the SRV records of its partners.
//!
//! `cargo xtask partners` installs it. Where it is missing the tests say so and are skipped, unless
//! REVEILLE_PARTNERS=required.

#[path = "partners/abroad.rs"]
mod abroad;
#[path = "partners/border.rs"]
mod border;
#[path = "partners/knot.rs"]
mod knot;
#[path = "partners/presence.rs"]
mod presence;
mod support;

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::border::{Border, until_carried};
use crate::knot::BROKEN;
use crate::presence::{here, on_path};

#[test]
fn a_record_that_leads_into_another_domain_is_refused_and_nothing_is_connected() -> Result<()> {
    if !here(&[on_path("knotd")])? {
        return Ok(());
    }
    let zones = [
        ("mixed.example", "_sipfederationtls._tcp SRV 10 0 5061 edge.elsewhere.example."),
        ("elsewhere.example", EDGE_AT_3),
    ];
    let mut border = Border::start("names-another", &[FEDERATION, &allow("mixed.example")], &zones)?;
    let target = TcpListener::bind(border.host(3)?)?;
    target.set_nonblocking(true)?;

    let sentence = "the SRV record of mixed.example leads to edge.elsewhere.example";
    let diagnosis = border.fails("mixed.example")?;
    ensure!(diagnosis.starts_with("1009;") && diagnosis.contains(sentence), "{diagnosis}");
    let refusal = border.refusal(sentence)?;
    ensure!(refusal["reason"] == "srv-names-another", "{refusal}");
    ensure!(border.partner("mixed.example")?.is_none(), "it has become a partner");
    let connection = target.accept().map_err(|error| error.kind());
    ensure!(connection.as_ref().err() == Some(&ErrorKind::WouldBlock), "somebody has connected: {connection:?}");
    border.stop()
}

#[test]
fn the_second_server_of_a_record_carries_what_the_first_cannot() -> Result<()> {
    if !here(&[on_path("knotd")])? {
        return Ok(());
    }
    let records = "_sipfederationtls._tcp SRV 10 0 5061 first\n_sipfederationtls._tcp SRV 20 0 5061 second\n\
                   first A {net}.3\nsecond A {net}.4";
    let settings = [FEDERATION, &allow("twice.example")];
    let mut border = Border::start("names-failover", &settings, &[("twice.example", records)])?;
    let second = border.abroad(4, &["twice.example"])?;
    border.sends("twice.example", "by the second")?;
    ensure!(second.heard() == ["by the second"], "{:?}", second.heard());
    let partner = border.partner("twice.example")?.context("no partner")?;
    let first = border.host(3)?.to_string();
    let addresses = partner["next_hop"]["addresses"].as_array().with_context(|| format!("no addresses: {partner}"))?;
    let down = addresses.iter().find(|one| one["address"] == first.as_str());
    let why = down.and_then(|one| one["why"].as_str()).with_context(|| format!("the first is well: {partner}"))?;
    ensure!(why.contains("refused"), "{why}");
    border.stop()
}

#[test]
fn each_way_to_have_no_record_is_told_apart() -> Result<()> {
    if !here(&[on_path("knotd")])? {
        return Ok(());
    }
    let zones = [
        ("nowhere.example", ""),
        ("bare.example", "_sipfederationtls._tcp TXT nothing"),
        ("closed.example", "_sipfederationtls._tcp SRV 0 0 0 ."),
        ("late.example", "_sipfederationtls._tcp SRV 10 0 5061 edge\nedge A {net}.3"),
    ];
    let asked = ["nowhere.example", "bare.example", "closed.example", "unserved.example", BROKEN, "late.example"];
    let allowed: Vec<String> = asked.iter().map(|domain| allow(domain)).collect();
    let settings: Vec<&str> = allowed.iter().map(String::as_str).chain([FEDERATION]).collect();
    let mut border = Border::start("names-absent", &settings, &zones)?;
    let rows = [
        ("nowhere.example", "does not exist in the DNS", "peer", "publish _sipfederationtls._tcp"),
        ("bare.example", "has no SRV record", "peer", "publish _sipfederationtls._tcp"),
        ("closed.example", "says that this service is not offered", "peer", "publish _sipfederationtls._tcp"),
        ("unserved.example", "the name server refused to answer", "configuration", "let the name server answer"),
        (BROKEN, "the name server failed on", "configuration", "look at the name server's log"),
        ("late.example", "no name server answered", "configuration", "check that this machine's name servers run"),
    ];
    let mut sentences = BTreeSet::new();
    for (domain, sentence, fault, advice) in rows {
        // Whoever is stopped hears the question and never answers.
        if domain == "late.example" {
            border.knot.pause()?;
        }
        let diagnosis = border.fails(domain)?;
        let begin = format!(
            "1008;reason=\"the server for {domain} is not found through its SRV record _sipfederationtls._tcp.{domain}: "
        );
        ensure!(diagnosis.starts_with(&begin) && diagnosis.contains(sentence), "{domain}: {diagnosis}");
        ensure!(diagnosis.contains(&format!("fault=\"{fault}\";advice=\"{advice}")), "{domain}: {diagnosis}");
        let refusal = border.refusal(&format!("_sipfederationtls._tcp.{domain}: "))?;
        ensure!(refusal["reason"] == "srv-not-found", "{refusal}");
        let told = |field: &str, part: &str| refusal[field].as_str().is_some_and(|text| text.contains(part));
        ensure!(told("sentence", sentence) && told("advice", advice), "{domain}: {refusal}");
        sentences.insert(sentence);
    }
    ensure!(sentences.len() == rows.len(), "two of them read alike");
    // Silence is no answer: it is not kept.
    border.knot.resume()?;
    let abroad = border.abroad(3, &["late.example"])?;
    border.sends("late.example", "at last")?;
    ensure!(abroad.heard() == ["at last"], "{:?}", abroad.heard());
    border.stop()
}

#[test]
fn a_partner_that_moves_is_found_when_its_record_has_run_out() -> Result<()> {
    if !here(&[on_path("knotd")])? {
        return Ok(());
    }
    let at = |host: u8| format!("_sipfederationtls._tcp 2 SRV 10 0 5061 edge{host}\nedge{host} 2 A {{net}}.{host}");
    let settings = [FEDERATION, &allow("moving.example")];
    let mut border = Border::start("names-move", &settings, &[("moving.example", &at(3))])?;
    let (old, new) = (border.abroad(3, &["moving.example"])?, border.abroad(4, &["moving.example"])?);
    let asked = Instant::now();
    border.sends("moving.example", "one")?;
    ensure!(old.heard() == ["one"] && new.heard().is_empty(), "{:?} {:?}", old.heard(), new.heard());
    // A connection that works is kept for half a minute more: here the old edge ends with the move.
    border.change("moving.example", &at(4))?;
    drop(old);
    until_carried(&mut border, "moving.example", "two")?;
    ensure!(asked.elapsed() >= Duration::from_secs(1), "the record was not kept for its time");
    border.sends("moving.example", "three")?;
    ensure!(new.heard() == ["two", "three"], "{:?}", new.heard());
    border.stop()
}

#[test]
fn a_hosting_provider_carries_a_domain_whose_record_leads_to_it() -> Result<()> {
    if !here(&[on_path("knotd")])? {
        return Ok(());
    }
    let zones = [
        ("customer.example", "_sipfederationtls._tcp SRV 10 0 5061 sipfed.provider.example."),
        ("provider.example", "sipfed A {net}.3"),
    ];
    let provider = |enabled: bool| {
        format!(
            r#"{{ "Kind": "HostingProvider", "Identity": "Provider", "ProxyFqdn": "sipfed.provider.example",
                 "Enabled": {enabled} }}"#
        )
    };
    let settings = [FEDERATION, &allow("customer.example"), &provider(false)];
    let mut border = Border::start("names-provider", &settings, &zones)?;
    let abroad = border.abroad(3, &["sipfed.provider.example"])?;
    let diagnosis = border.fails("customer.example")?;
    ensure!(diagnosis.starts_with("1009;") && abroad.heard().is_empty(), "{diagnosis}");

    border.set(&[&provider(true)])?;
    until_carried(&mut border, "customer.example", "by the provider")?;
    ensure!(abroad.heard() == ["by the provider"], "{:?}", abroad.heard());
    let partner = border.partner("customer.example")?.context("no partner")?;
    ensure!(partner["remote"] == "sipfed.provider.example" && partner["source"] == "AuthorizedServer", "{partner}");
    border.stop()
}

#[test]
fn how_many_answers_are_kept_follows_the_setting() -> Result<()> {
    if !here(&[on_path("knotd")])? {
        return Ok(());
    }
    let domains = ["a.example", "b.example"];
    let zones = domains.map(|domain| (domain, "_sipfederationtls._tcp SRV 10 0 5061 edge\nedge A {net}.3"));
    let settings = [FEDERATION, &allow("a.example"), &allow("b.example")];
    let mut border = Border::start("names-kept", &settings, &zones)?;
    let abroad = border.abroad(3, &domains)?;
    border.sends("a.example", "before")?;
    border
        .set(&[r#"{ "Kind": "AccessEdgeConfiguration", "AllowFederatedUsers": true, "DnsSrvCacheRecordCount": 1 }"#])?;
    border.says("another number of name servers' answers is kept")?;
    // One way and one answer at a time are enough to serve.
    for domain in ["a.example", "b.example", "a.example"] {
        border.sends(domain, "after")?;
    }
    ensure!(abroad.heard() == ["before", "after", "after", "after"], "{:?}", abroad.heard());
    border.stop()
}

/// Federation is on.
const FEDERATION: &str = r#"{ "Kind": "AccessEdgeConfiguration", "AllowFederatedUsers": true }"#;
/// A host with the name `edge`.
const EDGE_AT_3: &str = "edge A {net}.3";

/// A domain that we talk to, found by its SRV record.
fn allow(domain: &str) -> String {
    format!(r#"{{ "Kind": "AllowedDomain", "Identity": "{domain}" }}"#)
}
