//! Two administrators at once, each with a shell of their own at one organisation: nothing of either is lost, and the second
//! one is told.

mod support;

use std::fmt::Write as _;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};

use crate::support::pty::Terminal;
use crate::support::transcript::PROMPT;
use crate::support::{Demo, reveille, run};

const CHANGES: u32 = 15;

fn shell(demo: &Demo) -> Result<Terminal> {
    let mut command = reveille();
    command.arg("shell").arg("--socket").arg(demo.told("/organisations/contoso.com/admin_socket")?);
    command.env("TERM", "dumb");
    let mut terminal = Terminal::start(&command)?;
    terminal.until(PROMPT)?;
    Ok(terminal)
}

/// What is shown for one line.
fn asked(terminal: &mut Terminal, line: &str) -> Result<String> {
    terminal.types(&format!("{line}\n"))?;
    let shown = terminal.until(PROMPT)?;
    Ok(shown.split_once(line).map_or_else(|| shown.clone(), |(_, shown)| shown.to_owned()))
}

fn one_line(demo: &Demo, line: &str) -> Result<String> {
    let socket = demo.told("/organisations/contoso.com/admin_socket")?;
    let done = run(["shell", "--socket", socket, "-c", line])?;
    ensure!(done.code == 0, "{line}: {}", done.err);
    Ok(done.out)
}

#[test]
fn who_writes_back_what_another_has_changed_meanwhile_is_told_and_who_names_a_property_loses_nothing() -> Result<()> {
    let demo = Demo::start("two-administrators")?;
    let (mut ann, mut ben) = (shell(&demo)?, shell(&demo)?);
    asked(&mut ann, "$seen = Get-CsMcxConfiguration")?;
    asked(&mut ben, "Set-CsMcxConfiguration -SessionExpirationInterval 7200")?;
    let told = asked(&mut ann, "$seen | Set-CsMcxConfiguration -SessionShortExpirationInterval 600")?;
    for part in ["McxConfiguration \"global\" was changed by ", "RecordChanged,", "ResourceBusy: (global:String)"] {
        ensure!(told.contains(part), "{part} is not in {told}");
    }
    // As it is now, and property by property: both stand.
    let told = asked(&mut ann, "Get-CsMcxConfiguration | Set-CsMcxConfiguration -SessionShortExpirationInterval 600")?;
    ensure!(told.trim_end_matches(PROMPT).trim().is_empty(), "{told}");
    let kept = asked(&mut ben, "Get-CsMcxConfiguration")?;
    for line in ["SessionExpirationInterval      : 7200", "SessionShortExpirationInterval : 600"] {
        ensure!(kept.contains(line), "{line} is not in {kept}");
    }
    let past = asked(&mut ben, "Get-CsSettingHistory McxConfiguration global -First 2 | Format-List Changes")?;
    ensure!(past.contains("SessionShortExpirationInterval: 3600 → 600"), "{past}");
    for mut terminal in [ann, ben] {
        terminal.types("exit\n")?;
        terminal.wait()?;
    }
    demo.stop()
}

#[test]
fn two_scripts_that_change_one_record_at_the_same_time_lose_none_of_each_others_changes() -> Result<()> {
    let demo = Demo::start("two-scripts")?;
    let socket = demo.told("/organisations/contoso.com/admin_socket")?;
    one_line(&demo, "New-CsMobilityPolicy -Identity Shared")?;
    let script = |property: &str| {
        (1..=CHANGES).fold(String::new(), |mut script, number| {
            let value = if number % 2 == 0 { "$True" } else { "$False" };
            writeln!(script, "Set-CsMobilityPolicy -Identity Shared -{property} {value}").expect("text grows");
            script
        })
    };
    let folder = support::Folder::new("two-scripts")?;
    let mut running = Vec::new();
    for property in ["EnableMobility", "EnablePushNotifications", "EnableOutsideVoice"] {
        let file = folder.write(&format!("{property}.ps1"), &script(property))?;
        let mut command = reveille();
        command.args(["shell", "--socket", socket]).arg(file).stdin(Stdio::null()).stdout(Stdio::null());
        running.push(command.stderr(Stdio::piped()).spawn().context("the shell")?);
    }
    for child in running {
        let ended = child.wait_with_output()?;
        ensure!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    }
    // The last value of each is False; a lost change would have left another one, or none in the history.
    let kept = one_line(
        &demo,
        "Get-CsMobilityPolicy Shared | Select-Object EnableMobility,EnablePushNotifications,EnableOutsideVoice | \
         ConvertTo-Json",
    )?;
    ensure!(kept.matches("false").count() == 3, "{kept}");
    let past = one_line(&demo, "(Get-CsSettingHistory MobilityPolicy tag:Shared -First 1000).Count")?;
    ensure!(past.trim() == (1 + 3 * CHANGES).to_string(), "{past}");
    folder.remove()?;
    demo.stop()
}
