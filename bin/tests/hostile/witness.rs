//! The servers that this test plays: the next hop behind the edge, and partners' edges. They read what the edge sends
//! in as many ways as careless servers do, and note wherever two ways differ.
//!
//! Nothing of ours reads here: what our parser gets wrong, it would get wrong on both sides.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Context as _, Result};
use memchr::{memchr, memmem};
use parking_lot::Mutex;
use reveille_sip_net::TlsServer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What a server does with a message: the bytes that it writes on the same connection.
pub(crate) type Manner = Box<dyn Fn(&Heard) -> Vec<u8> + Send + Sync>;

/// One message as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// A server that this test plays.
pub(crate) struct Witness {
    /// Messages whose Call-ID begins with `look`, in order.
    seen: Mutex<Vec<Heard>>,
    /// Everything that two readers would read differently.
    differences: Mutex<Vec<String>>,
    requests: AtomicU64,
    /// It accepts, and reads nothing any more.
    deaf: AtomicBool,
    /// What the system may take for it before it reads; the system's own choice if absent.
    window: Option<u32>,
    /// The Via lines of INVITEs, by Call-ID: what a CANCEL ends is answered by them, and a CANCEL has only one.
    ringing: Mutex<HashMap<String, String>>,
    manner: Manner,
    news: Notify,
}

impl Witness {
    /// A server with this manner.
    pub(crate) fn with(manner: impl Fn(&Heard) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self {
            seen: Mutex::default(),
            differences: Mutex::default(),
            requests: AtomicU64::new(0),
            deaf: AtomicBool::new(false),
            window: None,
            ringing: Mutex::default(),
            manner: Box::new(manner),
            news: Notify::new(),
        }
    }

    /// One that never answers, and for which the system takes little.
    pub(crate) fn narrow() -> Self {
        Self { window: Some(4096), ..Self::with(|_| Vec::new()) }
    }

    /// One that never answers.
    pub(crate) fn silent() -> Self {
        Self::with(|_| Vec::new())
    }

    /// It reads nothing any more, on no connection.
    pub(crate) fn stop_reading(&self) {
        self.deaf.store(true, Ordering::Relaxed);
    }

    /// Requests so far.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Messages with this Call-ID.
    pub(crate) fn of(&self, call_id: &str) -> Vec<Heard> {
        self.seen.lock().iter().filter(|heard| heard.call_id() == call_id).cloned().collect()
    }

    /// Waits for `count` messages with this Call-ID. Put a time limit around it.
    pub(crate) async fn wait(&self, call_id: &str, count: usize) -> Vec<Heard> {
        loop {
            let news = self.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            let found = self.of(call_id);
            if found.len() >= count {
                return found;
            }
            news.await;
        }
    }

    /// Where careless readers would have differed.
    pub(crate) fn differences(&self) -> Vec<String> {
        self.differences.lock().clone()
    }

