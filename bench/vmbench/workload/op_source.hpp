// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstdint>

#include "workload/options.hpp"
#include "workload/records.hpp"
#include "workload/zipf.hpp"

namespace vmbench {

enum class OpKind : std::uint8_t { kRead, kUpdate, kInsert, kScan, kReadModifyWrite };

struct Op {
  OpKind kind;
  Key key;
  bool loaded;  //!< the record was there from the start and must be found
  unsigned scan_length;
};

//! What all threads of a run share.
struct SharedWorkload {
  explicit SharedWorkload(const WorkloadOptions& options)
      : mix(options.mix),
        distribution(options.distribution),
        keys(options.records()),
        zipf(options.records(), options.theta),
        next_record(options.records()) {}

  const Mix mix;
  const Distribution distribution;
  const KeySpace keys;
  const Zipf zipf;
  std::atomic<std::uint64_t> next_record;
};

//! The stream of operations of one thread; the same seed gives the same stream (but for what other
//! threads insert).
class OpSource {
 public:
  OpSource(SharedWorkload& shared, std::uint64_t seed) : _shared(shared), _random(seed) {}

  Op next() {
    const unsigned share = static_cast<unsigned>(_random.below(100));
    const Mix& mix = _shared.mix;
    if (share < mix.read) return existing(OpKind::kRead);
    if (share < mix.read + mix.update) return existing(OpKind::kUpdate);
    if (share < mix.read + mix.update + mix.insert) {
      const std::uint64_t record = _shared.next_record.fetch_add(1, std::memory_order_relaxed);
      return {OpKind::kInsert, _shared.keys.key(record), false, 0};
    }
    if (share < mix.read + mix.update + mix.insert + mix.scan) {
      Op op = existing(OpKind::kScan);
      op.scan_length = 1 + static_cast<unsigned>(_random.below(100));
      return op;
    }
    return existing(OpKind::kReadModifyWrite);
  }
  //! For values.
  std::uint64_t random() { return _random.next(); }

 private:
  Op existing(OpKind kind) {
    const std::uint64_t record = choose();
    return {kind, _shared.keys.key(record), record < _shared.keys.loaded(), 0};
  }
  std::uint64_t choose() {
    switch (_shared.distribution) {
      case Distribution::kUniform:
        return _random.below(_shared.keys.loaded());
      case Distribution::kZipf:
        return _shared.keys.scatter(_shared.zipf.next(_random));
      case Distribution::kLatest:
        return _shared.next_record.load(std::memory_order_relaxed) - 1 - _shared.zipf.next(_random);
    }
    return 0;
  }

  SharedWorkload& _shared;
  SplitMix64 _random;
};

}  // namespace vmbench
