# Starts the client in Rust, and compiles it first if it is not newer than its files. duress starts several at once: one compiles,
# the others wait for it.
exec 9>.lock && flock 9
if ! [ client -nt client.rs ] || ! [ client -nt duress_client.rs ]; then
    # Under another name until it is whole.
    rustc --edition 2021 -o client.part client.rs && mv client.part client || exit
fi
exec ./client 9>&-
