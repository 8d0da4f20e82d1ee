//! What is measured: processes of their own, what they say and what they use.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};

/// Starts `reveille serve` with this configuration and waits until it is ready.
pub(super) async fn serve(config: &Path) -> Result<Child> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["serve", "--ready-fd", "1", "--config"])
        .arg(config)
        .env("REVEILLE_LOG", std::env::var_os("REVEILLE_LOG").unwrap_or_else(|| "warn".into()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    ensure!(first_line(&mut child).await? == "ready", "{} does not start", config.display());
    Ok(child)
}

/// The first line that a child prints.
pub(super) async fn first_line(child: &mut Child) -> Result<String> {
    let output = child.stdout.take().context("the child has a standard output")?;
    let mut lines = BufReader::new(output).lines();
    let line = tokio::time::timeout(Duration::from_secs(20), lines.next_line()).await;
    line.context("the child says nothing")??.context("the child has ended")
}

/// One JSON value from a listener of our own.
pub(super) async fn get(address: SocketAddr, path: &str) -> Result<serde_json::Value> {
    let body = ask(address, "GET", path).await?;
    serde_json::from_str(&body).with_context(|| format!("{path} did not answer with JSON"))
}

/// Has a listener of our own do something.
pub(super) async fn post(address: SocketAddr, path: &str) -> Result<()> {
    ask(address, "POST", path).await.map(drop)
}

/// The body of the answer to a request without one.
async fn ask(address: SocketAddr, method: &str, path: &str) -> Result<String> {
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
    ensure!(head.starts_with("HTTP/1.1 200"), "{method} {path} was answered: {text}");
    Ok(body.to_owned())
}

/// The memory that a process holds now, in bytes.
pub(super) fn resident(pid: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kib.context("the system tells a process's memory")? * 1024)
}

/// A port of this machine that nobody uses now.
pub(super) fn free_port() -> Result<SocketAddr> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
