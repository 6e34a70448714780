//! Clients against scripted servers, and manifests.

mod etcd_answers;
mod exec_clients;
mod http_answers;
mod kafka_answers;
mod manifests;
mod object_answers;
mod store_answers;

// What they share.
mod offer;
mod registers;
mod scripted;
mod txn_words;
