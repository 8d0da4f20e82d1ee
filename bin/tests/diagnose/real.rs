//! What a real push met is what the test says of the same road, and an edge of ours that hangs is named soon.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use reveille_sim::certs::Leaf;
use reveille_sim::phone::{Phone, PhoneOptions};
use serde_json::json;

use crate::others::Others;
use crate::scene::{APP, Part, Scene, TEAM};
use crate::support::until;
use crate::table::Table;

/// One thing that is wrong with the publisher's side, or with what we have set about it.
struct Case {
    breaks: &'static [(Part, &'static str)],
    mends: &'static [(Part, &'static str)],
    /// Where the test ends.
    stage: &'static str,
    /// What the push was not sent for.
    reason: &'static str,
}

const ALLOWED: &str = "New-CsAllowedDomain -Identity contoso.com -ProxyFqdn edge.contoso.com";
const NOT_ALLOWED: &str = "Remove-CsAllowedDomain -Identity contoso.com";

const CASES: &[Case] = &[
    Case {
        breaks: &[(Part::Edge, NOT_ALLOWED)],
        mends: &[(Part::Edge, ALLOWED)],
        stage: "partners-policy",
        reason: "partner-does-not-allow-us",
    },
    Case {
        breaks: &[(Part::Edge, NOT_ALLOWED), (Part::Edge, "New-CsBlockedDomain -Identity contoso.com")],
        mends: &[(Part::Edge, "Remove-CsBlockedDomain -Identity contoso.com"), (Part::Edge, ALLOWED)],
        stage: "partners-policy",
        reason: "partner-blocks-us",
    },
    Case {
        breaks: &[(Part::Edge, "Set-CsAccessEdgeConfiguration -AllowFederatedUsers $False")],
        mends: &[(Part::Edge, "Set-CsAccessEdgeConfiguration -AllowFederatedUsers $True")],
        stage: "partners-policy",
        reason: "partner-federation-off",
    },
    Case {
        breaks: &[(Part::Edge, "Set-CsAllowedDomain -Identity contoso.com -ProxyFqdn old.contoso.com")],
        mends: &[(Part::Edge, "Set-CsAllowedDomain -Identity contoso.com -ProxyFqdn edge.contoso.com")],
        stage: "our-certificate",
        reason: "partner-rejects-certificate",
    },
    Case {
        breaks: &[(Part::Contoso, "Set-CsMcxConfiguration -PushNotificationProxyUri sip:bell@push.lync.com")],
        mends: &[(Part::Contoso, "Set-CsMcxConfiguration -PushNotificationProxyUri sip:push@push.lync.com")],
        stage: "intake",
        reason: "no-clearing-house",
    },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_real_push_was_refused_for_is_what_the_test_says() -> Result<()> {
    let table = Table::over(Scene::start("diagnose-real").await?);
    let phone = |user: &str, push: Option<String>| {
        Phone::new(PhoneOptions {
            user: user.into(),
            domain: "contoso.com".into(),
            password: format!("{user}-builds"),
            registrar: format!("{}.1:5060", table.scene.net).parse().expect("an address"),
            tls: None,
            instance: format!("urn:uuid:real-{user}"),
            push,
            user_agent: "Test phone".into(),
        })
    };
    let token = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0";
    let bob = phone("bob", Some(format!("pn-provider=apns;pn-param={TEAM}.{APP}.remote;pn-prid={token}")));
    let carol = phone("carol", None);
    bob.sign_in().await?;
    bob.suspend().await;
    carol.sign_in().await?;
    for case in CASES {
        tokio::task::block_in_place(|| {
            for (part, line) in case.breaks {
                table.scene.types(*part, line)?;
            }
            let test = || {
                let object = table.detailed()?;
                Ok((object["FailedStage"] == case.stage).then_some(object))
            };
            // The publisher's edge has seen the setting, and refuses.
            until(case.reason, test).map(drop)
        })?;
        let status = carol.send("bob@contoso.com", case.reason).await?;
        ensure!(status == 202, "{}: {status}", case.reason);
        tokio::task::block_in_place(|| {
            until(case.reason, || {
                let outcome =
                    table.scene.cmdlet(Part::Contoso, "Get-CsPushTrace", &json!({ "User": "bob@contoso.com" }))?;
                let outcome = outcome.map_err(|problem| anyhow::anyhow!("{problem}"))?;
                let pushes = outcome["objects"].as_array().context("pushes")?;
                Ok(pushes.iter().any(|push| push["Reason"] == case.reason).then_some(()))
            })?;
            for (part, line) in case.mends {
                table.scene.types(*part, line)?;
            }
            until("it is mended", || Ok((table.detailed()?["Result"] == "Success").then_some(())))
        })?;
    }
    bob.shutdown().await;
    carol.shutdown().await;
    tokio::task::block_in_place(|| table.scene.stop())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_edge_of_ours_that_hangs_is_named_within_seconds() -> Result<()> {
    let mut table = Table::over(Scene::start("diagnose-hangs").await?);
    tokio::task::block_in_place(|| {
        let at = format!("{}.8:5070", table.scene.net);
        let names = ["edge.contoso.com"];
        let silent = Others::silent(&at, &table.scene.ca.issue(Leaf::new(names[0], &names))?)?;
        let file = table.scene.folder.path().join("contoso.toml");
        let usual = std::fs::read_to_string(&file)?;
        let to_silent =
            usual.replace(&format!("address = \"{}.2:5070\"", table.scene.net), &format!("address = \"{at}\""));
        ensure!(to_silent != usual, "{usual}");
        std::fs::write(&file, to_silent)?;
        table.scene.restart(Part::Contoso)?;
        let begun = Instant::now();
        table.fails(
            "our own edge hangs",
            "our-edge",
            "edge.contoso.com did not answer",
            "start it again if it hangs",
        )?;
        ensure!(begun.elapsed() < Duration::from_secs(15), "it took {:?}", begun.elapsed());
        table.scene.stop()?;
        silent.stop()
    })
}
