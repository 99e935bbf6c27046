// Where a node's weights come from: the plan's checkpoint, another copy of it, or a seed.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "executor/runtime/weights.h"
#include "frontend/checkpoint/tensor_source.h"
#include "ir/base/result.h"

namespace exo {

/// With `seed` the directory is not looked at. Errors: those of Checkpoint::open; kInvalidInput without either.
Result<std::unique_ptr<TensorSource>> openWeights(const std::string& model_directory, std::optional<uint64_t> seed);

/// Reads rows for the engine. Both arguments outlive it. kCancelled once `cancel` is true.
runtime::WeightReader weightReader(const TensorSource& source, const std::atomic<bool>& cancel);

}  // namespace exo
