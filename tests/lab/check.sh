# shellcheck shell=bash disable=SC2034,SC2154
# How checks are run and told. Sourced by `run`.

passed=0
failed=0

lab() { "$lab_here/lab" "$@"; }

# note TEXT: a line of the transcript with its time.
note() { printf '[%7s s] %s\n' "$(elapsed)" "$*"; }

# shown COMMAND...: as typed, then its output; both go to the transcript.
shown() {
    note "\$ $*"
    "$@"
}

# timed COMMAND...: as `shown`, each line of its output with the time of day in milliseconds.
timed() {
    note "\$ $*"
    local now
    "$@" | while IFS= read -r line; do
        now=$EPOCHREALTIME
        printf '%(%T)T.%.3s  %s\n' "${now%.*}" "${now#*.}" "$line"
    done
}

# check TITLE FUNCTION: the function runs in a shell of its own that ends at the first
# failed command. In the background, because bash ignores errexit in a condition.
check() {
    local title=$1 number=$((passed + failed + 1)) code=0 began=$EPOCHREALTIME seconds
    shift
    printf '\n== %d. %s\n' "$number" "$title" >>"$transcript"
    (
        set -eEuo pipefail
        trap 'echo "failed at ${BASH_SOURCE[0]##*/} line $LINENO: $BASH_COMMAND"' ERR
        "$@"
    ) >>"$transcript" 2>&1 &
    wait $! || code=$?
    seconds=$(((${EPOCHREALTIME/./} - ${began/./}) / 100000))
    seconds=$((seconds / 10)).$((seconds % 10))
    if ((code == 0)); then
        passed=$((passed + 1))
        echo "ok     $number $title ($seconds s)" | tee -a "$transcript"
    else
        failed=$((failed + 1))
        sed -n "/^== $number\\. /,\$p" "$transcript" | tail -n +2 | tail -25 | sed 's/^/    /'
        echo "FAILED $number $title ($seconds s)" | tee -a "$transcript"
    fi
}

stop_if_failed() {
    ((failed == 0)) || { echo "stopped: $1"; summary; }
}

summary() {
    echo "$passed passed, $failed failed" | tee -a "$transcript"
    echo "transcript: $transcript" >&2
    ((failed == 0)) && exit 0
    exit 1
}

# expect TEXT PATTERN: the text must match the extended regular expression.
expect() {
    grep -qE -- "$2" <<<"$1" || { printf 'expected: %s\nfound: %s\n' "$2" "$1"; return 1; }
}
