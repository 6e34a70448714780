//! The requests that are served, each with its versions: exactly the implemented ones.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiKey, ApiVersionsResponse};

/// A kind of request, and the least and greatest version that is served.
pub struct Served {
    /// The kind.
    pub key: ApiKey,
    /// The least version.
    pub least: i16,
    /// The greatest version.
    pub greatest: i16,
}

const fn served(key: ApiKey, least: i16, greatest: i16) -> Served {
    Served { key, least, greatest }
}

/// The requests that are served. The greatest versions are below those that name topics by identifier, or that carry the
/// name of a static member of a group: neither is implemented.
pub const SERVED: &[Served] = &[
    served(ApiKey::Produce, PRODUCE_LEAST, 9),
    served(ApiKey::Fetch, 4, 11),
    served(ApiKey::ListOffsets, 1, 6),
    served(ApiKey::Metadata, 0, 9),
    served(ApiKey::OffsetCommit, 2, 6),
    served(ApiKey::OffsetFetch, 1, 7),
    served(ApiKey::FindCoordinator, 0, 3),
    served(ApiKey::JoinGroup, 0, 4),
    served(ApiKey::Heartbeat, 0, 2),
    served(ApiKey::LeaveGroup, 0, 2),
    served(ApiKey::SyncGroup, 0, 2),
    served(ApiKey::DescribeGroups, 0, 3),
    served(ApiKey::ListGroups, 0, 2),
    served(ApiKey::ApiVersions, 0, 3),
    served(ApiKey::CreateTopics, 2, 6),
    served(ApiKey::DeleteTopics, 1, 5),
    served(ApiKey::InitProducerId, 0, 4),
    served(ApiKey::AddPartitionsToTxn, 0, 3),
    served(ApiKey::AddOffsetsToTxn, 0, 3),
    served(ApiKey::EndTxn, 0, 3),
    served(ApiKey::TxnOffsetCommit, 0, 3),
    served(ApiKey::OffsetForLeaderEpoch, 2, 4),
    served(ApiKey::DescribeConfigs, 1, 4),
    served(ApiKey::DescribeCluster, 0, 1),
];

/// Versions 0 to 2 carry formats of messages that are not kept here, and are answered with an error. They are advertised
/// because librdkafka does not produce to a broker without version 0.
const PRODUCE_LEAST: i16 = 0;

/// The least version of Produce whose records can be stored.
pub const PRODUCE_LEAST_KEPT: i16 = 3;

/// Whether a request is served.
pub fn is_served(key: ApiKey, version: i16) -> bool {
    SERVED.iter().any(|s| s.key == key && (s.least..=s.greatest).contains(&version))
}

/// Returns the answer to ApiVersions. It has no tagged fields: kcat 1.7 cannot read them.
pub fn answer(error: Option<ResponseError>) -> ApiVersionsResponse {
    let keys = SERVED.iter().map(|served| {
        ApiVersion::default()
            .with_api_key(served.key as i16)
            .with_min_version(served.least)
            .with_max_version(served.greatest)
    });
    ApiVersionsResponse::default()
        .with_error_code(error.map_or(0, |error| error.code()))
        .with_api_keys(keys.collect())
        // This tagged field is encoded unless it is -1.
        .with_finalized_features_epoch(-1)
}
