//! `reveille shell` as a command: where its script comes from, how it ends, how it finds its server and signs in from
//! elsewhere, and what it says when it cannot.

mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use reveille_sim::certs::{Ca, Leaf};
use reveille_sip_net::Identity;

use crate::support::pty::Terminal;
use crate::support::transcript::PROMPT;
use crate::support::{Demo, Folder, Process, STEP, reveille, run};

const PASSWORD: &str = "correct horse battery";

#[test]
fn a_line_a_file_and_standard_input_are_scripts_whose_status_tells() -> Result<()> {
    let demo = Demo::start("scripts")?;
    let socket = demo.told("/organisations/contoso.com/admin_socket")?.to_owned();
    let good =
        demo.folder().write("good.ps1", "\u{feff}# A remark.\r\n$x = Get-CsMcxConfiguration\r\n$x.Identity\r\n")?;
    let unicode: Vec<u8> = "\u{feff}\"Grüße 🎉\"\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let utf16 = demo.folder().path().join("utf16.ps1");
    std::fs::write(&utf16, unicode)?;
    let ansi = demo.folder().path().join("ansi.ps1");
    std::fs::write(&ansi, b"'x'\r\n# Gr\xfc\xdfe\r\n")?;
    let beside = demo.folder().write("beside.ps1", "(Get-Content \"$PSScriptRoot/bad.ps1\").Count\n")?;
    let bad = demo.folder().write("bad.ps1", "Get-CsHostingProvider Nobody\n\"and on\"\n")?;
    for (args, code, out, err) in [
        (vec!["-c", "(Get-CsMcxConfiguration).Identity"], 0, "Global\n", ""),
        (vec!["-c", "Get-CsMcxConfiguration | ConvertTo-Json -Compress | Out-Null; exit 5"], 5, "", ""),
        (vec![good.to_str().context("a path")?], 0, "Global\n", ""),
        // An error is said, and the script goes on.
        (vec![bad.to_str().context("a path")?], 1, "and on\n", "Get-CsHostingProvider : There is no"),
        (vec![utf16.to_str().context("a path")?], 0, "Grüße 🎉\n", ""),
        (vec![ansi.to_str().context("a path")?], 1, "", "ansi.ps1, line:2 char:5: the byte 0xFC is no UTF-8"),
        (vec![beside.to_str().context("a path")?], 0, "2\n", ""),
        // What failed last decides, also where nobody was told; whoever asks whether something is there has not failed.
        (vec!["-c", "Get-CsHostingProvider Nobody -EA 0"], 1, "", ""),
        (vec!["-c", "if (Get-CsHostingProvider Nobody -EA 0) { 'never' }"], 0, "", ""),
        (vec!["-c", "-not $null"], 0, "True\n", ""),
        // Nothing in a pipe commands a terminal that it may lead to; data that count every character are JSON.
        (vec!["-c", "\"`u{1b}[2J`e[0m`u{9b}x\"; cls"], 0, "\u{fffd}[2J\u{fffd}[0m\u{fffd}x\n", ""),
        (vec!["-c", "\"`e`u{9b}`u{202e}\" | ConvertTo-Json"], 0, "\"\\u001b\\u009b\\u202e\"\n", ""),
        (vec!["-c", "Get-CsHostingProvider > file"], 1, "", "Out-File file"),
        (vec!["-c", "1", "file"], 2, "", "cannot be used with"),
        (vec!["nowhere.ps1"], 1, "", "nowhere.ps1 cannot be read"),
        (vec!["--ca", "ca.pem", "-c", "1"], 1, "", "--ca is for a server that is asked by --url"),
    ] {
        let done = run(["shell", "--socket", &socket].into_iter().chain(args.iter().copied()))?;
        ensure!((done.code, done.out.as_str()) == (code, out), "{args:?}: {} {:?} {}", done.code, done.out, done.err);
        ensure!(done.err.contains(err) && (!err.is_empty() || done.err.is_empty()), "{args:?}: {}", done.err);
    }
    // Standard input, also where it is named; the configuration leads to the same socket, and so does the environment.
    let config = demo.folder().path().join("demo/contoso.toml");
    for (index, args) in [vec!["--socket", &socket], vec!["--socket", &socket, "-"], vec![]].into_iter().enumerate() {
        let mut command = reveille();
        command.arg("shell").args(&args).env("REVEILLE_SOCKET", &socket);
        command.stdin(Stdio::from(std::fs::File::open(&good)?));
        let done = command.output()?;
        ensure!(done.status.success() && done.stdout == b"Global\n", "{index}: {done:?}");
    }
    if config.exists() {
        let done = run(["shell", "-f", config.to_str().context("a path")?, "-c", "(Get-CsMcxConfiguration).Identity"])?;
        ensure!(done.code == 0 && done.out == "Global\n", "{} {}", done.out, done.err);
    }
    demo.stop()
}

