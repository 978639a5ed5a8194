// SPDX-License-Identifier: MIT
// Runs the command as a child of init, with pipes (or a terminal) for its streams, and relays them.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.h"

struct relay {
	pid_t pid;
	int in, out, err; /* our ends; -1 once closed */
	bool terminal;
	uint8_t pending[STDIN_WINDOW]; /* standard input not taken yet */
	size_t pending_bytes;
	bool in_ended;
};

static int child_event[2]; /* a byte each time a child changed state */

static void on_child(int signal_number)
{
	int saved = errno;

	(void)signal_number;
	if (write(child_event[1], "", 1) < 0) {
		// The pipe is full, so a wake-up is already on its way.
	}
	errno = saved;
}

static void child_exec(const struct run_config *config)
{
	if (chdir(config->cwd)) {
		dprintf(STDERR_FILENO, "exmap-vm: %s: %s\n", config->cwd, strerror(errno));
		_exit(126);
	}
	environ = (char **)config->env.items;
	execvp(config->args.items[0], config->args.items);
	dprintf(STDERR_FILENO, "exmap-vm: %s: %s\n", config->args.items[0], strerror(errno));
	_exit(errno == ENOENT ? 127 : 126);
}

static void start_with_terminal(const struct run_config *config, struct relay *relay)
{
	int master;

	relay->pid = forkpty(&master, NULL, NULL, NULL);
	if (relay->pid < 0)
		fail("terminal: %s", strerror(errno));
	if (relay->pid == 0)
		child_exec(config);
	fcntl(master, F_SETFD, FD_CLOEXEC);
	relay->out = master;
	relay->in = dup(master);
	relay->err = -1;
}

static void start_with_pipes(const struct run_config *config, struct relay *relay)
{
	int in[2], out[2], err[2];

	if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC))
		fail("pipes: %s", strerror(errno));
	relay->pid = fork();
	if (relay->pid < 0)
		fail("fork: %s", strerror(errno));
	if (relay->pid == 0) {
		// A session of its own, so that a signal reaches all of it and nothing else.
		setsid();
		dup2(in[0], STDIN_FILENO);
		dup2(out[1], STDOUT_FILENO);
		dup2(err[1], STDERR_FILENO);
		child_exec(config);
	}
	close(in[0]);
	close(out[1]);
	close(err[1]);
	relay->in = in[1];
	relay->out = out[0];
	relay->err = err[0];
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

// Sends on what one stream of the command holds. Returns false when nothing was there.
static bool relay_output(int *fd, enum frame_type type)
{
	uint8_t buffer[FRAME_PAYLOAD_MAX];
	ssize_t got = read(*fd, buffer, sizeof(buffer));

	if (got > 0) {
		port_send(type, buffer, got);
		return true;
	}
	if (got == 0 || errno != EAGAIN)
		close_fd(fd); // a terminal without users reads EIO
	return false;
}

static void send_credit(uint32_t bytes)
{
	port_send(FRAME_CREDIT, &bytes, sizeof(bytes));
}

static void relay_input(struct relay *relay)
{
	ssize_t written = write(relay->in, relay->pending, relay->pending_bytes);

	if (written < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (written < 0) {
		// The command reads no more; what is left is dropped, as with a pipe.
		send_credit(relay->pending_bytes);
		relay->pending_bytes = 0;
		close_fd(&relay->in);
		return;
	}
	memmove(relay->pending, relay->pending + written, relay->pending_bytes - written);
	relay->pending_bytes -= written;
	send_credit(written);
}

// What blocks, and what every processor does, goes to the kernel's log.
static void log_waiters(void)
{
	int fd = open("/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, "w", 1) == 1)
		write(fd, "l", 1);
	close(fd);
}

static void take_frame(struct relay *relay)
{
	static uint8_t payload[FRAME_PAYLOAD_MAX + 1];
	size_t bytes;
	uint32_t words[2] = { 0 };

	enum frame_type type = port_receive(payload, &bytes);
	memcpy(words, payload, bytes < sizeof(words) ? bytes : sizeof(words));
	switch (type) {
	case FRAME_STDIN:
		if (relay->in < 0) {
			send_credit(bytes);
		} else if (relay->pending_bytes + bytes <= sizeof(relay->pending)) {
			memcpy(relay->pending + relay->pending_bytes, payload, bytes);
			relay->pending_bytes += bytes;
		}
		break;
	case FRAME_END:
		relay->in_ended = true;
		break;
	case FRAME_SIGNAL:
		kill(-relay->pid, words[0]);
		break;
	case FRAME_SIZE: {
		const struct winsize size = { .ws_row = words[0], .ws_col = words[1] };
		if (relay->terminal)
			ioctl(relay->out, TIOCSWINSZ, &size);
		break;
	}
	case FRAME_DUMP:
		log_waiters();
		break;
	default:
		break;
	}
}

// Reaps every dead child (init inherits orphans). Returns true once the command itself is dead.
static bool reap(pid_t command, int *status)
{
	char bytes[64];
	bool dead = false;
	int child_status;
	pid_t pid;

	while (read(child_event[0], bytes, sizeof(bytes)) > 0)
		;
	while ((pid = waitpid(-1, &child_status, WNOHANG)) > 0) {
		if (pid == command) {
			*status = child_status;
			dead = true;
		}
	}
	return dead;
}

static void relay_until_dead(struct relay *relay, int *status)
{
	for (;;) {
		struct pollfd fds[] = {
			{ .fd = port_fd(), .events = POLLIN },
			{ .fd = child_event[0], .events = POLLIN },
			{ .fd = relay->out, .events = POLLIN },
			{ .fd = relay->err, .events = POLLIN },
			{ .fd = relay->pending_bytes ? relay->in : -1, .events = POLLOUT },
		};

		if (poll(fds, sizeof(fds) / sizeof(fds[0]), -1) < 0 && errno != EINTR)
			fail("poll: %s", strerror(errno));
		if (fds[2].revents)
			relay_output(&relay->out, FRAME_STDOUT);
		if (fds[3].revents)
			relay_output(&relay->err, FRAME_STDERR);
		if (fds[4].revents)
			relay_input(relay);
		if (fds[0].revents)
			take_frame(relay);
		if (relay->in_ended && relay->pending_bytes == 0 && !relay->terminal)
			close_fd(&relay->in);
		if (fds[1].revents && reap(relay->pid, status))
			return;
	}
}

static void drain(struct relay *relay)
{
	while (relay->out >= 0 && relay_output(&relay->out, FRAME_STDOUT))
		;
	while (relay->err >= 0 && relay_output(&relay->err, FRAME_STDERR))
		;
}

int command_run(const struct run_config *config)
{
	static struct relay relay;
	const struct sigaction action = {
		.sa_handler = on_child,
		.sa_flags = SA_NOCLDSTOP | SA_RESTART,
	};
	int status = 0;

	if (pipe2(child_event, O_CLOEXEC | O_NONBLOCK) || sigaction(SIGCHLD, &action, NULL))
		fail("child events: %s", strerror(errno));
	signal(SIGPIPE, SIG_IGN);
	relay.terminal = config->terminal;
	port_send(FRAME_READY, NULL, 0);
	if (config->terminal)
		start_with_terminal(config, &relay);
	else
		start_with_pipes(config, &relay);
	fcntl(relay.in, F_SETFL, O_NONBLOCK);
	fcntl(relay.out, F_SETFL, O_NONBLOCK);
	if (relay.err >= 0)
		fcntl(relay.err, F_SETFL, O_NONBLOCK);

	relay_until_dead(&relay, &status);
	drain(&relay);
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
