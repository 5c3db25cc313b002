#!/usr/bin/env bash
# Compile the two tools into a folder (bench/out/bin), each only if its source is newer. Needs gcc and Linux.
set -euo pipefail
source=$(cd "$(dirname "$0")" && pwd)
target=${1:-$source/../out/bin}
mkdir -p "$target"
for tool in generate receive; do
  [ "$target/$tool" -nt "$source/$tool.c" ] && [ "$target/$tool" -nt "$source/common.h" ] && continue
  "${CC:-gcc}" -std=gnu11 -O2 -Wall -Wextra -Werror -o "$target/$tool" "$source/$tool.c"
done
