// SPDX-License-Identifier: GPL-2.0-only
/*
 * exmap: IORING_OP_URING_CMD. cmd_op is EXMAP_OP_OFFSET(), the command area
 * holds one iovec with addresses in the page area; the result is bytes.
 *
 * An ALLOC that finds all it needs completes inline. A command that may have to
 * wait gets -EAGAIN at its first issue, which is non-blocking, and then runs on
 * a worker thread of the ring. Workers run in the submitter's mm.
 */
#include "exmap.h"

static ssize_t uring_do(struct io_uring_cmd *cmd, bool nonblock)
{
	const struct iovec *iov = exmap_uring_payload(cmd);
	u32 op = READ_ONCE(cmd->cmd_op);
	unsigned long addr, len;

	if (cmd->flags & IORING_URING_CMD_FIXED)
		return -EINVAL;
	addr = (unsigned long)READ_ONCE(iov->iov_base);
	len = READ_ONCE(iov->iov_len);
	if (len > MAX_RW_COUNT)
		return -EINVAL;
	return exmap_do_range(exmap_of(cmd->file),
			      (op & 0xff) | (op >> 16) << 8, op >> 8 & 0xff,
			      addr, len, nonblock);
}

/**
 * exmap_uring_cmd() - do one command
 * @cmd: the command
 * @issue_flags: IO_URING_F_*
 *
 * Return: -EIOCBQUEUED after completing the command (6.1 takes a positive
 *         return value for an error), -EAGAIN to be called again on a worker.
 */
int exmap_uring_cmd(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	bool nonblock = issue_flags & IO_URING_F_NONBLOCK;
	ssize_t ret = uring_do(cmd, nonblock);

	if (nonblock && ret == -EAGAIN)
		return -EAGAIN;
	exmap_uring_done(cmd, ret, issue_flags);
	return -EIOCBQUEUED;
}

/**
 * exmap_uring_cmd_iopoll() - look for completions on a polled ring
 * @cmd: the command
 * @iob: unused
 * @poll_flags: unused
 *
 * A polled ring takes no file without this call. All commands are complete when
 * exmap_uring_cmd() returns; there is never one to wait for.
 *
 * Return: 0.
 */
int exmap_uring_cmd_iopoll(struct io_uring_cmd *cmd, struct io_comp_batch *iob,
			   unsigned int poll_flags)
{
	return 0;
}
