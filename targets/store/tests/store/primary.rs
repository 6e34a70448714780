//! The mode `primary`.

use crate::client::show;
use crate::cluster::Cluster;
use crate::proxy::Pass;

#[tokio::test]
async fn replicas_forward_to_the_primary() {
    let cluster = Cluster::start("primary", 3, &[], None).await;
    cluster.until(3, "SET k 0", |reply| reply == "OK").await;
    let mut two = cluster.client(2).await;
    let mut three = cluster.client(3).await;
    for count in 1..=30 {
        assert_eq!(two.ask("INCR n").await.unwrap(), format!("(integer) {count}"));
        assert_eq!(three.ask("GET n").await.unwrap(), count.to_string());
    }
    assert!(cluster.client(1).await.ask("INFO").await.unwrap().contains("role:primary"));
    assert!(two.ask("INFO").await.unwrap().contains("role:replica"));
}

#[tokio::test]
async fn read_any_is_stale_while_the_replica_is_cut_off_and_converges_after() {
    let cluster = Cluster::start("primary", 3, &["read=any"], None).await;
    cluster.until(1, "SET k old", |reply| reply == "OK").await;
    cluster.until(3, "GET k", |reply| reply == "old").await;
    cluster.isolate(3, Pass::Cut);
    let mut replica = cluster.client(3).await;
    assert_eq!(cluster.client(1).await.ask("SET k new").await.unwrap(), "OK");
    cluster.until(2, "GET k", |reply| reply == "new").await;
    assert_eq!(replica.ask("GET k").await.unwrap(), "old", "stale, as promised");
    let refused = cluster.until(3, "SET k lost", |reply| reply.starts_with('-')).await;
    assert!(refused.starts_with("-CLUSTERDOWN ") || refused.starts_with("-UNKNOWN "), "{refused}");
    cluster.isolate(3, Pass::Open);
    cluster.until(3, "GET k", |reply| reply == "new").await;
}

#[tokio::test]
async fn a_replica_catches_up_after_a_restart_by_changes_or_by_a_copy() {
    for (keep, writes) in [(1_000, 100), (10, 100)] {
        let option = format!("log_keep={keep}");
        let mut cluster = Cluster::start("primary", 2, &["read=any", &option], None).await;
        cluster.until(1, "SET k v", |reply| reply == "OK").await;
        cluster.until(2, "GET k", |reply| reply == "v").await;
        cluster.kill(2);
        let mut client = cluster.client(1).await;
        for count in 1..=writes {
            assert_eq!(client.ask("INCR n").await.unwrap(), format!("(integer) {count}"));
        }
        assert_eq!(client.ask("DEL k").await.unwrap(), "(integer) 1");
        cluster.start_node(2);
        cluster.until(2, "GET n", |reply| reply == writes.to_string()).await;
        cluster.until(2, "GET k", |reply| reply == "(nil)").await;
        assert_eq!(cluster.info(2, "offset").await, cluster.info(1, "offset").await, "log_keep={keep}");
        let copies = u64::from(keep < writes);
        assert_eq!(cluster.info(2, "sync_full").await, copies, "log_keep={keep}");
        assert_eq!(cluster.info(2, "sync_partial").await, 1 - copies, "log_keep={keep}");
    }
}

#[tokio::test]
async fn everything_acknowledged_survives_killing_the_primary() {
    let mut cluster = Cluster::start("primary", 2, &[], None).await;
    cluster.until(2, "SET k 0", |reply| reply == "OK").await;
    let mut client = cluster.client(1).await;
    for count in 1..=100 {
        assert_eq!(client.ask("INCR n").await.unwrap(), format!("(integer) {count}"));
    }
    cluster.kill(1);
    let refused = cluster.client(2).await.ask("GET n").await.unwrap();
    assert!(refused.starts_with("-CLUSTERDOWN "), "{refused}");
    cluster.start_node(1);
    cluster.until(2, "GET n", |reply| reply == "100").await;
}

/// Starts three nodes with failover; returns the primary and the others, once all follow.
pub async fn with_failover(options: &[&str], bug: Option<&'static str>) -> (Cluster, usize, Vec<usize>) {
    let options: Vec<&str> = options.iter().copied().chain(["failover=auto"]).collect();
    let cluster = Cluster::start("primary", 3, &options, bug).await;
    cluster.until(1, "SET k old", |reply| reply == "OK").await;
    let primary = cluster.leader(1, &[1, 2, 3]).await;
    cluster.until(primary, "INFO", |info| info.contains("replicas_in_contact:2")).await;
    let others: Vec<usize> = (1..=3).filter(|node| *node != primary).collect();
    for node in &others {
        cluster.until(*node, "INFO", |info| info.contains("primary_link_status:up")).await;
    }
    (cluster, primary, others)
}

