//! What tests of whole processes share: the binary, folders, children that never outlive their test, HTTP, patience.

#![allow(dead_code, reason = "each test program uses a part of it")]

pub(crate) mod pty;
pub(crate) mod push;
pub(crate) mod transcript;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

/// How long any one step may take.
pub(crate) const STEP: Duration = Duration::from_secs(15);

/// The binary under test.
pub(crate) fn reveille() -> Command {
    Command::new(std::env::var_os("REVEILLE_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_reveille").into()))
}

/// What a command that ends by itself has said, and its exit status.
pub(crate) struct Finished {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs the binary under test to its end, within [`STEP`].
pub(crate) fn run<A: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = A>) -> Result<Finished> {
    let mut command = reveille();
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("the binary cannot be started")?;
    let (out, err) = (Arc::new(Mutex::new(String::new())), Arc::new(Mutex::new(String::new())));
    let readers = [
        collect(child.stdout.take().context("a standard output")?, Arc::clone(&out)),
        collect(child.stderr.take().context("a standard error")?, Arc::clone(&err)),
    ];
    let mut process = Process { name: format!("{command:?}"), child, said: Arc::clone(&err) };
    let code = process.wait(STEP)?.code().context("it was killed")?;
    readers.into_iter().for_each(|reader| drop(reader.join()));
    let text = |of: Arc<Mutex<String>>| of.lock().map(|text| text.clone()).unwrap_or_default();
    Ok(Finished { code, out: text(out), err: text(err) })
}

/// A folder of one test, which removes it when all went well: what a failure leaves is worth a look.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let unique = format!("{name}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(unique);
        std::fs::create_dir_all(&path).with_context(|| format!("{} cannot be made", path.display()))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file and answers where it is.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.0.join(name);
        std::fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
        Ok(path)
    }

    /// Nothing in it is needed any more.
    pub(crate) fn remove(self) -> Result<()> {
        std::fs::remove_dir_all(&self.0).with_context(|| format!("{} cannot be removed", self.0.display()))
    }
}

/// A child process: what it says is collected, and it is killed when this value goes.
pub(crate) struct Process {
    name: String,
    child: Child,
    said: Arc<Mutex<String>>,
}

impl Process {
    /// Starts `command`. Its standard input stays open until the process ends.
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        let name = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("{name} cannot be started"))?;
        let said = Arc::new(Mutex::new(String::new()));
        collect(child.stdout.take().context("a standard output")?, Arc::clone(&said));
        collect(child.stderr.take().context("a standard error")?, Arc::clone(&said));
        Ok(Self { name, child, said })
    }

    /// Everything that it has said on standard output and standard error.
    pub(crate) fn said(&self) -> String {
        self.said.lock().map(|said| said.clone()).unwrap_or_default()
    }

    /// Waits until what it has said passes `test`, and answers what `test` found.
    pub(crate) fn until<T>(&mut self, what: &str, mut test: impl FnMut(&str) -> Option<T>) -> Result<T> {
        let (end, mut over) = (Instant::now() + STEP, None);
        loop {
            if let Some(found) = test(&self.said()) {
                return Ok(found);
            }
            if let Some(status) = over {
                bail!("{}: {what}: it ended with {status}, having said:\n{}", self.name, self.said());
            }
            over = self.child.try_wait()?;
            ensure!(Instant::now() < end, "{}: {what}: not in time, having said:\n{}", self.name, self.said());
            std::thread::sleep(TURN);
        }
    }

    /// Types one line for it.
    pub(crate) fn tell(&mut self, line: &str) -> Result<()> {
        let input = self.child.stdin.as_mut().context("a standard input")?;
        writeln!(input, "{line}").and_then(|()| input.flush()).with_context(|| format!("{} does not read", self.name))
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self, patience: Duration) -> Result<ExitStatus> {
        let end = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(Instant::now() < end, "{} did not end in time, having said:\n{}", self.name, self.said());
            std::thread::sleep(TURN);
        }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    /// SIGTERM, then its end.
    pub(crate) fn terminate(&mut self) -> Result<ExitStatus> {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), rustix::process::Signal::TERM)?;
        self.wait(STEP)
    }

    /// SIGKILL: it gets to say nothing more.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(mut from: impl std::io::Read + Send + 'static, into: Arc<Mutex<String>>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(length @ 1..) = from.read(&mut piece) {
            if let Ok(mut said) = into.lock() {
                said.push_str(&String::from_utf8_lossy(&piece[..length]));
            }
        }
    })
}

