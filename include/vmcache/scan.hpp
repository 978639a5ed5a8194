// SPDX-License-Identifier: MIT
#pragma once

#include <bitset>
#include <cstddef>
#include <cstdint>

#include "vmcache/buffer_pool.hpp"
#include "vmcache/export.hpp"
#include "vmcache/guard.hpp"
#include "vmcache/types.hpp"

namespace VMCACHE_EXPORT vmcache {

//! Goes through pages once, in the order of their ids, as a table scan does: of a raw file, or
//! single pages of the database. It brings the next pages in together, so that the device works at
//! its speed for many transfers at a time. If the pool is full, the scan uses the frames of the
//! pages that it has brought in, and that nobody else has used meanwhile, again and again. So it
//! needs few frames, and what others use stays in memory. Pages that were there before are left as
//! they were.
//!
//!     for (Scan scan(pool, file.page_id(0), file.pages()); scan.next();) use(scan.page());
//!
//! Several scans may run at a time, and pages may be changed meanwhile. One thread may use the
//! object. It must not outlive the pool.
class Scan {
 public:
  static constexpr unsigned kMaxReadAhead = 256;

  //! `read_ahead`: pages that are brought in together, 1 .. kMaxReadAhead; no more than an eighth
  //! of the pool is used. Throws Error kInvalidOption.
  Scan(BufferPool& pool, PageId first, std::uint64_t pages, unsigned read_ahead = 64);
  Scan(const Scan&) = delete;
  Scan& operator=(const Scan&) = delete;
  ~Scan() { leave(); }

  //! Lets go of the page before, and latches the next one shared. Waits for latches and I/O. False
  //! if there are no more. Throws what fix_shared() throws for the page; the next call then goes on
  //! behind it.
  [[nodiscard]] bool next();
  //! After next() has returned true, until its next call.
  [[nodiscard]] const SharedGuard& page() const noexcept { return _page; }

 private:
  void make_room() noexcept;
  void fetch();
  void leave() noexcept;

  BufferPool& _pool;
  PageId _at;  // the next page
  const PageId _end;
  const unsigned _read_ahead;
  PageId _window = 0;                   // the pages that were brought in together begin here
  PageId _fetched = 0;                  // and end here
  std::bitset<kMaxReadAhead> _brought;  // of the window: not in memory before
  SharedGuard _page;
};

}  // namespace vmcache
