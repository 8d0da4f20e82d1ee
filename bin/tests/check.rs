//! What an administrator meets first: `reveille check` on configurations that are wrong in one way each, `reveille
//! settings` on files that are, help, and wrong usage. Sentences are compared word by word: they are the product here.

#![allow(clippy::disallowed_methods, reason = "the test issues certificates by the wall clock, as authorities do")]

mod support;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use reveille_sim::certs::{Ca, Leaf, apns_key};
use serde_json::{Value, json};

use support::{Finished, Folder, run};

/// Stands in the users' file and may be printed nowhere.
const PASSWORD: &str = "do-not-print-this";

/// A machine with all three roles, on addresses that nobody uses.
struct Machine {
    folder: Folder,
    net: (u8, u8),
    /// The configuration, right in every way.
    good: String,
}

impl Machine {
    fn new(name: &str) -> Result<Self> {
        let folder = Folder::new(name)?;
        let ca = Ca::new("Check test authority")?;
        folder.write("ca.pem", &ca.pem())?;
        for host in ["home.contoso.com", "edge.contoso.com", "house.push.example.net"] {
            let identity = ca.issue(Leaf::new(host, &[host, "contoso.com"]))?;
            folder.write(&format!("{host}.pem"), &identity.chain_pem())?;
            folder.write(&format!("{host}.key"), &identity.key_pem())?;
        }
        folder.write("apns.p8", &apns_key()?.p8_pem)?;
        folder.write("users.toml", &format!("[users.alice]\npassword = \"{PASSWORD}\"\n"))?;
        let net = (rand::random_range(16..250), rand::random_range(1..250));
        let good = GOOD.replace("127.0.0", &format!("127.{}.{}", net.0, net.1));
        Ok(Self { folder, net, good })
    }

    fn at(&self, host: u8, port: u16) -> SocketAddr {
        (Ipv4Addr::new(127, self.net.0, self.net.1, host), port).into()
    }

    /// `reveille check` on this text.
    fn check(&self, text: &str) -> Result<Finished> {
        self.folder.write("reveille.toml", text)?;
        self.reveille(&["check", "-c", "reveille.toml"])
    }

    /// Runs a command; names of files stand for those in the machine's folder.
    fn reveille(&self, args: &[&str]) -> Result<Finished> {
        let here = |word: &&str| match word.contains('.') && !word.starts_with('-') {
            true => self.folder.path().join(word).into_os_string(),
            false => word.into(),
        };
        run(args.iter().map(here))
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }
}

const GOOD: &str = r#"
[store]
dir = "store"

[ops]
listen = "127.0.0.1:9090"

[home]
domain = "contoso.com"
name = "home.contoso.com"
tls = { certificate = "home.contoso.com.pem", key = "home.contoso.com.key", roots = "ca.pem" }
sip_udp = "127.0.0.1:5060"
sip_tcp = "127.0.0.1:5060"
internal = "127.0.0.1:5070"
edge = { name = "edge.contoso.com", address = "127.0.0.2:5070" }
users = "users.toml"

[edge]
name = "edge.contoso.com"
tls = { certificate = "edge.contoso.com.pem", key = "edge.contoso.com.key", roots = "ca.pem" }
external = "127.0.0.2:5061"
internal = "127.0.0.2:5070"
inside = ["home.contoso.com"]
domains = [{ domain = "contoso.com", name = "home.contoso.com", address = "127.0.0.1:5070" }]

[clearinghouse]
name = "house.push.example.net"
domain = "push.example.net"
tls = { certificate = "house.push.example.net.pem", key = "house.push.example.net.key", roots = "ca.pem" }
listen = "127.0.0.4:5061"
edges = ["edge.push.example.net"]
edge = { name = "edge.push.example.net", address = "127.0.0.3:5070" }

[[clearinghouse.apps]]
provider = "apns"
app = "org.example.app"
credential = "apns.p8"
team = "EXAMPLE001"
key_id = "EXAMPLE002"
"#;

