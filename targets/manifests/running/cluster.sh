#!/bin/sh
# Three processes of the toy store on this machine, as a cluster that already runs, and the fault of duress.toml:
#
#   sh cluster.sh start           followers answer reads from their own copies, which may be stale
#   sh cluster.sh start primary   followers ask the primary
#   sh cluster.sh stop
#   sh cluster.sh pause n2        and resume n2; is-paused n2 ends with 0 if it is, with 1 if it is not, else with 2
set -eu
state=${STATE:-/tmp/duress-running}
nodes=${NODES:-"127.0.0.1:7101 127.0.0.1:7102 127.0.0.1:7103"}
store=$(dirname "$0")/../toy/store.py

paused() {
    # The state follows the number of the process and its name; none where there is no such process.
    case $(sed 's/.*) //; s/ .*//' "/proc/$(cat "$state/$1.pid")/stat") in
        T) echo "$1 is stopped" ;;
        R | S | D) echo "$1 runs"; return 1 ;;
        *) echo "$1 is neither"; return 2 ;;
    esac
}

case $1 in
    start)
        mkdir -p "$state"
        primary=${nodes%% *}
        followers=
        for address in ${nodes#* }; do followers="$followers --follower=$address"; done
        number=0
        for address in $nodes; do
            number=$((number + 1))
            mkdir -p "$state/n$number"
            python3 "$store" --node="n$number" --listen="$address" --primary="$primary" --reads="${2:-any}" \
                --data="$state/n$number" $followers >"$state/n$number.log" 2>&1 &
            echo $! >"$state/n$number.pid"
        done
        for log in "$state"/n*.log; do
            until grep -q listens "$log"; do sleep 0.1; done
        done
        ;;
    stop)
        for file in "$state"/n*.pid; do
            kill -KILL "$(cat "$file")" || true
        done
        rm -r "$state"
        ;;
    pause)
        kill -STOP "$(cat "$state/$2.pid")"
        until paused "$2" >/dev/null; do sleep 0.01; done
        ;;
    resume) kill -CONT "$(cat "$state/$2.pid")" ;;
    is-paused) paused "$2" ;;
    *) echo "unknown command $1" >&2; exit 2 ;;
esac
