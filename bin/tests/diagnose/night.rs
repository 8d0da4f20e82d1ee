//! What else goes wrong at three in the morning: clocks, name servers, addresses of somebody else, firewalls that say
//! nothing, and servers that speak something else.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reveille_sim::certs::Leaf;

use crate::others::{Nobody, Others};
use crate::presence::{here, on_path};
use crate::scene::{Names, OUTER, Part, Scene};
use crate::table::Table;

/// The name under which the documents know the partner's edge.
const THERE: &str = "sipfed.online.lync.com";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_goes_wrong_at_night_is_not_blamed_on_who_is_not_at_fault() -> Result<()> {
    let mut table = Table::over(Scene::start("diagnose-night").await?);
    tokio::task::block_in_place(|| {
        table.succeeds("at the beginning")?;
        addresses(&mut table)?;
        name_servers(&mut table)?;
        in_its_place(&mut table)?;
        several_addresses(&mut table)?;
        table.show()
    })?;
    table.told_apart(9)?;
    table.scene.stop()
}

/// Our edge knows these names from now on.
fn knows(table: &mut Table, names: &Names) -> Result<()> {
    table.scene.write_names(names)?;
    table.scene.restart(Part::Contoso)
}

/// The address of the partner's edge is somebody else's, or nobody's.
fn addresses(table: &mut Table) -> Result<()> {
    let net = table.scene.net.clone();
    knows(table, &Names::usual(&net).host(THERE, &["127.0.0.1"]))?;
    table.fails(
        "its name leads to 127.0.0.1",
        "connect",
        "127.0.0.1:5061 refused the connection",
        "correct the address of sipfed.online.lync.com",
    )?;
    knows(table, &Names::usual(&net).host(THERE, &[&format!("{net}.2")]))?;
    table.fails(
        "its name leads to our own edge",
        "their-certificate",
        "the certificate names edge.contoso.com",
        "it leads to our own edge",
    )?;
    let silent = format!("{net}.9");
    let nobody = Nobody::at(&format!("{silent}:5061"))?;
    knows(table, &Names::usual(&net).host(THERE, &[&silent]))?;
    table.fails("a firewall that drops", "connect", "did not answer in time", "let our edge out to")?;
    drop(nobody);
    knows(table, &Names::usual(&net))?;
    table.succeeds("addresses")?;
    Ok(())
}

/// Nobody can be asked for names.
fn name_servers(table: &mut Table) -> Result<()> {
    let net = table.scene.net.clone();
    let silent = Names::usual(&net).without("push.lync.com").asks(&format!("{net}.9:53"));
    knows(table, &silent)?;
    table.fails("our name server is down", "name", "no name server", "check that this machine's name servers run")?;
    knows(table, &Names::usual(&net).without("contoso.com").asks(&format!("{net}.9:53")))?;
    let unknown = table.succeeds("our name server is down, and is needed for our own name only")?;
    let hint = unknown["Hints"][0].as_str().unwrap_or_default();
    ensure!(hint.contains("whether partners find us is not known"), "{unknown:#}");
    knows(table, &Names::usual(&net))
}

