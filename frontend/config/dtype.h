// Element types of stored tensors: the names safetensors files and configurations use, and their sizes. One table.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string_view>

namespace exo {

enum class DType { kBool, kU8, kI8, kF8E4M3, kF8E5M2, kI16, kU16, kF16, kBF16, kI32, kU32, kF32, kI64, kU64, kF64 };

struct DTypeTraits {
  DType dtype;
  std::string_view name;        // in safetensors headers
  std::string_view torch_name;  // in config.json (torch_dtype)
  size_t size_bytes;
};

constexpr std::array<DTypeTraits, 15> kDTypes = {{
    {DType::kBool, "BOOL", "bool", 1},
    {DType::kU8, "U8", "uint8", 1},
    {DType::kI8, "I8", "int8", 1},
    {DType::kF8E4M3, "F8_E4M3", "float8_e4m3fn", 1},
    {DType::kF8E5M2, "F8_E5M2", "float8_e5m2", 1},
    {DType::kI16, "I16", "int16", 2},
    {DType::kU16, "U16", "uint16", 2},
    {DType::kF16, "F16", "float16", 2},
    {DType::kBF16, "BF16", "bfloat16", 2},
    {DType::kI32, "I32", "int32", 4},
    {DType::kU32, "U32", "uint32", 4},
    {DType::kF32, "F32", "float32", 4},
    {DType::kI64, "I64", "int64", 8},
    {DType::kU64, "U64", "uint64", 8},
    {DType::kF64, "F64", "float64", 8},
}};

constexpr const DTypeTraits& traits(DType dtype) { return kDTypes[static_cast<size_t>(dtype)]; }
constexpr std::string_view name(DType dtype) { return traits(dtype).name; }
constexpr size_t sizeBytes(DType dtype) { return traits(dtype).size_bytes; }

constexpr std::optional<DType> parseDType(std::string_view name) {
  for (const DTypeTraits& entry : kDTypes)
    if (entry.name == name) return entry.dtype;
  return std::nullopt;
}
constexpr std::optional<DType> parseTorchDType(std::string_view name) {
  for (const DTypeTraits& entry : kDTypes)
    if (entry.torch_name == name) return entry.dtype;
  return std::nullopt;
}

}  // namespace exo