/// Waits until `find` finds something; `what` is said if it does not.
pub(crate) fn until<T>(what: &str, mut find: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let end = Instant::now() + STEP;
    loop {
        if let Some(found) = find()? {
            return Ok(found);
        }
        ensure!(Instant::now() < end, "{what}: not within {} s", STEP.as_secs());
        std::thread::sleep(TURN);
    }
}

/// How often is looked.
const TURN: Duration = Duration::from_millis(10);

/// One HTTP/1.1 request to loopback; a body makes it a POST of JSON. Answers status and body.
pub(crate) fn http(url: &str, body: Option<&Value>) -> Result<(u16, String)> {
    let rest = url.strip_prefix("http://").with_context(|| format!("{url} is not plain HTTP"))?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut stream = TcpStream::connect(host).with_context(|| format!("nobody listens on {host}"))?;
    stream.set_read_timeout(Some(2 * STEP))?;
    let (verb, body) = body.map_or(("GET", String::new()), |body| ("POST", body.to_string()));
    let length = body.len();
    write!(
        stream,
        "{verb} /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).with_context(|| format!("{url} did not answer in time"))?;
    let (head, body) = answer.split_once("\r\n\r\n").with_context(|| format!("{url} answered no HTTP: {answer}"))?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.with_context(|| format!("no status in {head}"))?, body.to_owned()))
}

/// The JSON that a GET is answered with.
pub(crate) fn json(url: &str) -> Result<Value> {
    let (status, body) = http(url, None)?;
    ensure!(status == 200, "{url} answered {status}: {body}");
    serde_json::from_str(&body).with_context(|| format!("{url} answered no JSON: {body}"))
}

/// `reveille demo` as a process.
pub(crate) struct Demo {
    process: Process,
    folder: Folder,
    told: Value,
}

impl Demo {
    /// Starts it and waits until it has written where everything is.
    pub(crate) fn start(name: &str) -> Result<Self> {
        let folder = Folder::new(name)?;
        let mut command = reveille();
        command.arg("demo").arg("--dir").arg(folder.path().join("demo"));
        let mut process = Process::start(command)?;
        process.until("it welcomes", |said| said.contains("Ctrl-C stops.").then_some(()))?;
        let told = std::fs::read_to_string(folder.path().join("demo/demo.json")).context("demo.json")?;
        Ok(Self { process, folder, told: serde_json::from_str(&told).context("demo.json")? })
    }

    /// A folder for whatever belongs to this demo.
    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// A text of `demo.json`, by JSON pointer.
    pub(crate) fn told(&self, pointer: &str) -> Result<&str> {
        self.told.pointer(pointer).and_then(Value::as_str).with_context(|| format!("demo.json has no {pointer}"))
    }

    /// What home knows of a user.
    pub(crate) fn user(&self, name: &str) -> Result<Value> {
        json(&format!("{}/status/users/{name}", self.told("/organisations/contoso.com/home/ops")?))
    }

    /// Waits until what home knows of a user is as it should be.
    pub(crate) fn user_until(&self, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = Value::Null;
        let found = until(what, || {
            last = self.user(name)?;
            Ok(holds(&last).then(|| last.clone()))
        });
        found.with_context(|| format!("home knows of {name}: {last}"))
    }

    /// Stops it as its user would; it must end well.
    pub(crate) fn stop(mut self) -> Result<()> {
        let status = self.process.terminate()?;
        ensure!(status.success(), "the demo ended with {status}");
        self.folder.remove()
    }
}