#[test]
fn a_good_configuration_is_printed_in_full_and_without_secrets() -> Result<()> {
    let machine = Machine::new("check-good")?;
    let done = machine.check(&machine.good)?;
    ensure!(done.code == 0, "{}: {}", done.code, done.err);
    ensure!(done.err.trim() == format!("{}: nothing is wrong", machine.path("reveille.toml")), "{}", done.err);
    let effective: toml::Table = toml::from_str(&done.out).context("what is printed is a configuration")?;
    // What was left out is filled in, and paths are whole.
    ensure!(effective["home"]["site"].as_str() == Some("Default"), "{}", done.out);
    ensure!(effective["home"]["grace_ms"].as_integer() == Some(2000), "{}", done.out);
    ensure!(effective["clearinghouse"]["apps"][0]["connections"].as_integer() == Some(2), "{}", done.out);
    let key = machine.path("home.contoso.com.key");
    ensure!(effective["home"]["tls"]["key"].as_str() == Some(&key), "{}", done.out);
    for (what, file) in
        [("the APNs key", "apns.p8"), ("a key", "home.contoso.com.key"), ("a key", "edge.contoso.com.key")]
    {
        let text = std::fs::read_to_string(machine.path(file))?;
        let secret = text.lines().nth(1).context("a line of the key")?;
        ensure!(!done.out.contains(secret) && !done.err.contains(secret), "{what} is printed: {}", done.out);
    }
    ensure!(!done.out.contains(PASSWORD) && !done.err.contains(PASSWORD), "a password is printed: {}", done.out);
    ensure!(!done.out.contains("PRIVATE KEY"), "a key is printed: {}", done.out);
    // What is printed is itself a configuration that means the same.
    let again = machine.check(&done.out)?;
    ensure!(again.code == 0 && again.out.trim() == done.out.trim(), "{}\nis not\n{}", again.out, done.out);
    machine.folder.remove()
}

#[test]
fn each_wrong_configuration_is_refused_with_one_sentence_that_names_the_key() -> Result<()> {
    let machine = Machine::new("check-wrong")?;
    let file = machine.path("reveille.toml");
    let line_of = |needle: &str| machine.good.lines().take_while(|line| !line.contains(needle)).count() + 1;
    let busy = TcpListener::bind(machine.at(2, 5061)).context("a port to be in use")?;
    let (edge, house, ops) = (busy.local_addr()?, machine.at(4, 5061), machine.at(1, 9090));
    let free = machine.good.replace(&edge.to_string(), &machine.at(2, 5062).to_string());
    let rows: Vec<(&str, String, String)> = vec![
        (
            "a misspelt key",
            free.replace("sip_udp", "sip_upd"),
            format!(
                "{file}:{}:1: the key \"sip_upd\" is not known here; did you mean \"sip_udp\"?",
                line_of("sip_udp")
            ),
        ),
        (
            "a misspelt table",
            free.replace("[ops]", "[opps]"),
            format!("{file}:{}:2: the key \"opps\" is not known here; did you mean \"ops\"?", line_of("[ops]")),
        ),
        (
            "a certificate that cannot be read",
            free.replace("\"home.contoso.com.pem\"", "\"nowhere.pem\""),
            format!(
                "home.tls.certificate: the file {} cannot be read: No such file or directory (os error 2)",
                machine.path("nowhere.pem")
            ),
        ),
        (
            "a credential that cannot be read",
            free.replace("\"apns.p8\"", "\"nowhere.p8\""),
            format!(
                "clearinghouse.apps[0].credential: the file {} cannot be read: No such file or directory (os error 2)",
                machine.path("nowhere.p8")
            ),
        ),
        (
            "a port in use",
            machine.good.clone(),
            format!(
                "edge.external: {edge} is in use by another program; this names it: ss -lntup 'sport = :{}'",
                edge.port()
            ),
        ),
        (
            "two roles that claim one port",
            free.replace(&format!("listen = \"{house}\""), &format!("listen = \"{}\"", machine.at(2, 5062))),
            format!(
                "clearinghouse.listen: {} is already claimed by edge.external: each listener needs a port of its own",
                machine.at(2, 5062)
            ),
        ),
        (
            "status pages for the whole world",
            free.replace(&ops.to_string(), "0.0.0.0:0"),
            "ops.listen: 0.0.0.0:0 is not a loopback address, and this listener asks for no password".into(),
        ),
        (
            "no role",
            "[store]\ndir = \"store\"\n".into(),
            "home: no role is configured: give at least one of [home], [edge] and [clearinghouse]".into(),
        ),
        (
            "a provider of this world for which there is no sender",
            free.replace("\"apns\"", "\"mpns\""),
            "clearinghouse.apps[0].provider: this version has no sender for mpns".into(),
        ),
        (
            "APNs without its team",
            free.replace("team = \"EXAMPLE001\"\n", ""),
            "clearinghouse.apps[0].team: APNs needs it beside the .p8 key, and it is missing".into(),
        ),
        ("not TOML", "push everything\n".into(), format!("{file}:1:6: key with no value, expected `=`")),
        ("an empty file", String::new(), format!("{file}:1:1: missing field `store`")),
    ];
    for (name, text, sentence) in rows {
        let done = machine.check(&text)?;
        ensure!(done.code == 64, "{name}: exit {}: {}", done.code, done.err);
        ensure!(done.err.trim_end() == sentence, "{name}:\n  said     {}\n  expected {sentence}", done.err);
        ensure!(done.out.is_empty(), "{name}: there is something on standard output: {}", done.out);
        // `serve` reads the same file the same way, and does not start.
        let served = machine.reveille(&["serve", "-c", "reveille.toml"])?;
        let expected = if name == "a port in use" { 1 } else { 64 };
        ensure!(served.code == expected, "serve, {name}: exit {}: {}", served.code, served.err);
    }
    // A word that is no provider at all: the sentence gives the place, and the place is the key's own line.
    let done = machine.check(&free.replace("\"apns\"", "\"palm\""))?;
    let place = format!("{file}:{}:12: ", line_of("provider = "));
    ensure!(done.code == 64 && done.err.starts_with(&place), "{}: {}", done.code, done.err);
    ensure!(done.err.contains("`palm`") && done.err.contains("`apns`, `fcm`"), "{}", done.err);
    ensure!(done.err.trim_end().lines().count() == 1, "{}", done.err);
    drop(busy);
    machine.folder.remove()
}

