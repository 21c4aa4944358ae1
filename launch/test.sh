#!/usr/bin/env bash
# Runs the tests: makes the environment if need be, then pytest with the arguments given here.
#
#   launch/test.sh                            all but the slow ones
#   launch/test.sh --slow                     all
#   launch/test.sh tests/attacks -x           some
#   launch/test.sh --python=3.12 tests/attacks    some on this Python, in .venv-3.12; the version comes first
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." >/dev/null
source launch/environment.sh
help_asked launch/test.sh "$@" && exit
venv=.venv python=
if [[ ${1:-} == --python=* ]]; then
  version=${1#*=} venv=.venv-${1#*=}
  python=$(find_version "$version") || { echo "error: no Python $version with the module venv was found" >&2; exit 1; }
  shift
fi
prepare_environment "" test "$venv" "$python"
# Two files side by side: most of the time goes to compiling, which keeps one core busy.
exec "$venv/bin/python" -m pytest -n 2 --dist loadfile "$@"
