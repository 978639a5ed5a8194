// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mends, from inside the guest, a flaw of QEMU's translator (7.2, as Debian 12 has it) with a thread for each processor.
 *
 * A kernel that changes an instruction of its own (a tracepoint, a static key) puts a breakpoint (int3) over its first
 * byte, tells all processors, changes the rest, and puts the new first byte in the breakpoint's place. QEMU forgets its
 * translation of code that is written to, but one that another thread is only about to enter into its tables is missed:
 * it was made of the breakpoint, and stays. The kernel does not know that breakpoint any more when it is run, and panics.
 *
 * So an int3 in the kernel where memory has none is such a translation. The byte is written once more as it is, which has
 * QEMU forget what it made of it, and the instruction is run again. Where memory does have one, the kernel may just be
 * putting it there anew, and will know it when it is run again; if it does not, it is reported as ever.
 *
 * A processor of flesh never gets here, and neither does an emulated one that has no other beside it.
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
 * Has the translator forget what is not in memory any more. The instruction is read-only in every mapping, so the
 * processor is told to let that be. Atomic, as another processor may be changing it. Interrupts are off: int3's gate.
 * Returns whether it was so.
 */
static notrace __no_sanitize_address bool forget_stale(unsigned long address)
{
	volatile u8 *instruction = (u8 *)address;
	unsigned long cr0;

	if (*instruction == INT3_INSN_OPCODE)
		return false;
	asm volatile("mov %%cr0, %0" : "=r"(cr0));
	asm volatile("mov %0, %%cr0" : : "r"(cr0 & ~X86_CR0_WP) : "memory");
	asm volatile("lock orb $0, %0" : "+m"(*instruction));
	asm volatile("mov %0, %%cr0" : : "r"(cr0) : "memory");
	pr_notice("the breakpoint at %pS is gone: run again\n", (void *)address);
	return true;
}

static notrace __no_sanitize_address int on_die(struct notifier_block *block, unsigned long event, void *data)
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
 * 6.1's kprobes run an instruction again whose breakpoint is gone, before anyone else is asked: with a translation that
 * stays, for ever. So they are watched there.
 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 12, 0)
static notrace __no_sanitize_address void on_kprobe(unsigned long ip, unsigned long parent, struct ftrace_ops *ops,
						    struct ftrace_regs *call)
{
	struct pt_regs *regs = (struct pt_regs *)ftrace_get_regs(call)->di; /* its first argument */

	if (!user_mode(regs))
		forget_stale(regs->ip - INT3_INSN_SIZE);
}

static struct ftrace_ops on_kprobe_ops = { .func = on_kprobe, .flags = FTRACE_OPS_FL_SAVE_REGS };

static int watch_kprobes(void)
{
	static char name[] = "kprobe_int3_handler";
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
