# Sourced by the scripts beside it: an active virtual environment is used as it is, else .venv is made and used.
python=$(command -v python3 || command -v python) || { echo "agora needs Python 3.11 or later" >&2; exit 2; }
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "agora needs Python 3.11 or later; $python is $("$python" --version)" >&2
    exit 2
}
if "$python" -c 'import sys; sys.exit(sys.prefix != sys.base_prefix)'; then
    [ -e .venv/bin/python ] || "$python" -m venv .venv
    PATH=$PWD/.venv/bin:$PATH
    export PATH
fi
