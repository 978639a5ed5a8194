// SPDX-License-Identifier: MIT
#pragma once

namespace vmcache::sqlite {

inline constexpr const char* kVfsName = "vmcache";

}  // namespace vmcache::sqlite
