// Any bytes as a safetensors file: an error or views that lie inside it, never a crash.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "frontend/checkpoint/safetensors.h"
#include "frontend/checkpoint/to_float.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace exo;
  const std::span file(reinterpret_cast<const std::byte*>(data), size);
  const Result<SafetensorsHeader> read = parseSafetensors(file, "model.safetensors");
  if (!read.ok()) {
    EXO_CHECK(read.error().message().find("model.safetensors") != std::string::npos) << read.error().message();
    return 0;
  }
  size_t covered = 0;
  for (const TensorView& tensor : read->tensors) {
    EXO_CHECK(tensor.bytes.empty() || (tensor.bytes.data() >= file.data() &&
                                       tensor.bytes.data() + tensor.bytes.size() <= file.data() + size));
    EXO_CHECK(static_cast<size_t>(tensor.numElements()) * sizeBytes(tensor.dtype) == tensor.bytes.size());
    covered += tensor.bytes.size();
    if (!convertsToFloat(tensor.dtype)) continue;
    std::vector<float> values(static_cast<size_t>(tensor.numElements()));
    toFloat(tensor.dtype, tensor.bytes, values);
  }
  EXO_CHECK(covered <= size);
  return 0;
}
