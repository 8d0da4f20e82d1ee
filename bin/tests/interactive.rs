//! The management shell as a person at a terminal meets it: completion, lines that go on, history, questions, Ctrl-C and
//! Ctrl-D, on a real pseudo-terminal against a running demo.

mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::support::pty::{Terminal, plain};
use crate::support::transcript::PROMPT;
use crate::support::{Demo, reveille};

/// A prompt that is new, and not the same line painted again.
const NEW_LINE: &str = "\nreveille> ";
const SECRET: &str = "ken-9-stars";

fn shell(demo: &Demo, term: &str) -> Result<Command> {
    let mut command = reveille();
    command.arg("shell").arg("--socket").arg(demo.told("/organisations/contoso.com/admin_socket")?);
    command.env("TERM", term).env("XDG_STATE_HOME", demo.folder().path().join("state"));
    command.env_remove("NO_COLOR");
    Ok(command)
}

#[test]
fn a_line_is_completed_goes_on_and_is_remembered() -> Result<()> {
    let demo = Demo::start("interactive")?;
    let mut terminal = Terminal::start(&shell(&demo, "xterm-256color")?)?;
    terminal.until(NEW_LINE)?;

    // What begins one command only is completed; parameters come with what they are for, values from the server.
    terminal.types("new-cshostingp\t")?;
    terminal.until("New-CsHostingProvider ")?;
    terminal.types("-Verif\t")?;
    terminal.until("-VerificationLevel ")?;
    terminal.types("u\t")?;
    terminal.until("UseSourceVerification ")?;
    terminal.types("-Identity TabProvider -Enabled $false -ProxyFqdn tab.example.com\n")?;
    terminal.until("ProxyFqdn")?;
    terminal.until(NEW_LINE)?;
    terminal.types("Get-CsHostingProvider -Identity Tab\t")?;
    terminal.until("TabProvider")?;
    terminal.types("\n")?;
    terminal.until("tab.example.com")?;
    terminal.until(NEW_LINE)?;
    // Where nothing fits, what was typed stays as it is, and goes on.
    terminal.types("Get-CsHostingProvider zzz\t\t -ErrorAction SilentlyContinue; 'nothing fits'\n")?;
    let nothing = terminal.until("\nnothing fits")?;
    ensure!(!nothing.contains("NO RECORDS"), "{nothing}");
    terminal.until(NEW_LINE)?;
    terminal.types("New-CsHostingProvider -VerificationLevel \t")?;
    terminal.until("None of their users counts as verified")?;
    terminal.types("\x03")?;
    terminal.until(NEW_LINE)?;
    terminal.types("Set-CsHostingProvider -\t")?;
    terminal.until("Whether it is used")?;
    // Ctrl-C gives up the line and not the shell.
    terminal.types("\x03")?;
    terminal.until(NEW_LINE)?;

    // An open brace goes on in the next line; the whole is run.
    terminal.types("Get-CsHostingProvider | Where-Object {\n")?;
    terminal.until(">> ")?;
    terminal.types("$_.Enabled -eq $false } | Select-Object -ExpandProperty ProxyFqdn\n")?;
    terminal.until("tab.example.com")?;
    terminal.until(NEW_LINE)?;

    // A line with a secret is not kept; the others are, in a file that nobody else can read.
    terminal.types(&format!("$password = \"{SECRET}\"\n"))?;
    terminal.until(NEW_LINE)?;
    terminal.types("exit 7\n")?;
    ensure!(terminal.wait()?.code() == Some(7), "the status of exit is the shell's");
    let history = demo.folder().path().join("state/reveille/history");
    let kept = std::fs::read_to_string(&history).context("the history")?;
    ensure!(kept.contains("Get-CsHostingProvider -Identity TabProvider"), "{kept}");
    ensure!(!kept.contains(SECRET), "a secret is kept: {kept}");
    let mode = std::fs::metadata(&history)?.permissions().mode() & 0o777;
    ensure!(mode == 0o600, "the history's mode is {mode:o}");

    // In the next session the arrow finds the last line; Ctrl-D leaves.
    let mut again = Terminal::start(&shell(&demo, "xterm-256color")?)?;
    again.until(NEW_LINE)?;
    again.types("Get-CsHosting")?;
    again.until("Get-CsHosting")?;
    again.types("\x1b[A")?;
    again.until("-ExpandProperty ProxyFqdn")?;
    again.types("\x03")?;
    again.until(NEW_LINE)?;
    again.types("\x04")?;
    ensure!(again.wait()?.success(), "Ctrl-D ends the shell well");
    demo.stop()
}

