/* SPDX-License-Identifier: GPL-2.0-only */
/* exmap: tracepoints, events/exmap/ in tracefs. */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM exmap

#if !defined(EXMAP_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define EXMAP_TRACE_H

#include <linux/tracepoint.h>

DECLARE_EVENT_CLASS(exmap_batch,
	TP_PROTO(unsigned int interface, unsigned int entries,
		 unsigned long changed, unsigned long unchanged, int error),
	TP_ARGS(interface, entries, changed, unchanged, error),
	TP_STRUCT__entry(
		__field(unsigned int, interface)
		__field(unsigned int, entries)
		__field(unsigned long, changed)
		__field(unsigned long, unchanged)
		__field(int, error)
	),
	TP_fast_assign(
		__entry->interface = interface;
		__entry->entries = entries;
		__entry->changed = changed;
		__entry->unchanged = unchanged;
		__entry->error = error;
	),
	TP_printk("interface=%u entries=%u changed=%lu unchanged=%lu error=%d",
		  __entry->interface, __entry->entries, __entry->changed,
		  __entry->unchanged, __entry->error)
);

DEFINE_EVENT(exmap_batch, exmap_alloc,
	TP_PROTO(unsigned int interface, unsigned int entries,
		 unsigned long changed, unsigned long unchanged, int error),
	TP_ARGS(interface, entries, changed, unchanged, error)
);

DEFINE_EVENT(exmap_batch, exmap_free,
	TP_PROTO(unsigned int interface, unsigned int entries,
		 unsigned long changed, unsigned long unchanged, int error),
	TP_ARGS(interface, entries, changed, unchanged, error)
);

TRACE_EVENT(exmap_steal,
	TP_PROTO(unsigned int interface, unsigned int victim,
		 unsigned int frames),
	TP_ARGS(interface, victim, frames),
	TP_STRUCT__entry(
		__field(unsigned int, interface)
		__field(unsigned int, victim)
		__field(unsigned int, frames)
	),
	TP_fast_assign(
		__entry->interface = interface;
		__entry->victim = victim;
		__entry->frames = frames;
	),
	TP_printk("interface=%u victim=%u frames=%u", __entry->interface,
		  __entry->victim, __entry->frames)
);

TRACE_EVENT(exmap_flush,
	TP_PROTO(unsigned int interface),
	TP_ARGS(interface),
	TP_STRUCT__entry(
		__field(unsigned int, interface)
	),
	TP_fast_assign(
		__entry->interface = interface;
	),
	TP_printk("interface=%u", __entry->interface)
);

TRACE_EVENT(exmap_fault,
	TP_PROTO(unsigned long page, bool write, bool denied),
	TP_ARGS(page, write, denied),
	TP_STRUCT__entry(
		__field(unsigned long, page)
		__field(bool, write)
		__field(bool, denied)
	),
	TP_fast_assign(
		__entry->page = page;
		__entry->write = write;
		__entry->denied = denied;
	),
	TP_printk("page=%lu write=%d denied=%d", __entry->page, __entry->write,
		  __entry->denied)
);

#endif /* EXMAP_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
