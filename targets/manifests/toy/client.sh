# The client of the toy store, in shell. duress starts it, and speaks to it through duress_client.sh, which is for any POSIX shell.
# This file is for bash, which can open a connection by itself.

. ./duress_client.sh

do_open() {
    printf -v seconds '%d.%03d' "$((timeout_ms / 1000))" "$((timeout_ms % 1000))"
    # Bash waits for a node that cannot be reached: duress ends it in time.
    exec 3<>"/dev/tcp/${address%:*}/${address##*:}" || fail 'the node refuses connections'
}

do_close() { exec 3>&-; }

# Sends the request $1, and sets found to the line that answers it.
ask() {
    # From here on it may have been done: the request may arrive.
    if ! printf '%s\n' "$1" >&3 || ! IFS= read -r -t "$seconds" found <&3; then
        info 'no answer'
        return
    fi
    case $found in
    *'"unavailable"'*) fail 'the node has no connection to the primary' ;;
    *'"mismatch"'*) mismatch ;;
    esac
}

# The workloads register and counter
do_read() {
    ask "{\"op\": \"read\", \"key\": \"$key\"}" || return
    answer=${found#*'"value": '}
    answer=${answer%'}'}
    if [ "$answer" = null ] && [ "$vocabulary" = counter ]; then answer=0; fi
}

# The workload register
do_write() { ask "{\"op\": \"write\", \"key\": \"$key\", \"value\": $value}"; }

do_cas() { ask "{\"op\": \"cas\", \"key\": \"$key\", \"old\": $old, \"new\": $new}"; }

# The workload counter
do_add() { ask "{\"op\": \"add\", \"key\": \"$key\", \"delta\": $value}"; }

run
