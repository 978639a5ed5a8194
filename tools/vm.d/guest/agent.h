/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol.h"

#define AGENT_LIST_MAX 256

/* A bounded list of strings out of the run's configuration. */
struct string_list {
	size_t count;
	char *items[AGENT_LIST_MAX + 1]; /* ends with NULL, as execve wants it */
};

/* What tools/vm wrote into /run.conf of the initial file system: NUL-separated "key=value". */
struct run_config {
	struct string_list args;
	struct string_list env;
	struct string_list keep;    /* paths to show even where a tmpfs covers them */
	struct string_list shares;  /* "TAG:PATH": writable 9p shares, mounted at PATH */
	struct string_list drives;  /* "SERIAL" or "SERIAL,poll" */
	const char *cwd;
	const char *module;         /* path of exmap.ko, or NULL */
	const char *module_options;
	bool control;               /* there is a port for requests to the machine */
	bool terminal;
	bool leak_check;
};

/* port.c: the frames. Each ends the machine if the host is gone. */
void port_open(void);
/*
 * Finds the port that QEMU calls @name, and writes the path of its device into @path. False while
 * it is not there.
 */
bool port_find(const char *name, char *path, size_t size);
int port_fd(void);
void port_send(enum frame_type type, const void *data, size_t bytes);
/* Reads one whole frame; returns its type. The payload is NUL-terminated for convenience. */
enum frame_type port_receive(uint8_t *payload, size_t *bytes);
/* Says why the guest cannot be set up, and ends the machine. */
void fail(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
void power_off(void) __attribute__((noreturn));

/* setup.c: modules, file systems, devices. */
void setup_early(void);
void setup_config(struct run_config *config);
void setup_drives(const struct run_config *config);
void setup_root(const struct run_config *config);
void setup_module(const struct run_config *config);

/* command.c: runs the command and relays its streams; returns its exit status. */
int command_run(const struct run_config *config);

/* finish.c: what is checked after the command. */
void finish(const struct run_config *config);
