#!/usr/bin/env bash
# Formats the C code, or with --check fails if it is not formatted.
set -euo pipefail
cd "$(dirname "$0")/.."

mode=(-i)
[[ ${1:-} == --check ]] && mode=(--dry-run --Werror)

shopt -s nullglob
files=(bpf/*.c bpf/*.h internal/bench/workload/*.c)
((${#files[@]})) || exit 0
clang-format-19 --style=file:bpf/.clang-format "${mode[@]}" "${files[@]}"
