#!/usr/bin/env bash
# Runs a whole experiment on this machine, from nothing but Python: makes the environment, then `rnas run`.
#
#   launch/local.sh                                          the smallest experiment, on the CPU, in runs/rnas_cl/digits
#   launch/local.sh --accelerator=cuda13 --config=configs/rnas_cl/….py --workdir=runs/…
#
# --accelerator is cpu (default), cuda12, cuda13 or tpu; every other argument goes to `rnas run`.
# Started again with the same --workdir, it goes on where it stopped. The command rnas is .venv/bin/rnas;
# `source .venv/bin/activate` puts it on the path. .venv/bin/rnas --help lists all it does.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." >/dev/null && pwd)
called_from=$PWD
source "$here/launch/environment.sh"
help_asked "${BASH_SOURCE[0]}" "$@" && exit

accelerator=cpu config=() workdir=() arguments=()
while [ $# -gt 0 ]; do
  case $1 in
    --accelerator=*) accelerator=${1#*=} ;;
    --accelerator | --config | --workdir)
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
exec "$here/.venv/bin/rnas" run "${config[@]}" ${workdir[@]+"${workdir[@]}"} ${arguments[@]+"${arguments[@]}"}
