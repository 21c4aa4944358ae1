#!/usr/bin/env bash
# Times rnas beside PyTorch: all benchmarks of tests/benchmarks, for a machine that does nothing else, one to two hours.
#
#   launch/benchmark.sh                                all; JSON lines in build/benchmarks.jsonl, then a table
#   launch/benchmark.sh --only=table_step,search_step  some
#   launch/benchmark.sh --page=docs/performance.md     writes the table into the documentation as well
#   launch/benchmark.sh --quick                        the smallest sizes: does all work here?
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." >/dev/null
source launch/environment.sh
help_asked launch/benchmark.sh "$@" && exit
prepare_environment "" agreement
exec .venv/bin/python tests/benchmarks/rows.py "$@"
