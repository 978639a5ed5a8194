# SPDX-License-Identifier: MIT
# Read by run.sh. Tests of what becomes of the command, its status, streams, folders, signals and
# time; and of the options.
# shellcheck shell=bash
# shellcheck disable=SC2016  # what stands in single quotes is for the guest's shell
# shellcheck disable=SC2154  # variables of run.sh

test_exit_status_is_the_commands() {
  local status
  for status in 0 1 77 126; do
    guest "$status" --no-module -- sh -c "exit $status"
  done
  guest 127 --no-module -- no-such-command
  guest 126 --no-module -- /etc/passwd
  guest 137 --no-module -- sh -c 'kill -9 $$'
}

test_output_is_clean_and_apart() {
  head -c 3000000 /dev/urandom >"$work/bytes"
  guest 0 --no-module -- sh -c "cat '$work/bytes'; echo to-stderr >&2"
  cmp -s "$work/bytes" "$work/out" || complain "standard output differs from what was written"
  [ "$(grep -v '^vm: ' "$work/err")" = to-stderr ] ||
    complain "standard error: $(head -c 300 "$work/err")"
}

test_standard_input_arrives() {
  head -c 1000000 /dev/urandom >"$work/bytes"
  "$vm" --no-module -- cat <"$work/bytes" >"$work/out" 2>"$work/err" || complain "cat failed"
  cmp -s "$work/bytes" "$work/out" || complain "standard input did not come back"
  # A command that does not read it must not be held up.
  yes | "$vm" --no-module --timeout 60 -- echo finished >"$work/out" 2>"$work/err"
  out_is finished
}

test_reader_that_leaves_ends_the_guest() {
  timeout 60 "$vm" --no-module -- yes 2>"$work/err" | head -n 1 >"$work/out"
  [ "${PIPESTATUS[0]}" -eq 141 ] || complain "exit status ${PIPESTATUS[0]}, wanted 141 (SIGPIPE)"
  out_is y
}

test_left_over_processes_do_not_hold_it_up() {
  guest 0 --no-module --timeout 60 -- sh -c 'sleep 1000 & echo finished'
  out_is finished
}

test_tree_is_read_only_build_and_out_are_not() {
  rm -f "$work/written"
  guest 0 --no-module --out "$scratch" -- sh -c "
    ! touch tools/written 2>/dev/null && echo build >'$work/written' &&
    echo out >'$scratch/written' && touch /tmp/x"
  file_has "$work/written" '^build$'
  file_has "$scratch/written" '^out$'
  [ ! -e tools/written ] || complain "the guest wrote into the tree"
}

test_working_folder_and_environment_pass() {
  local tree=$PWD
  mkdir -p "$scratch/a folder"
  echo here >"$scratch/a folder/file"
  (cd "$scratch/a folder" &&
    WORD='two words' "$tree/$vm" --no-module --env WORD --env OTHER=x=y -- \
    sh -c 'cat file; echo "$WORD,$OTHER"') >"$work/out" 2>"$work/err"
  out_is $'here\ntwo words,x=y'
}

test_shell_is_interactive() {
  local status=0
  printf 'tty >/dev/null && echo terminal-$((40 + 2)); exit 7\n' |
    script -qec "$vm --no-module --timeout 100 --shell" /dev/null >"$work/out" 2>&1 || status=$?
  [ "$status" -eq 7 ] || complain "exit status $status, wanted 7"
  file_has "$work/out" terminal-42
}

test_time_limit_ends_a_hung_guest() {
  guest 124 --no-module --timeout 40 -- sleep 1000
  err_has 'TIME LIMIT'
  err_has 'sysrq: Show Blocked State' # where everyone waited
}

test_interrupt_reaches_the_command() {
  interrupt_when_ready 5 'trap "exit 5" INT; echo ready; while :; do sleep 0.1; done'
  interrupt_when_ready 130 'echo ready; exec sleep 1000'
  # One that does not listen is ended with its machine.
  interrupt_when_ready 130 'trap "" INT; echo ready; sleep 1000'
}

interrupt_when_ready() {
  local wanted=$1 status=0 pid
  "$vm" --no-module --timeout 120 -- sh -c "$2" >"$work/out" 2>"$work/err" </dev/null &
  pid=$!
  for _ in $(seq 600); do
    grep -q ready "$work/out" && break
    sleep 0.1
  done
  kill -INT "$pid"
  wait "$pid" || status=$?
  [ "$status" -eq "$wanted" ] || complain "exit status $status, wanted $wanted: $2"
}

# Not of tools/vm, but of what ends a test program in its guest: the child's threads are named, and
# nothing is left of it. Without gdb, which takes minutes in emulation.
test_within_says_where_it_hangs() {
  guest 0 --no-module -- sh -c '
    tests/guest/within.sh 60 sh -c "exit 7"; [ $? = 7 ] || exit 1
    tests/guest/within.sh 60 sh -c "sleep 1000 & exit 0"; [ $? = 125 ]'
  file_has "$work/out" 'has left process'
  guest 0 --no-module -- sh -c '
    mkdir /tmp/bin; ln -s /bin/true /tmp/bin/gdb; PATH=/tmp/bin:$PATH
    tests/guest/within.sh 2 sh -c "sleep 1000 & sleep 1000"; echo "status $?"
    for stat in /proc/[0-9]*/stat; do
      read -r _ name state _ <"$stat"
      [ "$name" != "(sleep)" ] || [ "$state" = Z ] || echo "left: $state"
    done 2>/dev/null'
  file_has "$work/out" '^status 124$'
  file_has "$work/out" 'nanosleep'
  ! grep -q "^left: " "$work/out" || complain "a process is left: $(head -c 500 "$work/out")"
}

test_bad_options_are_explained() {
  guest 2
  err_has 'no COMMAND'
  guest 2 --kernel 9.9 -- true
  err_has "9.9"
  guest 2 --cpus 0 -- true
  err_has "'0' is not a number of CPUs"
  guest 2 --memory lots -- true
  err_has "'lots' is not a size"
  guest 2 --nvme 64M,pull -- true
  err_has "'pull' is not an option of a drive"
  guest 2 --nvme 64M,iops=fast -- true
  err_has "'fast' is not a number of transfers"
  guest 2 --nvme 64M,iops=100,shared-iops=100 -- true
  err_has "not both"
  guest 2 --nvme 1000 -- true
  err_has '4096'
  guest 2 --nvme 64M,volatile -- true
  err_has 'needs image=FILE'
  echo short >"$scratch/short"
  guest 125 --no-module --nvme "64M,image=$scratch/short" -- true
  err_has "short has 6 bytes"
  guest 2 --cut-power 0 -- true
  err_has "'0' is not a time"
  guest 2 --nvme 64M,errors=/no/such/file -- true
  err_has '/no/such/file'
  guest 2 --timeout -1 -- true
  err_has "'-1' is not a time"
  guest 2 --icount --cpus 2 -- true
  err_has 'icount counts on one processor'
  guest 2 --out /no/such/folder -- true
  err_has '/no/such/folder'
  guest 2 --prepare 6.1 -- true
  err_has 'not several'
  guest 2 --prepare 5.0
  err_has '5.0'
  guest 2 --shell
  err_has 'terminal'
  guest 125 --no-module --env NOT_SET_ANYWHERE -- true
  err_has 'NOT_SET_ANYWHERE'
  guest 125 --no-module --load no_such_module -- true
  err_has 'no_such_module'
  guest 125 --no-module --cpu no-such-model -- true
  err_has 'no-such-model'
  guest 125 --cache /proc/none -- true
  err_has '/proc/none'
}
