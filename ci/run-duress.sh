#!/bin/sh
# Runs matrices in CI, whichever system that is, and leaves one folder to upload.
#
# Usage: sh ci/run-duress.sh [FILE.toml …]        without files: ci/matrix.toml and ci/bugs.toml
#
# Environment:
#   DURESS        the program [target/release/duress; it is built where there is none]
#   DURESS_ARGS   more words for every `duress matrix`, as "--fast --budget 10m --shard 1/3"
#   DURESS_OUT    where everything is kept [duress-results]
#   DURESS_SKIP   set to 1, a machine that allows no arena is told so and passed over; otherwise it is a failure
#
# What is left in DURESS_OUT:
#   <matrix>/     the state of a matrix, with the folders of the runs that failed
#   upload/       for each matrix its JUnit XML, Markdown and JSON, and the folders of the runs that failed
#   summary.md    the Markdown of all, for the summary of a step or a comment; appended to GITHUB_STEP_SUMMARY, if set
#
# Ends as the worst of the matrices does: 0 all as expected, 1 an anomaly, 4 an anomaly that should have appeared and did
# not, 255 or 254 an error, 3 a run that proves nothing, 2 a check that was not finished, 5 something not run for want of time.
set -u

duress=${DURESS:-target/release/duress}
out=${DURESS_OUT:-duress-results}
[ "$#" -gt 0 ] || set -- ci/matrix.toml ci/bugs.toml

if [ ! -x "$duress" ] && ! command -v "$duress" >/dev/null; then
    if [ -n "${DURESS:-}" ]; then
        echo "run-duress: there is no program $duress" >&2
        exit 254
    fi
    cargo build --release || exit 255
fi

if ! "$duress" doctor; then
    if [ "${DURESS_SKIP:-0}" = 1 ]; then
        echo "skipped: this machine allows no arena (see above)"
        exit 0
    fi
    echo "run-duress: this machine allows no arena (see above); DURESS_SKIP=1 passes over it" >&2
    exit 3
fi

# How bad an exit code is. Those of signals are as bad as errors.
rank() {
    case $1 in
        0) echo 0 ;;
        5) echo 1 ;;
        2) echo 2 ;;
        3) echo 3 ;;
        4) echo 5 ;;
        1) echo 6 ;;
        *) echo 4 ;;
    esac
}

mkdir -p "$out/upload" || exit 255
: >"$out/summary.md"
worst=0
for file in "$@"; do
    name=$(basename "$file" .toml)
    # No word here has spaces in it.
    # shellcheck disable=SC2086
    "$duress" matrix "$file" --out "$out/$name" ${DURESS_ARGS:-}
    code=$?
    [ "$(rank "$code")" -gt "$(rank "$worst")" ] && worst=$code
    # Nothing of an earlier time may pass for a result.
    rm -rf "${out:?}/upload/$name"
    mkdir -p "$out/upload/$name"
    if [ "$code" -eq 254 ] || [ "$code" -eq 255 ] && [ ! -f "$out/$name/summary.md" ]; then
        printf '### ❌ duress: %s could not be run (exit %s)\n\n' "$name" "$code" >>"$out/summary.md"
        continue
    fi
    for result in summary.md junit.xml results.json; do
        [ -f "$out/$name/$result" ] && cp "$out/$name/$result" "$out/upload/$name/"
    done
    [ -d "$out/$name/cells" ] && cp -R "$out/$name/cells" "$out/upload/$name/"
    [ -f "$out/$name/summary.md" ] && cat "$out/$name/summary.md" >>"$out/summary.md"
    echo >>"$out/summary.md"
done

if [ -n "${GITHUB_STEP_SUMMARY:-}" ]; then
    cat "$out/summary.md" >>"$GITHUB_STEP_SUMMARY"
fi
echo "run-duress: exit $worst; upload $out/upload"
exit "$worst"
