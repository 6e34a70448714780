//! The versions of each request that this client speaks.
//!
//! The newest here are older than the newest that exist, on purpose: Produce 10, Fetch 13 and OffsetCommit 10
//! begin to name topics by identifiers that a client would have to look up first, and OffsetFetch 8 asks for
//! many groups at once. No measurement here needs either.

use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, CreateTopicsRequest, EndTxnRequest, FetchRequest,
    FindCoordinatorRequest, HeartbeatRequest, InitProducerIdRequest, JoinGroupRequest, LeaveGroupRequest,
    ListOffsetsRequest, MetadataRequest, OffsetCommitRequest, OffsetFetchRequest, ProduceRequest,
    SyncGroupRequest, TxnOffsetCommitRequest,
};
use kafka_protocol::protocol::{Request, VersionRange};

/// A request that this client makes.
pub(super) trait SupportedRequest: Request {
    /// Its name in Kafka's documentation.
    const NAME: &'static str;
    /// The versions spoken, all of them understood by the codec.
    const SUPPORTED: VersionRange;
}

macro_rules! spoken {
    ($($request:ident $name:literal $min:literal..=$max:literal;)*) => {$(
        impl SupportedRequest for $request {
            const NAME: &'static str = $name;
            const SUPPORTED: VersionRange = VersionRange { min: $min, max: $max };
        }
    )*};
}

spoken! {
    ProduceRequest "Produce" 3..=9;
    FetchRequest "Fetch" 4..=12;
    ListOffsetsRequest "ListOffsets" 1..=7;
    MetadataRequest "Metadata" 4..=9;
    OffsetCommitRequest "OffsetCommit" 2..=8;
    OffsetFetchRequest "OffsetFetch" 2..=7;
    FindCoordinatorRequest "FindCoordinator" 0..=3;
    JoinGroupRequest "JoinGroup" 1..=6;
    HeartbeatRequest "Heartbeat" 0..=4;
    LeaveGroupRequest "LeaveGroup" 0..=2;
    SyncGroupRequest "SyncGroup" 0..=4;
    CreateTopicsRequest "CreateTopics" 2..=5;
    InitProducerIdRequest "InitProducerId" 0..=4;
    AddPartitionsToTxnRequest "AddPartitionsToTxn" 0..=3;
    AddOffsetsToTxnRequest "AddOffsetsToTxn" 0..=3;
    TxnOffsetCommitRequest "TxnOffsetCommit" 3..=3;
    EndTxnRequest "EndTxn" 0..=3;
}