    /// Accepts at `address` until `stop`.
    pub(crate) async fn serve(
        self: Arc<Self>,
        address: SocketAddr,
        tls: Arc<TlsServer>,
        stop: CancellationToken,
    ) -> Result<()> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        if let Some(bytes) = self.window {
            socket.set_recv_buffer_size(bytes)?;
        }
        socket.bind(address).with_context(|| format!("{address}"))?;
        let listener = socket.listen(128)?;
        let conversations = TaskTracker::new();
        while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
            let (stream, _) = accepted?;
            // As every SIP server does: an answer that waits for the ACK of the one before (Nagle) waits 40 ms.
            stream.set_nodelay(true)?;
            let (this, tls, stop) = (Arc::clone(&self), Arc::clone(&tls), stop.clone());
            conversations.spawn(async move { stop.run_until_cancelled(this.converse(stream, &tls)).await });
        }
        conversations.close();
        conversations.wait().await;
        Ok(())
    }

    async fn converse(&self, stream: TcpStream, tls: &TlsServer) -> Result<()> {
        let (mut stream, _) = tls.accept(stream).await?;
        let (mut inbox, mut out) = (Vec::new(), Vec::new());
        let mut piece = vec![0; 64 * 1024];
        loop {
            if self.deaf.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
            let length @ 1.. = stream.read(&mut piece).await? else { return Ok(()) };
            inbox.extend_from_slice(&piece[..length]);
            let mut begin = 0;
            loop {
                let rest = &inbox[begin..];
                if let Some(end) = self.plain(rest, &mut out) {
                    begin += end;
                } else if let Some((heard, end)) = self.read(rest) {
                    begin += end;
                    self.hear(heard, &mut out);
                } else {
                    break;
                }
            }
            inbox.drain(..begin);
            if !out.is_empty() {
                stream.write_all(&out).await?;
                stream.flush().await?;
                out.clear();
            }
        }
    }

    /// Answers one of the many messages and calls that nobody looks at, at once: a flood of them must not wait for this
    /// test. Messages are taken; calls ring until they are cancelled.
    fn plain(&self, bytes: &[u8], out: &mut Vec<u8>) -> Option<usize> {
        let end = memmem::find(bytes, b"\r\n\r\n")? + 4;
        let head = &bytes[..end];
        if memmem::find(head, b"\r\nCall-ID: plain").is_none()
            || memmem::find(head, b"\r\nContent-Length: 0\r\n").is_none()
        {
            return None;
        }
        match head.split(|byte| *byte == b' ').next()? {
            b"INVITE" => {
                self.rings(&Heard { head: String::from_utf8_lossy(head).into_owned(), body: Vec::new() });
                copy(head, b"SIP/2.0 180 Ringing\r\n", out);
            }
            b"CANCEL" => {
                let heard = Heard { head: String::from_utf8_lossy(head).into_owned(), body: Vec::new() };
                out.extend(self.cancelled(&heard));
            }
            b"ACK" | b"SIP/2.0" => return Some(end),
            _ => copy(head, b"SIP/2.0 200 OK\r\n", out),
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        Some(end)
    }

    fn rings(&self, invite: &Heard) {
        let mut ringing = self.ringing.lock();
        if ringing.len() < KEPT_MAX {
            ringing.insert(invite.call_id().to_owned(), invite.vias());
        }
    }

    /// RFC 3261 §9.2: one answer for the CANCEL, and the end of the INVITE.
    fn cancelled(&self, cancel: &Heard) -> Vec<u8> {
        let Some(vias) = self.ringing.lock().remove(cancel.call_id()) else {
            return cancel.answer("481 Call/Transaction Does Not Exist", "");
        };
        let end = String::from_utf8_lossy(&cancel.answer_by(&vias, "487 Request Terminated", "")).into_owned();
        [cancel.answer("200 OK", ""), end.replace(" CANCEL\r\n", " INVITE\r\n").into_bytes()].concat()
    }

    fn hear(&self, heard: Heard, out: &mut Vec<u8>) {
        if heard.status().is_none() {
            self.requests.fetch_add(1, Ordering::Relaxed);
            match heard.method() {
                Some("CANCEL") => out.extend(self.cancelled(&heard)),
                method => {
                    if method == Some("INVITE") && heard.call_id().contains("ring") {
                        self.rings(&heard);
                    }
                    out.extend((self.manner)(&heard));
                }
            }
        }
        let mut seen = self.seen.lock();
        if heard.call_id().starts_with("look") && seen.len() < KEPT_MAX {
            seen.push(heard);
            drop(seen);
            self.news.notify_waiters();
        }
    }

    /// The first message, and where it ends.
    fn read(&self, bytes: &[u8]) -> Option<(Heard, usize)> {
        let (reading, differs) = read(bytes)?;
        if let Some(difference) = differs {
            let mut differences = self.differences.lock();
            if differences.len() < KEPT_MAX {
                differences.push(difference);
            }
        }
        Some(reading)
    }
}

/// Writes an answer with this first line, and what it has to have of its request.
fn copy(head: &[u8], first: &[u8], out: &mut Vec<u8>) {
    out.extend(first);
    let mut rest = head;
    while let Some(at) = memchr(b'\n', rest) {
        let (line, after) = rest.split_at(at + 1);
        rest = after;
        match line {
            [b'V', b'i', b'a', b':', ..] | [b'C', b'a', b'l', b'l', ..] => out.extend(line),
            [b'F', b'r', b'o', b'm', ..] | [b'C', b'S', ..] => out.extend(line),
            [b'T', b'o', b':', ..] => {
                out.extend(line.trim_ascii_end());
                out.extend(b";tag=w\r\n");
            }
            _ => {}
        }
    }
    out.extend(b"Content-Length: 0\r\n\r\n");
}

/// The first message of a stream as a strict reader has it, where it ends, and what a careless one would read
/// otherwise.
pub(crate) fn read(bytes: &[u8]) -> Option<((Heard, usize), Option<String>)> {
    let skipped = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let bytes = &bytes[skipped..];
    let strict = memmem::find(bytes, b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..strict]).into_owned();
    let mut differs = None;
    // A reader that takes a bare LF or CR for the end of a line may see the end of the header sooner.
    let within = &bytes[..strict - 1];
    if [&b"\n\n"[..], b"\r\r", b"\n\r\n"].iter().any(|end| memmem::find(within, end).is_some()) {
        differs = Some(format!("the header ends twice: {head:?}"));
    }
    let lengths = lengths(&head);
    if lengths.len() != 1 {
        differs = Some(format!("the length reads as {lengths:?}: {head:?}"));
    }
    let length = lengths.first().copied().unwrap_or_default();
    let body = bytes.get(strict..strict.checked_add(length)?)?.to_vec();
    Some(((Heard { head, body }, skipped + strict + length), differs))
}

