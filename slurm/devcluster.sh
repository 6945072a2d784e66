#!/usr/bin/env bash
# A Slurm cluster of four small nodes on this machine, to try or test the Slurm path: real slurmctld, slurmd and munged.
#
#   eval "$(slurm/devcluster.sh up [--accounting])"     start it (or find it running) and point this shell at it
#   slurm/devcluster.sh status                          nodes and jobs; exit code 3 when it is down
#   slurm/devcluster.sh down                            stop it and remove its folder
#
# Debian: apt-get install --no-install-recommends slurm-wlm munge    (--accounting: also mariadb-server slurmdbd)
#
#   partition  nodes       what it is for
#   cpu        n3 n4       the default; CPU stages
#   gpu        n1 n2       two GPUs each: jobs get CUDA_VISIBLE_DEVICES from Slurm, but the device files are stand-ins
#   spot       n1 to n4    yields to all others: SIGTERM, 5 s later SIGKILL, then requeued
#   urgent     n1 to n4    takes what it needs from spot
#
# Nodes pretend to have 4 CPUs and 32 GB; nothing enforces memory. MaxArraySize is 101. Slurm counts time limits in
# minutes; `scontrol update jobid=N EndTime=now+5` ends a running job all the same (TIMEOUT, within 30 s), and
# `--time=1 --signal=B:USR1@50` warns one soon after its start.
# Everything lies in $HPC_CURATE_DEVCLUSTER (default ${TMPDIR:-/tmp}/hpc_curate-devcluster-$UID) and listens on loopback
# ports from $HPC_CURATE_DEVCLUSTER_PORT (default 16800) on. Started as root, it becomes the user nobody, and so must you
# to submit: slurmd without root can only run jobs of its own user.
set -euo pipefail

readonly nobody=65534
readonly user_id=$((UID ? UID : nobody))
folder=$(realpath -m "${HPC_CURATE_DEVCLUSTER:-${TMPDIR:-/tmp}/hpc_curate-devcluster-$user_id}")
readonly folder
readonly port=${HPC_CURATE_DEVCLUSTER_PORT:-16800}
readonly conf=$folder/etc/slurm.conf
readonly daemons=(munged mariadbd slurmdbd slurmctld slurmd.n1 slurmd.n2 slurmd.n3 slurmd.n4)  # in the order of starting

export PATH=$PATH:/usr/sbin:/sbin
export SLURM_CONF=$conf

say() { echo "devcluster: $*" >&2; }

die() {
  say "$*"
  exit 1
}

