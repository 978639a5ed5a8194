// SPDX-License-Identifier: GPL-2.0-only
/*
 * Bugs on purpose, one for each detector that tools/vm watches for, so that the
 * tests can show that it fires; OPTIMIZER_HIDE_VAR keeps the compiler from seeing
 * through them. Write a bug's name to the module parameter "plant".
 */
#include <linux/compiler.h>
#include <linux/delay.h>
#include <linux/kstrtox.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>

static DEFINE_MUTEX(first_lock);
static DEFINE_MUTEX(second_lock);
static DEFINE_SPINLOCK(context_lock);

static void plant_warning(void)
{
	WARN(1, "planted\n");
}

static void plant_use_after_free(void)
{
	unsigned char *bytes = kmalloc(96, GFP_KERNEL);
	unsigned char *stale = bytes;

	if (!bytes)
		return;
	OPTIMIZER_HIDE_VAR(stale);
	kfree(bytes);
	pr_info("a freed byte reads %u\n", READ_ONCE(stale[11]));
}

static void plant_overflow(void)
{
	unsigned char *bytes = kmalloc(96, GFP_KERNEL);

	if (!bytes)
		return;
	OPTIMIZER_HIDE_VAR(bytes);
	WRITE_ONCE(bytes[96], 1);
	kfree(bytes);
}

static void plant_lock_inversion(void)
{
	mutex_lock(&first_lock);
	mutex_lock(&second_lock);
	mutex_unlock(&second_lock);
	mutex_unlock(&first_lock);

	mutex_lock(&second_lock);
	mutex_lock(&first_lock);
	mutex_unlock(&first_lock);
	mutex_unlock(&second_lock);
}

static void plant_leak(void)
{
	void *lost;
	int i;

	/* Several, since a stale pointer somewhere may hide one of them. */
	for (i = 0; i < 10; i++) {
		lost = kmalloc(500, GFP_KERNEL);
		OPTIMIZER_HIDE_VAR(lost);
	}
}

static void plant_atomic_sleep(void)
{
	spin_lock(&context_lock);
	msleep(20);
	spin_unlock(&context_lock);
}

static void plant_bad_shift(void)
{
	unsigned int shift = 40;

	OPTIMIZER_HIDE_VAR(shift);
	pr_info("shifted too far: %u\n", 1U << shift);
}

static void plant_oops(void)
{
	int *nowhere = NULL;

	OPTIMIZER_HIDE_VAR(nowhere);
	WRITE_ONCE(*nowhere, 1);
}

static void plant_breakpoint(void)
{
	asm volatile("int3");
}

static void plant_hung_task(void)
{
	set_current_state(TASK_UNINTERRUPTIBLE);
	schedule_timeout(25 * HZ);
}

static const struct {
	const char *name;
	void (*plant)(void);
} bugs[] = {
	{ "warning", plant_warning },
	{ "use-after-free", plant_use_after_free },
	{ "overflow", plant_overflow },
	{ "lock-inversion", plant_lock_inversion },
	{ "leak", plant_leak },
	{ "atomic-sleep", plant_atomic_sleep },
	{ "bad-shift", plant_bad_shift },
	{ "oops", plant_oops },
	{ "breakpoint", plant_breakpoint },
	{ "hung-task", plant_hung_task },
};

static int plant_set(const char *value, const struct kernel_param *param)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bugs); i++) {
		if (sysfs_streq(value, bugs[i].name)) {
			bugs[i].plant();
			return 0;
		}
	}
	return -EINVAL;
}

static const struct kernel_param_ops plant_ops = { .set = plant_set };
module_param_cb(plant, &plant_ops, NULL, 0200);
MODULE_PARM_DESC(plant, "name of the bug to show");

static int __init planted_init(void)
{
	return 0;
}

static void __exit planted_exit(void)
{
}

module_init(planted_init);
module_exit(planted_exit);
MODULE_DESCRIPTION("Bugs on purpose, for the tests of tools/vm");
MODULE_LICENSE("GPL");
