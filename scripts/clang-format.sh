#!/usr/bin/env bash
# Formats the C code in bpf/, or with --check fails if it is not formatted.
set -euo pipefail
cd "$(dirname "$0")/.."

mode=(-i)
[[ ${1:-} == --check ]] && mode=(--dry-run --Werror)

shopt -s nullglob
files=(bpf/*.c bpf/*.h)
((${#files[@]})) || exit 0
clang-format-19 "${mode[@]}" "${files[@]}"
