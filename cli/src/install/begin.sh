# The beginning of every script that goes to a machine. Dash reads it, whatever the login shell is.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin
LC_ALL=C
export PATH LC_ALL
# What this command takes from a machine's output: one line each, and nothing else of it.
say() { printf '@hostler %s\n' "$*"; }
fail() {
    say "failed $*"
    exit 1
}
