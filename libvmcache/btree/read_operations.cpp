// SPDX-License-Identifier: MIT
#include "vmcache/detail/btree/read_operations.hpp"

namespace vmcache::btree {

Need ReadLeafOp::find(Spot& spot) const {
  switch (_towards) {
    case Towards::kKey:
      return descend(_tree, TowardsKey{_key}, 0, spot);
    case Towards::kBefore:
      return descend(_tree, TowardsBefore{_key}, 0, spot);
    case Towards::kLast:
      return descend(_tree, TowardsLast{}, 0, spot);
  }
  __builtin_unreachable();
}

Need ReadLeafOp::step(BufferPool&) {
  for (unsigned restarts = 0; restarts < kRestartsInStep; ++restarts) {
    Spot spot;
    if (const Need need = find(spot); !need.done()) return need;
    NodeReader{spot.node.data()}.copy_page(_page);
    if (spot.node.validate()) return Need::nothing();
    relax();
  }
  return Need::latch();
}

}  // namespace vmcache::btree
