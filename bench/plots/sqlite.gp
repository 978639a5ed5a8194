# SPDX-License-Identifier: MIT
# Reads a second by SQLite's VFSes, as bars: data in memory on the left, larger data on the right.
# gnuplot -e "data='sqlite.tsv'; output='sqlite'; subtitle='...'" bench/plots/sqlite.gp
# writes sqlite.svg and sqlite.png.
# data: what `scripts/sqlite.sh --bench` writes. A line a workload ("8 connections, in memory"), a
# column a system. Needs a column vmcache; the title compares it with the others.

set datafile separator "\t"
header = system(sprintf("head -1 '%s'", data))
systems = int(system(sprintf("head -1 '%s' | tr '\t' '\n' | wc -l", data))) - 1
name(i) = system(sprintf("head -1 '%s' | cut -f %d", data, i + 1))
cell(workload, i) = real(system(sprintf("grep '^%s' '%s' | cut -f %d", workload, data, i + 1)))
colour(s) = s eq "vmcache" ? "#c8102e" : s eq "mmap_size" ? "#333333" : \
  s eq "unix" ? "#1f5fa8" : s eq "unix-excl" ? "#3a8f5c" : "#a9a9a9"

ours = 0; best = 0; peer = ""
do for [i=1:systems] {
  x = cell("8 connections, 2 x memory", i)
  if (name(i) eq "vmcache") { ours = x } \
  else { if (x > best) { best = x; peer = name(i) } }
}
headline = "SQLite, 8 connections, data twice as large as memory: ".(ours > best ? \
  sprintf("vmcache reads %.1f times as fast as %s", ours / best, peer) : \
  sprintf("vmcache reads %.0f %% of what %s does", 100 * ours / best, peer))
if (!exists("subtitle")) { subtitle = "" }

array places[2] = ["in memory", "2 x memory"]
array counts[3] = ["1 connection", "2 connections", "8 connections"]
set style line 100 lc rgb "#dddddd" lw 1
set border 3 lc rgb "#888888"
set tics nomirror textcolor rgb "#444444"
set grid ytics ls 100
set style fill solid 1.0 noborder
unset key
width = 0.8 / systems

do for [format in "svg png"] {
  if (format eq "svg") { \
    set terminal svg noenhanced size 1200,640 font "Helvetica,13" background rgb "white" } \
  else { \
    set terminal pngcairo noenhanced size 1600,853 font "DejaVu Sans,14" background rgb "white" }
  set output output.".".format
  set multiplot
  set label 1 headline at screen 0.05, 0.955 left font ",19" textcolor rgb "#111111"
  set label 2 subtitle at screen 0.05, 0.905 left font ",12" textcolor rgb "#555555"
  do for [i=1:systems] {
    set label 10 + i name(i) at screen 0.05 + 0.155 * (i - 1), 0.845 left \
      font (name(i) eq "vmcache" ? ",15" : ",13") textcolor rgb colour(name(i))
  }
  do for [p=1:2] {
    set lmargin at screen (p == 1 ? 0.08 : 0.57)
    set rmargin at screen (p == 1 ? 0.49 : 0.98)
    set tmargin at screen 0.74
    set bmargin at screen 0.10
    top = 0
    set xtics ("" 0)
    do for [c=1:3] {
      set xtics add (counts[c] c)
      do for [i=1:systems] {
        x = cell(counts[c].", ".places[p], i)
        at = c - 0.4 + width * (i - 1)
        set object 100 * c + i rectangle from at, 0 to at + width * 0.9, x \
          fillcolor rgb colour(name(i)) fillstyle solid noborder
        if (x > top) { top = x }
      }
    }
    set label 3 sprintf("data %s: thousand reads a second", places[p]) at graph 0, 1.05 left \
      font ",12" textcolor rgb "#444444"
    set xrange [0.5:3.5]
    set yrange [0:top * 1.08]
    plot NaN
    do for [c=1:3] { do for [i=1:systems] { unset object 100 * c + i } }
    do for [n=1:20] { unset label n }
  }
  unset multiplot
  unset output
}
