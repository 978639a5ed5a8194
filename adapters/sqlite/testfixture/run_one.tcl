# SPDX-License-Identifier: MIT
# Runs one of SQLite's test files under the name of the permutation "unix-excl": then the parts that
# need several processes with the database open are left out, as for SQLite's own VFS of that name.
# usage: testfixture run_one.tcl FILE.test
set argv0 [lindex $argv 0]
set argv [list]
set ::G(perm:name) unix-excl
source $argv0
