# Shared by the three scripts of the competition's protocol; sourced, never run.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# The running instance's process group, for the next prepare_instance.sh to clear away.
PID_FILE="${TMPDIR:-/tmp}/nn-verifier-instance-$(id -u).pid"

say() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; }

check_version() {
    [ "$1" = v1 ] && return
    say "protocol version v1 is spoken here, not '$1'"
    return 1
}

# The command on PATH, else that of the environment that install_tool.sh made.
find_verifier() {
    command -v verifier && return
    [ -x "$ROOT/.venv/bin/verifier" ] || { say "no command 'verifier': run install_tool.sh v1 first"; return 1; }
    printf '%s\n' "$ROOT/.venv/bin/verifier"
}

# FILE or FILE.gz, whichever there is.
find_file() {
    local candidate
    for candidate in "$1" "$1.gz"; do
        [ -f "$candidate" ] && { printf '%s\n' "$candidate"; return; }
    done
    say "no such file: $1 (nor $1.gz)"
    return 1
}

# Writes the networks of an ONNX argument, one a line: a path alone, or NAME=PATH for each of the literal list
# "[('f', 'f.onnx'), ('g', 'g.onnx')]" that instances with several networks have.
find_networks() {
    local pairs name path
    case $1 in
        '['*)
            pairs=$(python3 -c 'import ast, sys
for name, path in ast.literal_eval(sys.argv[1]): print(name, path, sep="\t")' "$1") || { say "not a list of networks: $1"; return 1; }
            while IFS=$'\t' read -r name path; do
                path=$(find_file "$path") || return 1
                printf '%s=%s\n' "$name" "$path"
            done <<<"$pairs" ;;
        *) find_file "$1" ;;
    esac
}

# Ends what an earlier instance left running. Only the process group on record, and only if it is still ours.
kill_leftover() {
    local group
    group=$(cat "$PID_FILE" 2>/dev/null) || return 0
    rm -f "$PID_FILE"
    case $group in '' | *[!0-9]*) return 0 ;; esac
    ps -e -ww -o pgid=,args= | awk -v group="$group" '$1 == group && /verifier/ { ours = 1 } END { exit !ours }' || return 0
    say "ending process group $group of an earlier instance"
    kill -KILL -- "-$group" 2>/dev/null || true
}