#[test]
fn every_fault_is_told_at_once() -> Result<()> {
    let machine = Machine::new("check-all")?;
    let text = machine.good.replace("\"ca.pem\"", "\"nowhere.pem\"").replace("\"users.toml\"", "\"nobody.toml\"");
    let done = machine.check(&text)?;
    let keys: Vec<&str> = done.err.lines().filter_map(|line| line.split(": ").next()).collect();
    ensure!(done.code == 64, "{}: {}", done.code, done.err);
    ensure!(keys == ["home.tls.roots", "home.users", "edge.tls.roots", "clearinghouse.tls.roots"], "{}", done.err);
    machine.folder.remove()
}

#[test]
fn files_that_hold_the_wrong_thing_are_named_with_their_key_and_without_their_content() -> Result<()> {
    let machine = Machine::new("check-content")?;
    machine.folder.write("garbage.pem", "this is no certificate\n")?;
    machine.folder.write("garbage.toml", &format!("[users.alice]\npasword = \"{PASSWORD}\"\n"))?;
    for (name, from, to, part) in [
        (
            "no certificate",
            "\"house.push.example.net.pem\"",
            "\"garbage.pem\"",
            "clearinghouse.tls.certificate: there is no certificate",
        ),
        (
            "the key of another",
            "\"edge.contoso.com.key\"",
            "\"home.contoso.com.key\"",
            "edge.tls.key: the private key does not belong to the certificate of CN=edge.contoso.com",
        ),
        ("no roots", "\"ca.pem\"", "\"garbage.pem\"", "home.tls.roots: there is no certificate"),
        (
            "no list",
            "roots = \"ca.pem\" }\nexternal",
            "roots = \"ca.pem\", revocation_lists = [\"garbage.pem\"] }\nexternal",
            "edge.tls.revocation_lists: there is no revocation list in",
        ),
        (
            "no roots for the way out",
            "roots = \"ca.pem\" }\nexternal",
            "roots = \"ca.pem\", roots_out = \"garbage.pem\" }\nexternal",
            "edge.tls.roots_out: there is no certificate",
        ),
        (
            "a word that is none",
            "roots = \"ca.pem\" }\nexternal",
            "roots = \"ca.pem\", names = \"with-wildcards\" }\nexternal",
            "unknown variant `with-wildcards`, expected `rfc5922` or `with-common-name`",
        ),
        ("no users", "\"users.toml\"", "\"garbage.toml\"", "home.users: "),
        ("no key for APNs", "\"apns.p8\"", "\"garbage.pem\"", "clearinghouse.apps[0].credential: "),
    ] {
        let text = machine.good.replace(from, to);
        machine.folder.write("reveille.toml", &text)?;
        for verb in ["check", "serve"] {
            let said = machine.reveille(&[verb, "-c", "reveille.toml"])?;
            ensure!(said.code == 64, "{name}: {verb} exits with {}: {}", said.code, said.err);
            ensure!(said.err.contains(part), "{name}: {verb}: {}", said.err);
            ensure!(!said.err.contains(PASSWORD), "{name}: {verb} prints a password: {}", said.err);
        }
    }
    machine.folder.remove()
}

