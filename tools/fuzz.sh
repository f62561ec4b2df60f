#!/usr/bin/env bash
# Fuzzes all targets of tests/fuzz, one after the other, for the given number of seconds in all (default 60):
#
#     tools/fuzz.sh [SECONDS] [TARGET...]
#
# By atheris, that is libFuzzer, with counters in the Python code and in the compiled modules, which are built for this by
# clang with AddressSanitizer and UndefinedBehaviorSanitizer. One harness finds both wrong answers and wrong memory
# accesses: the compiled modules have no entry that Python does not reach, so a second one in C would have to repeat the
# checks of the first. Needs clang and a Python with headers for which PyPI has atheris: Linux, 3.10 to 3.14.
# FASTICEPY_CORPUS=FOLDER keeps what was learnt from run to run; what fails is left in the current folder.
set -euo pipefail
here=$PWD
cd "$(dirname "$0")/.."
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PYTHONDONTWRITEBYTECODE=1

seconds=${1:-60}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(message framing text machines ice capture mdns negotiation)
clang=$(command -v clang || compgen -c clang- | grep -E '^clang-[0-9]+$' | sort -V | tail -n 1) ||
    { echo "install clang first (Debian, Ubuntu: apt install clang)" >&2; exit 1; }

work=$(mktemp -d "${TMPDIR:-/tmp}/fasticepy-fuzz.XXXXXX")
trap 'rm -rf "$work"' EXIT
corpus=${FASTICEPY_CORPUS:-$work/corpus}
# a copy: the build of this profile stays out of the tree
mkdir "$work/source"
cp -r setup.py pyproject.toml MANIFEST.in README.md LICENSE src tests "$work/source/"
find "$work/source" -name '*.so' -delete
"${PYTHON:-python3}" -m venv "$work/env"
"$work/env/bin/pip" install -q --only-binary atheris atheris
CC=$clang FASTICEPY_BUILD=fuzz "$work/env/bin/pip" install -q "$work/source[dtls]"
preload=$("$work/env/bin/python" -c '
import sysconfig
print(sysconfig.get_path("platlib") + "/asan_with_fuzzer.so")')
"$work/env/bin/python" "$work/source/tests/fuzz/corpus.py" "$corpus"

each=$((seconds / ${#targets[@]}))
for target in "${targets[@]}"; do
    echo "--- $target, $each s"
    # Python's own allocator hides overruns; what the interpreter never frees is no leak of ours
    if ! LD_PRELOAD=$preload PYTHONMALLOC=malloc ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 \
        UBSAN_OPTIONS=print_stacktrace=1 \
        "$work/env/bin/python" "$work/source/tests/fuzz/fuzz.py" "$target" \
        -max_total_time="$each" -max_len=4096 -timeout=20 -rss_limit_mb=4096 -print_final_stats=1 \
        -artifact_prefix="$here/$target-" "$corpus/$target" >"$work/log" 2>&1; then
        tail -n 60 "$work/log"
        echo "$target failed: the input is in $here; put it into tests/fuzz/found/ as $target-NAME with the repair" >&2
        exit 1
    fi
    grep -E '^(INFO: seed corpus|#[0-9]+[[:space:]]+DONE|stat::number_of_executed_units)' "$work/log"
done
