//! The baseline for the switch: two namespaces joined by veth pairs and a bridge, entirely in the kernel.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;
use std::thread;

use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, setns, unshare};
use rtnetlink::{LinkBridge, LinkUnspec, LinkVeth};

/// The interface at either end.
const INTERFACE: &str = "eth0";

/// A bridge between a client's namespace and a server's. All of it goes when this is dropped.
pub struct Bridge {
    client: File,
    server: File,
    /// The namespace of the bridge, which lives as long as this is open.
    _middle: File,
}

impl Bridge {
    /// The server's address.
    pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 2);
    const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);

    /// Builds it.
    ///
    /// # Errors
    /// The kernel's error, for example that it has no bridges.
    pub fn build() -> io::Result<Self> {
        let [client, server, middle] = [namespace()?, namespace()?, namespace()?];
        within(&middle, || {
            netlink(async |handle| {
                handle.link().add(LinkBridge::new("br0").build()).execute().await?;
                handle.link().set(LinkUnspec::new_with_name("br0").up().build()).execute().await
            })?;
            let bridge = index("br0")?;
            for (far, end) in [("client", &client), ("server", &server)] {
                netlink(async |handle| {
                    handle.link().add(LinkVeth::new(far, INTERFACE).build()).execute().await?;
                    let moved = LinkUnspec::new_with_name(INTERFACE).setns_by_fd(end.as_raw_fd()).build();
                    handle.link().set(moved).execute().await?;
                    let joined = LinkUnspec::new_with_name(far).controller(bridge).up().build();
                    handle.link().set(joined).execute().await
                })?;
            }
            Ok(())
        })?;
        for (end, address) in [(&client, Self::CLIENT), (&server, Self::SERVER)] {
            within(end, || {
                let interface = index(INTERFACE)?;
                netlink(async |handle| {
                    handle.address().add(interface, IpAddr::V4(address), 24).execute().await?;
                    handle.link().set(LinkUnspec::new_with_name(INTERFACE).up().build()).execute().await
                })
            })?;
        }
        Ok(Self { client, server, _middle: middle })
    }

    pub fn on_client<T: Send>(&self, run: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        within(&self.client, run)
    }

    pub fn on_server<T: Send>(&self, run: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        within(&self.server, run)
    }
}

/// Runs `work` on a thread of its own, which need not find its way back from the namespace it ends in.
fn apart<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| match scope.spawn(work).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

fn namespace() -> io::Result<File> {
    apart(|| {
        unshare(CloneFlags::CLONE_NEWNET)?;
        File::open("/proc/thread-self/ns/net")
    })
}

fn within<T: Send>(namespace: &File, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    apart(|| {
        setns(namespace, CloneFlags::CLONE_NEWNET)?;
        work()
    })
}

fn index(interface: &str) -> io::Result<u32> {
    Ok(if_nametoindex(interface)?)
}

/// Has something done over netlink in this thread's namespace.
fn netlink(ask: impl AsyncFnOnce(rtnetlink::Handle) -> Result<(), rtnetlink::Error>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        let connection = tokio::spawn(connection);
        let done = ask(handle).await;
        connection.abort();
        done.map_err(|error| match error {
            rtnetlink::Error::NetlinkError(message) => message.to_io(),
            other => io::Error::other(other),
        })
    })
}
