//! The number of messages of 100 bytes that three brokers take per second with `acks=all`, compared with a
//! plain file that is appended to and synced as often.
//!
//! ```text
//! cargo run --release -p duress-broker --example throughput -- [seconds] [producers] [messages per batch]
//! ```
//!
//! The brokers run in this process, each with a runtime of its own, on loopback, with their data on the file system of
//! the temporary folder (`TMPDIR`). Each producer has one batch in flight at a time, on a partition of its own.

use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::{BufMut, Bytes, BytesMut};
use duress_broker::log::{OwnRecord, build_batch};
use duress_broker::{Config, offer, serve_until};
use duress_settings::Request as Asked;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiKey, CreateTopicsRequest, MetadataRequest, ProduceRequest, RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

type Error = Box<dyn std::error::Error + Send + Sync>;

const MESSAGE_BYTES: usize = 100;
const BROKERS: usize = 3;
const READY_MAX: Duration = Duration::from_secs(30);

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: usize| arguments.next().map_or(Ok(default), |text| text.parse());
    let (seconds, producers, messages) = (number(5)?, number(12)?, number(100)?);
    let length = Duration::from_secs(seconds as u64);
    let batch = batch_of(messages);

    let folder = tempfile::tempdir()?;
    let file = append_to_file(&folder.path().join("plain"), &batch, length)?;
    let file_rate = file as f64 * messages as f64 / length.as_secs_f64();
    println!("plain file, synced after every batch of {messages}: {file_rate:.0} messages/s, {file} syncs");

    let ports: Vec<(u16, u16)> =
        (0..BROKERS).map(|_| Ok((free_port()?, free_port()?))).collect::<io::Result<_>>()?;
    let (stop, stopped) = watch::channel(false);
    let brokers: Vec<_> = (0..BROKERS)
        .map(|at| {
            let config = config(at, &ports, folder.path())?;
            let mut stopped = stopped.clone();
            Ok(std::thread::spawn(move || -> Result<(), Error> {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                let stop = async move {
                    // A sender that is gone asks for the end too.
                    let _ = stopped.wait_for(|stop| *stop).await;
                };
                Ok(runtime.block_on(serve_until(config, stop))?)
            }))
        })
        .collect::<Result<_, Error>>()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let clients: Vec<u16> = ports.iter().map(|(client, _)| *client).collect();
    let produced = runtime.block_on(produce(&clients, producers, batch, length));
    stop.send_replace(true);
    for broker in brokers {
        broker.join().map_err(|_| "a broker panicked")??;
    }
    let (batches, latencies) = produced?;
    let rate = batches as f64 * messages as f64 / length.as_secs_f64();
    println!(
        "{BROKERS} brokers, acks=all, {producers} producers, batches of {messages}: {rate:.0} messages/s, a batch takes \
         {:.1} ms at the median, {:.1} ms at the 99th percentile",
        percentile(&latencies, 50),
        percentile(&latencies, 99)
    );
    println!("{:.2} of the plain file", rate / file_rate);
    Ok(())
}

fn batch_of(messages: usize) -> Bytes {
    let value = Bytes::from(vec![b'x'; MESSAGE_BYTES]);
    let record = OwnRecord { key: None, value: Some(value) };
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is right");
    build_batch(&vec![record; messages], since_1970.as_millis() as i64)
}

/// Appends until the time is over; returns how often.
fn append_to_file(path: &Path, batch: &[u8], length: Duration) -> io::Result<u64> {
    let mut file = std::fs::File::create(path)?;
    let end = Instant::now() + length;
    let mut count = 0;
    while Instant::now() < end {
        file.write_all(batch)?;
        file.sync_data()?;
        count += 1;
    }
    Ok(count)
}

fn free_port() -> io::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn config(at: usize, ports: &[(u16, u16)], folder: &Path) -> Result<Config, Error> {
    let address = |port: u16| std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let (client, peer) = ports[at];
    let name = format!("n{}", at + 1);
    let settings = offer().resolve("broker", &Asked { nodes: ports.len(), ..Asked::default() }, None)?;
    let mut config =
        Config::new(name.parse()?, address(client), address(peer), folder.join(&name), &settings)?;
    for (other, (_, peer)) in ports.iter().enumerate().filter(|(other, _)| *other != at) {
        config.peers.push(format!("n{}={}", other + 1, address(*peer)).parse()?);
    }
    Ok(config)
}

