# SPDX-License-Identifier: MIT
# Time to open after an unclean stop, a line a checkpoint interval: it grows with the log up to the
# interval, and no further.
# gnuplot -e "data='recovery.tsv'; output='recovery'; subtitle='...'" bench/plots/recovery.gp
# writes recovery.svg and recovery.png.
# data: what `vmbench log --tsv` writes: a block of lines an interval; interval, written, found
# (MiB), open (ms).

set datafile separator "\t"
if (!exists("subtitle")) { subtitle = "" }
stats data using 2:4 skip 1 nooutput
blocks = int(STATS_blocks)
top = STATS_max_y
end = STATS_max_x

set style line 100 lc rgb "#dddddd" lw 1
set border 3 lc rgb "#888888"
set tics nomirror textcolor rgb "#444444"
set grid ytics ls 100
set xrange [0:end * 1.03]
set yrange [0:top * 1.1]
set rmargin 22
set lmargin 9
set tmargin 6
set bmargin 4
unset key
set xlabel "MiB written to the log before the process was cut off" textcolor rgb "#444444"
set label 1 "Recovery takes no longer than one checkpoint interval of log" at graph 0, 1.17 left \
  font ",20" textcolor rgb "#111111"
set label 2 subtitle at graph 0, 1.095 left font ",12" textcolor rgb "#555555"
set label 3 "milliseconds to open" at graph 0, 1.03 left font ",11" textcolor rgb "#444444"
array colours[4] = ["#c8102e", "#1f5fa8", "#3a8f5c", "#333333"]
colour(i) = colours[i % 4 + 1]
do for [i=0:blocks-1] {
  stats data using 2:4 index i every ::(i == 0 ? 1 : 0) nooutput
  x = STATS_max_x
  stats data using 1 index i every ::(i == 0 ? 1 : 0) nooutput
  interval = STATS_max
  stats data using ($2 == x ? $4 : NaN) index i every ::(i == 0 ? 1 : 0) nooutput
  set label 10 + i sprintf("%.0f MiB between checkpoints", interval) \
    at x + end * 0.012, STATS_max left \
    font ",12" textcolor rgb colour(i)
}

do for [format in "svg png"] {
  if (format eq "svg") { \
    set terminal svg size 1200,640 font "Helvetica,13" background rgb "white" } \
  else { set terminal pngcairo size 1600,853 font "DejaVu Sans,14" background rgb "white" }
  set output output.".".format
  plot for [i=0:blocks-1] data using 2:4 index i every ::(i == 0 ? 1 : 0) \
    with linespoints lw 2.5 pt 7 ps 0.8 lc rgb colour(i)
  unset output
}
