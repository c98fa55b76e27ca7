#!/bin/sh
# Record segments.json anew. Needs node and npm; the packages go to a folder that is removed again.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$here/package.json" "$here/record.mjs" "$work"
npm install --prefix "$work" --no-package-lock --ignore-scripts --no-audit --no-fund --silent
node "$work/record.mjs" > "$work/segments.json"
mv "$work/segments.json" "$here/segments.json"
