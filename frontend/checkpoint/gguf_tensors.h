// A GGUF file's tensors as the weights that families ask for: names translated, stacks of experts taken apart, rows of q
// and k back in the order of the published checkpoints.
#pragma once

#include "frontend/checkpoint/stored_tensor.h"
#include "frontend/config/gguf_config.h"

namespace exo {

/// The weights point into `model`.  Errors: kUnsupported naming a tensor that is not known or its type.
Result<StoredTensors> ggufTensors(const GgufModel& model);

}  // namespace exo
