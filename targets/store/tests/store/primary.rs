//! The mode `primary`.

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
