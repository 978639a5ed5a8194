// SPDX-License-Identifier: MIT
#include "shared_memory.hpp"

namespace vmcache::sqlite {

void* SharedMemory::map(Member& member, std::size_t region, std::size_t bytes, bool extend) {
  const std::lock_guard lock(_mutex);
  if (!member.joined) {
    member.joined = true;
    ++_members;
  }
  if (region >= _regions.size()) {
    if (!extend) return nullptr;
    _regions.reserve(region + 1);
    while (_regions.size() <= region) _regions.push_back(std::make_unique<std::byte[]>(bytes));
  }
  return _regions[region].get();
}

int SharedMemory::lock(Member& member, int first, int count, int flags) noexcept {
  const bool in_range = first >= 0 && count >= 1 && first + count <= SQLITE_SHM_NLOCK;
  const bool one = count == 1 || (flags & SQLITE_SHM_EXCLUSIVE) != 0;
  if (!member.joined || !in_range || !one) return SQLITE_IOERR_SHMLOCK;
  const std::lock_guard guard(_mutex);
  if ((flags & SQLITE_SHM_UNLOCK) != 0) {
    unlock(member, first, count);
    return SQLITE_OK;
  }
  const unsigned bits = ((1U << count) - 1) << first;
  if ((flags & SQLITE_SHM_SHARED) != 0) {
    if ((member.shared & bits) != 0) return SQLITE_OK;
    if (_locks[first] == kExclusive) return SQLITE_BUSY;
    ++_locks[first];
    member.shared |= bits;
    return SQLITE_OK;
  }
  for (int i = first; i < first + count; ++i) {
    if ((member.exclusive & (1U << i)) == 0 && _locks[i] != 0) return SQLITE_BUSY;
  }
  for (int i = first; i < first + count; ++i) _locks[i] = kExclusive;
  member.exclusive |= bits;
  return SQLITE_OK;
}

void SharedMemory::unlock(Member& member, int first, int count) noexcept {
  for (int i = first; i < first + count; ++i) {
    const unsigned bit = 1U << i;
    if ((member.exclusive & bit) != 0) _locks[i] = 0;
    if ((member.shared & bit) != 0) --_locks[i];
    member.exclusive &= ~bit;
    member.shared &= ~bit;
  }
}

void SharedMemory::leave(Member& member) noexcept {
  const std::lock_guard lock(_mutex);
  if (!member.joined) return;
  unlock(member, 0, SQLITE_SHM_NLOCK);
  member.joined = false;
  if (--_members == 0) _regions.clear();
}

}  // namespace vmcache::sqlite
