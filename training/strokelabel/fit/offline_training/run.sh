#!/bin/bash
# bash run.sh --seconds 560 [more options of strokelabel.fit.offline_training.training]
#
# Unpacks this folder once, installs its wheels once, and trains. Weights, tables and log go to $OUT (or ./out), everything
# else to $WORK (or a folder in /tmp). The same command goes on from the last checkpoint if $WORK is still there.
set -euo pipefail
started=$(date +%s)
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=${WORK:-${TMPDIR:-/tmp}/strokelabel-pack}
out=${OUT:-$PWD/out}
python=${PYTHON:-python3}
export PYTHONPATH="$work/training:$work/site${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
mkdir -p "$work" "$out"
if [ ! -e "$work/.unpacked" ]; then
  "$python" -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2], filter="data")' "$here/pack.tar.xz" "$work"
  if compgen -G "$here/wheels/*.whl" > /dev/null; then
    "$python" -m pip install --quiet --root-user-action=ignore --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$work/site" "$here"/wheels/*.whl
  fi
  "$python" - "$here/pack.json" <<'CHECK'
import importlib.util, json, sys
needed = json.load(open(sys.argv[1]))["imports"]
missing = sorted(name for name in needed if importlib.util.find_spec(name) is None)
if missing:
    sys.exit(f"Missing on this machine: {', '.join(missing)}; pack again with --carry for each of them")
CHECK
  "$python" -m strokelabel.fit.offline_training.build "$work/prepared"
  touch "$work/.unpacked"
fi
exec "$python" -W ignore -m strokelabel.fit.offline_training.training --work "$work" --out "$out" --started "$started" "$@"
