// SPDX-License-Identifier: MIT
// Makes the host's root file system, seen through 9p, the guest's own: read-only, with the
// machine's own /proc, /sys, /dev and /tmp over it, and the writable shares where the host has
// them.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "agent.h"

#define P9_OPTIONS "trans=virtio,version=9p2000.L,msize=512000"

static void mount_or_fail(const char *what, const char *where, const char *type,
			  unsigned long flags, const char *options)
{
	if (mount(what, where, type, flags, options))
		fail("mount %s at %s: %s", type ? type : what, where, strerror(errno));
}

// Returns 0 or the errno.
static int load_module(const char *path, const char *options)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return errno;
	int error = syscall(SYS_finit_module, fd, options, 0) ? errno : 0;
	close(fd);
	return error == EEXIST ? 0 : error;
}

static char *read_file(const char *path, size_t *bytes)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat info;

	if (fd < 0 || fstat(fd, &info))
		fail("%s: %s", path, strerror(errno));
	char *text = malloc(info.st_size + 1);
	ssize_t got = text ? read(fd, text, info.st_size) : -1;
	if (got != info.st_size)
		fail("%s: %s", path, strerror(errno));
	text[got] = 0;
	close(fd);
	*bytes = got;
	return text;
}

void setup_early(void)
{
	size_t bytes;

	mkdir("/dev", 0755);
	mkdir("/proc", 0755);
	mkdir("/sys", 0755);
	// devtmpfs may be there already (CONFIG_DEVTMPFS_MOUNT does not reach an initial file
	// system; be sure).
	mount_or_fail("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	mount_or_fail("sysfs", "/sys", "sysfs", 0, NULL);

	// A line a module: its file and its parameters.
	char *list = read_file("/modules.list", &bytes);
	for (char *line = strtok(list, "\n"); line; line = strtok(NULL, "\n")) {
		char path[PATH_MAX];
		char *options = strchr(line, ' ');

		if (options)
			*options++ = 0;
		snprintf(path, sizeof(path), "/modules/%s", line);
		int error = load_module(path, options ? options : "");
		// A driver without its hardware is no reason not to run: the module says so in the
		// kernel's log.
		if (error && error != EOPNOTSUPP)
			fail("module %s: %s", line, strerror(error));
	}
	free(list);
}

static void list_add(struct string_list *list, char *value)
{
	if (list->count == AGENT_LIST_MAX)
		fail("more than %d arguments, variables or paths of one kind", AGENT_LIST_MAX);
	list->items[list->count++] = value;
	list->items[list->count] = NULL;
}

void setup_config(struct run_config *config)
{
	size_t bytes;
	char *text = read_file("/run.conf", &bytes);

	for (char *item = text; item < text + bytes; item += strlen(item) + 1) {
		size_t key_bytes = strcspn(item, "=");
		char *value = item + key_bytes + 1;

#define KEY_IS(name) (key_bytes == strlen(name) && memcmp(item, name, key_bytes) == 0)
		// strlen(item) is taken again by the loop: values are used where they lie, keys are
		// not cut off.
		if (KEY_IS("arg"))
			list_add(&config->args, value);
		else if (KEY_IS("env"))
			list_add(&config->env, value);
		else if (KEY_IS("keep"))
			list_add(&config->keep, value);
		else if (KEY_IS("share"))
			list_add(&config->shares, value);
		else if (KEY_IS("drive"))
			list_add(&config->drives, value);
		else if (KEY_IS("cwd"))
			config->cwd = value;
		else if (KEY_IS("module"))
			config->module = value;
		else if (KEY_IS("module_options"))
			config->module_options = value;
		else if (KEY_IS("control"))
			config->control = true;
		else if (KEY_IS("terminal"))
			config->terminal = true;
		else if (KEY_IS("leak_check"))
			config->leak_check = true;
		else
			fail("run.conf: unknown item '%s'", item);
#undef KEY_IS
	}
}

// Makes every directory of @path below @root.
static void make_path(const char *root, const char *path)
{
	char full[PATH_MAX];
	size_t root_bytes = strlen(root);

	snprintf(full, sizeof(full), "%s%s", root, path);
	for (char *slash = full + root_bytes + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = 0;
		mkdir(full, 0755);
		*slash = '/';
	}
	mkdir(full, 0755);
}

// A tmpfs on every scratch directory that the host has, so that programs may write there.
static void cover_scratch(void)
{
	static const char *const scratch[] = {
		"/root.new/run", "/root.new/var/tmp", "/root.new/tmp"
	};

	for (size_t i = 0; i < sizeof(scratch) / sizeof(scratch[0]); i++) {
		struct stat info;
		if (lstat(scratch[i], &info) == 0 && S_ISDIR(info.st_mode))
			mount_or_fail("tmpfs", scratch[i], "tmpfs", MS_NOSUID | MS_NODEV,
				      "mode=1777");
	}
	// The drive for /tmp, where one was asked for.
	if (access("/dev/vm/tmp", F_OK) == 0) {
		mount_or_fail("/dev/vm/tmp", "/root.new/tmp", "ext4", MS_NOSUID | MS_NODEV, NULL);
		chmod("/root.new/tmp", 01777);
	}
}

// The tree may lie below a directory that a tmpfs has just covered: show it there again.
static void uncover(const char *path)
{
	char from[PATH_MAX], to[PATH_MAX];

	snprintf(from, sizeof(from), "/host%s", path);
	snprintf(to, sizeof(to), "/root.new%s", path);
	if (access(to, F_OK) == 0)
		return;
	make_path("/root.new", path);
	mount_or_fail(from, to, NULL, MS_BIND, NULL);
}

static void mount_share(char *share)
{
	char target[PATH_MAX];
	char *path = strchr(share, ':');

	if (!path)
		fail("run.conf: share '%s' has no path", share);
	*path++ = 0;
	snprintf(target, sizeof(target), "/root.new%s", path);
	// cache=mmap: written through when a file is closed or synced, and shared writable mappings
	// work.
	mount_or_fail(share, target, "9p", 0, P9_OPTIONS ",cache=mmap");
}

static void set_limits(void)
{
	const struct rlimit files = { 65536, 65536 }, no_core = { 0, RLIM_INFINITY };

	setrlimit(RLIMIT_NOFILE, &files);
	setrlimit(RLIMIT_CORE, &no_core);
	umask(022);
}

static void mount_optional(const char *type, const char *where, const char *options)
{
	// Not every kernel has each of these; a command that needs one will say so.
	mount(type, where, type, MS_NOSUID | MS_NOEXEC, options);
}

// 127.0.0.1, where the kernel has TCP.
static void raise_loopback(void)
{
	struct ifreq loopback = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return;
	ioctl(fd, SIOCSIFFLAGS, &loopback);
	close(fd);
}

void setup_root(const struct run_config *config)
{
	mkdir("/host", 0755);
	mkdir("/root.new", 0755);
	mount_or_fail("root", "/host", "9p", MS_RDONLY, P9_OPTIONS ",cache=loose");
	mount_or_fail("/host", "/root.new", NULL, MS_BIND, NULL);
	cover_scratch();
	for (size_t i = 0; i < config->keep.count; i++)
		uncover(config->keep.items[i]);
	for (size_t i = 0; i < config->shares.count; i++)
		mount_share(config->shares.items[i]);

	mount_or_fail("proc", "/root.new/proc", "proc", 0, NULL);
	mount_or_fail("/sys", "/root.new/sys", NULL, MS_MOVE, NULL);
	mount_or_fail("/dev", "/root.new/dev", NULL, MS_MOVE, NULL);
	if (chdir("/root.new") || mount(".", "/", NULL, MS_MOVE, NULL) || chroot(".") || chdir("/"))
		fail("switch to the host's root: %s", strerror(errno));

	mkdir("/dev/pts", 0755);
	mkdir("/dev/shm", 01777);
	mount_optional("devpts", "/dev/pts", "gid=5,mode=620,ptmxmode=666");
	mount_optional("tmpfs", "/dev/shm", "mode=1777");
	mount_optional("debugfs", "/sys/kernel/debug", NULL);
	mount_optional("tracefs", "/sys/kernel/tracing", NULL);
	mount_optional("cgroup2", "/sys/fs/cgroup", NULL);
	symlink("/proc/self/fd", "/dev/fd");
	symlink("/proc/self/fd/0", "/dev/stdin");
	symlink("/proc/self/fd/1", "/dev/stdout");
	symlink("/proc/self/fd/2", "/dev/stderr");
	set_limits();
	raise_loopback();
	sethostname("exmap-vm", strlen("exmap-vm"));
}

static bool read_line(const char *path, char *line, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? -1 : read(fd, line, size - 1);

	if (fd >= 0)
		close(fd);
	if (got < 0)
		return false;
	line[got] = 0;
	line[strcspn(line, " \n")] = 0;
	return true;
}

// Links /dev/vm/SERIAL and /dev/vm/SERIAL-char to the drive with that serial number: the
// controllers come up in any order. Returns false while it is not there.
static bool link_drive(const char *serial, bool polled)
{
	for (int i = 0; i < AGENT_LIST_MAX; i++) {
		char path[100], link[100], line[100];

		snprintf(path, sizeof(path), "/sys/class/nvme/nvme%d/serial", i);
		if (!read_line(path, line, sizeof(line)) || strcmp(line, serial) != 0)
			continue;
		snprintf(path, sizeof(path), "/sys/block/nvme%dn1/queue/io_poll", i);
		if (!read_line(path, line, sizeof(line)))
			return false;
		if (polled && strcmp(line, "1") != 0)
			fail("drive %s (nvme%d) has no poll queues", serial, i);
		snprintf(path, sizeof(path), "/dev/nvme%dn1", i);
		snprintf(link, sizeof(link), "/dev/vm/%s", serial);
		symlink(path, link);
		snprintf(path, sizeof(path), "/dev/ng%dn1", i);
		snprintf(link, sizeof(link), "/dev/vm/%s-char", serial);
		symlink(path, link);
		return true;
	}
	return false;
}

enum { DEVICE_ATTEMPTS = 1500 };
static const struct timespec device_pause = { .tv_nsec = 20 * 1000 * 1000 };

// /dev/vm/host takes the command's requests to the machine (control.py).
static void link_control(void)
{
	char path[300];
	int attempt = 0;

	while (!port_find("exmap-vm.host", path, sizeof(path))) {
		if (++attempt == DEVICE_ATTEMPTS)
			fail("the port for requests did not appear");
		nanosleep(&device_pause, NULL);
	}
	symlink(path, "/dev/vm/host");
}

void setup_drives(const struct run_config *config)
{
	mkdir("/dev/vm", 0755);
	if (config->control)
		link_control();
	for (size_t i = 0; i < config->drives.count; i++) {
		char *serial = config->drives.items[i];
		char *option = strchr(serial, ',');
		int attempt = 0;

		if (option)
			*option++ = 0;
		while (!link_drive(serial, option && strcmp(option, "poll") == 0)) {
			if (++attempt == DEVICE_ATTEMPTS)
				fail("drive %s did not appear", serial);
			nanosleep(&device_pause, NULL);
		}
	}
}

void setup_module(const struct run_config *config)
{
	if (!config->module)
		return;
	const char *options = config->module_options ? config->module_options : "";
	int error = load_module(config->module, options);
	if (error)
		fail("insmod %s: %s (see the kernel log)", config->module, strerror(error));
}