/// Something else answers where the partner's edge should.
fn in_its_place(table: &mut Table) -> Result<()> {
    let at = format!("{}.3:5061", table.scene.net);
    let names = [THERE, "push.lync.com"];
    let good = table.scene.ca.issue(Leaf::new(names[0], &names))?;
    table.scene.end(Part::Edge)?;

    let web = Others::web(&at)?;
    table.fails("a web server on its port", "their-certificate", "does not speak TLS", "another service")?;
    web.stop()?;

    let web = Others::web_over_tls(&at, &good)?;
    table.fails("a web server with TLS on its port", "sip", "is not SIP", "another service")?;
    web.stop()?;

    let agreeable = Others::agreeable(&at, &good)?;
    table.fails(
        "a SIP server that is no clearing house",
        "intake",
        "answers \"200 OK\" and takes no push requests",
        "-PushNotificationProxyUri \"sip:push@PUBLISHER\", where PUBLISHER is",
    )?;
    agreeable.stop()?;

    let (day, usual) = (Duration::from_secs(86_400), Leaf::new(names[0], &names));
    for (case, leaf, sentence, remedy) in [
        (
            "their certificate has run out",
            Leaf { not_before: usual.not_before - day * 9, not_after: usual.not_before, ..usual },
            "expired on",
            "to renew the certificate",
        ),
        (
            "their certificate has not begun",
            Leaf { not_before: usual.not_before + day * 2, ..usual },
            "is not valid before",
            "timedatectl set-ntp true",
        ),
    ] {
        let identity = table.scene.ca.issue(leaf)?;
        table.scene.folder.write(&format!("{OUTER}.pem"), &identity.chain_pem())?;
        table.scene.folder.write(&format!("{OUTER}.key"), &identity.key_pem())?;
        table.scene.begin(Part::Edge)?;
        table.fails(case, "their-certificate", sentence, remedy)?;
        table.scene.end(Part::Edge)?;
    }
    table.scene.certify_publisher(&table.scene.ca)?;
    table.scene.begin(Part::Edge)?;
    table.succeeds("in its place")?;
    Ok(())
}

/// One address of several is dead: the test succeeds as real requests do, and says which one is.
fn several_addresses(table: &mut Table) -> Result<()> {
    let net = table.scene.net.clone();
    let there = format!("{net}.3");
    let usual = Names::usual(&net);
    let [dead, alive] = ["dead.push.lync.com", "alive.push.lync.com"];
    let twice = usual.clone().without("push.lync.com").first("push.lync.com", alive).first("push.lync.com", dead);
    for (case, names, words) in [
        (
            "an address of IPv6 first, where nobody is",
            usual.host(THERE, &["::1", &there]),
            "[::1]:5061, one of several addresses that lead to push.lync.com, fails: refused",
        ),
        (
            "two records, the first of which leads to nobody",
            twice.host(dead, &[&format!("{net}.9")]).host(alive, &[&there]),
            ".9:5061, one of several addresses that lead to push.lync.com, fails: refused",
        ),
    ] {
        knows(table, &names)?;
        let object = table.succeeds(case)?;
        let hint = object["Hints"][0].as_str().unwrap_or_default();
        ensure!(hint.contains(words), "{case}: {object:#}");
    }
    knows(table, &Names::usual(&net))
}

/// The library that gives a program another time of day; Debian keeps it in a folder of the machine's kind.
fn faketime() -> std::result::Result<PathBuf, String> {
    let kinds = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    let mut libraries = kinds.map(|folder| folder.join("faketime/libfaketime.so.1"));
    libraries.find(|library| library.is_file()).ok_or_else(|| "libfaketime is not installed".to_owned())
}

/// The clock of home and edge is wrong by two days.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_clock_that_is_wrong_by_days_is_named() -> Result<()> {
    if !here(&[on_path("faketime"), faketime().map(drop)])? {
        return Ok(());
    }
    let library = faketime().map_err(anyhow::Error::msg)?;
    let mut table = Table::over(Scene::start("diagnose-clock").await?);
    tokio::task::block_in_place(|| {
        table.scene.end(Part::Contoso)?;
        table.scene.begin_at(Part::Contoso, &library, "+2d")?;
        table.fails("our clock is two days ahead", "intake", "differ by more than 10 minutes", "timedatectl")?;
        table.scene.end(Part::Contoso)?;
        table.scene.begin_at(Part::Contoso, &library, "-2d")?;
        table.fails("our clock is two days behind", "our-edge", "is not valid before", "timedatectl")?;
        table.scene.restart(Part::Contoso)?;
        table.succeeds("the clock is right again").context("nothing of the wrong time is left")?;
        table.show()
    })?;
    table.told_apart(2)?;
    table.scene.stop()
}
