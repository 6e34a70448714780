//! A broker's membership in the cluster: it registers this incarnation, and sends heartbeats.

use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::controller::Controller;
use super::message::HeartbeatAnswer;
use super::state::{BrokerEpoch, Command, Reply};
use crate::config::Config;

const ATTEMPT_EVERY: Duration = Duration::from_millis(50);
const REGISTER_MAX: Duration = Duration::from_millis(1_500);

/// Registers this broker and sends heartbeats until dropped. `epoch` receives the incarnation of this broker
/// once it is agreed on *and* this broker has applied every earlier change; until then it acts on nothing.
pub async fn take_part(controller: Controller, config: Config, epoch: watch::Sender<Option<BrokerEpoch>>) {
    let every = config.options.session / 6;
    loop {
        let incarnation = register(&controller, &config).await;
        tracing::info!(broker = %controller.id(), epoch = incarnation, "registered");
        epoch.send_replace(Some(incarnation));
        let mut beat = interval(every);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            let sent = Instant::now();
            match controller.send_heartbeat(incarnation, sent + every).await {
                HeartbeatAnswer::Noted { quorum_age_ms, log_end } => {
                    controller.session_confirmed(sent, Duration::from_millis(quorum_age_ms), log_end);
                }
                HeartbeatAnswer::Fenced | HeartbeatAnswer::NotController => {}
                HeartbeatAnswer::StaleBroker => break,
            }
        }
        epoch.send_replace(None);
    }
}

async fn register(controller: &Controller, config: &Config) -> BrokerEpoch {
    let broker = controller.id();
    // A random number identifies an incarnation: the clock may be set back between two of them.
    let incarnation = random_number();
    let command =
        Command::Register { broker, incarnation, address: config.advertise, election: controller.election() };
    let mut attempts = interval(ATTEMPT_EVERY);
    attempts.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        attempts.tick().await;
        // Repeating it is harmless: the same incarnation is registered once.
        let reply = controller.propose(command.clone(), Instant::now() + REGISTER_MAX).await;
        let Ok(Reply::Registered(epoch)) = reply else { continue };
        let mut changes = controller.changes();
        let known = changes
            .wait_for(|applied| applied.state.brokers.get(&broker).is_some_and(|known| known.epoch >= epoch));
        if known.await.is_ok() {
            return epoch;
        }
    }
}

/// Returns a number that no two starts share: the keys of a new hash table's state are random.
pub fn random_number() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}
