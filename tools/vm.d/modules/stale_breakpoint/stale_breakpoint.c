// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mends, from inside the guest, a flaw of QEMU's translator (7.2, as in Debian 12) when it has one
 * thread for each processor.
 *
 * A kernel that changes its own code (a tracepoint, a static key) puts a breakpoint (int3) over the
 * first byte of the instruction, tells all processors, changes the rest, and then replaces the
 * breakpoint by the new first byte. QEMU drops its translation of code that is written to. But it
 * misses a translation that another thread is just about to enter into its tables. That translation
 * was made of the breakpoint, and stays. When it is run later, the kernel does not know the
 * breakpoint any more, and panics.
 *
 * So an int3 in the kernel where memory has none is such a translation. This module writes the byte
 * once more as it is, so that QEMU drops the translation, and runs the instruction again. Where
 * memory does have an int3, the kernel may be putting it there at this moment. The instruction is
 * run again, and then the kernel knows it; if it does not, it reports the int3 as usual.
 *
 * A real processor never gets here, and neither does the only processor of an emulated machine.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/ftrace.h>
#include <linux/kdebug.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include <linux/printk.h>
#include <linux/ptrace.h>
#include <linux/version.h>
#include <asm/processor-flags.h>
#include <asm/text-patching.h>

/* Where this processor last found a breakpoint in memory that the kernel did not know. */
static DEFINE_PER_CPU(unsigned long, unknown);

/*
 * Makes the translator drop a translation of what is not in memory any more. The instruction is
 * read-only in every mapping, so write protection is off meanwhile. The write is atomic, because
 * another processor may be changing the byte. Interrupts are off: int3 has an interrupt gate.
 * Returns whether there was such a translation.
 */
static notrace __no_sanitize_address bool forget_stale(unsigned long address)
{
	u8 *instruction = (u8 *)address;
	unsigned long cr0;

	if (READ_ONCE(*instruction) == INT3_INSN_OPCODE)
		return false;
	asm volatile("mov %%cr0, %0" : "=r"(cr0));
	asm volatile("mov %0, %%cr0" : : "r"(cr0 & ~X86_CR0_WP) : "memory");
	asm volatile("lock orb $0, %0" : "+m"(*instruction));
	asm volatile("mov %0, %%cr0" : : "r"(cr0) : "memory");
	pr_notice("the breakpoint at %pS is gone: run again\n", (void *)address);
	return true;
}

static notrace __no_sanitize_address int on_die(struct notifier_block *block, unsigned long event,
						void *data)
{
	struct pt_regs *regs = ((struct die_args *)data)->regs;
	unsigned long address = regs->ip - INT3_INSN_SIZE;
	bool was_stale;

	if (event != DIE_INT3 || user_mode(regs))
		return NOTIFY_DONE;
	was_stale = forget_stale(address);
	if (!was_stale && this_cpu_read(unknown) == address)
		return NOTIFY_DONE;
	this_cpu_write(unknown, was_stale ? 0 : address);
	regs->ip = address;
	return NOTIFY_STOP;
}

static struct notifier_block on_die_block = { .notifier_call = on_die };

/*
 * On 6.1 kprobes run an instruction again whose breakpoint is gone, before they ask anyone else.
 * With a translation that stays, they do so for ever. So this module watches them there.
 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 12, 0)
static notrace __no_sanitize_address void on_kprobe(unsigned long ip, unsigned long parent,
						    struct ftrace_ops *ops,
						    struct ftrace_regs *call)
{
	struct pt_regs *regs = (struct pt_regs *)ftrace_get_regs(call)->di; /* its first argument */

	if (!user_mode(regs))
		forget_stale(regs->ip - INT3_INSN_SIZE);
}

static struct ftrace_ops on_kprobe_ops = {
	.func = on_kprobe,
	.flags = FTRACE_OPS_FL_SAVE_REGS,
};

static int watch_kprobes(void)
{
	unsigned char name[] = "kprobe_int3_handler";
	int error = ftrace_set_filter(&on_kprobe_ops, name, sizeof(name) - 1, 1);

	return error ? error : register_ftrace_function(&on_kprobe_ops);
}

static void leave_kprobes(void)
{
	unregister_ftrace_function(&on_kprobe_ops);
}
#else
static int watch_kprobes(void)
{
	return 0;
}

static void leave_kprobes(void)
{
}
#endif

static int __init stale_breakpoint_init(void)
{
	int error = register_die_notifier(&on_die_block);

	if (error)
		return error;
	error = watch_kprobes();
	if (error)
		unregister_die_notifier(&on_die_block);
	return error;
}
module_init(stale_breakpoint_init);

static void __exit stale_breakpoint_exit(void)
{
	leave_kprobes();
	unregister_die_notifier(&on_die_block);
}
module_exit(stale_breakpoint_exit);

MODULE_DESCRIPTION("Runs emulated processors past breakpoints that their kernel has taken away");
MODULE_LICENSE("GPL");
