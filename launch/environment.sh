#!/usr/bin/env bash
# Makes the virtual environment of this project, .venv; the other launchers do so by themselves, but for jobs of a cluster.
#
#   launch/environment.sh cuda13          cpu, cuda12, cuda13 or tpu
#
# Where no Python of a fitting version is installed, uv fetches one.

# help_asked SCRIPT ARGUMENT…: prints the comment at the head of SCRIPT and succeeds if --help or -h is among the arguments.
help_asked() {
  local script=$1 argument
  for argument in "${@:2}"; do
    case $argument in
      --help | -h) awk 'NR > 1 { if (!/^#/) exit; if (!/^#SBATCH/) { sub(/^# ?/, ""); print } }' "$script"; return 0 ;;
    esac
  done
  return 1
}

# Prints the Python to build the environment with: `python3` if it is 3.11 or 3.12, else the newest of those
# that are installed, else a `python3` that is newer still. Fails where there is none.
find_python() {
  local candidate range
  for range in "(3, 11) <= version < (3, 13)" "version >= (3, 11)"; do
    for candidate in python3 python3.12 python3.11; do
      if "$candidate" -c "import sys, venv, ensurepip
version = sys.version_info
sys.exit(not ($range))" >/dev/null 2>&1; then
        command -v "$candidate"
        return
      fi
    done
  done
  return 1
}

# Makes the environment $1 with a Python that uv fetches, or has; uv comes from pip where it is not installed.
fetch_python() {
  local uv
  echo "no Python 3.11 or newer with the module venv here (python3: $(python3 --version 2>&1 || echo absent)): uv gets one" >&2
  if ! uv=$(command -v uv); then
    python3 -m pip install --quiet --disable-pip-version-check --target "$1.uv" uv >&2 || {
      echo "error: uv cannot be installed. Install Python 3.11 or newer with venv, on Debian and Ubuntu by:" \
        "sudo apt install python3 python3-venv" >&2
      return 1
    }
    uv=$1.uv/bin/uv
  fi
  "$uv" venv --quiet --seed --clear --python 3.12 "$1"
}

# Prints the Python of a version, such as 3.12: that on the path, else one of pyenv. Fails where there is none.
find_version() {
  local candidate
  for candidate in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python3; do
    if "$candidate" -c 'import venv, ensurepip' >/dev/null 2>&1; then
      command -v "$candidate"
      return
    fi
  done
  return 1
}

# prepare_environment ACCELERATOR [EXTRAS [VENV PYTHON]]
# Makes VENV (.venv) with this package, the accelerator's build of JAX (cpu, cuda12, cuda13 or tpu; empty: as it is)
# and extras of setup.py, joined by commas. Does nothing where all that is there and setup.py is the same as then: a
# checkout that is ready need not be writable.
prepare_environment() {
  local accelerator=$1 extras=${2:-} venv=${3:-.venv} python=${4:-} present stamp wanted clock=
  case $accelerator in
    "" | cpu | cuda12 | cuda13 | tpu) ;;
    *) echo "error: accelerator is '$accelerator'; expected cpu, cuda12, cuda13 or tpu" >&2; return 2 ;;
  esac
  stamp=$venv/rnas-installed${extras:+-$extras}
  wanted=$(cksum < setup.py)
  is_prepared "$accelerator" "$venv" "$stamp" "$wanted" && return
  (
    # Several jobs of an array may start here at once; one prepares, the others wait.
    if command -v flock >/dev/null; then exec 9<>setup.py; flock 9; fi
    is_prepared "$accelerator" "$venv" "$stamp" "$wanted" && exit
    present=$(cat "$venv/rnas-accelerator" 2>/dev/null || true)
    accelerator=${accelerator:-${present:-cpu}}
    if [ -n "$present" ] && [ "$present" != "$accelerator" ]; then
      echo "making $venv anew: it was for $present, now $accelerator is wanted" >&2
      rm -rf "$venv"
    fi
    if ! "$venv/bin/python" -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
      if python=${python:-$(find_python)}; then
        echo "making $venv with $("$python" --version)" >&2
        "$python" -m venv --clear "$venv"
      else
        fetch_python "$venv" || exit 1
      fi
    fi
    [ "$accelerator" = cpu ] || extras=$accelerator${extras:+,$extras}
    echo "installing rnas${extras:+ with $extras} for $accelerator in $venv: one to three minutes" >&2
    [ ! -t 2 ] || { tick & clock=$!; trap 'kill "$clock" 2>/dev/null || :' EXIT; }
    if ! "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable ".${extras:+[$extras]}" >&2; then
      echo "error: pip failed, see above; is there a network? Start this again to go on." >&2
      exit 1
    fi
    echo "$accelerator" > "$venv/rnas-accelerator"
    echo "$wanted" > "$stamp"
    [ -z "$clock" ] || { kill "$clock"; printf '\r\033[K' >&2; }
    [ "$venv" != .venv ] || how_to_call
  )
}

# require_environment ACCELERATOR: fails where .venv is not ready. A job of a cluster installs nothing: its nodes may have
# no network, and their time is dear.
require_environment() {
  is_prepared "$1" .venv .venv/rnas-installed "$(cksum < setup.py)" && return
  echo "error: .venv is not ready for $1. Where there is a network, as on a login node, run first:" \
    "launch/environment.sh $1" >&2
  return 2
}

# end_job CODE: ends a Slurm job; where CODE is that of a run that wants to go on (75), the job is queued again first.
end_job() {
  if [ "$1" -eq 75 ] && [ "${SLURM_RESTART_COUNT:-0}" -lt "${RESTARTS:-100}" ]; then
    echo "the run has saved its state; the job is queued again" >&2
    scontrol requeue "$SLURM_JOB_ID"
  fi
  exit "$1"
}

# is_prepared ACCELERATOR VENV STAMP WANTED: whether VENV is for that accelerator (empty: any) and complete.
is_prepared() {
  local present
  present=$(cat "$2/rnas-accelerator" 2>/dev/null) && [ "${1:-$present}" = "$present" ] &&
    [ "$(cat "$3" 2>/dev/null)" = "$4" ] &&
    "$2/bin/python" -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

# Shows once a second how long something has taken, on one line of the terminal.
tick() {
  local second=0
  while sleep 1; do
    second=$((second + 1))
    printf '\r%d:%02d ' $((second / 60)) $((second % 60)) >&2
  done
}

# Tells how the command rnas of .venv is called.
how_to_call() {
  printf '%s\n' "The command is $PWD/.venv/bin/rnas. To call it rnas, in every new shell first:" \
    "  source $(printf %q "$PWD/.venv/bin/activate")" >&2
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
  set -euo pipefail
  help_asked "$0" "$@" && exit
  [ $# -eq 1 ] || { help_asked "$0" --help >&2; exit 2; }
  cd "$(dirname "$0")/.."
  prepare_environment "$1"
fi
