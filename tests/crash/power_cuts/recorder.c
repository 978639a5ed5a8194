// SPDX-License-Identifier: MIT
/*
 * To be preloaded into a program: writes down what the program does to the files of one folder, so
 * that simulate.py can make what a power cut at any moment would have left of them.
 *
 *   RECORDER_FOLDER  absolute path of the folder
 *   RECORDER_TRACE   file for the trace; it is appended to
 *
 * A trace is a list of events, each a `struct event` and `bytes` bytes behind it. A write or a sync
 * has two: where the call began, and where it ended. Other calls have one, after they succeeded.
 * What the program has told others counts, too: write() to standard output, which must be a file,
 * and fflush().
 * The trace is in the order of the events, also of calls by several threads: one lock.
 *
 * io_uring is refused, so that every write is a call that is seen here. What it does not know how
 * to write down (a shared mapping that may be written, a rename, a second name for a descriptor)
 * makes it abort: else the trace would be wrong without a word.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { MAX_FDS = 4096, MAX_FILES = 65536, FOLDER = 0, NO_FILE = -1 };

/* Kinds of events. */
enum {
	CREATED = 'C',  /* data: the file's name in the folder */
	REMOVED = 'U',
	WRITE = 'W',    /* begins; data: what is written at `offset` */
	SIZE = 'T',     /* the file is `offset` bytes long now */
	ZERO = 'Z',     /* `length` bytes from `offset` on are zeros now, the size stays */
	SYNC = 'S',     /* begins; of FOLDER: the names */
	END = 'E',      /* of the write or sync with this id */
	PRINTED = 'P',  /* standard output has `offset` bytes */
};

struct event {
	uint32_t kind;
	uint32_t file;
	uint64_t id;
	uint64_t offset;
	uint64_t length;
	uint64_t bytes; /* of data behind it */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int trace = -1;
static char folder[4096];
static size_t folder_length;
static uint64_t next_id = 1;
static uint32_t next_file = FOLDER + 1;
static char *names[MAX_FILES];        /* by file; NULL: removed */
static int file_of[MAX_FDS];          /* plus one; 0: none of the folder's */

static void die(const char *what)
{
	fprintf(stderr, "recorder: %s\n", what);
	abort();
}

#define REAL(name) \
	static __typeof__(name) *real; \
	if (!real) \
		real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

static void put(const void *data, size_t bytes)
{
	/* The system call: our own write() would look at what it writes. */
	if (syscall(SYS_write, trace, data, bytes) != (long)bytes)
		die("cannot write the trace");
}

/* `lock` is held. */
static uint64_t note(uint32_t kind, int file, uint64_t id, uint64_t offset, uint64_t length,
		     const void *data, size_t bytes)
{
	struct event event = {
		.kind = kind, .file = (uint32_t)file, .id = id, .offset = offset, .length = length,
		.bytes = bytes
	};

	put(&event, sizeof event);
	if (bytes)
		put(data, bytes);
	return id;
}

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("RECORDER_TRACE"), *of = getenv("RECORDER_FOLDER");

	if (!path || !of || of[0] != '/' || strlen(of) >= sizeof folder)
		die("RECORDER_TRACE and RECORDER_FOLDER (absolute) must be set");
	strcpy(folder, of);
	folder_length = strlen(folder);
	trace = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC,
			     0640);
	if (trace < 0)
		die("cannot open the trace");
}

static int file_at(int fd)
{
	return fd >= 0 && fd < MAX_FDS ? file_of[fd] - 1 : NO_FILE;
}

/* The name in the folder, "" for the folder itself, or NULL. */
static const char *name_of(const char *path)
{
	if (strncmp(path, folder, folder_length) != 0)
		return NULL;
	if (path[folder_length] == '\0')
		return "";
	return path[folder_length] == '/' ? path + folder_length + 1 : NULL;
}

static int file_named(const char *name)
{
	uint32_t i;

	for (i = FOLDER + 1; i < next_file; i++)
		if (names[i] && strcmp(names[i], name) == 0)
			return (int)i;
	return NO_FILE;
}

/* The file of the descriptor that "/proc/self/fd/N" names. */
static int file_by_descriptor(const char *path)
{
	static const char prefix[] = "/proc/self/fd/";

	if (strncmp(path, prefix, sizeof prefix - 1) != 0)
		return NO_FILE;
	return file_at(atoi(path + sizeof prefix - 1));
}

