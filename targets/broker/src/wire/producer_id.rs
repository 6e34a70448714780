//! Producer ids.

use std::time::Instant;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};

use crate::broker::{Broker, CHANGE_MAX};

/// Answers InitProducerId. Transactions are not supported.
pub async fn init(broker: &Broker, request: &InitProducerIdRequest) -> InitProducerIdResponse {
    let refused = |error: ResponseError| {
        InitProducerIdResponse::default()
            .with_error_code(error.code())
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1)
    };
    if request.transactional_id.is_some() {
        return refused(ResponseError::TransactionalIdAuthorizationFailed);
    }
    match broker.next_producer_id(Instant::now() + CHANGE_MAX).await {
        Ok(id) => InitProducerIdResponse::default().with_producer_id(ProducerId(id)).with_producer_epoch(0),
        Err(error) => {
            tracing::info!(%error, "no producer id could be allocated");
            refused(ResponseError::CoordinatorNotAvailable)
        }
    }
}
