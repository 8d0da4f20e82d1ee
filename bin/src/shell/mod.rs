//! `reveille shell`: the management shell, at a terminal, for one line, or for a script.

mod find;

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;
use reveille_admin::Secret;
use reveille_core::Clock;
use reveille_server::SystemClock;
use reveille_shell::host::Terminal as _;
use reveille_shell::interactive::{self, Console, Interrupts};
use reveille_shell::remote::{Address, Remote, RemoteError, identity_of, roots_of};
use reveille_shell::{Session, credential, encoding};
use tokio::task::JoinSet;

use crate::{FAILED, WRONG_CONFIGURATION, out};
use find::Found;

/// What to run, and where.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Runs this line and ends
    #[arg(short, long, value_name = "LINE", allow_hyphen_values = true, conflicts_with = "file")]
    command: Option<String>,
    /// Runs this script and ends; - is standard input
    file: Option<PathBuf>,
    #[command(flatten)]
    server: Server,
}

/// Which server is asked; without any of these the only one that runs on this machine.
#[derive(Args, Debug)]
struct Server {
    /// Its admin socket; also $REVEILLE_SOCKET
    #[arg(long, value_name = "PATH", group = "where")]
    socket: Option<PathBuf>,
    /// Another machine's admin API, as https://HOST:PORT; also $REVEILLE_URL
    #[arg(long, value_name = "URL", group = "where")]
    url: Option<String>,
    /// The server of this configuration
    #[arg(short = 'f', long, value_name = "FILE", group = "where")]
    config: Option<PathBuf>,
    /// The demo that keeps its files in this folder: reveille demo --dir DIR
    #[arg(long, value_name = "DIR", group = "where")]
    dir: Option<PathBuf>,
    /// With --url: the certificates to trust (PEM) instead of those of this machine
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// With --url: a certificate that shows who you are (PEM, with those that lead to its issuer)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["account", "token_file"])]
    cert: Option<PathBuf>,
    /// The key of --cert, if it is not in the same file
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// With --url: signs in with this account; its password is asked for
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// With --url: a file with an API token; also the token itself in $REVEILLE_TOKEN
    #[arg(long, value_name = "FILE", conflicts_with = "account")]
    token_file: Option<PathBuf>,
}

/// Runs the shell.
pub(crate) async fn run(options: Options) -> Result<ExitCode> {
    let mut tasks = JoinSet::new();
    let interrupts = Interrupts::listen(&mut tasks);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut console = Console::new(interrupts.clone(), Arc::clone(&clock));
    let address = match options.server.address() {
        Ok(address) => address,
        Err(error) if error.is::<reveille_server::config::ConfigError>() => {
            out::note(&format!("reveille: {error}"));
            return Ok(ExitCode::from(WRONG_CONFIGURATION));
        }
        Err(error) => return Err(error),
    };
    // What is run is read before anybody is asked for a password.
    let script = script(&options)?;
    let (remote, session) = options.server.sign_in(address, &mut console).await?;
    let remote = Arc::new(remote);
    let status = match script {
        Some(script) => {
            let mut session = Session::new();
            place(&mut session, options.file.as_deref())?;
            tokio::select! {
                ended = session.run(&script, &*remote, &mut console) => ended.status,
                () = interrupts.pressed() => {
                    console.say("\nThe command was given up. What the server was asked for already may still be done.\n");
                    FAILED
                }
            }
        }
        None => {
            // Better now than at the first command.
            let me = remote.me().await?;
            console.say(&format!("{} at {}\n", me.name, remote.address()));
            interactive::run(remote.clone(), interrupts, clock).await?
        }
    };
    if session {
        // A session that cannot be ended now ends by itself.
        let _ = remote.sign_out().await;
    }
    Ok(ExitCode::from(status))
}

/// The server of this machine: at that socket, of that configuration, or else the only one.
pub(crate) fn here(socket: Option<PathBuf>, config: Option<PathBuf>) -> Result<Remote> {
    let variable = || std::env::var_os("REVEILLE_SOCKET").filter(|path| !path.is_empty()).map(PathBuf::from);
    let address = match (socket, config) {
        (Some(path), _) => Address::Socket(path),
        (None, Some(file)) => Address::Socket(find::socket_of(&file)?),
        (None, None) => match variable() {
            Some(path) => Address::Socket(path),
            None => one_of(find::running(), || {
                "no server of this machine was found: say where it is with -c FILE or --socket PATH".to_owned()
            })?,
        },
    };
    Ok(Remote::new(address, None)?)
}

/// What is to be run without anybody at the keyboard, if that is so.
fn script(options: &Options) -> Result<Option<String>> {
    let from_stdin = || encoding::script("standard input", std::io::stdin()).map_err(|why| anyhow!(why));
    match (&options.command, &options.file) {
        (Some(line), _) => Ok(Some(line.clone())),
        (None, Some(file)) if file == Path::new("-") => from_stdin().map(Some),
        (None, Some(file)) => {
            let name = file.display().to_string();
            let opened = std::fs::File::open(file).with_context(|| format!("{name} cannot be read"))?;
            encoding::script(&name, opened).map(Some).map_err(|why| anyhow!(why))
        }
        (None, None) if !std::io::stdin().is_terminal() => from_stdin().map(Some),
        (None, None) => Ok(None),
    }
}

