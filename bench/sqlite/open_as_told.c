/* SPDX-License-Identifier: MIT */
/*
 * Stands in for SQLite's open functions in speedtest1 and kvtest, which know no VFS but their own
 * (scripts/sqlite_bench.py compiles them with -Dsqlite3_open=bench_open). The environment says how
 * databases are opened:
 *
 *   BENCH_EXTENSION   path of vmcache_sqlite.so, which is loaded first
 *   BENCH_PARAMETERS  of the URI: "vfs=vmcache&pool_mib=64"
 *   BENCH_WARM        SQL that a further connection runs first; it stays open
 */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

int bench_open(const char *path, sqlite3 **db);
int bench_open_v2(const char *path, sqlite3 **db, int flags, const char *vfs);

static void check(int code, sqlite3 *db, const char *what)
{
	if (code == SQLITE_OK)
		return;
	fprintf(stderr, "%s: %s\n", what, db ? sqlite3_errmsg(db) : sqlite3_errstr(code));
	exit(2);
}

static void load(void)
{
	const char *extension = getenv("BENCH_EXTENSION");
	sqlite3 *db = NULL;

	if (!extension)
		return;
	check(sqlite3_open(":memory:", &db), db, ":memory:");
	check(sqlite3_enable_load_extension(db, 1), db, extension);
	check(sqlite3_load_extension(db, extension, NULL, NULL), db, extension);
	sqlite3_close(db); /* the VFS stays */
}

int bench_open_v2(const char *path, sqlite3 **db, int flags, const char *vfs)
{
	static int loaded, warm;
	const char *parameters = getenv("BENCH_PARAMETERS"), *sql = getenv("BENCH_WARM");
	sqlite3 *keeper = NULL;
	char *uri;
	int code;

	if (!loaded++)
		load();
	uri = sqlite3_mprintf("file:%s?%s", path, parameters ? parameters : "");
	if (sql && !warm++) {
		check(sqlite3_open_v2(uri, &keeper, flags | SQLITE_OPEN_URI, vfs), keeper, uri);
		check(sqlite3_exec(keeper, sql, NULL, NULL, NULL), keeper, sql);
	}
	code = sqlite3_open_v2(uri, db, flags | SQLITE_OPEN_URI, vfs);
	sqlite3_free(uri);
	return code;
}

int bench_open(const char *path, sqlite3 **db)
{
	return bench_open_v2(path, db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);
}
