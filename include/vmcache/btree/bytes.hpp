// SPDX-License-Identifier: MIT
//
// Includes what this header used to define.
#pragma once

#include "vmcache/bytes.hpp"
#include "vmcache/function_ref.hpp"
