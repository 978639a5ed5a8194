/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * exmap: the module's parameters, and what it counts over all exmaps.
 */
#ifndef EXMAP_PARAMS_H
#define EXMAP_PARAMS_H

#include <linux/types.h>

unsigned long exmap_frames_max(void);
void exmap_count_frames(long n);
bool exmap_may_flush_local(void);
bool exmap_shrink_returns(void);

#endif /* EXMAP_PARAMS_H */
