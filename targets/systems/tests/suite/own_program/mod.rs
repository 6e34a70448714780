//! A system of one node whose clients are a program of the test's.

use std::path::Path;
use std::sync::Arc;

use duress_history::NodeId;
use duress_settings::Request;
use duress_targets::{Deployment, Manifest, ManifestText, Node, System, Topology};

/// Returns the system of a manifest in `folder`, whose table `[client]` has these lines besides the protocol.
pub fn deployed(folder: &Path, client: &str) -> Arc<dyn Deployment> {
    let text = format!(
        r#"
        name = "mine"
        port = 1
        [[role]]
        name = "server"
        command = "true"
        [client]
        protocol = "exec"
        {client}
    "#
    );
    let system = Manifest::parse(&ManifestText { path: folder.join("duress.toml"), text }).unwrap();
    let settings = system.resolve(&Request { nodes: 1, ..Request::default() }).unwrap();
    let node = Node { name: NodeId::new("n1"), address: [127, 0, 0, 1].into() };
    system.deploy(&settings, &Topology { nodes: vec![node] }).unwrap()
}
