// SPDX-License-Identifier: MIT
//
// Deprecated: the name of write_ahead_log.hpp before 0.2.0.
#pragma once

#include "vmcache/write_ahead_log.hpp"
