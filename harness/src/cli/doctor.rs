//! `duress doctor`: what this machine allows, what is used instead, and the cost in faults.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::systems::systems;
use duress_arena::NamespaceKind;
use duress_arena::capabilities::{Availability, User, probe};
use duress_arena::clock::absolute_waits_missing;

use crate::cli::exit::{Exit, Failure};
use crate::cli::output::print;

/// The parts that a clock fault does not reach, whatever this machine allows.
const BEYOND: &str = "\nA node's clock is what its programs read and wait for. Statically linked programs, and those that make the \
    system calls themselves, wait until a moment of the wall clock by the machine's clock.";

/// A thing that was tried, and what its absence means.
struct Finding<'a> {
    name: &'static str,
    found: &'a Availability,
    /// The consequence, or the substitute, without it.
    without: &'static str,
}

pub fn doctor() -> Result<Exit, Failure> {
    let found = probe().map_err(Failure::internal)?;
    let mut text = String::new();
    let user = match found.user {
        User::Root => "root",
        User::Unprivileged => "an ordinary user",
    };
    let how = match found.namespace_kind {
        Some(NamespaceKind::Privileged) => ", with namespaces by the administrator's right",
        Some(NamespaceKind::User) => ", with namespaces inside a user namespace of its own",
        None => "",
    };
    let _ = writeln!(text, "running as {user}{how}\n");
    let absolute_waits = match absolute_waits_missing() {
        None => Availability::Available,
        Some(reason) => Availability::Unavailable(reason.to_owned()),
    };
    let findings = [
        Finding {
            name: "namespaces (PID, mount, network)",
            found: &found.namespaces,
            without: "no arena: `duress run` cannot work; `duress check` can",
        },
        Finding {
            name: "a /proc of one's own",
            found: &found.proc,
            without: "processes cannot be controlled: `duress run` cannot work",
        },
        Finding {
            name: "TUN ports (/dev/net/tun)",
            found: &found.tun,
            without: "hosts are attached by veth pairs and packet sockets instead; no fault is lost",
        },
        Finding {
            name: "packet ports (AF_PACKET on veth)",
            found: &found.packet_on_veth,
            without: "no loss while TUN ports work; without both, no network",
        },
        Finding {
            name: "tmpfs",
            found: &found.tmpfs,
            without: "nodes' data must be on disk (--data disk): runs are slower",
        },
        Finding { name: "FUSE (/dev/fuse)", found: &found.fuse, without: "no disk faults" },
        Finding {
            name: "tracing one's own children (ptrace)",
            found: &found.ptrace,
            without: "no clock faults",
        },
        Finding {
            name: "waits by a node's clock (preloaded library)",
            found: &absolute_waits,
            without: "waits until a moment of the wall clock (pthread_cond_timedwait and sem_timedwait on CLOCK_REALTIME, \
                Java's parkUntil) end by the machine's clock",
        },
        Finding {
            name: "net.ipv4.tcp_rto_max_ms",
            found: &found.tcp_rto_max,
            without: "connections may take several seconds to recover after a healed partition; no fault is lost",
        },
    ];
    for Finding { name, found, without } in &findings {
        let _ = match found {
            Availability::Available => writeln!(text, "  yes  {name}"),
            Availability::Unavailable(reason) => {
                writeln!(text, "  no   {name}: {reason}\n         without it: {without}")
            }
        };
    }
    let network = found.tun.is_available() || found.packet_on_veth.is_available();
    let fit = found.namespaces.is_available() && found.proc.is_available() && network;
    let _ = writeln!(text, "\nsystems:");
    for system in systems().iter() {
        let _ = match system.available(&BTreeMap::new()) {
            Ok(()) => writeln!(text, "  yes  {}", system.description().name),
            Err(missing) => writeln!(text, "  no   {missing}"),
        };
    }
    let _ = if fit {
        let mut faults = vec!["partition", "packet", "kill", "pause", "restart", "resources"];
        if found.ptrace.is_available() && cfg!(target_arch = "x86_64") {
            faults.push("clock");
        }
        if found.fuse.is_available() {
            faults.push("disk");
        }
        let ports = if found.tun.is_available() { "TUN" } else { "packet" };
        let clocks = if faults.contains(&"clock") { BEYOND } else { "" };
        writeln!(text, "\nduress can run here, with {ports} ports; faults: {}.{clocks}", faults.join(", "))
    } else {
        writeln!(text, "\nduress cannot run clusters here; it can check recorded histories.")
    };
    print(text)?;
    Ok(if fit { Exit::Valid } else { Exit::Broken })
}
