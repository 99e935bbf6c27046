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
