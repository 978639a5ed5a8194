// SPDX-License-Identifier: MIT
// After the command: nothing may be left running, exmap must let itself be unloaded, and nothing
// may have leaked.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent.h"

#define LEAK_FILE "/sys/kernel/debug/kmemleak"

static void pause_ms(long milliseconds)
{
	const struct timespec time = { milliseconds / 1000, milliseconds % 1000 * 1000000 };

	nanosleep(&time, NULL);
}

static void report(const char *text)
{
	port_send(FRAME_REPORT, text, strlen(text));
}

static void end_processes(void)
{
	signal(SIGCHLD, SIG_DFL);
	kill(-1, SIGKILL);
	while (waitpid(-1, NULL, 0) > 0)
		;
}

static void unload_module(void)
{
	// Ten seconds: the last references of a dead process go from a work queue.
	enum { ATTEMPTS = 100 };
	char text[200];

	for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
		if (syscall(SYS_delete_module, "exmap", O_NONBLOCK) == 0 || errno == ENOENT)
			return; // the command may have unloaded it itself
		pause_ms(100);
	}
	snprintf(text, sizeof(text), "exmap cannot be unloaded after every process has ended: %s\n",
		 strerror(errno));
	report(text);
}

static void leak_scan(void)
{
	int fd = open(LEAK_FILE, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, "scan", 4) != 4)
		report("the leak check was asked for, and " LEAK_FILE " does not work\n");
	if (fd >= 0)
		close(fd);
}

static void check_leaks(void)
{
	enum { MINIMUM_AGE_S = 6 }; // kmemleak does not report what is younger than five seconds
	char text[FRAME_PAYLOAD_MAX];
	time_t end = time(NULL) + MINIMUM_AGE_S;

	// Twice: an object is reported only if its checksum did not change between two scans.
	leak_scan();
	while (time(NULL) < end)
		pause_ms(100);
	leak_scan();
	int fd = open(LEAK_FILE, O_RDONLY | O_CLOEXEC);
	for (ssize_t got; fd >= 0 && (got = read(fd, text, sizeof(text))) > 0;)
		port_send(FRAME_REPORT, text, got);
	if (fd >= 0)
		close(fd);
}

void finish(const struct run_config *config)
{
	end_processes();
	sync();
	for (size_t i = 0; i < config->shares.count; i++) {
		const char *path = config->shares.items[i] + strlen(config->shares.items[i]) + 1;
		if (umount2(path, 0) && errno != EINVAL)
			umount2(path, MNT_DETACH);
	}
	if (config->module)
		unload_module();
	if (config->leak_check)
		check_leaks();
}
