//! Register operations on a node with scripted answers, and outcomes in short.

use std::sync::Arc;

use crate::offer::store_offer;
use duress_history::NodeId;
use duress_history::register::{Register, RegisterOp};
use duress_settings::Request;
use duress_targets::{Deployment, Etcd, Node, Outcome, Store, System, Topology};

/// Returns the store or etcd with one node, `n1`, at an address that only a scripted server's place leads to.
pub fn single(system: &str, request: &Request) -> Arc<dyn Deployment> {
    let store = Store::new("duress".into(), store_offer());
    let etcd = Etcd::default();
    let system: &dyn System = if system == "store" { &store } else { &etcd };
    let node = Node { name: NodeId::new("n1"), address: [192, 0, 2, 1].into() };
    system.deploy(&system.resolve(request).unwrap(), &Topology { nodes: vec![node] }).unwrap()
}

/// Returns the default settings of `system`, with `options`.
pub fn request(options: &[(&str, &str)]) -> Request {
    let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Request { nodes: 1, options, ..Request::default() }
}

/// Read the key `x`.
pub fn read() -> Register {
    Register { key: "x".into(), op: RegisterOp::Read(None) }
}

/// Write 1 to the key `x`.
pub fn write() -> Register {
    Register { key: "x".into(), op: RegisterOp::Write(1.into()) }
}

/// Compare-and-set the key `x` from 1 to 2.
pub fn cas() -> Register {
    Register { key: "x".into(), op: RegisterOp::Cas { old: Some(1.into()), new: 2.into() } }
}

/// Returns an outcome in short: `ok`, `ok 5`, `ok nil`, `fail precondition`, `info timeout`.
pub fn short(asked: &Register, outcome: &Outcome<Register>) -> String {
    match outcome {
        Outcome::Ok(answered) => {
            assert_eq!(answered.key, asked.key);
            match &answered.op {
                RegisterOp::Read(Some(value)) => format!("ok {value}"),
                RegisterOp::Read(None) => "ok nil".to_owned(),
                op => {
                    assert_eq!(op, &asked.op, "the operation is returned unchanged");
                    "ok".to_owned()
                }
            }
        }
        Outcome::Fail(cause) => match &cause.saw {
            Some(saw) => format!(
                "fail {} saw {}",
                cause.kind,
                saw.as_ref().map_or("nil".to_owned(), ToString::to_string)
            ),
            None => format!("fail {}", cause.kind),
        },
        Outcome::Info(cause) => format!("info {}", cause.kind),
    }
}