#[test]
fn what_will_not_go_well_for_long_is_a_warning_with_its_key() -> Result<()> {
    let machine = Machine::new("check-warnings")?;
    let ca = Ca::new("Another test authority")?;
    let day = Duration::from_secs(86_400);
    let (now, names) = (SystemTime::now(), ["edge.contoso.com", "contoso.com"]);
    let until = |not_after| ca.issue(Leaf { not_after, ..Leaf::new("edge.contoso.com", &names) });
    machine.folder.write("another.pem", &ca.pem())?;
    machine.folder.write("old.crl", &ca.revocation_list(&[], now - day / 2)?)?;
    machine.folder.write("current.crl", &ca.revocation_list(&[], now + day)?)?;
    let stranger = ca.issue(Leaf::new("fabrikam.com", &["fabrikam.com", "contoso.com"]))?;
    let bare = ca.issue(Leaf::new("edge.contoso.com", &["edge.contoso.com"]))?;
    let rows = [
        (
            "ends soon",
            until(now + 10 * day)?,
            "",
            "edge.tls.certificate: the certificate of CN=edge.contoso.com ends within 14 days, on ",
        ),
        (
            "has ended",
            until(now - day / 2)?,
            "",
            "edge.tls.certificate: the certificate of CN=edge.contoso.com has expired, on ",
        ),
        (
            "names another",
            stranger,
            "",
            "edge.tls.certificate: the certificate names fabrikam.com, contoso.com, not edge.contoso.com as edge.name says; \
             who looks for that refuses it",
        ),
        (
            "names only the host",
            bare,
            "",
            "edge.domains[0].domain: the certificate in edge.tls.certificate does not name contoso.com: partners that find \
             it by its SRV record refuse this edge, and only those that were given edge.contoso.com as its ProxyFqdn do not",
        ),
        (
            "an old list",
            until(now + 90 * day)?,
            ", revocation_lists = [\"old.crl\"]",
            "edge.tls.revocation_lists: the list of CN=Another test authority in ",
        ),
        (
            "nothing",
            until(now + 90 * day)?,
            ", revocation_lists = [\"current.crl\"], when_lists_run_out = \"refuse\"",
            "",
        ),
    ];
    for (name, identity, more, wanted) in rows {
        machine.folder.write("edge.contoso.com.pem", &identity.chain_pem())?;
        machine.folder.write("edge.contoso.com.key", &identity.key_pem())?;
        let here = format!("roots = \"another.pem\"{more} }}\nexternal");
        let done = machine.check(&machine.good.replace("roots = \"ca.pem\" }\nexternal", &here))?;
        ensure!(done.code == 0, "{name}: {}: {}", done.code, done.err);
        let warnings: Vec<&str> = done.err.lines().filter_map(|line| line.strip_prefix("warning: ")).collect();
        match wanted {
            "" => ensure!(warnings.is_empty() && done.err.ends_with("nothing is wrong\n"), "{name}: {}", done.err),
            wanted => ensure!(
                warnings.len() == 1 && warnings[0].starts_with(wanted) && done.err.contains("see the warnings"),
                "{name}: {}",
                done.err
            ),
        }
    }
    machine.folder.remove()
}

