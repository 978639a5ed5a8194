// SPDX-License-Identifier: GPL-2.0-only
/*
 * exmap: the module's parameters, and what it counts over all exmaps.
 */
#include <linux/atomic.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/moduleparam.h>
#include <linux/sysfs.h>

#include "params.h"

static unsigned long frames_max;
module_param(frames_max, ulong, 0644);
MODULE_PARM_DESC(frames_max,
		 "largest pool that one exmap may have, in 4 KiB frames (0: all memory)");

static bool local_flush = true;
module_param(local_flush, bool, 0644);
MODULE_PARM_DESC(local_flush,
		 "flush this CPU's TLB directly where no other CPU runs the process (default y)");

static bool shrink_returns;
module_param(shrink_returns, bool, 0644);
MODULE_PARM_DESC(shrink_returns,
		 "shrinking gives frames back at once; see exmap(4) for the risk (default n)");

static atomic_long_t frames_held = ATOMIC_LONG_INIT(0);

static int frames_get(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%ld\n", atomic_long_read(&frames_held));
}

static const struct kernel_param_ops frames_ops = {
	.get = frames_get,
};

module_param_cb(frames, &frames_ops, NULL, 0444);
MODULE_PARM_DESC(frames, "frames that all exmaps hold now (read only)");

/**
 * exmap_frames_max() - the largest pool that one exmap may have
 */
unsigned long exmap_frames_max(void)
{
	unsigned long limit = READ_ONCE(frames_max);

	return limit ? min(limit, totalram_pages()) : totalram_pages();
}

/**
 * exmap_count_frames() - frames were taken from, or given to, the kernel
 * @n: how many more are held
 */
void exmap_count_frames(long n)
{
	atomic_long_add(n, &frames_held);
}

/**
 * exmap_may_flush_local() - whether shootdown.c may use its short way
 */
bool exmap_may_flush_local(void)
{
	return READ_ONCE(local_flush) && !boot_cpu_has(X86_FEATURE_PTI);
}

/**
 * exmap_shrink_returns() - whether shrinking gives frames back at once
 */
bool exmap_shrink_returns(void)
{
	return READ_ONCE(shrink_returns);
}
