// The container: keys, tensors, split files, and refusals.
#include "frontend/gguf/gguf.h"

#include <gtest/gtest.h>

#include "tests/frontend/checkpoint/temporary_folder.h"
#include "tests/frontend/gguf/gguf_image.h"

namespace exo {
namespace {

using testing::bytesOf;
using testing::GgufImage;

std::span<const std::byte> view(const std::string& image) { return std::as_bytes(std::span(image)); }

std::string refusal(const std::string& image) {
  const auto contents = parseGguf(view(image), "x.gguf");
  return contents.ok() ? "" : contents.error().message();
}

GgufImage small() {
  GgufImage image;
  image.text("general.architecture", "llama").u32("n", 7).f32("f", 1.5f).boolean("b", true).texts("t", {"a", "", "ü"}).i32s("i", {-1, 2});
  image.tensor("one", 0, {2, 3}, bytesOf(std::vector<float>{1, 2, 3, 4, 5, 6})).tensor("two", 2, {64}, std::string(36, 'x'));
  return image;
}

TEST(Gguf, ReadsVersionsTwoAndThree) {
  for (const uint32_t version : {2, 3}) {
    const std::string image = small().build(version);
    const auto contents = parseGguf(view(image), "x.gguf");
    ASSERT_TRUE(contents.ok()) << contents.error();
    const GgufMetadata& metadata = contents->metadata;
    EXPECT_EQ(*metadata.text("general.architecture"), "llama");
    EXPECT_EQ(*metadata.integer("n"), 7);
    EXPECT_EQ(**metadata.findNumber("f"), 1.5);
    EXPECT_EQ(**metadata.findBoolean("b"), true);
    EXPECT_EQ(**metadata.findTexts("t"), (std::vector<std::string_view>{"a", "", "ü"}));
    EXPECT_EQ(**metadata.findIntegers("i"), (std::vector<int64_t>{-1, 2}));
    EXPECT_EQ(*metadata.findInteger("absent"), std::nullopt);
    ASSERT_EQ(contents->tensors.size(), 2u);
    EXPECT_EQ(contents->tensors[0].shape, (std::vector<int64_t>{2, 3}));
    EXPECT_EQ(contents->tensors[0].bytes.size(), 24u);
    EXPECT_EQ(contents->tensors[1].type->name, "Q4_0");
    EXPECT_EQ(contents->tensors[1].bytes.size(), 36u);
    EXPECT_EQ(std::to_integer<char>(contents->tensors[1].bytes[0]), 'x');
  }
}

TEST(Gguf, NamesKeysOfOtherTypes) {
  const std::string image = small().build();
  const auto contents = parseGguf(view(image), "x.gguf");
  EXPECT_EQ(contents->metadata.integer("f").error().message(), "x.gguf: f: expected an integer, got another type");
  EXPECT_EQ(contents->metadata.text("absent").error().message(), "x.gguf: absent: expected a text, but it is missing");
}

TEST(Gguf, RefusesWhatItIsNot) {
  EXPECT_NE(refusal("").find("expected the magic"), std::string::npos);
  EXPECT_NE(refusal("GGML....").find("which begins with \"GGUF\""), std::string::npos);
  EXPECT_NE(refusal(small().build(1)).find("version 2 or 3, got 1"), std::string::npos);
  std::string big = small().build();
  std::swap(big[4], big[7]);
  EXPECT_NE(refusal(big).find("expected a little-endian GGUF file, got a big-endian one"), std::string::npos);
}

TEST(Gguf, RefusesBrokenTensors) {
  EXPECT_NE(refusal(GgufImage().tensor("a", 2, {33}, std::string(36, ' ')).build()).find("a: expected rows of whole blocks of 32 for Q4_0, got rows of 33"), std::string::npos);
  EXPECT_NE(refusal(GgufImage().tensor("a", 77, {32}, "").build()).find("a: expected a known tensor type, got number 77"), std::string::npos);
  EXPECT_NE(refusal(GgufImage().tensor("a", 0, {1, 1, 1, 1, 1}, "").build()).find("a: expected 1 to 4 dimensions, got 5"), std::string::npos);
  EXPECT_NE(refusal(GgufImage().tensor("a", 0, {9}, std::string(32, ' ')).build()).find("a: expected its data inside the 32 bytes of the data section"), std::string::npos);
  EXPECT_NE(refusal(GgufImage().tensor("a", 0, {int64_t{1} << 39, int64_t{1} << 39}, "").build()).find("a: expected its data inside"), std::string::npos);
  EXPECT_NE(refusal(GgufImage().u32("general.alignment", 24).build()).find("general.alignment: expected a power of two"), std::string::npos);
  EXPECT_NE(refusal(GgufImage().u32("a", 1).u32("a", 1).build()).find("a: expected each key once"), std::string::npos);
}

TEST(Gguf, RefusesHugeCounts) {
  const std::string texts = bytesOf<uint32_t>(8) + bytesOf<uint64_t>(uint64_t{1} << 60), nested = bytesOf<uint32_t>(9) + bytesOf<uint64_t>(1);
  EXPECT_NE(refusal(GgufImage().entry("a", 9, texts).build()).find("a: expected 1152921504606846976 texts"), std::string::npos);
  EXPECT_NE(refusal(GgufImage().entry("a", 9, nested).build()).find("expected an array of numbers or texts"), std::string::npos);
  EXPECT_NE(refusal(GgufImage().entry("a", 10, bytesOf<uint64_t>(uint64_t{1} << 63)).build()).find("a: expected an integer below 2^63"), std::string::npos);
}

TEST(Gguf, SplitFilesAreOneModel) {
  const TemporaryFolder folder;
  const auto part = [](uint32_t number, const char* tensor) {
    GgufImage image;
    if (number == 0) image.text("general.architecture", "llama");
    image.entry("split.no", 2, bytesOf<uint16_t>(static_cast<uint16_t>(number))).entry("split.count", 2, bytesOf<uint16_t>(2)).entry("split.tensors.count", 5, bytesOf<int32_t>(2));
    return image.tensor(tensor, 0, {1}, bytesOf(1.0f)).build();
  };
  const auto first = folder.write("m-00001-of-00002.gguf", part(0, "a"));
  EXPECT_NE(GgufModel::open(first).error().message().find("m-00002-of-00002.gguf: cannot open"), std::string::npos);
  const auto second = folder.write("m-00002-of-00002.gguf", part(1, "b"));
  for (const auto& path : {first, second}) {
    const auto model = GgufModel::open(path);
    ASSERT_TRUE(model.ok()) << model.error();
    EXPECT_EQ(*model->metadata().text("general.architecture"), "llama");
    EXPECT_NE(model->find("a"), nullptr);
    EXPECT_NE(model->find("b"), nullptr);
  }
  folder.write("m-00002-of-00002.gguf", part(1, "a"));
  EXPECT_NE(GgufModel::open(first).error().message().find("a: expected each tensor once"), std::string::npos);
  folder.write("m-00002-of-00002.gguf", part(0, "b"));
  EXPECT_NE(GgufModel::open(first).error().message().find("split.no: expected 1, got 0"), std::string::npos);
  const auto renamed = folder.write("other.gguf", part(0, "a"));
  EXPECT_NE(GgufModel::open(renamed).error().message().find("expected a name like model-00001-of-00002.gguf for one of 2 files"), std::string::npos);
}

}  // namespace
}  // namespace exo
