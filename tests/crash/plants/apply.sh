#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Copies the files that a patch changes, and patches the copies.
# usage: apply.sh SOURCE_TREE PATCH FOLDER
set -euo pipefail
source_tree=$1 patch=$2 folder=$3

rm -rf "$folder"
while read -r file; do
  mkdir -p "$folder/$(dirname "$file")"
  cp "$source_tree/$file" "$folder/$file"
done < <(sed -n 's|^+++ b/||p' "$patch")
if ! patch --directory "$folder" --strip 1 --batch --forward --silent <"$patch"; then
  echo "apply.sh: $patch does not fit the source any more: plant the same bug anew" >&2
  exit 1
fi
