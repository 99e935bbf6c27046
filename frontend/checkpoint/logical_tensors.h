// From the tensors of a safetensors checkpoint to the weights that families ask for: a quantised weight is one tensor
// under the name it would have unquantised, and stacks of experts are one 2-D tensor per expert, whichever tool wrote
// them: PATH.experts.N.gate_proj.weight (and .bias), in mixtral PATH.experts.N.w1.weight.
#pragma once

#include <functional>

#include "frontend/checkpoint/stored_tensor.h"
#include "frontend/config/quantization.h"

namespace exo {

struct RawTensors {
  std::vector<std::string> names;                               // sorted
  std::function<const TensorView*(const std::string&)> find;    // nullptr without such a tensor
};

/// Tensors of types that do not convert to f32 (indices, packed words) appear only as parts of quantised weights.
Result<StoredTensors> logicalTensors(const RawTensors& raw, const QuantizationConfig& config);

}  // namespace exo