/// What an organisation might want; of each kind of record that refers to another.
fn wanted() -> Value {
    json!({ "settings": [
        { "Kind": "AllowedDomain", "Identity": "push.lync.com" },
        { "Kind": "AllowedDomain", "Identity": "fabrikam.com", "ProxyFqdn": "edge.fabrikam.com", "Comment": "a partner" },
        { "Kind": "HostingProvider", "Identity": "LyncOnline", "ProxyFqdn": "sipfed.online.lync.com", "Enabled": true,
          "VerificationLevel": "UseSourceVerification" },
        { "Kind": "AccessEdgeConfiguration", "AllowFederatedUsers": true },
        { "Kind": "PushNotificationConfiguration", "Identity": "global", "EnableApplePushNotificationService": true },
        { "Kind": "PushApp", "Identity": "org.example.app", "Serves": ["contoso.com"] },
    ] })
}

#[test]
fn settings_that_are_exported_and_imported_elsewhere_are_the_same() -> Result<()> {
    let machine = Machine::new("check-settings")?;
    machine.folder.write("reveille.toml", &machine.good)?;
    machine.folder.write("wanted.json", &wanted().to_string())?;
    let author = ["--author", "alice"];
    let done = machine.reveille(&["settings", "import", "-c", "reveille.toml", author[0], author[1], "wanted.json"])?;
    ensure!(done.code == 0 && done.err.contains("wanted.json is imported"), "{}: {}", done.code, done.err);
    let first = exported(&machine, &["-c", "reveille.toml"])?;
    ensure!(first["settings"].as_array().is_some_and(|rows| rows.len() == 6), "{first}");
    ensure!(
        first["settings"].as_array().is_some_and(|rows| rows.iter().all(|row| row["author"] == "alice")),
        "the author is not kept: {first}"
    );
    let done = machine.reveille(&["settings", "export", "-c", "reveille.toml", "exported.json"])?;
    ensure!(done.code == 0 && done.out.is_empty(), "{}: {}", done.code, done.out);
    let done = machine.reveille(&["settings", "import", "--store", "elsewhere.db", "exported.json"])?;
    ensure!(done.code == 0, "{}: {}", done.code, done.err);
    let second = exported(&machine, &["--store", "elsewhere.db"])?;
    ensure!(records(&first)? == records(&second)?, "{first}\nis not\n{second}");
    machine.folder.remove()
}

#[test]
fn a_settings_file_with_one_fault_changes_nothing() -> Result<()> {
    let machine = Machine::new("check-settings-wrong")?;
    machine.folder.write("reveille.toml", &machine.good)?;
    machine.folder.write("wanted.json", &wanted().to_string())?;
    let done = machine.reveille(&["settings", "import", "-c", "reveille.toml", "wanted.json"])?;
    ensure!(done.code == 0, "{}: {}", done.code, done.err);
    let before = exported(&machine, &["-c", "reveille.toml"])?;
    // A good record stands before the wrong one each time: none of them may be taken.
    let good = json!({ "Kind": "BlockedDomain", "Identity": "northwind.com" });
    for (name, record, parts) in [
        (
            "a misspelt property",
            json!({ "Kind": "AllowedDomain", "Identity": "tailspin.com", "ProxyFqdnn": "edge.tailspin.com" }),
            &["wrong.json: ", "unknown field `ProxyFqdnn`", "`ProxyFqdn`"][..],
        ),
        ("an unknown kind", json!({ "Kind": "AllowedDomian", "Identity": "tailspin.com" }), &["`AllowedDomian`"]),
        ("a missing property", json!({ "Kind": "PushApp", "Identity": "x" }), &["missing field `Serves`"]),
        (
            "a domain on both lists",
            json!({ "Kind": "BlockedDomain", "Identity": "fabrikam.com" }),
            &[
                "the settings were not changed: ",
                "BlockedDomain \"fabrikam.com\" cannot stand beside AllowedDomain \"fabrikam.com\"",
            ],
        ),
        (
            "an edge that belongs to another record",
            json!({ "Kind": "AllowedDomain", "Identity": "tailspin.com", "ProxyFqdn": "sipfed.online.lync.com" }),
            &[
                "AllowedDomain \"tailspin.com\" cannot have sipfed.online.lync.com, which HostingProvider \"LyncOnline\" has already",
            ],
        ),
        (
            "a hosting provider on a partner's edge",
            json!({ "Kind": "HostingProvider", "Identity": "Other", "ProxyFqdn": "edge.fabrikam.com" }),
            &[
                "HostingProvider \"Other\" cannot have edge.fabrikam.com, which AllowedDomain \"fabrikam.com\" has already",
            ],
        ),
        (
            "intervals the wrong way round",
            json!({ "Kind": "McxConfiguration", "SessionExpirationInterval": 300, "SessionShortExpirationInterval": 600 }),
            &["SessionExpirationInterval (300 s) must be greater than SessionShortExpirationInterval (600 s)"],
        ),
        (
            "no address for push",
            json!({ "Kind": "McxConfiguration", "PushNotificationProxyUri": "push.lync.com" }),
            &["PushNotificationProxyUri \"push.lync.com\" is not a SIP URI"],
        ),
    ] {
        machine.folder.write("wrong.json", &json!({ "settings": [good, record] }).to_string())?;
        let done = machine.reveille(&["settings", "import", "-c", "reveille.toml", "wrong.json"])?;
        ensure!(done.code == 1, "{name}: exit {}: {}", done.code, done.err);
        for part in parts {
            ensure!(done.err.contains(part), "{name}: \"{part}\" is not in: {}", done.err);
        }
        ensure!(done.err.trim_end().lines().count() == 1, "{name}: {}", done.err);
        let after = exported(&machine, &["-c", "reveille.toml"])?;
        ensure!(after == before, "{name}: the settings have changed:\n{before}\n{after}");
    }
    machine.folder.remove()
}

