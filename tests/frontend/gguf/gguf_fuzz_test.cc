// The fuzz entry over a small model with every byte changed, and over cut files.
#include <gtest/gtest.h>

#include "tests/frontend/gguf/tiny_model.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace exo {
namespace {

void enter(const std::string& image) { LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(image.data()), image.size()); }

std::string tinyImage() {
  testing::GgufImage image = testing::tinyMetadata();
  return testing::addTinyTensors(image).build();
}

TEST(GgufFuzz, SurvivesCuts) {
  const std::string image = tinyImage();
  for (size_t size = 0; size <= image.size(); ++size) enter(image.substr(0, size));
}

TEST(GgufFuzz, SurvivesChangedBytes) {
  const std::string image = tinyImage();
  const size_t header = image.size() - 11 * 96;  // what comes before the tensors' data, and a little of it
  for (size_t i = 0; i < header; ++i) {
    std::string changed = image;
    for (const int value : {0, 1, 2, 3, 8, 9, 0x20, 0x7f, 0x80, 0xff}) {
      changed[i] = static_cast<char>(value);
      enter(changed);
    }
  }
}

}  // namespace
}  // namespace exo
