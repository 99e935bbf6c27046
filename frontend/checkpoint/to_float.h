// Stored floating point elements to f32.
#pragma once

#include <cstddef>
#include <span>

#include "frontend/config/dtype.h"

namespace exo {

/// True for f32, bf16, f16, f64 and fp8 e4m3.
bool convertsToFloat(DType dtype);

/// out[i] = element i of `bytes` (little-endian, any alignment; out.size() × sizeBytes(dtype) of them).
/// f64 is rounded to nearest; the others are exact.
void toFloat(DType dtype, std::span<const std::byte> bytes, std::span<float> out);

}  // namespace exo