static int open_file(const char *path, int flags, mode_t mode)
{
	const char *name = name_of(path);
	const int other = file_by_descriptor(path);
	int fd, file;

	if (!name && other == NO_FILE)
		return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
	if (flags & O_APPEND)
		die("a file of the folder is opened with O_APPEND");
	pthread_mutex_lock(&lock);
	fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
	if (fd >= MAX_FDS)
		die("too many descriptors");
	if (fd >= 0) {
		if (other != NO_FILE)
			file = other;
		else
			file = *name ? file_named(name) : FOLDER;
		if (file == NO_FILE) {
			if (next_file == MAX_FILES)
				die("too many files");
			file = (int)next_file++;
			names[file] = strdup(name);
			note(CREATED, file, 0, 0, 0, name, strlen(name));
		} else if (flags & O_TRUNC) {
			note(SIZE, file, 0, 0, 0, NULL, 0);
		}
		file_of[fd] = file + 1;
	}
	pthread_mutex_unlock(&lock);
	return fd;
}

#define OPEN(call) \
int call(const char *path, int flags, ...) \
{ \
	va_list list; \
	mode_t mode; \
	va_start(list, flags); \
	mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(list, mode_t) : 0; \
	va_end(list); \
	return open_file(path, flags, mode); \
}
OPEN(open)
OPEN(open64)

int openat(int at, const char *path, int flags, ...)
{
	va_list list;
	mode_t mode;

	va_start(list, flags);
	mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(list, mode_t) : 0;
	va_end(list);
	if (path[0] == '/' || at == AT_FDCWD)
		return open_file(path, flags, mode);
	if (file_at(at) == FOLDER && (flags & (O_CREAT | O_RDWR | O_WRONLY)))
		die("openat() in the folder");
	return (int)syscall(SYS_openat, at, path, flags, mode);
}

int close(int fd)
{
	REAL(close);

	if (file_at(fd) != NO_FILE) {
		pthread_mutex_lock(&lock);
		file_of[fd] = 0;
		pthread_mutex_unlock(&lock);
	}
	return real(fd);
}

static uint64_t write_begins(int file, const void *data, size_t bytes, off_t offset)
{
	uint64_t id;

	pthread_mutex_lock(&lock);
	id = note(WRITE, file, next_id++, (uint64_t)offset, bytes, data, bytes);
	pthread_mutex_unlock(&lock);
	return id;
}

static void ends(int file, uint64_t id)
{
	pthread_mutex_lock(&lock);
	note(END, file, id, 0, 0, NULL, 0);
	pthread_mutex_unlock(&lock);
}

#define PWRITE(call) \
ssize_t call(int fd, const void *data, size_t bytes, off_t offset) \
{ \
	const int file = file_at(fd); \
	uint64_t id = 0; \
	ssize_t written; \
	REAL(call); \
	if (file != NO_FILE) \
		id = write_begins(file, data, bytes, offset); \
	written = real(fd, data, bytes, offset); \
	if (id) { \
		if (written != (ssize_t)bytes) \
			die("a write was cut short, or failed"); \
		ends(file, id); \
	} \
	return written; \
}
PWRITE(pwrite)
PWRITE(pwrite64)

static void printed(void)
{
	const off_t at = lseek(STDOUT_FILENO, 0, SEEK_CUR);

	pthread_mutex_lock(&lock);
	if (at >= 0)
		note(PRINTED, NO_FILE, 0, (uint64_t)at, 0, NULL, 0);
	pthread_mutex_unlock(&lock);
}

int fflush(FILE *stream)
{
	int status;
	REAL(fflush);

	status = real(stream);
	if (stream == stdout)
		printed();
	return status;
}

ssize_t write(int fd, const void *data, size_t bytes)
{
	ssize_t written;

	if (file_at(fd) == NO_FILE) {
		written = syscall(SYS_write, fd, data, bytes);
		if (fd == STDOUT_FILENO)
			printed();
		return written;
	}
	return pwrite(fd, data, bytes, lseek(fd, 0, SEEK_CUR)) < 0 ?
	       -1 : (lseek(fd, (off_t)bytes, SEEK_CUR), (ssize_t)bytes);
}

