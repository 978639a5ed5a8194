// SPDX-License-Identifier: MIT
//
// A connection's database file, as SQLite sees it: sqlite3_file and its methods.
#pragma once

#include <memory>

#include "api.hpp"
#include "database.hpp"

namespace vmcache::sqlite {

class Connection;

//! What SQLite allocates for a file of this VFS. It has no constructor: SQLite hands over bytes.
struct ConnectionFile {
  sqlite3_file base;
  Connection* connection;
};

//! Makes `file` a connection of the database, which Registry::open() gave. Throws std::bad_alloc.
void connect(sqlite3_file* file, std::shared_ptr<Database> database, bool read_only,
             bool powersafe_overwrite);

}  // namespace vmcache::sqlite
