# SPDX-License-Identifier: MIT
# Prints the files of one of SQLite's test suites, as its permutations.test defines them.
# usage: testfixture list_suite.tcl PERMUTATIONS.TEST SUITE
set path [lindex $argv 0]
set suite [lindex $argv 1]
set testdir [file dirname $path]
set file [open $path]
set text [read $file]
close $file
# Only the definitions: no database, no tests.
proc db {args} {}
proc ifcapable {args} {}
set argv0 $path
set text [string map [list {source $testdir/tester.tcl} {} {[info script]} "{$path}"] $text]
eval [string range $text 0 [expr {[string first "# End of tests" $text] - 1}]]
array set options $::testspec($suite)
foreach name $options(-files) {
  puts [file normalize [file join $testdir $name]]
}
