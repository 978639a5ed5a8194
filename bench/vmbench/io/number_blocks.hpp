// SPDX-License-Identifier: MIT
#pragma once

#include "io/layer.hpp"

namespace vmbench {

//! Sees to it that every block of the layer's span holds its number, if that may be (see
//! open_layers()); sets layer.verified. Throws std::runtime_error where the layer is to be written
//! and may not be.
void prepare_content(Layer& layer, const LayerOptions& options);

//! Writes its number into every block of the layer's span, whatever is there. Throws
//! std::runtime_error with path, offset and errno.
void number_blocks(Layer& layer);

}  // namespace vmbench
