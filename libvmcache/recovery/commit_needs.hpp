// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "recovery/tree_set.hpp"
#include "recovery/write_set.hpp"
#include "vmcache/buffer_pool.hpp"

namespace vmcache {

//! How much log and how many pages a commit may use at worst (R10, R15). Thread-safe.
class CommitNeeds {
 public:
  CommitNeeds(const BufferPool& pool, const TreeSet& trees) noexcept : _pool(pool), _trees(trees) {}

  //! Bytes of log.
  [[nodiscard]] static std::uint64_t max_log_bytes(const WriteSet& changes) noexcept;

  struct Pages {
    std::uint64_t max = 0;
    bool large_values = false;  //!< whether some of them are extents of large values
  };
  //! Pages of all changes together. The trees must be open.
  [[nodiscard]] Pages pages(const WriteSet& changes) const;
  //! Pages of one change.
  [[nodiscard]] std::uint64_t max_pages(const WriteSet::Change& change) const;
  //! Pages of a change of a key whose value has `old_bytes`, and which the transaction has locked.
  [[nodiscard]] std::uint64_t pages_to_replace(const WriteSet::Change& change,
                                               std::size_t old_bytes) const;
  //! Adds up the pages of all changes. `pages_of(change)` says what each may take.
  template <typename PagesOf>
  [[nodiscard]] std::uint64_t sum(const WriteSet& changes, PagesOf pages_of) const {
    std::uint64_t pages = 0;
    unsigned levels = 0;
    for (std::size_t n = 0; n < changes.changes(); ++n) {
      const WriteSet::Change change = changes.change(n);
      const std::uint64_t more = pages_of(change);
      pages += more;
      if (more > 0) levels = std::max(levels, levels_of(change));
    }
    return with_second_splits(pages, levels);
  }

 private:
  [[nodiscard]] unsigned levels_of(const WriteSet::Change& change) const {
    return _trees.find(change.tree)->max_levels();
  }
  [[nodiscard]] std::uint64_t max_pages(const WriteSet::Change& change, unsigned levels) const;
  //! Where keys are long, a change may split more than one node of a level. That is rare, and is
  //! paid for once a commit (`Full.ChangesTakeNoMorePagesThanAreHeldForThem` looks for a worse
  //! case).
  [[nodiscard]] static std::uint64_t with_second_splits(std::uint64_t pages,
                                                        unsigned levels) noexcept {
    return pages > 0 ? pages + 2 * std::uint64_t{levels} + 6 : 0;
  }

  const BufferPool& _pool;
  const TreeSet& _trees;
};

}  // namespace vmcache
