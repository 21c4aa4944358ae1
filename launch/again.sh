#!/usr/bin/env bash
# Runs a command, and again as long as it ends with 75: saved, and wanting to go on. For hosts without a scheduler.
#
#   launch/again.sh .venv/bin/rnas run --distributed --config=configs/rnas_cl/….py --workdir=/mnt/…
#
# Ended by a signal, it does not start the command again, which gets the same signal and saves. PAUSE (10) are the seconds
# between two starts.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." >/dev/null && pwd)
source "$here/launch/environment.sh"
case ${1:-} in "" | -h | --help) help_asked "${BASH_SOURCE[0]}" --help; exit ;; esac

child='' stopped=''
stop() {
  stopped=yes
  [ -z "$child" ] || kill -TERM "$child" 2>/dev/null
}
trap stop TERM INT
while :; do
  "$@" &
  child=$!
  while kill -0 "$child" 2>/dev/null; do wait "$child"; done # a signal ends the waiting alone
  wait "$child"
  code=$?
  if [ "$code" -ne 75 ] || [ -n "$stopped" ]; then break; fi
  echo "starting again: $*" >&2
  sleep "${PAUSE:-10}"
  [ -z "$stopped" ] || break
done
echo "ended with exit code $code" >&2
exit "$code"
