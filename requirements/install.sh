#!/usr/bin/env bash
# Fills .venv with all that epsd_mm needs, or returns at once when it is there.
# Settings: PYTHON, TORCH_ARGS, MAX_JOBS; docs/installation.md explains them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=.venv
stamp=$venv/epsd_mm.stamp
log=$venv/mmcv_build.log
python=${PYTHON:-python3}
torch_args=${TORCH_ARGS:-}
# An editable install holds the folder's path, so the path is in the key too.
key=$({
  pwd
  cat setup.py requirements/install.sh \
    requirements/{build,runtime,mminstall,optional,structure,deploy,tests}.txt
} | cksum)

say() { printf '== %s\n' "$*"; }
die() { printf 'install: %s\n' "$*" >&2; exit 1; }
pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }
pin() { grep -hE "^$1==" requirements/*.txt | head -n 1; }
state() { head -n 1 "$stamp" 2>/dev/null || echo none; }
venv_works() { "$venv/bin/python" -I -c 'import pip' 2>/dev/null; }

finished() {
  [[ $(state) == "$key" ]] && "$venv/bin/python" -I -c '
from importlib.util import find_spec
names = """torch torchvision cv2 mmengine mmcv mmdet mmpretrain torch_pruning
  onnx onnxscript onnxruntime openvino nncf epsd_mm pytest timm"""
assert all(map(find_spec, names.split()))' 2>/dev/null
}

python_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])'; }

filled_with() { sed -n 's/^TORCH_ARGS=//p' "$stamp"; }

say_what_is_not_heard() {  # settings count while .venv is filled
  local given=''
  if [[ $python != python3 ]] &&
    [[ $(python_of "$python" 2>&1) != $(python_of "$venv/bin/python") ]]
  then
    given="PYTHON=$python"
  elif [[ -n ${TORCH_ARGS:-} && $TORCH_ARGS != "$(filled_with)" ]]; then
    given="TORCH_ARGS='$TORCH_ARGS'"
  fi
  [[ -z $given ]] || say "$given is not what $venv was filled with, and" \
    "changes nothing: 'rm -rf $venv' first, to fill it anew"
}

wait_for_other_install() {
  command -v flock >/dev/null || return 0
  exec 9<requirements/install.sh
  flock -n 9 || { say 'another install is at work here: waiting'; flock 9; }
}

check_python() {
  command -v "$python" >/dev/null || die "there is no '$python': install \
Python 3.10, 3.11 or 3.12, or name one with PYTHON=..."
  local version
  version=$(python_of "$python")
  case $version in
    3.10 | 3.11 | 3.12) ;;
    *) die "'$python' is Python $version and 3.10, 3.11 or 3.12 is needed: \
name one with PYTHON=..." ;;
  esac
  "$python" -c 'import ensurepip, venv' 2>/dev/null || die "Python $version \
lacks its venv module: install it with 'apt install python$version-venv'"
  local include
  include=$("$python" -c 'import sysconfig as s; print(s.get_path("include"))')
  [[ -f $include/Python.h ]] || die "Python $version lacks its header \
Python.h in $include: install it with 'apt install python$version-dev'"
}

wants_gpu() {
  [[ ! ${CUDA_VISIBLE_DEVICES-all} =~ ^(-1)?$ && ${TORCH_ARGS:-} != *cpu* ]] &&
    nvidia-smi -L 2>/dev/null | grep -q '^GPU'
}

has_nvcc() {
  [[ -x ${CUDA_HOME:-/usr/local/cuda}/bin/nvcc ]] || command -v nvcc >/dev/null
}

check_compilers() {
  local cxx=${CXX:-c++}
  # shellcheck disable=SC2086  # CXX may hold arguments
  $cxx -std=c++17 -x c++ -fsyntax-only - <<<'#include <optional>' \
    2>/dev/null || die "no C++17 compiler answers to '$cxx': install one \
with 'apt install g++', or name one with CXX=... (classification and plain \
torch take none: pip install '.[mm]' in an environment of your own)"
  if wants_gpu && ! has_nvcc; then
    die "an NVIDIA GPU is here but its compiler nvcc is not: install the CUDA \
toolkit, or leave the GPU alone with 'export CUDA_VISIBLE_DEVICES='"
  fi
}

make_venv() {
  if [[ $(state) == unfinished ]]; then
    say "the last install was broken off: making $venv anew"
    rm -rf "$venv"
  elif [[ $(state) != none ]] && ! venv_works; then
    say "the Python of $venv no longer runs: making it anew"
    rm -rf "$venv"
  fi
  if [[ ! -e $venv ]]; then
    mkdir "$venv"
    echo unfinished >"$stamp"
    "$python" -m venv "$venv"
  elif [[ $(state) != none ]]; then
    echo unfinished >"$stamp"
  else
    # Not made here, so not ours to delete.
    venv_works || die "$venv is there but its Python does not run: delete it"
  fi
}

compile_jobs() {  # as many as there are cores, and 1.5 GB for each
  local cores memory
  cores=$(nproc)
  memory=$(awk '/^MemAvailable/ { print int($2 / 1.5e6) }' /proc/meminfo)
  echo $((memory < 1 ? 1 : memory < cores ? memory : cores))
}

show_progress() {  # reads a build log; says how far it is, and since when
  local line done='starting' pattern='^ *\[([1-9][0-9]*)/([0-9]+)\] '
  local start=$SECONDS last=$SECONDS file files left
  while true; do
    if IFS= read -r -t 10 line; then
      [[ $line =~ $pattern ]] || continue
      file=${BASH_REMATCH[1]} files=${BASH_REMATCH[2]}
      left=$(((SECONDS - start) * (files - file) / file / 60 + 1))
      done="file $file of $files, about $left min to go"
    elif (($? <= 128)); then
      break
    fi
    if [[ -t 1 ]]; then
      printf '\r   %s, %d s \033[K' "$done" $((SECONDS - start))
    elif ((SECONDS - last >= 30)); then
      last=$SECONDS
      printf '   %s, %d s\n' "$done" $((SECONDS - start))
    fi
  done
  if [[ -t 1 ]]; then printf '\n'; fi
}

install_mmcv() {  # arguments are passed on to pip
  say "compiling mmcv's operators, once: about 10 minutes on 2 cores," \
    'or seconds where pip has kept the result'
  # Debugging information, which Python's own flags ask for, takes half of
  # the time; these flags come last.
  PYTHONUNBUFFERED=1 MAX_JOBS=${MAX_JOBS:-$(compile_jobs)} \
    CPPFLAGS="${CPPFLAGS:-} -g0" \
    pip install -v --no-build-isolation --no-deps "$@" \
    "$(pin onedl-mmcv)" 2>&1 | tee "$log" | show_progress || {
    tail -n 30 "$log" >&2
    die "mmcv did not compile; above is the end of $log"
  }
}

keep_one_opencv() {
  local found
  found=$(pip list --format=freeze |
    sed -n 's/^\(opencv[a-z-]*\)==.*/\1/p' | tr '\n' ' ')
  [[ -z $found || $found == 'opencv-python-headless ' ]] && return
  # They share the folder cv2, so all of them have to go.
  # shellcheck disable=SC2086
  pip uninstall -y $found
}

