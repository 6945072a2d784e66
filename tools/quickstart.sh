#!/usr/bin/env bash
# Curates 24 real sample videos on this machine. Needs Python 3.10+ and bash, 120 MB to download, 1 GB of disk; no torch.
#
#   tools/quickstart.sh [RUN_DIR] [OVERRIDE...]      default: runs/quickstart; overrides go to Hydra
#
# Run it again and it finds everything done: it only does what is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

run_dir=runs/quickstart
if [[ ${1:-} && $1 != *=* ]]; then
  run_dir=$1
  shift
fi

python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
  echo "quickstart: $python is $("$python" --version 2>&1 || true); Python 3.10 or newer is needed: PYTHON=/path/to/python3" >&2
  exit 2
fi
if [ ! -x .venv/bin/hpc-curate ]; then
  echo "== a virtual environment in .venv (two minutes)"
  "$python" -m venv .venv
  .venv/bin/pip install --quiet --disable-pip-version-check --editable '.[cpu]'
fi

echo "== sample footage (a film, a street, a face, a live session in 21 containers)"
footage=$(.venv/bin/python tools/sample_footage.py --set quickstart)
echo "$footage"

start=$SECONDS
echo "== curating"
# The live session is 176 pixels wide: without these two rules its 21 copies show what dedup does.
any_size=(stage.gate.rules.crop_short_side_px=null stage.select.rules.crop_short_side_px=null)
echo "small pictures are kept as well: ${any_size[*]}"
.venv/bin/hpc-curate run input="$footage" run_dir="$run_dir" launch=local unit.videos=4 "${any_size[@]}" "$@"
echo "== curated in $((SECONDS - start)) s"
.venv/bin/hpc-curate funnel "$run_dir"

cat <<EOF

The tars, their index and the dataset card:  $run_dir/pack/*/tars/
One row per clip, kept or not, and why:      .venv/bin/hpc-curate table $run_dir -o clips.parquet
The report:                                  $(ls -t "$run_dir"/report/*/index.html 2>/dev/null | head -n 1)
Stricter, in seconds (nothing is scored again):
  .venv/bin/hpc-curate run input="$footage" run_dir=$run_dir launch=local unit.videos=4 ${any_size[*]} select=strict
EOF
