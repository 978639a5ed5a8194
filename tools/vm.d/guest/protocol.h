/* SPDX-License-Identifier: MIT */
/*
 * What travels over the virtio serial port between the guest's init and tools/vm (session.py has
 * the same letters): frames of one letter, a 32-bit little-endian length, and that many bytes. One
 * port carries everything, so that the exit status cannot overtake the last output.
 */
#pragma once

enum frame_type {
	/* guest to host */
	FRAME_READY = 'r',    /* the command has been started */
	FRAME_STDOUT = 'o',   /* bytes of the command's standard output */
	FRAME_STDERR = 'e',   /* bytes of the command's standard error */
	FRAME_CREDIT = 'c',   /* u32: so many bytes of standard input were taken */
	FRAME_REPORT = 'k',   /* text: a finding that fails the run (a leak, say) */
	FRAME_FAILURE = 'f',  /* text: the guest could not be set up */
	FRAME_STATUS = 'q',   /* u32: exit status; nothing follows */
	/* host to guest */
	FRAME_STDIN = 'i',    /* bytes for standard input, at most STDIN_WINDOW unread */
	FRAME_END = 'z',      /* end of standard input */
	FRAME_SIGNAL = 's',   /* u32: signal for the command's process group */
	FRAME_SIZE = 'w',     /* u32 rows, u32 columns: size of the terminal */
	FRAME_DUMP = 'd',     /* time is up: have the kernel log who waits where */
	FRAME_BYE = 'b',      /* the status has arrived, the machine may go */
};

enum {
	FRAME_HEADER_BYTES = 5,
	FRAME_PAYLOAD_MAX = 65536,
	STDIN_WINDOW = 65536,
};
