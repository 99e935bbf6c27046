#include "frontend/checkpoint/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>

#include "tests/frontend/checkpoint/temporary_folder.h"

namespace exo {
namespace {

std::string refusal(const std::string& image) {
  const auto read = parseSafetensors(std::as_bytes(std::span(image)), "f.safetensors");
  return read.ok() ? "" : read.error().message();
}

std::string refusal(const std::string& header, size_t data_bytes) {
  return refusal(safetensorsImage(header, std::string(data_bytes, 'x')));
}

struct Malformed {
  const char* what;
  const char* header;
  size_t data_bytes;
  const char* says;
};

class RefusesHeader : public testing::TestWithParam<Malformed> {};

TEST_P(RefusesHeader, NamesFileTensorAndReason) {
  const std::string message = refusal(GetParam().header, GetParam().data_bytes);
  EXPECT_EQ(message.find("f.safetensors: "), 0u) << message;
  EXPECT_NE(message.find(GetParam().says), std::string::npos) << message;
}

INSTANTIATE_TEST_SUITE_P(
    Each, RefusesHeader,
    testing::Values(
        Malformed{"NotAnObject", "[]", 0, "expected a JSON object"}, Malformed{"NotJson", "{", 0, "expected JSON"},
        Malformed{"EntryNoObject", R"({"a": 1})", 0, "a: expected an object, got 1"},
        Malformed{"EntryNull", R"({"a": null})", 0, "a: expected an object"},
        Malformed{"NoDtype", R"({"a": {"shape": [1], "data_offsets": [0, 4]}})", 4, "a.dtype: expected a string"},
        Malformed{"UnknownDtype", R"({"a": {"dtype": "F33", "shape": [1], "data_offsets": [0, 4]}})", 4, "got \"F33\""},
        Malformed{"NoShape", R"({"a": {"dtype": "F32", "data_offsets": [0, 4]}})", 4, "a.shape: expected a list"},
        Malformed{"NegativeShape", R"({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}})", 4,
                  "a.shape[0]: expected an integer ≥ 0, got -1"},
        Malformed{"FractionalShape", R"({"a": {"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]}})", 4, "got 1.0"},
        Malformed{"OverflowingShape",
                  R"({"a": {"dtype": "F32", "shape": [4294967296, 4294967296, 4], "data_offsets": [0, 4]}})", 4,
                  "a.shape: expected a size below 2^63 bytes"},
        Malformed{"OverflowingBytes", R"({"a": {"dtype": "F64", "shape": [2305843009213693952], "data_offsets": [0, 0]}})",
                  0, "a.shape: expected a size below 2^63 bytes"},
        Malformed{"HugeRank", R"({"a": {"dtype": "F32", "shape": [1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1], "data_offsets": [0, 4]}})",
                  4, "at most 16 dimensions"},
        Malformed{"NoOffsets", R"({"a": {"dtype": "F32", "shape": [1]}})", 4, "a.data_offsets: expected two integers"},
        Malformed{"ThreeOffsets", R"({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4, 8]}})", 4, "two integers"},
        Malformed{"BackwardOffsets", R"({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}})", 4, "begin ≤ end"},
        Malformed{"OutsideFile", R"({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}})", 4, "≤ 4, the size"},
        Malformed{"HugeOffset", R"({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 18446744073709551615]}})", 4, "got"},
        Malformed{"WrongSize", R"({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}})", 4,
                  "expected 8 bytes for F32[2], got 4"},
        Malformed{"Overlap", R"({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
                                 "b": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}})",
                  8, "b: expected data at offset 8, where the tensor before ends, got 4 (overlap)"},
        Malformed{"Gap", R"({"a": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]},
                             "b": {"dtype": "U8", "shape": [2], "data_offsets": [3, 5]}})",
                  5, "got 3 (gap)"},
        Malformed{"TrailingBytes", R"({"a": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}})", 3,
                  "expected 2 bytes of tensor data after the header, got 3"},
        Malformed{"EmptyTensorInsideAnother", R"({"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
                                                  "b": {"dtype": "U8", "shape": [0], "data_offsets": [2, 2]}})",
                  4, "(overlap)"},
        Malformed{"DuplicateName", R"({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
                                       "a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}})",
                  1, "unique keys, got \"a\" twice"},
        Malformed{"UnknownKey", R"({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1], "strides": [1]}})", 1,
                  "a.strides: unknown key"},
        Malformed{"BadMetadata", R"({"__metadata__": {"format": 1}})", 0, "__metadata__.format: expected a string"},
        Malformed{"Deep", "[[[[[[[[[[[[]]]]]]]]]]]]", 0, "nested at most 8 deep"}),
    [](const auto& info) { return info.param.what; });

