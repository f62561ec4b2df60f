#!/usr/bin/env bash
# The C kernels alone (tests/_native/kernels.c): known answers and every length, on this CPU, with sanitizers, and under
# qemu on 64-bit ARM, where the instructions of ARMv8 must have been chosen, and on s390x, which is big-endian. Then
# compiled, not run, for macOS and Windows by zig. What is missing here is named. Debian, Ubuntu: apt install
# build-essential qemu-user-static gcc-aarch64-linux-gnu libc6-dev-arm64-cross gcc-s390x-linux-gnu libc6-dev-s390x-cross
set -euo pipefail
cd "$(dirname "$0")/.."
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

sources=(src/_native/{sha1,sha256,crc32,hmac,cpu}.c)
flags=(-std=c11 -Wall -Wextra -Werror -Isrc/_native)
work=$(mktemp -d "${TMPDIR:-/tmp}/fasticepy-kernels.XXXXXX")
trap 'rm -rf "$work"' EXIT

missing=()
for tool in "${CC:-cc}" {aarch64,s390x}-linux-gnu-gcc qemu-{aarch64,s390x}-static; do
    command -v "$tool" >/dev/null || missing+=("$tool")
done
[ ${#missing[@]} -eq 0 ] || { echo "not found: ${missing[*]}; the head of $0 names the packages" >&2; exit 1; }

build_and_run() {    # NAME RUNNER COMPILER...: RUNNER "" runs it here
    local name=$1 runner=$2
    shift 2
    printf '%-28s' "$name"
    "$@" "${flags[@]}" tests/_native/kernels.c "${sources[@]}" -o "$work/kernels"
    # shellcheck disable=SC2086  # the runner and the names of what must be chosen are words
    timeout 120 ${runner:-env} "$work/kernels" ${expected:-}
}

build_and_run "here" "" "${CC:-cc}" -O3
build_and_run "here, portable" "env FASTICEPY_PORTABLE=1" "${CC:-cc}" -O3
build_and_run "here, sanitized" "" "${CC:-cc}" -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined
expected="armv8 armv8 armv8" build_and_run "aarch64" qemu-aarch64-static aarch64-linux-gnu-gcc -O3 -static
expected="portable portable portable" build_and_run "s390x" qemu-s390x-static s390x-linux-gnu-gcc -O3 -static

"${PYTHON:-python3}" -m venv "$work/env"
"$work/env/bin/pip" install -q ziglang
for target in {aarch64,x86_64}-{macos,windows-gnu,linux-musl}; do
    printf '%-28s' "$target, by zig"
    for source in "${sources[@]}"; do
        "$work/env/bin/python" -m ziglang cc -target "$target" -O3 "${flags[@]}" -c "$source" -o "$work/object.o"
    done
    echo compiled
done
