#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Checks the style of every file: format, static analysis, spelling, licences, line lengths and
# commit subjects. Results are cached by content, so a second run takes seconds.
# usage: scripts/lint.sh [CHECK...]      (scripts/lint.sh --help lists the checks)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

case " $* " in
  *" --help "* | *" -h "*) ;;
  *) scripts/packages.sh build bench test lint ;;
esac
exec python3 scripts/lint.py "$@"
