# SPDX-License-Identifier: MIT
# The I/O ladder: a bar a rung, the longest for what costs the most.
# gnuplot -e "data='rungs.tsv'; output='plot'; subtitle='...'" bench/plots/ladder.gp
# writes plot.svg and plot.png.
# data: rung, value, fio's value, with tabs between, under a line of headings; NaN where there is
# none.

set datafile separator "\t"
set datafile missing "NaN"
if (!exists("subtitle")) { subtitle = "" }
stats data using 2 skip 1 nooutput
rungs = STATS_records
top = STATS_max
stats data using 3 skip 1 nooutput
if (STATS_max > top) { top = STATS_max }

set border 2 lc rgb "#888888"
set yrange [rungs - 0.3:-0.7]
set xrange [0:top * 1.12]
unset ytics
unset xtics
unset key
set lmargin 24
set rmargin 4
set tmargin 5
set bmargin 1
set label 1 "What one I/O costs, layer by layer" at graph -0.17, 1.11 left \
  font ",20" textcolor rgb "#111111"
set label 2 subtitle." (open circle: fio)" at graph -0.17, 1.045 left \
  font ",12" textcolor rgb "#555555"
colour(s) = s[1:4] eq "pass" ? 0xc8102e : s[1:7] eq "vmcache" ? 0x3a8f5c : \
  s[1:5] eq "uring" ? 0x1f5fa8 : 0x888888
half = 0.32

do for [format in "svg png"] {
  if (format eq "svg") { \
    set terminal svg size 1100,640 font "Helvetica,13" background rgb "white" } \
  else { set terminal pngcairo size 1467,853 font "DejaVu Sans,14" background rgb "white" }
  set output output.".".format
  plot data using (0):0:(0):2:($0 - half):($0 + half):(colour(stringcolumn(1))) skip 1 \
         with boxxyerror fs solid 0.85 noborder lc rgb variable, \
       data using 3:0 skip 1 with points pt 6 ps 1.1 lw 1.5 lc rgb "#333333", \
       data using (0):0:1 skip 1 with labels right offset -1, 0 textcolor rgb "#222222", \
       data using 2:0:(sprintf("%.0f", $2)) skip 1 with labels right offset -0.6, 0 \
         font ",11" textcolor rgb "white"
  unset output
}
