// SPDX-License-Identifier: MIT
#include <fmt/format.h>
#include <sys/resource.h>

#include <fstream>
#include <stdexcept>
#include <string>

#include "systems/system.hpp"

namespace vmbench {

namespace {

constexpr std::uint64_t kPageBytes = 4096;
constexpr std::uint64_t kSampleEvery = 64;

void execute(Session& session, const Op& op, ThreadContext& context) {
  Value value;
  bool found = true;
  switch (op.kind) {
    case OpKind::kRead:
      found = session.read(op.key, value);
      if (found) check_value(op.key, value);
      break;
    case OpKind::kUpdate:
      found = session.update(op.key, make_value(op.key, context.source.random()));
      break;
    case OpKind::kInsert:
      session.insert(op.key, make_value(op.key, context.source.random()));
      break;
    case OpKind::kScan:
      found = session.scan(op.key, op.scan_length) != 0;
      break;
    case OpKind::kReadModifyWrite:
      found = session.read(op.key, value);
      if (found) {
        check_value(op.key, value);
        found = session.update(op.key, make_value(op.key, context.source.random()));
      }
      break;
  }
  check_found(op, found, context.counters);
}

std::uint64_t major_faults() {
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  return static_cast<std::uint64_t>(usage.ru_majflt);
}

}  // namespace

void check_found(const Op& op, bool found, ThreadCounters& counters) {
  if (found) return;
  if (op.loaded)
    throw std::runtime_error(fmt::format("key {} was loaded and is not found", op.key));
  counters.not_found.fetch_add(1, std::memory_order_relaxed);
}

void check_value(Key key, const Value& value) {
  if (!value_belongs_to(value, key))
    throw std::runtime_error(fmt::format("key {} has a wrong value", key));
}

void run_session(Session& session, ThreadContext& context, bool sample_reads) {
  std::uint64_t start = now_ns();
  for (std::uint64_t i = 0; !context.stop.load(std::memory_order_relaxed); i++) {
    const bool sampled = sample_reads && i % kSampleEvery == 0;
    const std::uint64_t faults_before = sampled ? major_faults() : 0;
    if (sampled) start = now_ns();
    execute(session, context.source.next(), context);
    const std::uint64_t end = now_ns();
    context.counters.finished(end - start);
    // An operation with exactly one major fault is little else than that read.
    if (sampled && major_faults() == faults_before + 1) context.counters.read_ns.add(end - start);
    start = end;
  }
}

IoCounters kernel_io() {
  std::ifstream io("/proc/self/io");
  IoCounters counters;
  std::string name;
  for (std::uint64_t bytes; io >> name >> bytes;) {
    if (name == "read_bytes:") counters.page_reads = bytes / kPageBytes;
    if (name == "write_bytes:") counters.page_writes = bytes / kPageBytes;
  }
  return counters;
}

}  // namespace vmbench