#define PWRITEV(call) \
ssize_t call(int fd, const struct iovec *parts, int nr, off_t offset) \
{ \
	ssize_t written = 0, got; \
	int i; \
	REAL(call); \
	if (file_at(fd) == NO_FILE) \
		return real(fd, parts, nr, offset); \
	for (i = 0; i < nr; i++) { \
		got = pwrite(fd, parts[i].iov_base, parts[i].iov_len, offset + written); \
		if (got < 0) \
			return got; \
		written += got; \
	} \
	return written; \
}
PWRITEV(pwritev)
PWRITEV(pwritev64)

#define SYNCS(call) \
int call(int fd) \
{ \
	const int file = file_at(fd); \
	uint64_t id = 0; \
	int status; \
	REAL(call); \
	if (file != NO_FILE) { \
		pthread_mutex_lock(&lock); \
		id = note(SYNC, file, next_id++, 0, 0, NULL, 0); \
		pthread_mutex_unlock(&lock); \
	} \
	status = real(fd); \
	if (id && status == 0) \
		ends(file, id); \
	return status; \
}
SYNCS(fsync)
SYNCS(fdatasync)

#define FTRUNCATE(call) \
int call(int fd, off_t size) \
{ \
	const int file = file_at(fd); \
	int status; \
	REAL(call); \
	if (file == NO_FILE) \
		return real(fd, size); \
	pthread_mutex_lock(&lock); \
	status = real(fd, size); \
	if (status == 0) \
		note(SIZE, file, 0, (uint64_t)size, 0, NULL, 0); \
	pthread_mutex_unlock(&lock); \
	return status; \
}
FTRUNCATE(ftruncate)
FTRUNCATE(ftruncate64)

static int allocate(int fd, int mode, off_t offset, off_t length)
{
	const int file = file_at(fd);
	struct stat now;
	long status;

	if (file == NO_FILE)
		return (int)syscall(SYS_fallocate, fd, mode, offset, length);
	pthread_mutex_lock(&lock);
	status = syscall(SYS_fallocate, fd, mode, offset, length);
	if (status == 0 && (mode & FALLOC_FL_PUNCH_HOLE))
		note(ZERO, file, 0, (uint64_t)offset, (uint64_t)length, NULL, 0);
	else if (status == 0 && !(mode & FALLOC_FL_KEEP_SIZE) && fstat(fd, &now) == 0)
		note(SIZE, file, 0, (uint64_t)now.st_size, 0, NULL, 0);
	pthread_mutex_unlock(&lock);
	return (int)status;
}

int fallocate(int fd, int mode, off_t offset, off_t length)
{
	return allocate(fd, mode, offset, length);
}

int fallocate64(int fd, int mode, off_t offset, off_t length)
{
	return allocate(fd, mode, offset, length);
}

int posix_fallocate(int fd, off_t offset, off_t length)
{
	return allocate(fd, 0, offset, length) == 0 ? 0 : errno;
}

int posix_fallocate64(int fd, off_t offset, off_t length)
{
	return allocate(fd, 0, offset, length) == 0 ? 0 : errno;
}

int unlink(const char *path)
{
	const char *name = name_of(path);
	int file, status;
	REAL(unlink);

	if (!name)
		return real(path);
	pthread_mutex_lock(&lock);
	status = real(path);
	file = file_named(name);
	if (status == 0 && file != NO_FILE) {
		note(REMOVED, file, 0, 0, 0, NULL, 0);
		free(names[file]);
		names[file] = NULL;
	}
	pthread_mutex_unlock(&lock);
	return status;
}

int rename(const char *from, const char *to)
{
	REAL(rename);

	if (name_of(from) || name_of(to))
		die("rename() of a file of the folder");
	return real(from, to);
}

#define MMAP(call) \
void *call(void *at, size_t length, int protection, int flags, int fd, off_t offset) \
{ \
	REAL(call); \
	if (file_at(fd) != NO_FILE && (protection & PROT_WRITE) && (flags & MAP_SHARED)) \
		die("a file of the folder is mapped to be written"); \
	return real(at, length, protection, flags, fd, offset); \
}
MMAP(mmap)
MMAP(mmap64)

int io_uring_queue_init_params(unsigned int entries, void *ring, void *params)
{
	(void)entries;
	(void)ring;
	(void)params;
	return -ENOSYS;
}

int io_uring_queue_init(unsigned int entries, void *ring, unsigned int flags)
{
	(void)entries;
	(void)ring;
	(void)flags;
	return -ENOSYS;
}
