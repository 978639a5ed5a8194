// SPDX-License-Identifier: MIT
// The virtio serial port to the host, and the ways this machine ends.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/reboot.h>
#include <time.h>
#include <unistd.h>

#include "agent.h"

enum { EXIT_PORT = 0xf4, PROBE_ATTEMPTS = 1000 };

static int port = -1;

int port_fd(void)
{
	return port;
}

void power_off(void)
{
	// The isa-debug-exit device: a write ends QEMU at once.
	if (iopl(3) == 0)
		outb(0, EXIT_PORT);
	reboot(RB_AUTOBOOT); // -no-reboot makes this an exit too
	for (;;)
		pause();
}

void fail(const char *format, ...)
{
	char text[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (port >= 0) {
		port_send(FRAME_FAILURE, text, strlen(text));
		uint8_t payload[FRAME_PAYLOAD_MAX + 1];
		size_t bytes;
		while (port_receive(payload, &bytes) != FRAME_BYE)
			;
	} else {
		int console = open("/dev/console", O_WRONLY);
		dprintf(console, "exmap-vm: guest set-up failed: %s\n", text);
	}
	power_off();
}

static void write_all(const uint8_t *data, size_t bytes)
{
	while (bytes > 0) {
		ssize_t written = write(port, data, bytes);
		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
			power_off();
		data += written;
		bytes -= written;
	}
}

static void read_all(uint8_t *data, size_t bytes)
{
	while (bytes > 0) {
		ssize_t got = read(port, data, bytes);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			power_off();
		data += got;
		bytes -= got;
	}
}

// A port has its name some time after its device.
static bool port_has_name(const char *entry, const char *name)
{
	char path[300], line[100];

	snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name", entry);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? -1 : read(fd, line, sizeof(line) - 1);
	if (fd >= 0)
		close(fd);
	if (got < 0)
		return false;
	line[got] = 0;
	line[strcspn(line, "\n")] = 0;
	return strcmp(line, name) == 0;
}

bool port_find(const char *name, char *path, size_t size)
{
	DIR *directory = opendir("/sys/class/virtio-ports");
	struct dirent *entry = NULL;

	while (directory && (entry = readdir(directory)) && !port_has_name(entry->d_name, name))
		;
	if (entry)
		snprintf(path, size, "/dev/%s", entry->d_name);
	if (directory)
		closedir(directory);
	return entry != NULL;
}

void port_open(void)
{
	const struct timespec pause_time = { .tv_nsec = 10 * 1000 * 1000 };
	char path[300];

	// The driver announces the port some time after the device was found.
	for (int attempt = 0; attempt < PROBE_ATTEMPTS && port < 0; attempt++) {
		if (port_find("exmap-vm", path, sizeof(path)))
			port = open(path, O_RDWR | O_CLOEXEC);
		if (port < 0)
			nanosleep(&pause_time, NULL);
	}
	if (port < 0)
		fail("no virtio serial port: %s", strerror(errno));
}

void port_send(enum frame_type type, const void *data, size_t bytes)
{
	uint8_t frame[FRAME_HEADER_BYTES + FRAME_PAYLOAD_MAX];
	uint32_t length = bytes;

	frame[0] = type;
	memcpy(frame + 1, &length, sizeof(length));
	if (bytes)
		memcpy(frame + FRAME_HEADER_BYTES, data, bytes);
	write_all(frame, FRAME_HEADER_BYTES + bytes);
}

enum frame_type port_receive(uint8_t *payload, size_t *bytes)
{
	uint8_t header[FRAME_HEADER_BYTES];
	uint32_t length;

	read_all(header, sizeof(header));
	memcpy(&length, header + 1, sizeof(length));
	if (length > FRAME_PAYLOAD_MAX)
		power_off();
	read_all(payload, length);
	payload[length] = 0;
	*bytes = length;
	return header[0];
}