#[test]
fn help_says_what_each_command_does() -> Result<()> {
    let all = run(["--help"])?;
    ensure!(all.code == 0 && all.err.is_empty(), "{}: {}", all.code, all.err);
    for (command, does) in [
        (&["bench"][..], "Measures the parts under load"),
        (&["check"], "Validates a configuration; prints the effective one without secrets"),
        (&["demo"], "Runs two organisations, all roles and the provider simulators on loopback"),
        (&["serve"], "Runs the roles of a configuration"),
        (&["settings"], "Imports and exports what the organisation wants"),
        (&["settings", "export"], "Writes all settings as JSON"),
        (&["settings", "import"], "Puts every record of a JSON file, all or none; running roles follow at once"),
        (&["simulate"], "Runs strict provider simulators with a control API"),
    ] {
        let help = run(command.iter().copied().chain(["--help"]))?;
        ensure!(help.code == 0 && help.out.starts_with(does), "{command:?}: {}", help.out);
        ensure!(help.out.contains(&format!("Usage: reveille {}", command.join(" "))), "{command:?}: {}", help.out);
        if let [command] = command {
            let line = all.out.lines().find(|line| line.split_whitespace().next() == Some(command));
            ensure!(line.is_some_and(|line| line.ends_with(does)), "{command} in the list: {line:?}");
        }
    }
    let version = run(["--version"])?;
    ensure!(version.out.trim() == format!("reveille {}", env!("CARGO_PKG_VERSION")), "{}", version.out);
    Ok(())
}

#[test]
fn wrong_usage_ends_with_2_and_points_to_help() -> Result<()> {
    for args in [
        &[][..],
        &["frobnicate"],
        &["serve"],
        &["check", "reveille.toml"],
        &["serve", "-c", "reveille.toml", "--ready-fd", "one"],
        &["demo", "--json"],
        &["settings", "import", "wanted.json"],
        &["settings", "export", "-c", "reveille.toml", "--store", "settings.db"],
        &["simulate", "--dir", "here"],
        &["simulate", "palm", "--dir", "here"],
    ] {
        let done = run(args)?;
        ensure!(done.code == 2, "{args:?}: exit {}: {}", done.code, done.err);
        ensure!(done.out.is_empty() && done.err.contains("--help"), "{args:?}: {}{}", done.out, done.err);
    }
    ensure!(!Path::new("here").exists(), "wrong usage has left something behind");
    Ok(())
}

/// What `settings export` prints.
fn exported(machine: &Machine, store: &[&str]) -> Result<Value> {
    let done = machine.reveille(&[&["settings", "export"], store].concat())?;
    ensure!(done.code == 0, "{}: {}", done.code, done.err);
    serde_json::from_str(&done.out).with_context(|| format!("the export is no JSON: {}", done.out))
}

/// The records of an export, without who wrote them and when.
fn records(exported: &Value) -> Result<Vec<Value>> {
    let rows = exported["settings"].as_array().context("settings is a list")?;
    Ok(rows.iter().map(|row| row["setting"].clone()).collect())
}
