#!/usr/bin/env bash
# The codec's tests on a build with AddressSanitizer and UndefinedBehaviorSanitizer, with the kernels that this CPU runs
# best and again with the portable ones. Needs gcc and a Python with headers; takes what else it needs from PyPI into a
# temporary folder. Arguments go to pytest instead of the usual test folders.
set -euo pipefail
cd "$(dirname "$0")/.."
project=$PWD
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PYTHONDONTWRITEBYTECODE=1

command -v "${CC:-gcc}" >/dev/null || { echo "install gcc first (Debian, Ubuntu: apt install build-essential)" >&2; exit 1; }
libraries=("$("${CC:-gcc}" -print-file-name=libasan.so)" "$("${CC:-gcc}" -print-file-name=libubsan.so)")
for library in "${libraries[@]}"; do
    [ -e "$library" ] || { echo "gcc has no $library: install its sanitizers (Fedora: dnf install libasan libubsan)" >&2; exit 1; }
done

work=$(mktemp -d "${TMPDIR:-/tmp}/fasticepy-sanitize.XXXXXX")
trap 'rm -rf "$work"' EXIT
# a copy: the build of this profile stays out of the tree
mkdir "$work/source"
cp -r setup.py pyproject.toml MANIFEST.in README.md LICENSE src tests "$work/source/"
find "$work/source" -name '*.so' -delete
"${PYTHON:-python3}" -m venv "$work/env"
FASTICEPY_BUILD=sanitize "$work/env/bin/pip" install -q "$work/source[test]"

tests=("$@")
[ ${#tests[@]} -gt 0 ] || tests=("$project/tests/_native" "$project/tests/stun")
cd "$work"      # what is tested is what was installed
for portable in "" 1; do
    echo "sanitized tests, ${portable:+portable }kernels"
    # Python's own allocator hides overruns; what the interpreter never frees is no leak of ours
    LD_PRELOAD="${libraries[*]}" PYTHONMALLOC=malloc FASTICEPY_PORTABLE=$portable \
        ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:strict_string_checks=1 UBSAN_OPTIONS=print_stacktrace=1 \
        "$work/env/bin/python" -m pytest -q --capture=sys -p no:cacheprovider -o timeout=300 "${tests[@]}"
done