# The process id of a daemon that this folder started and that still runs. The number alone proves nothing: it may have
# gone to another process since.
pid_of() {
  local pid name=${1%%.*}
  pid=$(cat "$folder/run/$1.pid" 2>/dev/null) || return 1
  [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$name" ] || return 1
  grep -qzxF "SLURM_CONF=$conf" "/proc/$pid/environ" 2>/dev/null || return 1
  echo "$pid"
}

# start NAME COMMAND...: in the background, in a session of its own, with only what it needs in its environment.
# Returns when it has become COMMAND, or has died: before, `down` would not know it.
start() {
  local name=$1
  shift
  setsid env -i PATH="$PATH" HOME="$folder" LANG=C.UTF-8 SLURM_CONF="$conf" "$@" \
    </dev/null >>"$folder/log/$name.out" 2>&1 9>&- &
  echo $! >"$folder/run/$name.pid"
  until pid_of "$name" >/dev/null || ! kill -0 $! 2>/dev/null; do sleep 0.05; done
}

# Whether everything started so far still runs, so that nobody waits for what has died.
all_alive() {
  local file
  for file in "$folder"/run/*.pid; do
    case $file in *.own.pid) continue ;; esac
    kill -0 "$(cat "$file")" 2>/dev/null || return 1
  done
}

# wait_for SECONDS WHAT COMMAND...
wait_for() {
  local seconds=$1 what=$2 tries
  shift 2
  for ((tries = 0; tries < seconds * 5; tries++)); do
    "$@" >/dev/null 2>&1 && return
    all_alive || break
    sleep 0.2
  done
  say "$what does not come up (waited at most $seconds s); the last lines of the logs:"
  tail -n 5 "$folder"/log/* >&2 || true
  return 1
}

need() {
  local package program
  for package in "$@"; do
    program=${package#*:}
    command -v "$program" >/dev/null || die "$program is missing; apt-get install --no-install-recommends ${package%%:*}"
  done
}

write_slurm_conf() {
  local accounting=accounting_storage/none
  $1 && accounting=accounting_storage/slurmdbd
  cat >"$conf" <<EOF
ClusterName=devcluster
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=$((port + 17))
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
CredType=cred/munge
# A requeued job waits until its old credential has expired: 120 s if nothing is said. So long a launch may take.
AuthInfo=socket=$folder/run/munge.socket,cred_expire=10
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool/%n
SlurmctldPidFile=$folder/run/slurmctld.own.pid
SlurmdPidFile=$folder/run/slurmd.%n.own.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
GresTypes=gpu
MaxArraySize=101
JobRequeue=1
# What ended is remembered for as long as a test may take.
MinJobAge=900
KillWait=3
# Where all share a few busy cores, who is slow is not gone.
MessageTimeout=60
BatchStartTimeout=120
UnkillableStepTimeout=300
SlurmdTimeout=300
ReturnToService=1
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
AccountingStorageType=$accounting
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$((port + 19))
AccountingStoragePass=$folder/run/munge.socket
NodeName=DEFAULT CPUs=4 RealMemory=32000 State=UNKNOWN
NodeName=n[1-2] NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=[$((port + 101))-$((port + 102))] Gres=gpu:2
NodeName=n[3-4] NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=[$((port + 103))-$((port + 104))]
PartitionName=DEFAULT State=UP MaxTime=INFINITE DefaultTime=60 OverSubscribe=NO PreemptMode=OFF PriorityTier=5
PartitionName=cpu Nodes=n[3-4] Default=YES
PartitionName=gpu Nodes=n[1-2]
PartitionName=spot Nodes=n[1-4] PriorityTier=1 PreemptMode=REQUEUE GraceTime=5
PartitionName=urgent Nodes=n[1-4] PriorityTier=9
EOF
  echo "NodeName=n[1-2] Name=gpu File=/dev/null,/dev/zero" >"$folder/etc/gres.conf"
}

write_slurmdbd_conf() {
  (umask 077 && cat >"$folder/etc/slurmdbd.conf") <<EOF
DbdHost=$(hostname -s)
DbdAddr=127.0.0.1
DbdPort=$((port + 19))
SlurmUser=$(id -un)
AuthType=auth/munge
AuthInfo=socket=$folder/run/munge.socket
PidFile=$folder/run/slurmdbd.own.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$((port + 18))
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm
EOF
}

start_munge() {
  (umask 077 && head -c 1024 /dev/urandom >"$folder/etc/munge.key")
  start munged munged --foreground --force --num-threads=2 --key-file="$folder/etc/munge.key" \
    --socket="$folder/run/munge.socket" --pid-file="$folder/run/munged.own.pid" \
    --log-file="$folder/log/munged" --seed-file="$folder/state/munged.seed"
  wait_for 120 munged munge --socket="$folder/run/munge.socket" --no-input
}

start_accounting() {
  local client=(mariadb --no-defaults --socket="$folder/run/mariadb.socket" --user=root)
  mariadb-install-db --no-defaults --auth-root-authentication-method=normal --skip-test-db \
    --datadir="$folder/mariadb" >"$folder/log/mariadb-install" 2>&1 || die "mariadb-install-db failed; see $folder/log"
  start mariadbd mariadbd --no-defaults --datadir="$folder/mariadb" --socket="$folder/run/mariadb.socket" \
    --pid-file="$folder/run/mariadbd.own.pid" --bind-address=127.0.0.1 --port=$((port + 18)) \
    --innodb-buffer-pool-size=64M --innodb-lock-wait-timeout=900
  wait_for 120 mariadbd "${client[@]}" --execute "SELECT 1"
  "${client[@]}" --execute "CREATE DATABASE slurm; CREATE USER slurm@'127.0.0.1' IDENTIFIED BY 'slurm';
    CREATE USER slurm@localhost IDENTIFIED BY 'slurm';
    GRANT ALL ON slurm.* TO slurm@'127.0.0.1'; GRANT ALL ON slurm.* TO slurm@localhost"
  write_slurmdbd_conf
  start slurmdbd slurmdbd -D
  # slurmctld refuses to start before slurmdbd has answered once.
  wait_for 120 slurmdbd sacctmgr --noheader list cluster
  sacctmgr --immediate --quiet add cluster devcluster >/dev/null
  sacctmgr --immediate --quiet add account devaccount Cluster=devcluster >/dev/null
  sacctmgr --immediate --quiet add user "$(id -un)" Account=devaccount >/dev/null
}

all_idle() { [ "$(sinfo --noheader --Node --partition=spot --format=%t 2>/dev/null | grep -cx idle)" = 4 ]; }

is_up() {
  local name
  for name in munged slurmctld slurmd.n1 slurmd.n2 slurmd.n3 slurmd.n4; do pid_of "$name" >/dev/null || return 1; done
  timeout 60 scontrol ping >/dev/null 2>&1
}

up() {
  local accounting=false node
  case "${1:-}" in
    --accounting) accounting=true ;;
    ?*) die "up takes --accounting or nothing, not $1" ;;
  esac
  need munge:munged slurmctld:slurmctld slurmd:slurmd slurm-client:sinfo
  $accounting && need mariadb-server:mariadbd slurmdbd:slurmdbd
  if ! is_up; then
    down
    trap down EXIT # what does not come up whole goes down whole
    mkdir -p "$folder"/{etc,run,log,state,spool}
    chmod 755 "$folder" "$folder"/{etc,run}
    touch "$folder/devcluster"
    write_slurm_conf "$accounting"
    start_munge
    $accounting && start_accounting
    start slurmctld slurmctld -D -f "$conf"
    for node in n1 n2 n3 n4; do start "slurmd.$node" slurmd -D -f "$conf" -N "$node"; done
    wait_for 240 "the cluster" all_idle
    trap - EXIT
  elif $accounting && ! pid_of slurmdbd >/dev/null; then
    die "it runs without accounting; take it down first"
  fi
  say "up, in $folder, as user $(id -un)"
  echo "export SLURM_CONF=$conf"
}

cancel_jobs() {
  pid_of slurmctld >/dev/null || return 0
  timeout 60 scancel --user="$(id -un)" 2>/dev/null || return 0
  local tries
  for ((tries = 0; tries < 300; tries++)); do
    [ -z "$(timeout 60 squeue --noheader 2>/dev/null)" ] && return 0
    sleep 0.2
  done
}

stop() {
  local pid tries
  pid=$(pid_of "$1") || return 0
  kill "$pid" 2>/dev/null || true
  for ((tries = 0; tries < 300; tries++)); do
    pid_of "$1" >/dev/null || return 0
    sleep 0.1
  done
  say "$1 ($pid) does not stop; killed"
  kill -KILL "$pid" 2>/dev/null || true
  while pid_of "$1" >/dev/null; do sleep 0.1; done
}

# slurmstepd outlives slurmd on purpose; those of this cluster are known by their environment.
steps() {
  local process
  for process in /proc/[0-9]*; do
    [ "$(cat "$process/comm" 2>/dev/null)" = slurmstepd ] || continue
    grep -qzxF "SLURM_CONF=$conf" "$process/environ" 2>/dev/null && echo "${process#/proc/}"
  done
  return 0
}

stop_steps() {
  local pids
  while mapfile -t pids < <(steps) && ((${#pids[@]})); do
    kill -KILL "${pids[@]}" 2>/dev/null || true
    sleep 0.1
  done
}

down() {
  local i
  [ -d "$folder" ] || return 0
  [ -O "$folder/devcluster" ] || die "$folder is not a folder of mine"
  cancel_jobs
  for ((i = ${#daemons[@]} - 1; i >= 0; i--)); do
    [ "${daemons[i]}" = slurmctld ] && stop_steps
    stop "${daemons[i]}"
  done
  rm -rf "$folder"
  say "down"
}

status() {
  if ! is_up; then
    say "down ($folder)"
    return 3
  fi
  sinfo
  squeue
}

case "${1:-}" in
  up | down | status) ;;
  *) die "up [--accounting], down or status, not '${*:-nothing}'" ;;
esac
if [ $UID = 0 ]; then
  script=$(realpath "${BASH_SOURCE[0]}")
  cd /
  # Becomes nobody. The script travels as standard input, because nobody may be unable to read it where it lies.
  exec setpriv --reuid=$nobody --regid=$nobody --clear-groups --inh-caps=-all --no-new-privs \
    env HPC_CURATE_DEVCLUSTER="$folder" HPC_CURATE_DEVCLUSTER_PORT="$port" bash -s -- "$@" <"$script"
fi
{
  verb=$1
  shift
  mkdir -p "$(dirname "$folder")"
  exec 9>"$folder.lock"
  flock 9 # two `up` at once must not start two clusters
  "$verb" "$@"
  exit
}
