//! The shared part of our own subjects: they are subcommands of the program that carries them, started alike.
//!
//! This module does not know their code: each is a program with a command line and a protocol, as any other.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use duress_arena::{ProcessSpec, Signal};
use duress_history::NodeId;
use duress_settings::Settings;

use crate::system::{MissingSystem, executable};
use crate::topology::{NodeFiles, Topology, UnknownNode};

/// One of our subjects, as a program.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    /// The program that carries it.
    pub(crate) executable: PathBuf,
    /// The subcommand that runs a node of it.
    pub(crate) subcommand: &'static str,
    /// The port on which a node listens for clients.
    pub(crate) client_port: u16,
    /// The port on which a node listens for its peers.
    pub(crate) peer_port: u16,
}

impl Subject {
    /// Whether it can be started.
    pub(crate) fn available(&self, programs: &BTreeMap<String, PathBuf>) -> Result<(), MissingSystem> {
        programs.get(self.subcommand).map_or(Ok(()), |program| executable(self.subcommand, program))
    }

    /// How `node` is started, with those options of `settings` that `takes` says the node itself has.
    pub(crate) fn process(
        &self,
        settings: &Settings,
        takes: impl Fn(&str) -> bool,
        topology: &Topology,
        node: &NodeId,
        files: &NodeFiles,
    ) -> Result<ProcessSpec, UnknownNode> {
        let this = topology.node(node)?;
        let mut args: Vec<OsString> = vec![self.subcommand.into()];
        let mut flag = |name: &str, value: OsString| args.extend([name.into(), value]);
        flag("--mode", settings.mode.as_str().into());
        flag("--node", node.as_str().into());
        flag("--listen", this.at(self.client_port).to_string().into());
        flag("--peer-listen", this.at(self.peer_port).to_string().into());
        for peer in topology.nodes.iter().filter(|peer| peer.name != *node) {
            flag("--peer", format!("{}={}", peer.name, peer.at(self.peer_port)).into());
        }
        flag("--data", files.data.clone().into());
        for (name, value) in settings.options.iter().filter(|(name, _)| takes(name)) {
            flag("-o", format!("{name}={value}").into());
        }
        if let Some(bug) = &settings.bug {
            flag("--bug", bug.into());
        }
        Ok(ProcessSpec {
            program: settings.programs.get(self.subcommand).unwrap_or(&self.executable).clone(),
            args,
            env: Vec::new(),
            cwd: None,
            stdout: files.stdout.clone(),
            stderr: files.stderr.clone(),
            stop: Signal::SIGTERM,
            user: None,
        })
    }
}
