#!/usr/bin/env bash
# Runs an experiment on all hosts of a Cloud TPU slice, one process per host, and leaves it running there.
#
#   export TPU_NAME=… TPU_ZONE=us-central1-a TPU_TYPE=v5litepod-16 TPU_VERSION=v2-alpha-tpuv5-lite
#   launch/tpu_pod.sh create [--spot]         asks for the slice, unless it exists, and waits for it
#   launch/tpu_pod.sh run --config=configs/rnas_cl/….py --workdir=/mnt/…
#   launch/tpu_pod.sh keep [--spot] --config=… --workdir=…     both; where the slice is lost, asks for another one
#   launch/tpu_pod.sh logs                    the end of what the run says on each host
#   launch/tpu_pod.sh status                  of the slice and the run
#   launch/tpu_pod.sh stop                    the run, which saves its state
#   launch/tpu_pod.sh delete                  the slice, which ends its cost
#   launch/tpu_pod.sh --dry-run COMMAND …     prints every command and runs none
#
# `run` copies what is committed here to every host, makes the environment there and starts `rnas run`, again where a
# host was lost. The project is the one that gcloud is set to. The work directory must be on a file system that all
# hosts have mounted under the same path. Started again with the same arguments, the run goes on from its last checkpoint.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." >/dev/null
source launch/environment.sh
help_asked launch/tpu_pod.sh "$@" && exit

dry=''
if [ "${1:-}" = --dry-run ]; then dry=yes; shift; fi
command=${1:-}
case $command in
  create | run | keep | logs | status | stop | delete) shift ;;
  *) help_asked launch/tpu_pod.sh --help >&2; exit 2 ;;
esac
: "${TPU_NAME:?set it to the name of the TPU slice}" "${TPU_ZONE:?set it to the zone of the TPU slice}"
[ -n "$dry" ] || command -v gcloud >/dev/null || {
  echo "error: gcloud is not installed; see https://cloud.google.com/sdk" >&2
  exit 1
}
spot=()
if [ "${1:-}" = --spot ]; then spot=(--spot); shift; fi

# Runs a command, or prints it as a shell would read it.
perform() {
  if [ -n "$dry" ]; then printf '%q ' "$@"; printf '\n'; else "$@"; fi
}

queued() { perform gcloud compute tpus queued-resources "$1" "$TPU_NAME" --zone="$TPU_ZONE" "${@:2}"; }

on_all_hosts() { perform gcloud compute tpus tpu-vm "$1" --zone="$TPU_ZONE" --worker=all "${@:2}"; }

# Prints the state of the request for the slice, such as ACTIVE or WAITING_FOR_RESOURCES; ABSENT where there is none.
state() {
  gcloud compute tpus queued-resources describe "$TPU_NAME" --zone="$TPU_ZONE" --format='value(state.state)' \
    2>/dev/null || echo ABSENT
}

create() {
  local now=ABSENT
  [ -n "$dry" ] || now=$(state)
  case $now in
    SUSPENDED | FAILED) queued delete --force --quiet; now=ABSENT ;; # of a slice that was lost nothing can be used
  esac
  if [ "$now" = ABSENT ]; then
    : "${TPU_TYPE:?set it to the type of the slice, such as v5litepod-16}" "${TPU_VERSION:?set it to its runtime}"
    queued create --node-id="$TPU_NAME" --accelerator-type="$TPU_TYPE" --runtime-version="$TPU_VERSION" \
      ${spot[@]+"${spot[@]}"}
  fi
  [ -n "$dry" ] || until [ "$(state)" = ACTIVE ]; do
    echo "$TPU_NAME: $(state), waiting" >&2
    sleep 30
  done
}

run() {
  local archive arguments
  [ $# -gt 0 ] || { help_asked launch/tpu_pod.sh --help >&2; exit 2; }
  archive=$(mktemp -t rnas.XXXXXX)
  # shellcheck disable=SC2064  # the name of now
  trap "rm -f '$archive'" EXIT
  git archive --format=tar.gz --output="$archive" HEAD
  on_all_hosts scp "$archive" "$TPU_NAME:rnas.tar.gz"
  # Quoted for the shells of the hosts, which read the command once more.
  printf -v arguments '%q ' "$@"
  on_all_hosts ssh "$TPU_NAME" --command="
set -euo pipefail
mkdir -p rnas && tar -xzf rnas.tar.gz -C rnas && cd rnas
source launch/environment.sh
prepare_environment tpu
setsid nohup launch/again.sh .venv/bin/rnas run --distributed $arguments >> run.log 2>&1 < /dev/null &
echo \$! > run.pid"
}

# Whether the run goes on: on the first host something holds its process number.
is_running() {
  gcloud compute tpus tpu-vm ssh "$TPU_NAME" --zone="$TPU_ZONE" --worker=0 \
    --command='kill -0 $(cat rnas/run.pid)' >/dev/null 2>&1
}

case $command in
  create) create ;;
  run) run "$@" ;;
  keep)
    create
    run "$@"
    [ -n "$dry" ] || while :; do
      sleep 60
      if [ "$(state)" != ACTIVE ]; then
        echo "$TPU_NAME was lost: asking for another slice" >&2
        create
        run "$@"
      elif ! is_running; then
        break
      fi
    done
    on_all_hosts ssh "$TPU_NAME" --command='tail -n 3 rnas/run.log'
    ;;
  logs) on_all_hosts ssh "$TPU_NAME" --command='tail -n 30 rnas/run.log' ;;
  status)
    queued describe --format='value(state.state)'
    on_all_hosts ssh "$TPU_NAME" \
      --command='kill -0 $(cat rnas/run.pid) && echo running || echo not running; tail -n 1 rnas/run.log'
    ;;
  stop) on_all_hosts ssh "$TPU_NAME" --command='kill -TERM $(cat rnas/run.pid)' ;;
  delete) queued delete --force --quiet ;;
esac