TEST(Safetensors, RefusesImpossibleLengths) {
  EXPECT_NE(refusal("").find("at least 8 bytes, got 0"), std::string::npos);
  EXPECT_NE(refusal("1234567").find("got 7"), std::string::npos);
  EXPECT_NE(refusal(std::string("\x09\0\0\0\0\0\0\0{}", 10)).find("expected at least 8 + 9 bytes"), std::string::npos);
  EXPECT_NE(refusal(std::string(8, '\xff') + "{}").find("at most 100000000 bytes"), std::string::npos);
}

TEST(Safetensors, ReadsShapesAndBytesInAnyOrder) {
  const std::string image = safetensorsImage(
      R"({"__metadata__": {"format": "pt"}, "z": {"dtype": "U8", "shape": [2, 1], "data_offsets": [0, 2]},
          "a": {"dtype": "I16", "shape": [], "data_offsets": [2, 4]}, "e": {"dtype": "F32", "shape": [3, 0], "data_offsets": [4, 4]}}   )",
      "wxyz");
  const auto read = parseSafetensors(std::as_bytes(std::span(image)), "f");
  ASSERT_TRUE(read.ok()) << read.error();
  ASSERT_EQ(read->tensors.size(), 3u);
  EXPECT_EQ(read->metadata.at("format"), "pt");
  EXPECT_EQ(read->tensors[0].name, "a");
  EXPECT_EQ(read->tensors[0].numElements(), 1);
  EXPECT_EQ(std::memcmp(read->tensors[0].bytes.data(), "yz", 2), 0);
  EXPECT_EQ(read->tensors[1].numElements(), 0);
  EXPECT_EQ(read->tensors[2].shape, (std::vector<int64_t>{2, 1}));
}

TEST(Safetensors, EmptyFilesAreValid) { EXPECT_EQ(refusal("{}", 0), ""); }

TEST(Safetensors, WrittenFilesReadBack) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "out.safetensors";
  const std::vector<float> logits = {1.5f, -2.0f, 0.25f, 3.0f, 1e-30f, 7.0f};
  const std::vector<int64_t> ids = {5, -1};
  const std::vector<TensorToWrite> tensors = {TensorToWrite::f32("logits", {2, 3}, logits), TensorToWrite::i64("ids", {2}, ids),
                                              TensorToWrite::f32("empty", {0, 3}, {})};
  ASSERT_TRUE(writeSafetensors(path, tensors).ok());
  ASSERT_TRUE(writeSafetensors(path, tensors).ok()) << "replaces an existing file";
  const auto file = SafetensorsFile::open(path);
  ASSERT_TRUE(file.ok()) << file.error();
  EXPECT_EQ(file->tensors().size(), 3u);
  const TensorView* read = file->find("logits");
  ASSERT_NE(read, nullptr);
  EXPECT_EQ(read->shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(reinterpret_cast<uintptr_t>(read->bytes.data()) % 8, 0u);
  EXPECT_EQ(std::memcmp(read->bytes.data(), logits.data(), 24), 0);
  EXPECT_EQ(std::memcmp(file->find("ids")->bytes.data(), ids.data(), 16), 0);
  EXPECT_EQ(file->find("logit"), nullptr);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1) << "no temporary file stays";
}

TEST(Safetensors, WriterRefusesWhatDoesNotFit) {
  const TemporaryFolder folder;
  const std::vector<float> values = {1.0f, 2.0f};
  const std::vector<TensorToWrite> wrong = {TensorToWrite::f32("a", {3}, values)};
  EXPECT_FALSE(writeSafetensors(folder.path() / "x", wrong).ok());
  const std::vector<TensorToWrite> twice = {TensorToWrite::f32("a", {2}, values), TensorToWrite::f32("a", {2}, values)};
  EXPECT_FALSE(writeSafetensors(folder.path() / "x", twice).ok());
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  const std::vector<TensorToWrite> good = {TensorToWrite::f32("a", {2}, values)};
  EXPECT_EQ(writeSafetensors(folder.path() / "no" / "x", good).error().code(), ErrorCode::kIo);
}

TEST(Safetensors, OpenRefusesMissingFilesAndFolders) {
  const TemporaryFolder folder;
  EXPECT_EQ(SafetensorsFile::open(folder.path() / "none").error().code(), ErrorCode::kNotFound);
  EXPECT_FALSE(SafetensorsFile::open(folder.path()).ok());
  EXPECT_FALSE(SafetensorsFile::open(folder.write("empty", "")).ok());
}

}  // namespace
}  // namespace exo
