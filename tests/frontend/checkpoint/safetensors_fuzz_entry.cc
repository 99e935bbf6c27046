// Any bytes as a safetensors file: an error or views that lie inside it, never a crash; and the same for the weights that its
// tensors make up under every quantisation we know.
#include <cstddef>
#include <cstdint>
#include <algorithm>
#include <array>
#include <vector>

#include "frontend/checkpoint/logical_tensors.h"
#include "frontend/checkpoint/safetensors.h"
#include "frontend/checkpoint/to_float.h"

namespace exo {
namespace {

constexpr std::array kConfigs = {
    R"({})",
    R"({"quantization": {"bits": 3, "group_size": 32, "b": {"bits": 4, "group_size": 32, "mode": "mxfp4"}}})",
    R"({"quantization_config": {"quant_method": "fp8", "weight_block_size": [2, 3]}})",
    R"({"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 8}})",
    R"({"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 8}})",
    R"({"quantization_config": {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {"a": {"weights": {"num_bits": 4, "type": "int", "group_size": 32}}}}})",
};

QuantizationConfig parsed(const char* text) {
  const Json json = Json::parse(text);
  const auto object = JsonObject::root(json, "config.json");
  return *readQuantization(*object);
}

void readEnds(const StoredTensor& stored) {
  if (stored.rows() == 0) return;
  std::vector<float> row(static_cast<size_t>(stored.columns()));
  std::vector<uint16_t> scales(row.size() / kQuantBlock);
  for (const int64_t r : {int64_t{0}, stored.rows() - 1}) {
    (void)stored.readRow(r, 0, row).ok();
    (void)stored.readScales(r, 0, scales);
  }
}

void readWeights(const SafetensorsHeader& header) {
  static const std::vector<QuantizationConfig> configs = [] {
    std::vector<QuantizationConfig> all;
    for (const char* text : kConfigs) all.push_back(parsed(text));
    return all;
  }();
  RawTensors raw;
  for (const TensorView& tensor : header.tensors) raw.names.push_back(tensor.name);
  raw.find = [&](const std::string& name) -> const TensorView* {
    const auto found = std::lower_bound(raw.names.begin(), raw.names.end(), name);
    return found != raw.names.end() && *found == name ? &header.tensors[static_cast<size_t>(found - raw.names.begin())] : nullptr;
  };
  for (const QuantizationConfig& config : configs) {
    const auto weights = logicalTensors(raw, config);
    if (!weights.ok()) continue;
    for (const auto& [name, stored] : *weights) readEnds(*stored);
  }
}

}  // namespace
}  // namespace exo

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
  readWeights(*read);
  return 0;
}
