//! How an etcd node is started, and restarted on its own data: as one of a new cluster, or to join one that is there.

use std::env;
use std::os::unix::fs::PermissionsExt;
use std::path::{self, Path, PathBuf};

use duress_arena::{ProcessSpec, Signal};

use duress_history::nemesis::ListedMember;

use crate::system::MissingSystem;
use crate::topology::{Node, NodeFiles, Topology};

/// The port on which a node listens for clients.
pub(super) const CLIENT_PORT: u16 = 2379;
/// The port on which a node listens for its peers.
const PEER_PORT: u16 = 2380;

/// Looked into after `PATH`, which a service manager or CI may have cut short.
const FALLBACK_FOLDERS: [&str; 2] = ["/usr/bin", "/usr/local/bin"];

/// Returns the program `etcd`.
///
/// # Errors
/// [`MissingSystem`], saying how to install it.
pub(super) fn find_program() -> Result<PathBuf, MissingSystem> {
    let path = env::var_os("PATH").unwrap_or_default();
    find_in(env::split_paths(&path).chain(FALLBACK_FOLDERS.iter().map(PathBuf::from)))
}

fn find_in(folders: impl Iterator<Item = PathBuf>) -> Result<PathBuf, MissingSystem> {
    let found = folders.map(|folder| folder.join("etcd")).find(|file| is_program(file));
    // A folder of PATH may be relative, and nodes start elsewhere.
    found.map(|file| path::absolute(&file).unwrap_or(file)).ok_or_else(|| MissingSystem {
        system: "etcd".to_owned(),
        reason: format!("no program \"etcd\" in PATH, {}", FALLBACK_FOLDERS.join(" or ")),
        remedy: "install it with `sh ci/install-etcd`, or `apt-get install etcd-server` on Debian and Ubuntu"
            .to_owned(),
    })
}

fn is_program(file: &Path) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// The cluster that a node without data starts in.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cluster<'a> {
    /// One that begins, of all nodes.
    New,
    /// One of these members, of which the node is one already.
    Existing(&'a [ListedMember]),
}

/// Returns the URL by which the peers of `node` reach it, which also identifies it among the members.
pub(super) fn peer_url(node: &Node) -> String {
    format!("http://{}:{PEER_PORT}", node.address)
}

/// Returns the process of `node`, which runs `program`, the same for its first start and every restart.
pub(super) fn process(
    program: PathBuf,
    topology: &Topology,
    cluster: Cluster<'_>,
    node: &Node,
    files: &NodeFiles,
) -> ProcessSpec {
    let client_url = format!("http://{}:{CLIENT_PORT}", node.address);
    let (state, listed) = match cluster {
        Cluster::New => ("new", None),
        Cluster::Existing(listed) => ("existing", Some(listed)),
    };
    let is_listed = |node: &&Node| listed.is_none_or(|listed| listed.iter().any(|at| at.node == node.name));
    let cluster: Vec<String> = topology
        .nodes
        .iter()
        .filter(is_listed)
        .map(|node| format!("{}={}", node.name, peer_url(node)))
        .collect();
    let flags = [
        ("name", node.name.to_string()),
        ("listen-client-urls", client_url.clone()),
        ("advertise-client-urls", client_url),
        ("listen-peer-urls", peer_url(node)),
        ("initial-advertise-peer-urls", peer_url(node)),
        ("initial-cluster", cluster.join(",")),
        ("initial-cluster-token", "duress".to_owned()),
        // Ignored where there is data, so that the same command starts and restarts.
        ("initial-cluster-state", state.to_owned()),
        // The administrator knows how many nodes the cluster can lose; etcd would refuse every change until 5 s after the last
        // disturbance.
        ("strict-reconfig-check", "false".to_owned()),
        // etcd's own defaults, stated because the time of a failover depends on them.
        ("heartbeat-interval", "100".to_owned()),
        ("election-timeout", "1000".to_owned()),
        ("logger", "zap".to_owned()),
        ("log-level", "warn".to_owned()),
        ("log-outputs", "stderr".to_owned()),
    ];
    let mut args: Vec<_> = flags.iter().map(|(flag, value)| format!("--{flag}={value}").into()).collect();
    // A folder within, because etcd wants one that only it may enter and makes it so itself.
    args.push("--data-dir".into());
    args.push(files.data.join("etcd").into());
    ProcessSpec {
        program,
        args,
        // The gateway and the peers would otherwise go through a proxy set for the whole machine.
        env: vec![("NO_PROXY".into(), "*".into()), ("no_proxy".into(), "*".into())],
        cwd: None,
        stdout: files.stdout.clone(),
        stderr: files.stderr.clone(),
        stop: Signal::SIGTERM,
        user: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_etcd_is_explained() {
        let empty = tempfile::tempdir().unwrap();
        let missing = find_in([empty.path().to_owned()].into_iter()).unwrap_err().to_string();
        assert!(
            missing.contains("ci/install-etcd") && missing.contains("apt-get install etcd-server"),
            "{missing}"
        );
    }

    #[test]
    fn a_file_that_cannot_be_executed_is_no_program() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("etcd");
        std::fs::write(&file, "").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(find_in([folder.path().to_owned()].into_iter()).is_err());
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find_in([folder.path().to_owned()].into_iter()).unwrap(), file);
    }
}