operators_fit() {
  "$venv/bin/python" -I -c '
import sys, torch
from mmcv.ops import get_compiling_cuda_version
on_gpu = get_compiling_cuda_version() != "not available"
sys.exit(torch.cuda.is_available() and not on_gpu)'
}

finished && say_what_is_not_heard && exit 0
wait_for_other_install
finished && exit 0
if [[ $(state) != none && $(state) != unfinished ]] && venv_works; then
  python=$venv/bin/python
  torch_args=${torch_args:-$(filled_with)}
fi
check_python
check_compilers
make_venv
trap 'die "broken off: the next make starts afresh"' INT TERM

say 'installing the build tools and torch'
pip install -r requirements/build.txt "$(pin numpy)"
# shellcheck disable=SC2086  # TORCH_ARGS holds several arguments
pip install "$(pin torch)" "$(pin torchvision)" ${TORCH_ARGS:-}
install_mmcv
say 'installing the other packages'
pip install --no-build-isolation --no-deps -r requirements/mminstall.txt
keep_one_opencv
# (imaug and mmcv ask for the other opencv, of which pip would warn)
pip install --no-warn-conflicts \
  -r requirements/runtime.txt -r requirements/optional.txt \
  -r requirements/structure.txt -r requirements/deploy.txt \
  -r requirements/tests.txt
if ! operators_fit; then
  say 'pip had kept an mmcv that was compiled for another torch'
  pip cache remove onedl_mmcv || true
  install_mmcv --force-reinstall
fi
pip install --no-build-isolation --no-deps -e .
"$venv/bin/python" -m epsd_mm.check_env || die 'the check above failed'
printf '%s\n' "$key" "TORCH_ARGS=$torch_args" >"$stamp"
say "$venv is ready"
