# A client of a system under test, for duress: one file for any POSIX shell, without jq. It is for systems that come with a
# program to ask them: curl, redis-cli, psql.
#
# It speaks register, set, counter, bank, fenced-mutex and unique-ids. Transactions and messages need a language that reads nested
# JSON. It serves one client for each process: processes = "per-host" is refused.
#
#     . ./duress_client.sh
#
#     do_open() { …; }      # optional: connect to $address, within $timeout_ms milliseconds
#     do_read() { …; }      # of $key: sets answer to the value, or leaves it empty if there is none
#     do_write() { …; }     # of $value to $key
#     do_cas() { …; }       # from $old, which is null if $key never was written, to $new; calls mismatch where it is not $old
#     do_add() { …; }       # of $value, to $key: an element of a set, or what to add to a counter
#     do_generate() { …; }  # sets answer to an identifier
#     do_create() { …; }    # of $accounts, as in a1=10 a2=10: those that are there stay as they are
#     do_transfer() { …; }  # of $amount, from the account $from to the account $to; calls mismatch if $from has less
#     do_read() { …; }      # of a bank: of $accounts, as in a1 a2, all at once: sets answer as in {"a1":10,"a2":null}
#     do_acquire() { …; }   # of the lock $key, for $lease milliseconds, or null: sets answer to the fencing token; or calls mismatch
#     do_release() { …; }   # of the lock $key, acquired with the token $value; calls mismatch if it is not held with it
#     do_close() { …; }     # optional
#
#     run
#
# $value, $old and $new are whole numbers. An answer is JSON: a number, a text in quotes, or a list as in [1,2]. A function that
# returns 0 has done it. Otherwise it calls one of these, which return 1, and returns:
#
#     fail REASON   when it certainly was not done and never will be: nothing was sent, or the system refused it;
#     mismatch      when a comparison failed, which is a fail;
#     info REASON   when it may have been done: no answer in time, a connection that broke.
#
# A function that returns something else than 0 without them is an info; in do_open it is a fail. After an info the connection is
# closed, and opened again for the next operation. $vocabulary is one of those above; $node is the node's name.
#
# What functions print goes to standard error, and their standard input is empty. They give up by themselves in time, as with
# `timeout` or `curl --max-time`: a program that is late is killed. Names that begin with duress_ and the descriptors 8 and 9
# belong to this file.

fail() { duress_outcome=fail duress_error=$1 && return 1; }
mismatch() { duress_outcome=mismatch duress_error='the comparison failed' && return 1; }
info() { duress_outcome=info duress_error=$1 && return 1; }

do_open() { :; }
do_close() { :; }

# Sets duress_field to the field $1 of the request, a text without its quotes. duress writes no spaces between names and values,
# and nothing in these vocabularies has escapes.
duress_get() {
    case $duress_request in
    *"\"$1\":"*) duress_field=${duress_request#*"\"$1\":"} ;;
    *) duress_field=null ;;
    esac
    case $duress_field in
    '"'*) duress_field=${duress_field#'"'} duress_field=${duress_field%%'"'*} ;;
    '['*) duress_field=${duress_field%%']'*}']' ;;
    '{'*) duress_field=${duress_field%%'}'*}'}' ;;
    *) duress_field=${duress_field%%[,\}]*} ;;
    esac
}

# Sets accounts to the words of value, which are names, or pairs of a name and a number.
duress_accounts() {
    accounts=$(printf %s "$value" | tr -d '"[]{}' | tr ',:' ' =')
}

# Calls the function $1, and sets duress_outcome to ok, fail, mismatch or info.
duress_call() {
    duress_outcome=''
    "$1"
    set -- "$1" $?
    if [ -z "$duress_outcome" ]; then
        if [ "$2" = 0 ]; then duress_outcome=ok; else info "$1 returned $2"; fi
    fi
}

# Closes the connection, if there is one.
duress_disconnect() {
    if [ -n "$duress_connected" ]; then do_close; fi
    duress_connected=''
}

# Opens a connection, if there is none.
duress_connect() {
    duress_outcome=ok
    if [ -n "$duress_connected" ]; then return; fi
    duress_call do_open
    if [ "$duress_outcome" = ok ]; then
        duress_connected=yes
    else
        fail "cannot open the connection: $duress_error"
    fi
}

duress_invoke() {
    duress_get key && key=$duress_field
    duress_get value && value=$duress_field
    duress_get f
    case $duress_field in
    write | add | generate | release) ;;
    read | create) if [ "$vocabulary" = bank ]; then duress_accounts; fi ;;
    transfer)
        duress_get from && from=$duress_field
        duress_get to && to=$duress_field
        duress_get amount && amount=$duress_field
        duress_field=transfer
        ;;
    acquire) duress_get lease_ms && lease=$duress_field && duress_field=acquire ;;
    cas) value=${value#'['} value=${value%']'} old=${value%%,*} new=${value#*,} ;;
    *) fail "the kit for shells does not speak $duress_field" || return ;;
    esac
    if command -v "do_$duress_field" >/dev/null; then
        duress_call "do_$duress_field"
    else
        fail "the client has no function do_$duress_field"
    fi
}

# Answers the request.
duress_say() {
    duress_get id
    if [ "$duress_outcome" = ok ]; then
        printf '{"id":%s,"type":"ok"%s}\n' "$duress_field" "${answer:+,\"value\":$answer}" >&9
        return
    fi
    # The letters that JSON takes as they are.
    duress_error=$(printf %s "$duress_error" | LC_ALL=C tr -c '\040\041\043-\133\135-\176' ' ')
    if [ "$duress_outcome" = mismatch ]; then set -- fail ',"mismatch":true'; else set -- "$duress_outcome" ''; fi
    printf '{"id":%s,"type":"%s","error":"%s"%s}\n' "$duress_field" "$1" "$duress_error" "$2" >&9
}

# Serves the harness until it closes the standard input.
run() {
    duress_connected=''
    # What the functions print must not come between the answers, and they must not read the requests.
    exec 8<&0 9>&1 </dev/null >&2
    # A connection that broke is an error of a command, and not the end of the shell.
    trap '' PIPE
    echo '{"type":"hello","version":1,"clients":"one"}' >&9
    while IFS= read -r duress_request <&8; do
        duress_get type
        case $duress_field in
        close) duress_disconnect && continue ;;
        open)
            duress_disconnect
            duress_get vocabulary && vocabulary=$duress_field
            duress_get node && node=$duress_field
            duress_get address && address=$duress_field
            duress_get timeout_ms && timeout_ms=$duress_field
            duress_connect
            answer=''
            ;;
        *)
            answer=''
            duress_connect && duress_invoke
            if [ "$duress_outcome" = info ]; then duress_disconnect; fi
            ;;
        esac
        duress_say
    done
    duress_disconnect
}