/// The server, if it knows us: a script of a hundred lines is not to be a hundred guesses.
async fn known(remote: Remote) -> Result<Remote> {
    remote.me().await?;
    Ok(remote)
}

/// `$PSScriptRoot` and `$PSCommandPath`, by which a script finds the files beside it.
fn place(session: &mut Session, file: Option<&Path>) -> Result<()> {
    let Some(file) = file.filter(|file| *file != Path::new("-")) else { return Ok(()) };
    let file = std::path::absolute(file)?;
    let folder = file.parent().unwrap_or(&file);
    for (name, path) in [("PSScriptRoot", folder), ("PSCommandPath", &file)] {
        session.set_variable(name, path.display().to_string().into()).map_err(|why| anyhow!(why))?;
    }
    Ok(())
}

/// The only one that was found; `none` says what to do where there is none.
fn one_of(found: Found, none: impl FnOnce() -> String) -> Result<Address> {
    match found {
        Found::One(path) => Ok(Address::Socket(path)),
        Found::None => bail!(none()),
        Found::Several(paths) => {
            let list: Vec<_> = paths.iter().map(|path| format!("  --socket {}", path.display())).collect();
            bail!("several servers run on this machine; choose one:\n{}", list.join("\n"))
        }
    }
}

impl Server {
    fn address(&self) -> Result<Address> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        if let Some(path) = &self.socket {
            return Ok(Address::Socket(path.clone()));
        }
        if let Some(url) = &self.url {
            return Ok(Address::of_url(url)?);
        }
        if let Some(file) = &self.config {
            return Ok(Address::Socket(find::socket_of(file)?));
        }
        if let Some(folder) = &self.dir {
            return one_of(find::demo_in(folder), || {
                format!("no demo runs in {0}: start it there with reveille demo --dir {0}", folder.display())
            });
        }
        if let Some(path) = variable("REVEILLE_SOCKET") {
            return Ok(Address::Socket(path.into()));
        }
        if let Some(url) = variable("REVEILLE_URL") {
            return Ok(Address::of_url(&url)?);
        }
        one_of(find::running(), || {
            "no server of this machine was found. Start one with reveille serve -c FILE or reveille demo, or say where it \
             is: --config FILE, --socket PATH, --dir DIR of a demo, or --url https://HOST:PORT"
                .to_owned()
        })
    }

    /// The server, and whether a session was opened that has to be ended.
    async fn sign_in(&self, address: Address, console: &mut Console) -> Result<(Remote, bool)> {
        let is_local = matches!(address, Address::Socket(_));
        let given = [
            ("--ca", self.ca.is_some()),
            ("--cert", self.cert.is_some()),
            ("--account", self.account.is_some()),
            ("--token-file", self.token_file.is_some()),
        ];
        if let (true, Some((name, _))) = (is_local, given.iter().find(|(_, given)| *given)) {
            bail!("{name} is for a server that is asked by --url; on its own machine the socket shows who you are");
        }
        let roots = self.ca.as_deref().map(roots_of).transpose()?;
        if let (Some(certificate), false) = (&self.cert, is_local) {
            let key = self.key.as_ref().unwrap_or(certificate);
            find::closed_to_others(key, "the key")?;
            let identity = identity_of(certificate, key)?;
            return Ok((known(Remote::with_identity(address, roots, identity)?).await?, false));
        }
        let remote = Remote::new(address, roots)?;
        if is_local {
            return Ok((remote, false));
        }
        if let Some(token) = self.token()? {
            return Ok((known(remote.with_token(token)).await?, false));
        }
        // Better to know before a password is typed whether it is the right server.
        match remote.me().await {
            Ok(_) | Err(RemoteError::NotKnown { .. }) => {}
            Err(why) => return Err(why.into()),
        }
        let account = match &self.account {
            Some(account) => Some(account.clone()),
            None => console.ask("Account: ").map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()),
        };
        let Some(account) = account else {
            bail!(
                "{} wants to know who you are: a token in REVEILLE_TOKEN or with --token-file FILE, or --account NAME",
                remote.address()
            );
        };
        let password = match console.ask_secret(&format!("Password of {account}: ")) {
            Some(password) => password,
            None if console.gave_up() => bail!("given up"),
            None => {
                let kept = credential::kept(&account, &|name| std::env::var(name).ok());
                let kept = kept.map_err(|why| anyhow!("{why}. A program better has a token: --token-file FILE"))?;
                if let Some(warning) = kept.warning {
                    out::note(&format!("WARNING: {warning}"));
                }
                kept.password
            }
        };
        remote.sign_in(&account, &password).await?;
        Ok((remote, true))
    }

    fn token(&self) -> Result<Option<Secret>> {
        if let Some(file) = &self.token_file {
            return find::token_in(file).map(Some);
        }
        let from_environment = std::env::var("REVEILLE_TOKEN").ok().filter(|_| self.account.is_none());
        Ok(from_environment.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty()).map(Secret::new))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn a_line_may_begin_with_a_hyphen() {
        for line in ["-not $null", "-1..1", "-join ('a','b')", "Get-CsAllowedDomain"] {
            let given = Line::try_parse_from(["shell", "--socket", "/a", "-c", line]).unwrap().options;
            assert_eq!(given.command.as_deref(), Some(line));
            assert_eq!(given.server.socket.as_deref(), Some(Path::new("/a")));
        }
    }
}
