//! The shared parts of the tests: an arena of a few hosts, and waiting for a condition.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use duress_arena::capabilities::{Availability, Capabilities};
use duress_arena::{Arena, ArenaSpec, Host, HostSpec, PortKind, ProbeOutcome, ProcessSpec, Switch};
use duress_testing::{Missing, Need, trial};
use libtest_mimic::Trial;

/// Longer than anything here takes, even on a machine busy with other work.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Host number `number`, from 1.
pub fn node(number: u8) -> String {
    format!("n{number}")
}

/// Returns an arena with hosts `n1` to `n<count>` at 10.77.0.1 and on.
pub fn arena(count: u8, port: PortKind) -> Arena {
    let hosts = (1..=count)
        .map(|number| HostSpec { name: node(number).into(), address: Ipv4Addr::new(10, 77, 0, number) })
        .collect();
    let spec = ArenaSpec { hosts, port, tcp_rto_max: Some(Duration::from_secs(1)) };
    Arena::build(&spec).expect("the arena is built")
}

/// Returns the host called `n<number>`.
pub fn host(arena: &Arena, number: u8) -> Arc<Host> {
    Arc::clone(arena.host(&node(number)).expect("a host of this arena"))
}

/// Waits until `condition` holds, and fails the test if it does not within [`PATIENCE`].
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "waited in vain until {what}");
        thread::yield_now();
    }
}

/// Returns a shell command, with its output in `folder`.
pub fn shell(command: &str, folder: &Path) -> ProcessSpec {
    ProcessSpec {
        program: "/bin/sh".into(),
        args: vec!["-c".into(), command.into()],
        env: Vec::new(),
        cwd: None,
        stdout: folder.join("stdout"),
        stderr: folder.join("stderr"),
        stop: duress_arena::Signal::SIGTERM,
        user: None,
    }
}

/// A daemon by the book: it forks, leaves its session, forks again, and its parents end. Two sleeping
/// processes remain.
pub const DAEMON: &str = "setsid sh -c 'setsid sleep 1000 & exit 0' & wait; exec sleep 1000";

/// Whether exactly `count` processes live on `host`, and all of them are `sleep` by now.
pub fn only_sleepers(host: &Host, count: usize) -> bool {
    let pids = host.pids().expect("/proc can be read");
    let sleeps = |pid| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n");
    pids.len() == count && pids.into_iter().all(sleeps)
}

/// Accepts one connection on `host` and echoes its input; returns the address, and a handle to wait for its
/// end.
pub fn echo_once(host: &Host) -> (SocketAddr, JoinHandle<()>) {
    let listener = host
        .enter(|| TcpListener::bind((host.address(), 0)))
        .expect("the host can be entered")
        .expect("the address is the host's");
    let address = listener.local_addr().expect("a bound listener");
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        stream.set_nodelay(true).expect("a TCP connection");
        let mut buffer = vec![0; 64 << 10];
        // The other side ends it by closing, or by dropping out of sight at the end of a test.
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            if stream.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
    });
    (address, server)
}

/// Opens a blocking connection from `host` to `to`, whose reads fail after [`PATIENCE`].
pub fn connect(host: &Host, to: SocketAddr) -> TcpStream {
    let stream = host.enter(|| TcpStream::connect_timeout(&to, PATIENCE)).expect("the host can be entered");
    let stream = stream.expect("the other host answers");
    stream.set_nodelay(true).expect("a TCP connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out above zero");
    stream
}

/// Sends 64 bytes marked `mark`, and waits for them to come back.
pub fn round_trip(stream: &mut TcpStream, mark: u8) {
    stream.write_all(&[mark; 64]).expect("room in the send buffer");
    let mut back = [0; 64];
    stream.read_exact(&mut back).expect("an answer");
    assert_eq!(back, [mark; 64]);
}

/// Returns the outcome of one probe from `from` to `to`.
pub fn probe(switch: &Switch, from: u8, to: u8) -> ProbeOutcome {
    switch.probe(&[(node(from), node(to))], PATIENCE).expect("the switch runs")[0]
}

pub fn arrives(switch: &Switch, from: u8, to: u8) -> bool {
    matches!(probe(switch, from, to), ProbeOutcome::Arrived(_))
}

/// A test that is run over either kind of port.
pub type PortTest = (&'static str, fn(PortKind));

/// Registers `tests` once for each kind of port; an unavailable kind is skipped, with the reason.
pub fn for_both_ports(trials: &mut Vec<Trial>, allowed: &Capabilities, tests: &[PortTest]) {
    for (kind, name, availability) in
        [(PortKind::Tun, "tun", &allowed.tun), (PortKind::Packet, "packet", &allowed.packet_on_veth)]
    {
        let need = if kind == PortKind::Tun { Need::Tun } else { Need::Namespaces };
        for &(test, run) in tests {
            let availability = availability.clone();
            trials.push(trial(format!("{name}::{test}"), move || match availability {
                Availability::Available => {
                    run(kind);
                    Ok(())
                }
                Availability::Unavailable(reason) => Err(Missing::new(need, reason)),
            }));
        }
    }
}
