# SPDX-License-Identifier: MIT
# Throughput over time, a line a system, each labelled where it ends.
# gnuplot -e "data='samples.tsv'; output='plot'; subtitle='...'" bench/plots/throughput.gp
# writes plot.svg and plot.png.
# data: what `vmbench lookup --samples` writes. Needs a column vmcache; the title compares it with
# the others.

set datafile separator "\t"
set datafile missing "NaN"
stats data skip 1 nooutput
systems = STATS_columns - 1
header = system(sprintf("head -1 '%s'", data))

array name[systems]
array mean[systems]
array last[systems]
array place[systems]
ours = 0; best_peer = 0
do for [i=1:systems] {
  name[i] = word(header, i + 1)
  stats data using (column(i + 1)) skip 1 nooutput
  mean[i] = STATS_mean
  if (name[i] eq "vmcache") { ours = i } \
  else { if (best_peer == 0 || mean[i] > mean[best_peer]) { best_peer = i } }
}
stats data using 1 skip 1 nooutput
end = STATS_max
# A single tick far above the rest may leave the picture; the lines of means may not.
top = 0
do for [i=1:systems] {
  stats data using (column(i + 1)) skip 1 nooutput
  reach = STATS_max * 1.05 < mean[i] * 1.6 ? STATS_max * 1.05 : mean[i] * 1.6
  if (reach > top) { top = reach }
}

# A label stands at its line's mean. Where lines are close, labels are pushed apart from the lowest
# up.
gap = top * 0.055
array order[systems]
do for [i=1:systems] { order[i] = i }
do for [i=1:systems-1] { do for [j=1:systems-i] {
  if (mean[order[j]] > mean[order[j+1]]) { \
    swap = order[j]; order[j] = order[j+1]; order[j+1] = swap }
} }
floor_at = -gap
do for [k=1:systems] {
  i = order[k]
  place[i] = mean[i] < floor_at + gap ? floor_at + gap : mean[i]
  floor_at = place[i]
}

colour(s) = s eq "vmcache" ? "#c8102e" : s eq "vmcache-sync" ? "#e08a7d" : \
  s eq "pread" ? "#1f5fa8" : s eq "mmap" ? "#333333" : s eq "lmdb" ? "#3a8f5c" : "#888888"
faint(s) = "#c0".colour(s)[2:]
# A ring of ten ticks; `using` is evaluated row after row.
array ring[10]
second_mean(row, value) = (ring[int(row) % 10 + 1] = value, \
  row < 9 ? NaN : (sum [k=1:10] ring[k]) / 10)
width(s) = s eq "vmcache" ? 3.5 : 2.2
about(x) = x >= 9.95 ? sprintf("%.0f", x) : sprintf("%.1f", x)

headline = ours == 0 || best_peer == 0 ? "Random lookups over time" : \
  mean[ours] > mean[best_peer] ? \
  sprintf("vmcache answers %s times the lookups of %s from the same disk and memory", \
          about(mean[ours] / mean[best_peer]), name[best_peer]) : \
  sprintf("vmcache answers %.0f %% of the lookups of %s", \
          100 * mean[ours] / mean[best_peer], name[best_peer])
if (!exists("subtitle")) { subtitle = "" }

set style line 100 lc rgb "#dddddd" lw 1
set border 3 lc rgb "#888888"
set tics nomirror textcolor rgb "#444444"
set grid ytics ls 100
set xrange [0:end]
set yrange [0:top / 1000]
set rmargin 24
set tmargin 6
set lmargin 9
set bmargin 4
unset key
set xlabel "seconds since the caches were full" textcolor rgb "#444444"
set label 1 headline at graph 0, 1.17 left font ",20" textcolor rgb "#111111"
set label 2 subtitle at graph 0, 1.095 left font ",12" textcolor rgb "#555555"
set label 3 "thousand lookups a second" at graph 0, 1.03 left font ",11" textcolor rgb "#444444"
do for [i=1:systems] {
  set label 10 + i sprintf("%s  %.1f k/s", name[i], mean[i] / 1000) \
    at end * 1.012, place[i] / 1000 left \
    font (name[i] eq "vmcache" ? ",14" : ",12") textcolor rgb colour(name[i])
}

do for [format in "svg png"] {
  if (format eq "svg") { \
    set terminal svg size 1200,640 font "Helvetica,13" background rgb "white" } \
  else { set terminal pngcairo size 1600,853 font "DejaVu Sans,14" background rgb "white" }
  set output output.".".format
  # Faint: each tick of 100 ms. Bold: the mean of the last second.
  plot for [i=1:systems] data using 1:(column(i + 1) / 1000) skip 1 \
         with lines lw 1 lc rgb faint(name[i]), \
       for [i=1:systems] data using 1:(second_mean(column(0), column(i + 1)) / 1000) skip 1 \
         with lines lw width(name[i]) lc rgb colour(name[i])
  unset output
}