#[test]
fn a_server_that_cannot_be_asked_is_explained() -> Result<()> {
    let folder = Folder::new("unreachable")?;
    let broken = folder.write("broken.toml", "[home]\nnonsense = 1\n")?;
    let token = folder.write("token", "rv_1\n")?;
    let path = |path: &std::path::Path| path.display().to_string();
    let missing = path(&folder.path().join("no.sock"));
    for (args, code, said) in [
        (vec!["--socket", &missing], 1, "there is no socket"),
        (vec!["--url", "http://admin.contoso.com"], 1, "begin it with https://"),
        (vec!["--url", "https://admin.contoso.com:1/admin"], 1, "goes on behind the host"),
        // Before anybody is asked for a password.
        (vec!["--url", "https://127.0.0.1:1"], 1, "cannot be reached"),
        (vec!["--url", "https://127.0.0.1:1", "--account", "ken"], 1, "cannot be reached"),
        (vec!["--url", "https://127.0.0.1:1", "--cert", &path(&token)], 1, "can be read by others than you"),
        (vec!["--socket", &missing, "--cert", &path(&token)], 1, "--cert is for a server that is asked by --url"),
        (vec!["--url", "https://127.0.0.1:1", "--key", &path(&token)], 2, "--cert"),
        (vec!["--url", "https://127.0.0.1:1", "--token-file", &path(&token)], 1, "can be read by others than you"),
        (vec!["-f", &path(&broken)], 64, "nonsense"),
        (vec!["--socket", "a", "--url", "https://b"], 2, "cannot be used with"),
    ] {
        let done = run(["shell"].into_iter().chain(args.iter().copied()).chain(["-c", "Get-CsMcxConfiguration"]))?;
        let all = format!("{}{}", done.out, done.err).to_lowercase();
        ensure!(done.code == code && all.contains(&said.to_lowercase()), "{args:?}: {} {all}", done.code);
    }
    folder.remove()
}

