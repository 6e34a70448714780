//! Clients against scripted servers, and manifests.

mod etcd_answers;
mod exec_clients;
mod http_answers;
mod kafka_answers;
mod manifests;
mod object_answers;
mod store_answers;

// The tests share these modules.
mod offer;
mod own_program;
mod registers;
mod scripted;
mod txn_words;
