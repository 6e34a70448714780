//! Producers that number their batches.

use crate::client::{Sequenced, batch};
use crate::cluster::Cluster;

const OUT_OF_ORDER: i16 = 45;
const INVALID_EPOCH: i16 = 47;

fn sequenced(epoch: i16, sequence: i32) -> Option<Sequenced> {
    Some(Sequenced { producer: 7, epoch, sequence })
}

#[tokio::test]
async fn a_batch_that_is_sent_again_is_where_it_was() {
    let cluster = Cluster::start(1, &[], None).await;
    cluster.topic("t", &[]).await;
    let mut client = cluster.client(1).await;
    let mut send = async |epoch, sequence, values: &[&str]| {
        client.produce("t", 0, -1, batch(values, sequenced(epoch, sequence))).await.unwrap()
    };
    assert_eq!(send(0, 0, &["a", "b"]).await, Ok(0));
    assert_eq!(send(0, 2, &["c"]).await, Ok(2));
    assert_eq!(send(0, 0, &["a", "b"]).await, Ok(0));
    assert_eq!(send(0, 2, &["c"]).await, Ok(2));
    assert_eq!(send(0, 4, &["e"]).await, Err(OUT_OF_ORDER));
    assert_eq!(send(1, 0, &["d"]).await, Ok(3));
    assert_eq!(send(0, 3, &["late"]).await, Err(INVALID_EPOCH));
    assert_eq!(cluster.values(1, "t", 4).await, ["a", "b", "c", "d"]);
}

#[tokio::test]
async fn a_successor_knows_what_was_sent() {
    let mut cluster = Cluster::start(3, &[], None).await;
    let led = cluster.topic("t", &[]).await;
    let mut client = cluster.client(led.leader).await;
    for (sequence, value) in (0..).zip(["a", "b", "c"]) {
        client.produce("t", 0, -1, batch(&[value], sequenced(0, sequence))).await.unwrap().unwrap();
    }
    cluster.kill(led.leader);
    let next = cluster.successor(led.leader % 3 + 1, "t", led.leader).await;
    let mut client = cluster.client(next.leader).await;
    cluster.values(next.leader, "t", 3).await;
    let again = client.produce("t", 0, -1, batch(&["c"], sequenced(0, 2))).await.unwrap();
    assert_eq!(again, Ok(2), "{}", cluster.logs());
    assert_eq!(cluster.values(next.leader, "t", 3).await, ["a", "b", "c"]);
}