#[test]
fn from_elsewhere_a_password_is_asked_for_and_the_session_ends_with_the_shell() -> Result<()> {
    let (folder, ca) = (Folder::new("signs-in")?, Ca::new("Sign-in authority")?);
    let roots = folder.write("ca.pem", &ca.pem())?;
    let issued = ca.issue(Leaf::new("localhost", &["localhost", "edge.contoso.com"]))?;
    folder.write("it.pem", &issued.chain_pem())?;
    folder.write("it.key", &issued.key_pem())?;
    let (a, b) = (rand::random_range(16..250), rand::random_range(1..250));
    let at = |host, port| SocketAddr::from((Ipv4Addr::new(127, a, b, host), port));
    // What is called localhost is there.
    let admin = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let socket = std::env::temp_dir().join(format!("rvs-{}-{a}-{b}", std::process::id())).join("admin.sock");
    let tls = "certificate = \"it.pem\"\nkey = \"it.key\"\nroots = \"ca.pem\"\n";
    let config = format!(
        "[store]\ndir = \"store\"\n[admin]\nsocket = {:?}\nlisten = \"{admin}\"\nnames = [\"localhost\"]\n\
         [admin.tls]\n{tls}[edge]\nname = \"edge.contoso.com\"\nexternal = \"{}\"\ninternal = \"{}\"\n\
         inside = [\"home.contoso.com\"]\ndomains = [{{ domain = \"contoso.com\", name = \"home.contoso.com\", address = \
         \"{}\" }}]\n[edge.tls]\n{tls}",
        socket.display().to_string(),
        at(1, 5061),
        at(2, 5070),
        at(3, 5070),
    );
    let mut serve = reveille();
    serve.arg("serve").arg("-c").arg(folder.write("edge.toml", &config)?);
    let mut server = Process::start(serve)?;
    server.until("it serves", |said| said.contains("started").then_some(()))?;

    // The first account is made on the machine itself; its password is asked for and not shown.
    let mut local = reveille();
    local.arg("shell").arg("--socket").arg(&socket).env("TERM", "dumb");
    let mut local = Terminal::start(&local)?;
    local.until(PROMPT)?;
    local.types("New-CsAdminAccount -Credential (Get-Credential ken) -Roles CsAdministrator\n")?;
    local.until("user ken: ")?;
    local.types(&format!("{PASSWORD}\n"))?;
    let made = local.until(PROMPT)?;
    ensure!(made.contains("ken") && !local.everything().contains(PASSWORD), "{}", local.everything());

    // Without anybody at a keyboard: a certificate that the account names, or its password from the environment.
    let url = format!("https://localhost:{}", admin.port());
    let known = ca.issue(Leaf::new("ken", &["ken.contoso.com"]))?;
    folder.write("ken.pem", &known.chain_pem())?;
    let key = folder.write("ken.key", &known.key_pem())?;
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600))?;
    let by_itself = |times: &str, args: &[&str], password: Option<&str>| -> Result<(bool, String)> {
        let mut shell = reveille();
        shell.arg("shell").arg("--url").arg(&url).arg("--ca").arg(&roots).args(args).stdin(Stdio::null());
        shell
            .args(["-c", "1..$env:TIMES | % { (Get-CsMcxConfiguration).Identity } | Get-Unique"])
            .env_remove("REVEILLE_TOKEN")
            .env("TIMES", times);
        if let Some(password) = password {
            shell.env("REVEILLE_CREDENTIAL_KEN", password);
        }
        let done = shell.current_dir(folder.path()).output()?;
        let said = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
        Ok((done.status.success(), said))
    };
    let certificate = ["--cert", "ken.pem", "--key", "ken.key"];
    let (done, said) = by_itself("1", &certificate, None)?;
    ensure!(!done && said.contains("No account has the certificate of --cert"), "{said}");
    let print = Identity::from_pem(known.chain_pem().as_bytes(), known.key_pem().as_bytes())?;
    let print = print.certificate().sha256_fingerprint.clone();
    local.types(&format!("Set-CsAdminAccount ken -CertificateThumbprint {print}\n"))?;
    local.until(PROMPT)?;
    // More calls than an account may make at once: the shell waits as long as the server says.
    let done = by_itself("210", &certificate, None)?;
    ensure!(done == (true, "Global\n".into()), "{done:?}");
    let (done, said) = by_itself("1", &["--cert", "ken.pem", "--key", "it.key"], None)?;
    ensure!(!done && said.contains("can be read by others"), "{said}");
    let (done, said) = by_itself("1", &["--account", "ken"], None)?;
    ensure!(!done && said.contains("Nobody is there to type the password of ken"), "{said}");
    let (done, said) = by_itself("1", &["--account", "ken"], Some("wrong"))?;
    ensure!(!done && said.contains("Is it the right account and password?"), "{said}");
    ensure!(by_itself("1", &["--account", "ken"], Some(PASSWORD))?.0, "the password of the environment is ken's");

    let from_elsewhere = || {
        let mut shell = reveille();
        shell.arg("shell").arg("--url").arg(format!("https://localhost:{}", admin.port())).arg("--ca").arg(&roots);
        shell.env("TERM", "dumb").env_remove("REVEILLE_TOKEN");
        Terminal::start(&shell)
    };
    let mut wrong = from_elsewhere()?;
    wrong.until("Account: ")?;
    wrong.types("ken\n")?;
    wrong.until("Password of ken: ")?;
    wrong.types("wrong\n")?;
    wrong.until("does not know who you are")?;
    ensure!(wrong.wait()?.code() == Some(1), "a wrong password is a failure");

    let mut right = from_elsewhere()?;
    right.until("Account: ")?;
    right.types("ken\n")?;
    right.until("Password of ken: ")?;
    right.types(&format!("{PASSWORD}\n"))?;
    let greeting = right.until(PROMPT)?;
    ensure!(greeting.contains(&format!("ken at https://localhost:{}", admin.port())), "{greeting}");
    right.types("New-CsAllowedDomain push.lync.com\n")?;
    right.until("MarkForMonitoring")?;
    right.until(PROMPT)?;
    local.types("(Get-CsAdminSession).Account\n")?;
    let open = local.until(PROMPT)?;
    ensure!(open.contains("\nken"), "{open}");
    right.types("exit\n")?;
    ensure!(right.wait()?.success(), "{}", right.everything());
    ensure!(!right.everything().contains(PASSWORD), "the password was shown");
    local.types("(Get-CsAdminSession).Account\n")?;
    let closed = local.until(PROMPT)?;
    ensure!(!closed.contains("\nken"), "the session outlived its shell: {closed}");
    local.types("(Get-CsSettingHistory).Author\n")?;
    let author = local.until(PROMPT)?;
    ensure!(author.contains("\nken"), "the change is not ken's: {author}");
    drop(local);
    server.terminate()?;
    server.wait(STEP)?;
    std::fs::remove_dir_all(socket.parent().context("a folder")?)?;
    folder.remove()
}