#[test]
fn questions_are_asked_and_answers_heard() -> Result<()> {
    let demo = Demo::start("questions")?;
    let mut terminal = Terminal::start(&shell(&demo, "dumb")?)?;
    let greeting = terminal.until(PROMPT)?;
    ensure!(greeting.contains("Get-Help tells what there is"), "{greeting}");

    // What is mandatory and missing is asked for.
    terminal.types("New-CsHostingProvider AskedFor -Enabled $true\n")?;
    terminal.until("ProxyFqdn: ")?;
    terminal.types("asked.example.com\n")?;
    let made = terminal.until(PROMPT)?;
    ensure!(made.contains("asked.example.com"), "{made}");

    // -Confirm asks, and No means no.
    for (answer, stays) in [("n", true), ("y", false)] {
        terminal.types("Remove-CsHostingProvider AskedFor -Confirm\n")?;
        terminal.until("[Y] Yes")?;
        terminal.until(": ")?;
        terminal.types(&format!("{answer}\n"))?;
        terminal.until(PROMPT)?;
        terminal.types("Get-CsHostingProvider | Select-Object -ExpandProperty Identity\n")?;
        let left = terminal.until(PROMPT)?;
        ensure!(left.contains("\nAskedFor") == stays, "after {answer}: {left}");
    }

    // A password is not shown, and not in the variable's output either.
    terminal.types("$credential = Get-Credential \"litwareinc\\kenmyer\"\n")?;
    terminal.until("kenmyer: ")?;
    terminal.types(&format!("{SECRET}\n"))?;
    terminal.until(PROMPT)?;
    terminal.types("$credential\n")?;
    let shown = terminal.until(PROMPT)?;
    ensure!(shown.contains("litwareinc\\kenmyer"), "{shown}");
    ensure!(!terminal.everything().contains(SECRET), "the password was shown");

    // Ctrl-C at a question gives up the command and not the shell.
    terminal.types("New-CsHostingProvider\n")?;
    terminal.until("Identity: ")?;
    terminal.types("\x03")?;
    terminal.until(PROMPT)?;
    terminal.types("Get-Credential kenmyer; 'not given up'\n")?;
    terminal.until("user kenmyer: ")?;
    terminal.types("\x03")?;
    let given_up = terminal.until(PROMPT)?;
    ensure!(!given_up.contains("Nobody is there") && !given_up.contains("\nnot given up"), "{given_up}");
    // And in the midst of a command, however busy it is.
    terminal.types("foreach ($a in 1..900000) { foreach ($b in 1..900000) { $endless = $a * $b } }\n")?;
    terminal.until("1..900000) { $endless")?;
    support::until("the shell is at work", || Ok((terminal.processor_ticks()? > 30).then_some(())))?;
    terminal.types("\x03")?;
    // The terminal itself shows ^C.
    let given_up = terminal.until("\nThe command was given up")?;
    ensure!(!given_up.contains("^C^C"), "{given_up}");
    terminal.until(PROMPT)?;
    // A line that goes on, without an editor.
    terminal.types("Get-CsHostingProvider |\n")?;
    terminal.until(">> ")?;
    terminal.types("Measure-Object\n")?;
    let counted = terminal.until(PROMPT)?;
    ensure!(counted.contains("Count"), "{counted}");
    terminal.types("\x04")?;
    ensure!(terminal.wait()?.success(), "the end of input ends the shell well");
    demo.stop()
}

#[test]
fn what_is_shown_does_not_command_the_terminal() -> Result<()> {
    let demo = Demo::start("controls")?;
    let mut terminal = Terminal::start(&shell(&demo, "dumb")?)?;
    terminal.until(PROMPT)?;
    // Not typed, for a script has no such character; made by the shell, as if a server had sent it.
    terminal.types("$bad = 'x' + ('[\"\\u001b[31mRED\\u009bm\\u202ertl\\u0007\"]' | ConvertFrom-Json) + 'z'\n")?;
    terminal.until(PROMPT)?;
    for command in ["$bad", "@{Comment=$bad}", "Write-Warning $bad", "Get-CsAllowedDomain $bad"] {
        terminal.types(&format!("{command}; 'done' + 1\n"))?;
        terminal.until("done1")?;
        terminal.until(PROMPT)?;
    }
    terminal.types("New-CsAllowedDomain controls.example -Comment $bad\n")?;
    let refused = terminal.until(PROMPT)?;
    ensure!(refused.contains("holds a control character, U+001B"), "{refused}");
    let everything = terminal.everything();
    for obeyed in ['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}'] {
        ensure!(!everything.contains(obeyed), "{obeyed:?} reached the terminal: {everything:?}");
    }
    let shown = everything.matches("x\u{fffd}[31mRED\u{fffd}m\u{fffd}rtl\u{fffd}z").count();
    ensure!(shown >= 3, "shown {shown} times: {everything:?}");
    terminal.types("exit\n")?;
    ensure!(terminal.wait()?.success(), "it ends well");
    demo.stop()
}

#[test]
fn without_colour_everything_is_still_there() -> Result<()> {
    let demo = Demo::start("colourless")?;
    let mut command = shell(&demo, "xterm-256color")?;
    command.env("NO_COLOR", "1");
    let mut terminal = Terminal::start(&command)?;
    terminal.until(NEW_LINE)?;
    terminal.types("Get-CsHostingProvider -\t")?;
    terminal.until("-LocalStore")?;
    terminal.types("\x03")?;
    terminal.until(NEW_LINE)?;
    terminal.types("exit\n")?;
    ensure!(terminal.wait()?.success(), "it ends well");
    let everything = terminal.everything();
    ensure!(plain(&everything).contains("Reads this machine's replica"), "descriptions are shown");
    let colours: Vec<_> = everything
        .split("\x1b[")
        .skip(1)
        .filter_map(|rest| rest.split_once('m'))
        .map(|(codes, _)| codes)
        .filter(|codes| codes.chars().all(|letter| letter.is_ascii_digit() || letter == ';'))
        .filter(|codes| codes.split(';').any(|code| matches!(code.parse(), Ok(30..=38 | 40..=48 | 90..=107))))
        .collect();
    ensure!(colours.is_empty(), "colours are used: {colours:?}");
    demo.stop()
}