async fn ask<R: Request>(stream: &mut TcpStream, request: &R, version: i16) -> Result<R::Response, Error>
where
    R::Response: Decodable + HeaderVersion,
{
    let key = ApiKey::try_from(R::KEY).map_err(|()| "no kind of request")?;
    let mut out = BytesMut::new();
    out.put_u32(0);
    RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .encode(&mut out, key.request_header_version(version))?;
    request.encode(&mut out, version)?;
    let length = u32::try_from(out.len() - 4)?;
    out[..4].copy_from_slice(&length.to_be_bytes());
    stream.write_all(&out).await?;
    let length = stream.read_u32().await?;
    let mut frame = vec![0; length as usize];
    stream.read_exact(&mut frame).await?;
    let mut frame = Bytes::from(frame);
    ResponseHeader::decode(&mut frame, R::Response::header_version(version))?;
    Ok(R::Response::decode(&mut frame, version)?)
}

/// Makes a topic with a partition for each producer, and has each produce; returns batches and latencies.
async fn produce(
    ports: &[u16],
    producers: usize,
    batch: Bytes,
    length: Duration,
) -> Result<(u64, Vec<Duration>), Error> {
    let name = TopicName(StrBytes::from_static_str("t"));
    let leaders = tokio::time::timeout(READY_MAX, make_topic(ports[0], &name, producers)).await??;
    let end = Instant::now() + length;
    let mut running: JoinSet<Result<Vec<Duration>, Error>> = JoinSet::new();
    for (partition, leader) in (0i32..).zip(leaders) {
        let (port, name, batch) = (ports[usize::try_from(leader - 1)?], name.clone(), batch.clone());
        running.spawn(async move {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
            stream.set_nodelay(true)?;
            let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch));
            let topic = TopicProduceData::default().with_name(name).with_partition_data(vec![data]);
            let request =
                ProduceRequest::default().with_acks(-1).with_timeout_ms(10_000).with_topic_data(vec![topic]);
            let mut latencies = Vec::new();
            while Instant::now() < end {
                let started = Instant::now();
                let answer = ask(&mut stream, &request, 8).await?;
                match answer.responses[0].partition_responses[0].error_code {
                    0 => latencies.push(started.elapsed()),
                    code => return Err(format!("partition {partition} answered with {code}").into()),
                }
            }
            Ok(latencies)
        });
    }
    let mut all = Vec::new();
    while let Some(latencies) = running.join_next().await {
        all.extend(latencies??);
    }
    all.sort_unstable();
    Ok((all.len() as u64, all))
}

/// Makes the topic once all brokers are there, and returns the leader of each partition once all replicas are
/// in sync.
async fn make_topic(port: u16, name: &TopicName, partitions: usize) -> Result<Vec<i32>, Error> {
    let mut poll = tokio::time::interval(Duration::from_millis(50));
    let mut stream = loop {
        poll.tick().await;
        if let Ok(stream) = TcpStream::connect(("127.0.0.1", port)).await {
            break stream;
        }
    };
    let topic = CreatableTopic::default()
        .with_name(name.clone())
        .with_num_partitions(i32::try_from(partitions)?)
        .with_replication_factor(i16::try_from(BROKERS)?);
    let create = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
    loop {
        poll.tick().await;
        let metadata = ask(&mut stream, &MetadataRequest::default().with_topics(None), 8).await?;
        let made = metadata.topics.iter().find(|topic| topic.name.as_ref() == Some(name));
        match made {
            Some(topic) if topic.partitions.iter().all(|p| p.isr_nodes.len() == BROKERS) => {
                return Ok(topic.partitions.iter().map(|partition| partition.leader_id.0).collect());
            }
            None if metadata.brokers.len() == BROKERS => {
                ask(&mut stream, &create, 5).await?;
                // Brokers learn which partitions they lead a moment after the requested one.
                poll.tick().await;
            }
            Some(_) | None => {}
        }
    }
}

fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(0.0, |latency| latency.as_secs_f64() * 1_000.0)
}
