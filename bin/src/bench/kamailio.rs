//! Kamailio as the other relay: the smallest configuration that does the same job, with nothing that costs beside it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use reveille_server::process::{Usage, usage_of};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::demo::layout::Files;
use crate::simulate::write;

/// A running Kamailio.
pub(super) struct Kamailio {
    child: Child,
    pid: u32,
}

impl Kamailio {
    /// Starts one that takes mutual TLS at `listen` and relays everything, statefully, over mutual TLS to `beyond`.
    pub(super) async fn start(
        dir: &Path,
        listen: SocketAddr,
        beyond: SocketAddr,
        files: &Files,
        roots: &Path,
        children: usize,
    ) -> Result<Self> {
        let side = format!(
            "method = TLSv1.2+\nverify_certificate = yes\nrequire_certificate = yes\n\
             certificate = {}\nprivate_key = {}\nca_list = {}\n",
            files.certificate.display(),
            files.key.display(),
            roots.display()
        );
        write(dir, "kamailio-tls.cfg", &format!("[server:default]\n{side}[client:default]\n{side}"))?;
        write(dir, "kamailio.cfg", &configuration(dir, listen, beyond, children))?;
        // In the foreground (-DD) its processes are its children. 2 GB of shared memory: a finished transaction stays
        // for wt_timer, 5 s by default, and takes 13 KB.
        let child = Command::new("kamailio")
            .args(["-DD", "-m", "2048", "-M", "32", "-f"])
            .arg(dir.join("kamailio.cfg"))
            .arg("-Y")
            .arg(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(dir.join("kamailio.log"))?)
            .kill_on_drop(true)
            .spawn()
            .context("kamailio cannot be started: apt install kamailio kamailio-tls-modules")?;
        let pid = child.id().context("kamailio runs")?;
        let begun = Instant::now();
        while tokio::net::TcpStream::connect(listen).await.is_err() {
            if begun.elapsed() > Duration::from_secs(10) {
                let log = std::fs::read_to_string(dir.join("kamailio.log")).unwrap_or_default();
                bail!("kamailio does not listen; it says: {log}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(Self { child, pid })
    }

    /// Processor time of all its processes. Its memory is the proportional share of each, as it is now: most is shared.
    pub(super) fn usage(&self) -> Usage {
        let mut sum = Usage::default();
        for pid in self.processes() {
            sum.cpu += usage_of(&pid).cpu;
            sum.peak_rss_bytes += share_of(&pid).unwrap_or_default();
        }
        sum
    }

    /// Ends it, by force if it takes its time: nothing of it is needed any more.
    pub(super) async fn end(mut self) -> Result<()> {
        let processes = self.processes();
        signal(&self.pid.to_string(), Signal::TERM);
        if tokio::time::timeout(Duration::from_secs(5), self.child.wait()).await.is_err() {
            processes.iter().for_each(|pid| signal(pid, Signal::KILL));
            self.child.wait().await?;
        }
        Ok(())
    }

    fn processes(&self) -> Vec<String> {
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.pid)).unwrap_or_default();
        children.split_whitespace().map(str::to_owned).chain([self.pid.to_string()]).collect()
    }
}

/// A process that has ended needs none.
fn signal(pid: &str, signal: Signal) {
    if let Some(pid) = pid.parse().ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// Its own share of the memory that a process uses, in bytes.
fn share_of(pid: &str) -> Option<u64> {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// No log, no names looked up, no Record-Route, no checks beyond its own parser's: less than a border needs.
/// Its queues are as long as ours: with those it has by default it closes a connection that has a burst to take.
fn configuration(dir: &Path, listen: SocketAddr, beyond: SocketAddr, children: usize) -> String {
    let (ip, port) = (beyond.ip(), beyond.port());
    format!(
        "#!KAMAILIO\n\
         debug=-1\nlog_stderror=yes\nfork=yes\nchildren=1\nsocket_workers=1\ntcp_children={children}\n\
         enable_tls=yes\nlisten=tls:{listen}\n\
         tcp_max_connections=16384\ntls_max_connections=16384\ntcp_connection_lifetime=3605\n\
         tcp_rd_buf_size=65536\ntcp_conn_wq_max=67108864\ntcp_wq_max=268435456\n\
         auto_aliases=no\ndns=no\nrev_dns=no\nserver_signature=no\nuse_dns_cache=off\n\
         loadmodule \"tm.so\"\nloadmodule \"sl.so\"\nloadmodule \"tls.so\"\n\
         modparam(\"tls\", \"config\", \"{dir}/kamailio-tls.cfg\")\n\
         modparam(\"tls\", \"con_ct_wq_max\", 67108864)\nmodparam(\"tls\", \"ct_wq_max\", 268435456)\n\
         modparam(\"tm\", \"auto_inv_100\", 0)\n\
         request_route {{\n\
           if (method == \"OPTIONS\") {{ sl_send_reply(\"200\", \"OK\"); exit; }}\n\
           t_relay_to_tls(\"{ip}\", \"{port}\");\n\
         }}\n",
        dir = dir.display()
    )
}
