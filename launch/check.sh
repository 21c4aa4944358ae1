#!/usr/bin/env bash
# Checks the code without running it: style, imports between layers, types, launchers, documentation. Makes the
# environment if need be, runs all checks and fails if one of them does.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." >/dev/null
source launch/environment.sh
help_asked launch/check.sh "$@" && exit
prepare_environment "" check,docs

failed=()
check() {
  printf '\n== %s\n' "$1"
  ".venv/bin/$2" "${@:3}" || failed+=("$1")
}
check "Style (ruff check)" ruff check .
check "Format (ruff format)" ruff format --check .
check "Imports (import-linter)" lint-imports --no-logo --no-cache
check "Types (mypy)" mypy
check "Launchers (shellcheck)" shellcheck --external-sources --severity=warning launch/*.sh launch/*.sbatch
export NO_MKDOCS_2_WARNING=1  # an advertisement of another program
check "Documentation (mkdocs)" mkdocs build --strict --quiet

if [ ${#failed[@]} -gt 0 ]; then
  printf '\nfailed: %s\n' "${failed[@]}" >&2
  exit 1
fi
printf '\nall checks pass\n'
