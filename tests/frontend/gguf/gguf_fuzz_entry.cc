// Any bytes as a GGUF file: an error, or a model whose configuration, weights and tokenizer can be read, never a crash.
#include <cstddef>
#include <cstdint>

#include "frontend/checkpoint/gguf_tensors.h"
#include "frontend/config/gguf_config.h"
#include "frontend/tokenizer/gguf_tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace exo;
  const auto model = GgufModel::parse({reinterpret_cast<const std::byte*>(data), size}, "x.gguf");
  if (!model.ok()) {
    EXO_CHECK(model.error().message().find("x.gguf") != std::string::npos) << model.error().message();
    return 0;
  }
  (void)tokenizer::readGgufTokenizer(model->metadata()).ok();
  const auto tensors = ggufTensors(*model);
  if (!tensors.ok()) return 0;
  for (const auto& [name, stored] : *tensors) {
    std::vector<float> row(static_cast<size_t>(stored->columns()));
    std::vector<uint16_t> scales(row.size() / kQuantBlock);
    for (const int64_t r : {int64_t{0}, stored->rows() - 1}) {
      EXO_CHECK(stored->readRow(r, 0, row).ok()) << name;
      (void)stored->readScales(r, 0, scales);
    }
  }
  return 0;
}
