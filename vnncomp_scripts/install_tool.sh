#!/usr/bin/env bash
# install_tool.sh v1: once per machine; builds the environment beside this folder.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
check_version "${1:-}"

suits() { "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

for python in ${PYTHON:-} python3 python3.13 python3.12 python3.11; do
    suits "$python" || continue
    exec make -C "$ROOT" venv PYTHON="$python"
done
say "Python 3.11 or newer with its venv module is needed; name it by PYTHON=..."
exit 1
