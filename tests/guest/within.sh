#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# In the guest: runs a command, and ends it when it takes too long, after saying where each of its
# threads is.
# usage: within.sh SECONDS COMMAND [ARGUMENT]...
# Nothing that the command has started outlives it: what is left is killed, and said.
# The exit status is the command's; 124: it took too long; 125: it succeeded, and left something.
set -u
limit_s=$1
shift

# processes SESSION: all of the session that have not ended.
processes() {
  local file stat fields
  for file in /proc/[0-9]*/stat; do
    { read -r stat <"$file"; } 2>/dev/null || continue
    read -ra fields <<<"${stat##*) }" # state, parent, group, session
    [[ ${fields[3]} == "$1" && ${fields[0]} != Z ]] && echo "${stat%% *}"
  done
}

# where PID: what each of its threads is in, the kernel's half and the program's.
where() {
  local thread
  for thread in "/proc/$1"/task/*; do
    echo "thread ${thread##*/} ($(cat "$thread/comm")):" \
      "$(sed -n 's/^State:\t//p' "$thread/status"), system call" \
      "$(cat "$thread/syscall")"
    sed 's/^/  /' "$thread/stack"
  done 2>/dev/null
  command -v gdb >/dev/null || return 0
  timeout --signal=KILL 100 gdb -p "$1" -batch -nx -ex 'thread apply all backtrace 16' \
    </dev/null 2>/dev/null |
    grep -E '^(Thread|#)' | cut -c 1-200
}

# A session of its own, so that all of it can be killed.
setsid "$@" &
command=$!
sleep "$limit_s" &
timer=$!
wait -n -p ended "$command" "$timer"
status=$?
kill "$timer" 2>/dev/null

# all_gone TENTHS: whether all of the session ends within that long.
all_gone() {
  local tries
  for ((tries = 0; tries < $1; tries++)); do
    [[ -n $(processes "$command") ]] || return 0
    sleep 0.1
  done
  return 1
}

if [[ $ended == "$command" ]]; then
  all_gone 50 && exit "$status"
  for process in $(processes "$command"); do
    echo "within.sh: $* has ended, and has left process $process" \
      "($(cat "/proc/$process/comm" 2>/dev/null))"
  done
  # shellcheck disable=SC2046 # one number each
  kill -KILL $(processes "$command") 2>/dev/null
  all_gone 300
  exit $((status == 0 ? 125 : status))
fi

echo "within.sh: $* has run for $limit_s s"
# Twice: who runs in circles is seen to.
for process in $(processes "$command"); do
  where "$process"
  where "$process"
done
echo w >/proc/sysrq-trigger
echo l >/proc/sysrq-trigger
# shellcheck disable=SC2046 # one number each
kill -KILL $(processes "$command") 2>/dev/null
# That takes a moment, and whatever runs next must not find them.
all_gone 300
exit 124
