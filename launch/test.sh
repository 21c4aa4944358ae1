#!/usr/bin/env bash
# Runs the tests: makes the environment if need be, then pytest with the arguments given here.
#
#   launch/test.sh                     all but the slow ones
#   launch/test.sh --slow              all
#   launch/test.sh tests/attacks -x    some
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." >/dev/null
source launch/environment.sh
prepare_environment "" test
# Two files side by side: most of the time goes to compiling, which keeps one core busy.
exec .venv/bin/python -m pytest -n 2 --dist loadfile "$@"
