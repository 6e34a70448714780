//! The nemesis's own thread: its calls block, and clients must not wait for them.

use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Instant;

use duress_history::NodeId;
use duress_nemesis::nemesis::{Crash, Healed, Injected, Nemesis, NemesisError};
use duress_nemesis::{Fault, RoleMap};
use tokio::sync::oneshot;

use crate::cli::output::tell;

type Reply<T> = oneshot::Sender<Result<T, NemesisError>>;

enum Command {
    StartNodes(Reply<()>),
    StartNode { node: NodeId, reply: Reply<()> },
    Inject { id: u32, fault: Box<Fault>, roles: RoleMap, due: Instant, reply: Reply<Injected> },
    Heal { id: u32, reply: Reply<Healed> },
    InForce(oneshot::Sender<Vec<u32>>),
    Running(oneshot::Sender<Vec<NodeId>>),
    Crashes(Reply<Vec<Crash>>),
}

/// The asynchronous handle of the nemesis.
#[derive(Debug)]
pub struct NemesisThread {
    commands: Option<mpsc::Sender<Command>>,
    thread: Option<JoinHandle<Result<(), NemesisError>>>,
}

/// The message for a thread that is gone, which only a panic of its own can cause.
const GONE: &str = "the nemesis thread lives as long as its handle";

impl NemesisThread {
    /// Moves `nemesis` to a thread of its own.
    ///
    /// # Errors
    /// The system's error when it has no thread left.
    pub fn start(nemesis: Nemesis) -> std::io::Result<Self> {
        let (commands, inbox) = mpsc::channel();
        let thread =
            std::thread::Builder::new().name("nemesis".to_owned()).spawn(move || serve(nemesis, &inbox))?;
        Ok(Self { commands: Some(commands), thread: Some(thread) })
    }

    /// Starts every node that is not running.
    ///
    /// # Errors
    /// [`NemesisError`].
    pub async fn start_nodes(&self) -> Result<(), NemesisError> {
        self.ask(Command::StartNodes).await
    }

    /// Starts one node that ended by itself.
    ///
    /// # Errors
    /// [`NemesisError`].
    pub async fn start_node(&self, node: NodeId) -> Result<(), NemesisError> {
        self.ask(|reply| Command::StartNode { node, reply }).await
    }

    /// Injects a fault at the moment `due`, or at once if that has passed; see [`Nemesis::inject`].
    ///
    /// The thread itself waits for the moment, so that clients do not delay the fault. It does nothing else
    /// until then.
    ///
    /// # Errors
    /// [`NemesisError`].
    pub async fn inject(
        &self,
        id: u32,
        fault: &Fault,
        roles: RoleMap,
        due: Instant,
    ) -> Result<Injected, NemesisError> {
        let fault = Box::new(fault.clone());
        self.ask(|reply| Command::Inject { id, fault, roles, due, reply }).await
    }

    /// Heals a fault; see [`Nemesis::heal`].
    ///
    /// # Errors
    /// [`NemesisError`].
    pub async fn heal(&self, id: u32) -> Result<Healed, NemesisError> {
        self.ask(|reply| Command::Heal { id, reply }).await
    }

    /// Returns the numbers of the faults in force.
    pub async fn in_force(&self) -> Vec<u32> {
        self.ask(Command::InForce).await
    }

    /// Returns the nodes whose processes run or are paused.
    pub async fn running(&self) -> Vec<NodeId> {
        self.ask(Command::Running).await
    }

    /// Returns the nodes that ended by themselves since the last call.
    ///
    /// # Errors
    /// [`NemesisError`].
    pub async fn crashes(&self) -> Result<Vec<Crash>, NemesisError> {
        self.ask(Command::Crashes).await
    }

    /// Ends every process of the cluster, and the thread.
    ///
    /// # Errors
    /// [`NemesisError`].
    pub fn close(mut self) -> Result<(), NemesisError> {
        self.commands = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(Err(error))) => {
                warn(&error);
                Err(error)
            }
            Some(Ok(result)) => result,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Ok(()),
        }
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> T {
        let (reply, answer) = oneshot::channel();
        self.commands.as_ref().expect(GONE).send(command(reply)).expect(GONE);
        answer.await.expect(GONE)
    }
}

impl Drop for NemesisThread {
    fn drop(&mut self) {
        // The safety net; `close` is the way that reports errors.
        self.commands = None;
        if let Some(thread) = self.thread.take()
            && let Ok(Err(error)) = thread.join()
        {
            warn(&error);
        }
    }
}

/// Says at once that a cluster which goes on running is not as it was: a report may not come, or not be read.
fn warn(error: &NemesisError) {
    if let NemesisError::LeftInForce { .. } = error {
        tell(format_args!("\n{error}\n"));
    }
}

fn serve(mut nemesis: Nemesis, inbox: &mpsc::Receiver<Command>) -> Result<(), NemesisError> {
    // The caller may have stopped waiting; the command was carried out all the same.
    while let Ok(command) = inbox.recv() {
        match command {
            Command::StartNodes(reply) => drop(reply.send(nemesis.start_nodes())),
            Command::StartNode { node, reply } => drop(reply.send(nemesis.start_node(&node))),
            Command::Inject { id, fault, roles, due, reply } => {
                drop(reply.send(nemesis.inject(id, &fault, &roles, due)));
            }
            Command::Heal { id, reply } => drop(reply.send(nemesis.heal(id))),
            Command::InForce(reply) => drop(reply.send(nemesis.in_force())),
            Command::Running(reply) => drop(reply.send(nemesis.running())),
            Command::Crashes(reply) => drop(reply.send(nemesis.crashes())),
        }
    }
    nemesis.teardown()
}
