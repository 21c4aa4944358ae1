#!/usr/bin/env bash
# Runs a whole experiment on this machine, from nothing but Python: makes the environment, then `rnas run`.
#
#   launch/local.sh                                          the smallest experiment, on the CPU, in runs/rnas_cl/digits
#   launch/local.sh --accelerator=cuda13 --config=configs/rnas_cl/….py --workdir=runs/…
#   launch/local.sh --processes=2 …                          two processes that share the work, as two hosts would
#
# --accelerator is cpu (default), cuda12, cuda13 or tpu; every other argument goes to `rnas run`. One process drives all
# devices of a machine; of several, each gets as many of the GPUs.
# Started again with the same --workdir, it goes on where it stopped. The command rnas is .venv/bin/rnas;
# `source .venv/bin/activate` puts it on the path. .venv/bin/rnas --help lists all it does.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." >/dev/null && pwd)
called_from=$PWD
source "$here/launch/environment.sh"
help_asked "${BASH_SOURCE[0]}" "$@" && exit

accelerator=cpu processes=1 config=() workdir=() arguments=()
while [ $# -gt 0 ]; do
  case $1 in
    --accelerator=*) accelerator=${1#*=} ;;
    --processes=*) processes=${1#*=} ;;
    --accelerator | --processes | --config | --workdir)
      [ $# -ge 2 ] || { echo "error: $1 needs a value: $1=…" >&2; exit 2; }
      set -- "$1=$2" "${@:3}"
      continue
      ;;
    --config=*) config=("$1") ;;
    --workdir=*) workdir=("$1") ;;
    *) arguments+=("$1") ;;
  esac
  shift
done

cd "$here"
prepare_environment "$accelerator"
# Paths that are given are relative to where the script was called from; the default ones to the project.
if [ ${#config[@]} -eq 0 ]; then
  root=$here/
  [ "$called_from" != "$here" ] || root=
  config=("--config=${root}configs/rnas_cl/digits.py")
  [ ${#workdir[@]} -gt 0 ] || workdir=("--workdir=${root}runs/rnas_cl/digits")
fi
cd "$called_from"
run=("$here/.venv/bin/rnas" run "${config[@]}" ${workdir[@]+"${workdir[@]}"} ${arguments[@]+"${arguments[@]}"})
[ "$processes" -gt 1 ] || exec "${run[@]}"

port=$("$here/.venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])')
gpus=0
[[ $accelerator != cuda* ]] || gpus=$(nvidia-smi --list-gpus | wc -l)
each=$((gpus / processes))
[ "$each" -eq 0 ] || export JAX_LOCAL_DEVICE_IDS
started=() code=0
for ((index = 0; index < processes; index++)); do
  [ "$each" -eq 0 ] || JAX_LOCAL_DEVICE_IDS=$(seq -s, $((index * each)) $((index * each + each - 1)))
  "${run[@]}" --coordinator="localhost:$port" --processes="$processes" --process-id="$index" &
  started+=($!)
done
# Ctrl-C reaches all of them by itself; each saves, and they stop together.
trap : INT
trap 'kill -TERM "${started[@]}" 2>/dev/null' TERM
for process in "${started[@]}"; do
  while kill -0 "$process" 2>/dev/null; do wait "$process" || :; done  # a signal ends the waiting alone
  ended=0; wait "$process" || ended=$?
  # What stopped one of them, above what the others say of it: that they lost it.
  case $ended in 0) ;; 75) [ "$code" -ne 0 ] || code=75 ;; *) code=$ended ;; esac
done
exit "$code"