#[tokio::test]
async fn an_acknowledged_write_survives_its_primary() {
    for ack in ["ack=semi", "ack=sync"] {
        let (mut cluster, primary, others) = with_failover(&[ack], None).await;
        let mut client = cluster.client(primary).await;
        for count in 1..=50 {
            assert_eq!(client.ask("INCR n").await.unwrap(), format!("(integer) {count}"));
        }
        cluster.kill(primary);
        let next = cluster.leader(others[0], &others).await;
        cluster.until(next, "GET n", |reply| reply == "50").await;
        cluster.until(others[0], "SET k new", |reply| reply == "OK").await;
        cluster.start_node(primary);
        cluster.until(primary, "GET k", |reply| reply == "new").await;
        cluster.leader(primary, &[next]).await;
        assert!(cluster.info(primary, "epoch").await >= 2, "{ack}");
    }
}

#[tokio::test]
async fn a_primary_that_was_replaced_answers_no_read_and_acknowledges_no_write() {
    let (cluster, primary, others) = with_failover(&["ack=semi"], None).await;
    let [mut reader, mut writer] = [cluster.client(primary).await, cluster.client(primary).await];
    cluster.pause(primary).await;
    // They are in the sockets before the primary wakes up, and nothing can reach it before it sees them.
    reader.send(b"GET k\r\n").await.unwrap();
    writer.send(b"SET k lost\r\n").await.unwrap();
    cluster.isolate(primary, Pass::Cut);
    cluster.leader(others[0], &others).await;
    cluster.until(others[0], "SET k new", |reply| reply == "OK").await;
    cluster.signal(primary, "CONT");
    let read = show(&reader.receive().await.unwrap());
    assert!(read.starts_with('-'), "{read}");
    let written = show(&writer.receive().await.unwrap());
    assert!(written.starts_with('-'), "{written}");
    cluster.isolate(primary, Pass::Open);
    cluster.until(primary, "GET k", |reply| reply == "new").await;
}

/// Has a primary with `ack=async` write what its successor lacks; returns what its own copy has of that once it has caught
/// up, and what its successor has.
pub async fn write_and_be_replaced(bug: Option<&'static str>) -> (String, String) {
    let (cluster, primary, others) = with_failover(&["read=any"], bug).await;
    let mut client = cluster.client(primary).await;
    cluster.isolate(primary, Pass::Cut);
    assert_eq!(client.ask("SET a lost").await.unwrap(), "OK", "it may be lost, as promised");
    let next = cluster.leader(others[0], &others).await;
    for value in 1..=3 {
        cluster.until(next, &format!("SET b {value}"), |reply| reply == "OK").await;
    }
    cluster.isolate(primary, Pass::Open);
    cluster.until(primary, "GET b", |reply| reply == "3").await;
    let mut of_next = cluster.client(next).await;
    (client.ask("GET a").await.unwrap(), of_next.ask("GET a").await.unwrap())
}

#[tokio::test]
async fn what_only_a_deposed_primary_has_is_thrown_away() {
    assert_eq!(write_and_be_replaced(None).await, ("(nil)".into(), "(nil)".into()));
}

#[tokio::test]
async fn a_write_that_no_replica_acknowledges_is_of_unknown_outcome() {
    let mut cluster = Cluster::start("primary", 2, &["ack=semi"], None).await;
    cluster.until(1, "SET k 1", |reply| reply == "OK").await;
    cluster.kill(2);
    let mut client = cluster.client(1).await;
    assert_eq!(client.ask("SET k 2").await.unwrap(), "-UNKNOWN no answer in time");
    cluster.start_node(2);
    cluster.until(1, "SET l 3", |reply| reply == "OK").await;
    cluster.until(2, "GET k", |reply| reply == "2").await;
}

#[tokio::test]
async fn sync_waits_for_replicas_in_contact_and_goes_on_without_the_others() {
    let mut cluster = Cluster::start("primary", 3, &["ack=sync", "read=any"], None).await;
    cluster.until(1, "INFO", |info| info.contains("replicas_in_contact:2")).await;
    let mut client = cluster.client(1).await;
    for value in 1..=20 {
        assert_eq!(client.ask(&format!("SET k {value}")).await.unwrap(), "OK");
        for replica in [2, 3] {
            assert_eq!(cluster.client(replica).await.ask("GET k").await.unwrap(), value.to_string());
        }
    }
    cluster.kill(2);
    cluster.kill(3);
    assert_eq!(client.ask("SET k alone").await.unwrap(), "OK");
    let info = client.ask("INFO").await.unwrap();
    assert!(info.contains("replicas_in_contact:0\r") && info.contains("replica_lags:n2=1,n3=1\r"), "{info}");
    cluster.start_node(2);
    cluster.until(1, "INFO", |info| info.contains("replica_lags:n2=0,n3=1\r")).await;
    let lags_ms = cluster.until(1, "INFO", |info| info.contains("replica_lags_ms:n2=0,n3=")).await;
    assert!(!lags_ms.contains("replica_lags_ms:n2=0,n3=0\r"), "{lags_ms}");
    assert_eq!(cluster.info(2, "sync_partial").await, 1);
    assert!(cluster.info(2, "age_ms").await < 2_000);
}
