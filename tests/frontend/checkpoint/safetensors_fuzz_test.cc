// The fuzz entry over a small file with every byte changed, and over cut files.
#include <gtest/gtest.h>

#include "tests/frontend/checkpoint/temporary_folder.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace exo {
namespace {

void enter(const std::string& image) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(image.data()), image.size());
}

const std::string kImage = safetensorsImage(
    R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},)"
    R"("b":{"dtype":"BF16","shape":[3],"data_offsets":[16,22]},"c":{"dtype":"F64","shape":[0,5],"data_offsets":[22,22]}})",
    std::string(22, '\x3f'));

/// A weight of each quantised form; every digit of the header is changed below.
const char* const kQuantised[] = {
    R"({"a.biases":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]},"a.scales":{"dtype":"F32","shape":[1,1],"data_offsets":[4,8]},"a.weight":{"dtype":"U32","shape":[1,3],"data_offsets":[8,20]}})",
    R"({"a.weight":{"dtype":"F8_E4M3","shape":[2,6],"data_offsets":[0,12]},"a.weight_scale_inv":{"dtype":"F32","shape":[1,2],"data_offsets":[12,20]}})",
    R"({"a.g_idx":{"dtype":"I32","shape":[8],"data_offsets":[0,32]},"a.qweight":{"dtype":"I32","shape":[1,8],"data_offsets":[32,64]},"a.qzeros":{"dtype":"I32","shape":[1,1],"data_offsets":[64,68]},)"
    R"("a.scales":{"dtype":"F32","shape":[1,8],"data_offsets":[68,100]}})",
    R"({"a.qweight":{"dtype":"I32","shape":[8,1],"data_offsets":[0,32]},"a.qzeros":{"dtype":"I32","shape":[1,1],"data_offsets":[32,36]},"a.scales":{"dtype":"F32","shape":[1,8],"data_offsets":[36,68]}})",
    R"({"m.experts.gate_up_proj_blocks":{"dtype":"U8","shape":[2,2,1,16],"data_offsets":[0,64]},"m.experts.gate_up_proj_scales":{"dtype":"U8","shape":[2,2,1],"data_offsets":[64,68]}})",
    R"({"m.experts.gate_up_proj":{"dtype":"F32","shape":[1,2,4],"data_offsets":[0,32]},"m.experts.gate_up_proj_bias":{"dtype":"F32","shape":[1,4],"data_offsets":[32,48]}})",
};

TEST(SafetensorsFuzz, SurvivesChangedHeadersOfQuantisedWeights) {
  for (const char* header : kQuantised) {
    const std::string text(header);
    const size_t end = text.rfind(']'), begin = text.rfind(',', end) + 1;
    const std::string image = safetensorsImage(text, std::string(std::stoul(text.substr(begin, end - begin)), '\x31'));
    enter(image);
    for (size_t i = 8; i < 8 + text.size(); ++i) {
      std::string changed = image;
      for (const char c : {'0', '1', '2', '4', '9', 'x', '"'}) {
        changed[i] = c;
        enter(changed);
      }
    }
  }
}

TEST(SafetensorsFuzz, SurvivesCuts) {
  for (size_t size = 0; size <= kImage.size(); ++size) enter(kImage.substr(0, size));
}

TEST(SafetensorsFuzz, SurvivesAnyChangedByte) {
  for (size_t i = 0; i < kImage.size(); ++i) {
    std::string changed = kImage;
    for (int value = 0; value < 256; ++value) {
      changed[i] = static_cast<char>(value);
      enter(changed);
    }
  }
}

}  // namespace
}  // namespace exo
