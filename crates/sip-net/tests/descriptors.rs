//! A machine without a descriptor left. In a process of its own, whose limit it lowers.

mod door;

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::time::Duration;

use reveille_sip_net::{ListenLimits, Listener};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use door::{Open, loopback, within};

/// Time that this process has used its processors, in hundredths of a second.
fn used_ticks(stat: &mut File) -> u64 {
    let mut text = String::new();
    stat.rewind().and_then(|()| stat.read_to_string(&mut text)).expect("a stat");
    let fields = text.rsplit_once(')').expect("a name").1;
    fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
}

fn set_files(current: u64) {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let current = Some(maximum.map_or(current, |maximum| current.min(maximum)));
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).expect("a lower or equal limit");
}

#[tokio::test]
async fn without_descriptors_the_listener_waits_instead_of_spinning_and_then_goes_on() {
    let listener = Listener::tcp(loopback(), ListenLimits::default()).expect("a port");
    let address = listener.local_addr();
    // They wait in the kernel until somebody accepts.
    let mut guests = Vec::new();
    for _ in 0..8 {
        let mut guest = within(TcpStream::connect(address)).await.expect("a connection");
        within(guest.write_all(b"\r\n\r\n")).await.expect("room");
        guests.push(guest);
    }
    let mut stat = File::open("/proc/self/stat").expect("a stat");
    let highest = std::fs::read_dir("/proc/self/fd")
        .expect("descriptors")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u64>().ok())
        .max()
        .expect("some");
    let before = getrlimit(Resource::Nofile).current.unwrap_or(1024);
    set_files(highest + 4);
    // There may be gaps below; in the end exactly three are free.
    let mut fillers = Vec::new();
    while let Ok(filler) = File::open("/dev/null") {
        fillers.push(filler);
    }
    fillers.truncate(fillers.len().saturating_sub(3));
    let mut open = Open::new(listener);
    within(open.flows.recv()).await.expect("one has a seat");
    let (ticks, since) = (used_ticks(&mut stat), Instant::now());
    // Not to wait for something, but to see how much is done meanwhile.
    sleep(Duration::from_millis(800)).await;
    let (used, passed) = (used_ticks(&mut stat) - ticks, since.elapsed());
    assert!(open.flows.len() < 7, "there were descriptors for all");
    assert!(used <= 20, "{used} hundredths of a second of work in {passed:?} of waiting");
    set_files(before);
    drop(fillers);
    for guest in &mut guests {
        let mut pong = [0; 2];
        within(guest.read_exact(&mut pong)).await.expect("an answer");
        assert_eq!(&pong, b"\r\n");
    }
    drop(guests);
    open.close().await;
}