/// Every length that some reader might find in a header.
fn lengths(head: &str) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    // RFC 3261 §7.3.1: a line that begins with white space belongs to the one before. That much every reader knows.
    let head = unfolded(head);
    for line in head.split(['\r', '\n', '\0', '\u{b}', '\u{c}']) {
        let Some((name, value)) = line.split_once(':') else { continue };
        let name = name.trim_matches(|c: char| c.is_whitespace() || c.is_control());
        if !name.eq_ignore_ascii_case("content-length") && !name.eq_ignore_ascii_case("l") {
            continue;
        }
        // In full, the first digits, the last of a list, hexadecimal: what parsers have been seen to do.
        let value = value.trim();
        for part in [value, value.split(',').next().unwrap_or_default(), value.rsplit(',').next().unwrap_or_default()] {
            let part = part.trim().trim_start_matches(['+', '-']);
            let digits = part.find(|c: char| !c.is_ascii_digit()).map_or(part, |end| &part[..end]);
            found.insert(digits.parse().unwrap_or(usize::MAX / 2));
            if let Some(digits) = part.strip_prefix("0x") {
                found.insert(usize::from_str_radix(digits, 16).unwrap_or(usize::MAX / 2));
            }
        }
    }
    found
}

impl Heard {
    /// The value of the first header field of that name.
    pub(crate) fn field<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.fields(name).next()
    }

    /// The values of every header field of that name.
    pub(crate) fn fields<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.head.split("\r\n").filter_map(move |line| {
            let (found, value) = line.split_once(':')?;
            let found = found.trim();
            // RFC 3261 §7.3.3.
            let compact = COMPACT
                .iter()
                .any(|(short, long)| found.eq_ignore_ascii_case(short) && name.eq_ignore_ascii_case(long));
            (compact || found.eq_ignore_ascii_case(name)).then(|| value.trim())
        })
    }

    /// The method, if it is a request.
    pub(crate) fn method(&self) -> Option<&str> {
        self.status().is_none().then(|| self.head.split(' ').next().unwrap_or_default())
    }

    pub(crate) fn call_id(&self) -> &str {
        self.field("call-id").unwrap_or_default()
    }

    /// The status, if it is an answer.
    pub(crate) fn status(&self) -> Option<u16> {
        self.head.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
    }

    /// An answer to it, with further header lines. Within a dialog it has the tag that the request has.
    pub(crate) fn answer(&self, status: &str, more: &str) -> Vec<u8> {
        self.answer_by(&self.vias(), status, more)
    }

    /// Its Via lines.
    fn vias(&self) -> String {
        self.fields("via").map(|via| format!("Via: {via}\r\n")).collect()
    }

    /// The same with other Via lines.
    pub(crate) fn answer_by(&self, vias: &str, status: &str, more: &str) -> Vec<u8> {
        // On one line each, as nearly everybody writes them.
        let asked = Self { head: unfolded(&self.head), body: Vec::new() };
        let copied = |name: &str| format!("{name}: {}\r\n", asked.field(name).unwrap_or_default());
        let (from, call_id, cseq) = (copied("From"), copied("Call-ID"), copied("CSeq"));
        let to = asked.field("To").unwrap_or_default();
        let tag = if to.contains(";tag=") { "" } else { ";tag=w" };
        format!("SIP/2.0 {status}\r\n{vias}{from}To: {to}{tag}\r\n{call_id}{cseq}{more}Content-Length: 0\r\n\r\n")
            .into_bytes()
    }
}

/// Each field on one line.
pub(crate) fn unfolded(head: &str) -> String {
    ["\r\n ", "\r\n\t", "\n ", "\n\t"].iter().fold(head.to_owned(), |head, fold| match head.contains(fold) {
        true => head.replace(fold, " "),
        false => head,
    })
}

/// The short forms of what an answer repeats.
const COMPACT: [(&str, &str); 4] = [("v", "via"), ("f", "from"), ("t", "to"), ("i", "call-id")];

/// Messages and differences kept.
const KEPT_MAX: usize = 20_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_that_reads_in_two_ways_is_told() {
        for (lines, expected) in [
            ("Content-Length: 5\r\n", &[5][..]),
            ("l : 5\r\n", &[5]),
            ("Content-Length: 5\r\nl: 7\r\n", &[5, 7]),
            ("Content-Length: 5, 7\r\n", &[5, 7]),
            ("Subject: a\nContent-Length: 9\r\nContent-Length: 5\r\n", &[5, 9]),
            ("Content-Length: 0x10\r\n", &[0, 16]),
            ("", &[]),
        ] {
            let head = format!("MESSAGE sip:a SIP/2.0\r\n{lines}\r\n");
            assert_eq!(lengths(&head).into_iter().collect::<Vec<_>>(), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_header_that_ends_sooner_for_a_careless_reader_is_told() {
        let text = "MESSAGE sip:a SIP/2.0\r\nSubject: a\n\nContent-Length: 0\r\n\r\n";
        let (_, differs) = read(text.as_bytes()).expect("a message");
        assert!(differs.is_some_and(|text| text.contains("ends twice")));
        let (_, differs) = read(b"MESSAGE sip:a SIP/2.0\r\nContent-Length: 0\r\n\r\n").expect("a message");
        assert_eq!(differs, None);
    }
}
