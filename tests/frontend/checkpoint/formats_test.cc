// Each stored format of safetensors files against a plain encoder of the test: w is made up first, then written the way
// the format says, bit by bit; reading must give w back, whole and in any rectangle.
// R rows, C columns.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>

#include "frontend/checkpoint/checkpoint.h"
#include "tests/frontend/checkpoint/temporary_folder.h"

namespace exo {
namespace {

/// A stored tensor, filled element by element.
struct Written {
  std::string name;
  DType dtype;
  std::vector<int64_t> shape;
  std::vector<std::byte> bytes;

  template <class T>
  static Written of(std::string name, DType dtype, std::vector<int64_t> shape, const std::vector<T>& values) {
    Written written{std::move(name), dtype, std::move(shape), std::vector<std::byte>(values.size() * sizeof(T))};
    if (!values.empty()) std::memcpy(written.bytes.data(), values.data(), written.bytes.size());
    return written;
  }
};

Result<Checkpoint> openWritten(const TemporaryFolder& folder, const std::string& config, const std::vector<Written>& tensors) {
  std::vector<TensorToWrite> writes;
  for (const Written& tensor : tensors) writes.push_back({tensor.name, tensor.dtype, tensor.shape, tensor.bytes});
  EXO_TRY(writeSafetensors(folder.path() / "model.safetensors", writes));
  folder.write("config.json", config);
  return Checkpoint::open(folder.path());
}

using Value = std::function<float(int64_t row, int64_t column)>;

/// The whole, and rectangles that begin and end inside groups, bytes and words.
void expectValues(const Checkpoint& checkpoint, const std::string& name, int64_t rows, int64_t columns, const Value& value) {
  const TensorRef tensor{name, {rows, columns}};
  for (const TensorSlice& slice : {TensorSlice{0, rows, 0, columns}, TensorSlice{1, rows, 3, columns - 5}, TensorSlice{rows - 1, rows, columns / 2 - 1, columns / 2 + 2}}) {
    std::vector<float> got(static_cast<size_t>(slice.rows() * slice.columns()));
    const Status read = checkpoint.readRows(tensor, slice, got);
    ASSERT_TRUE(read.ok()) << read.error();
    for (int64_t r = 0; r < slice.rows(); ++r)
      for (int64_t c = 0; c < slice.columns(); ++c)
        ASSERT_EQ(got[static_cast<size_t>(r * slice.columns() + c)], value(slice.row_begin + r, slice.column_begin + c))
            << name << " at row " << slice.row_begin + r << " column " << slice.column_begin + c;
  }
}

std::string refusal(const std::string& config, const std::vector<Written>& tensors) {
  const TemporaryFolder folder;
  const auto checkpoint = openWritten(folder, config, tensors);
  return checkpoint.ok() ? "" : checkpoint.error().message();
}

/// A small number that depends on both arguments and repeats late.
int64_t scramble(int64_t row, int64_t column, int64_t range) { return (row * 7919 + column * 104729 + row * column * 31) % range; }

uint16_t bf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  EXPECT_EQ(bits & 0xffff, 0u) << value << " is no bf16";
  return static_cast<uint16_t>(bits >> 16);
}

// --- fp8 ---------------------------------------------------------------------------------------------------------

/// e4m3 by its definition: sign, 4 bits of exponent (bias 7), 3 of mantissa; exponent 0: no leading one.
float e4m3(uint8_t bits) {
  const int exponent = bits >> 3 & 15, mantissa = bits & 7;
  const double magnitude = exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
  return static_cast<float>(bits & 0x80 ? -magnitude : magnitude);
}

struct Fp8Case {
  const char* config;
  const char* scale_name;
  std::vector<int64_t> scale_shape;
  int64_t block_rows, block_columns;
};

TEST(Formats, Fp8) {
  constexpr int64_t R = 200, C = 300;  // partial blocks at both edges
  const char* const blocks = R"({"quantization_config": {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}})";
  const char* const channel = R"({"quantization_config": {"quant_method": "compressed-tensors", "format": "float-quantized", "config_groups": {"group_0": {"targets": ["Linear"],
      "weights": {"num_bits": 8, "type": "float", "symmetric": true, "strategy": "channel", "dynamic": false}}}}})";
  const char* const whole = R"({"quantization_config": {"quant_method": "fp8", "activation_scheme": "static"}})";
  for (const Fp8Case& c : {Fp8Case{blocks, "weight_scale_inv", {2, 3}, 128, 128}, Fp8Case{channel, "weight_scale", {R, 1}, 1, C}, Fp8Case{whole, "weight_scale", {}, R, C}}) {
    std::vector<uint8_t> weight;
    for (int64_t i = 0; i < R * C; ++i) weight.push_back(static_cast<uint8_t>(i % 127 + (i % 2 ? 128 : 0)));  // all but the two NaNs
    int64_t count = 1;
    for (const int64_t dim : c.scale_shape) count *= dim;
    std::vector<float> scales;
    for (int64_t i = 0; i < count; ++i) scales.push_back(0.25f + 0.5f * static_cast<float>(i));
    const TemporaryFolder folder;
    const auto checkpoint = openWritten(folder, c.config, {Written::of("a.weight", DType::kF8E4M3, {R, C}, weight),
                                                           Written::of(std::string("a.") + c.scale_name, DType::kF32, c.scale_shape, scales)});
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.error();
    const int64_t per_row = (C + c.block_columns - 1) / c.block_columns;
    expectValues(*checkpoint, "a.weight", R, C, [&](int64_t row, int64_t column) {
      return e4m3(weight[static_cast<size_t>(row * C + column)]) * scales[static_cast<size_t>(row / c.block_rows * per_row + column / c.block_columns)];
    });
    EXPECT_EQ(checkpoint->stored("a.weight")->traits().encoding, Encoding::kW8);
    EXPECT_FALSE(checkpoint->stored("a.weight")->traits().is_exact);
  }
}

TEST(Formats, Fp8NeedsItsScales) {
  const std::string config = R"({"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}})";
  const Written weight = Written::of("a.weight", DType::kF8E4M3, {2, 2}, std::vector<uint8_t>(4));
  EXPECT_NE(refusal(config, {weight}).find("a: expected weight_scale_inv or weight_scale"), std::string::npos);
  const Written wrong = Written::of("a.weight_scale_inv", DType::kF32, {2, 1}, std::vector<float>(2));
  EXPECT_NE(refusal(config, {weight, wrong}).find("expected shape [1, 1] for blocks of 128×128, got [2, 1]"), std::string::npos);
}

// --- MXFP4 and stacks of experts -------------------------------------------------------------------------------------

float e2m1(uint32_t code) {
  const float magnitudes[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
  return code & 8 ? -magnitudes[code & 7] : magnitudes[code & 7];
}

TEST(Formats, Mxfp4ExpertsWithAlternatingGateAndUp) {
  constexpr int64_t E = 3, I = 5, C = 64;
  const auto code = [](int64_t e, int64_t row, int64_t column) { return static_cast<uint32_t>(scramble(e * 100 + row, column, 16)); };
  const auto exponent = [](int64_t e, int64_t row, int64_t group) { return static_cast<uint8_t>(120 + (e + row * 2 + group) % 9); };
  std::vector<uint8_t> blocks, scales;
  for (int64_t e = 0; e < E; ++e)
    for (int64_t row = 0; row < 2 * I; ++row)
      for (int64_t group = 0; group < C / 32; ++group) {
        scales.push_back(exponent(e, row, group));
        for (int64_t j = 0; j < 16; ++j) blocks.push_back(static_cast<uint8_t>(code(e, row, group * 32 + 2 * j) | code(e, row, group * 32 + 2 * j + 1) << 4));
      }
  std::vector<uint16_t> bias;
  for (int64_t i = 0; i < E * 2 * I; ++i) bias.push_back(bf16(static_cast<float>(i)));
  const TemporaryFolder folder;
  const std::string path = "model.layers.0.mlp.experts.";
  const auto checkpoint = openWritten(folder, R"({"quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}})",
                                      {Written::of(path + "gate_up_proj_blocks", DType::kU8, {E, 2 * I, C / 32, 16}, blocks),
                                       Written::of(path + "gate_up_proj_scales", DType::kU8, {E, 2 * I, C / 32}, scales),
                                       Written::of(path + "gate_up_proj_bias", DType::kBF16, {E, 2 * I}, bias)});
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error();
  for (int64_t e = 0; e < E; ++e) {
    for (int64_t up = 0; up < 2; ++up) {
      const std::string name = path + std::to_string(e) + (up ? ".up_proj" : ".gate_proj");
      expectValues(*checkpoint, name + ".weight", I, C, [&](int64_t row, int64_t column) {
        return e2m1(code(e, 2 * row + up, column)) * std::ldexp(1.0f, exponent(e, 2 * row + up, column / 32) - 127);
      });
      std::vector<float> values(I);
      ASSERT_TRUE(checkpoint->readAll({name + ".bias", {I}}, values).ok());
      for (int64_t row = 0; row < I; ++row) EXPECT_EQ(values[static_cast<size_t>(row)], static_cast<float>(e * 2 * I + 2 * row + up));
      const StoredTraits& traits = checkpoint->stored(name + ".weight")->traits();
      EXPECT_TRUE(traits.is_exact);
      EXPECT_EQ(traits.encoding, Encoding::kW8);
      EXPECT_EQ(traits.size_bytes, static_cast<uint64_t>(I * C / 32 * 17));
    }
  }
  std::vector<uint16_t> halves(2);
  ASSERT_TRUE(checkpoint->readScales(path + "1.up_proj.weight", 2, 0, halves));
  // Doubled elements are integers, so the scale is half of 2^(e - 127): an f16 with exponent e - 128.
  for (int64_t group = 0; group < 2; ++group) EXPECT_EQ(halves[static_cast<size_t>(group)], (exponent(1, 5, group) - 128 + 15) << 10);
}

TEST(Formats, UnquantisedExpertsOfGptOssAreTransposed) {
  constexpr int64_t E = 2, H = 8, I = 6;
  const auto value = [](int64_t e, int64_t h, int64_t column) { return static_cast<float>(scramble(e * 10 + h, column, 200)); };
  std::vector<float> gate_up, bias(E * 2 * I, 1.0f);
  for (int64_t e = 0; e < E; ++e)
    for (int64_t h = 0; h < H; ++h)
      for (int64_t column = 0; column < 2 * I; ++column) gate_up.push_back(value(e, h, column));
  const TemporaryFolder folder;
  const auto checkpoint = openWritten(folder, "{}", {Written::of("m.experts.gate_up_proj", DType::kF32, {E, H, 2 * I}, gate_up),
                                                     Written::of("m.experts.gate_up_proj_bias", DType::kF32, {E, 2 * I}, bias)});
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error();
  for (int64_t e = 0; e < E; ++e) {
    expectValues(*checkpoint, "m.experts." + std::to_string(e) + ".gate_proj.weight", I, H, [&](int64_t row, int64_t column) { return value(e, column, 2 * row); });
    expectValues(*checkpoint, "m.experts." + std::to_string(e) + ".up_proj.weight", I, H, [&](int64_t row, int64_t column) { return value(e, column, 2 * row + 1); });
  }
}

// --- integers ----------------------------------------------------------------------------------------------------

TEST(Formats, PackedIntOfCompressedTensors) {
  constexpr int64_t R = 5, C = 96;
  const auto integer = [](int64_t row, int64_t column) { return scramble(row, column, 16) - 8; };
  const auto scale = [](int64_t row, int64_t group) { return std::ldexp(1.0f + static_cast<float>(row) / 8.0f, -static_cast<int>(group) - 5); };
  std::vector<uint32_t> packed(R * C / 8);
  std::vector<uint16_t> scales;
  for (int64_t row = 0; row < R; ++row) {
    for (int64_t column = 0; column < C; ++column)
      packed[static_cast<size_t>(row * C / 8 + column / 8)] |= static_cast<uint32_t>(integer(row, column) + 8) << (4 * (column % 8));
    for (int64_t group = 0; group < C / 32; ++group) scales.push_back(bf16(scale(row, group)));
  }
  const std::string config = R"({"quantization_config": {"quant_method": "compressed-tensors", "format": "pack-quantized", "ignore": ["lm_head"],
      "config_groups": {"group_0": {"targets": ["Linear"], "weights": {"num_bits": 4, "type": "int", "symmetric": true, "strategy": "group", "group_size": 32}}}}})";
  const TemporaryFolder folder;
  const auto checkpoint = openWritten(folder, config, {Written::of("a.weight_packed", DType::kI32, {R, C / 8}, packed), Written::of("a.weight_scale", DType::kBF16, {R, C / 32}, scales),
                                                       Written::of("a.weight_shape", DType::kI32, {2}, std::vector<int32_t>{R, C})});
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error();
  expectValues(*checkpoint, "a.weight", R, C, [&](int64_t row, int64_t column) { return static_cast<float>(integer(row, column)) * scale(row, column / 32); });
  EXPECT_EQ(checkpoint->stored("a.weight")->traits().encoding, Encoding::kW4);
  std::vector<uint16_t> halves(2);
  ASSERT_TRUE(checkpoint->readScales("a.weight", 4, 32, halves));
  EXPECT_EQ(halves[0], (-6 + 15) << 10 | 0x200);  // 1.5 · 2^-6
  EXPECT_EQ(halves[1], (-7 + 15) << 10 | 0x200);
}

class MlxWidths : public testing::TestWithParam<std::tuple<int64_t, int64_t>> {};

TEST_P(MlxWidths, AreReadAcrossWordBoundaries) {
  const auto [bits, group] = GetParam();
  const int64_t R = 3, C = 2 * std::max<int64_t>(group, 32);
  const auto integer = [bits = bits](int64_t row, int64_t column) { return scramble(row, column, int64_t{1} << bits); };
  // Bit by bit: bit b of element k is bit k·bits + b of the row.
  std::vector<uint32_t> words(static_cast<size_t>(R * C * bits / 32));
  std::vector<float> scales, biases;
  for (int64_t row = 0; row < R; ++row) {
    for (int64_t column = 0; column < C; ++column)
      for (int64_t bit = 0; bit < bits; ++bit) {
        const int64_t at = column * bits + bit;
        words[static_cast<size_t>(row * C * bits / 32 + at / 32)] |= static_cast<uint32_t>(integer(row, column) >> bit & 1) << (at % 32);
      }
    for (int64_t g = 0; g < C / group; ++g) scales.push_back(0.5f + static_cast<float>(row + g)), biases.push_back(static_cast<float>(-row - 2 * g));
  }
  const std::string config = R"({"quantization": {"bits": )" + std::to_string(bits) + R"(, "group_size": )" + std::to_string(group) + "}}";
  const TemporaryFolder folder;
  const auto checkpoint = openWritten(folder, config, {Written::of("a.weight", DType::kU32, {R, C * bits / 32}, words), Written::of("a.scales", DType::kF32, {R, C / group}, scales),
                                                       Written::of("a.biases", DType::kF32, {R, C / group}, biases)});
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error();
  expectValues(*checkpoint, "a.weight", R, C, [&, group = group](int64_t row, int64_t column) {
    const auto at = static_cast<size_t>(row * (C / group) + column / group);
    return scales[at] * static_cast<float>(integer(row, column)) + biases[at];
  });
}

INSTANTIATE_TEST_SUITE_P(Every, MlxWidths, testing::Combine(testing::Values(2, 3, 4, 5, 6, 8), testing::Values(32, 64, 128)),
                         [](const auto& info) { return std::to_string(std::get<0>(info.param)) + "_bits_groups_of_" + std::to_string(std::get<1>(info.param)); });

TEST(Formats, MlxWidthsMayDifferByLayer) {
  const std::vector<uint32_t> words(2 * 16, 0x76543210);
  const std::vector<float> scales(2 * 2, 1.0f), biases(2 * 2, 0.0f);
  const auto layer = [&](const std::string& name, int64_t groups) {
    return std::vector{Written::of(name + ".weight", DType::kU32, {2, 16}, words), Written::of(name + ".scales", DType::kF32, {2, groups}, scales), Written::of(name + ".biases", DType::kF32, {2, groups}, biases)};
  };
  std::vector<Written> all = layer("a", 2);
  for (Written& tensor : layer("b", 2)) all.push_back(std::move(tensor));
  const TemporaryFolder folder;
  const auto checkpoint = openWritten(folder, R"({"quantization": {"bits": 4, "group_size": 64, "b": {"bits": 8, "group_size": 32}, "c": false}})", all);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error();
  expectValues(*checkpoint, "a.weight", 2, 128, [](int64_t, int64_t column) { return static_cast<float>(column % 8); });
  expectValues(*checkpoint, "b.weight", 2, 64, [](int64_t, int64_t column) { return static_cast<float>(0x76543210 >> (column % 4 * 8) & 0xff); });
  EXPECT_NE(refusal(R"({"quantization": {"bits": 4, "group_size": 64, "a": false}})", layer("a", 2)).find("a: expected an unquantised weight"), std::string::npos);
  EXPECT_NE(refusal(R"({"quantization": {"bits": 4, "group_size": 32}})", layer("a", 2)).find("a.scales: expected shape [2, 4], got [2, 2]"), std::string::npos);
  EXPECT_NE(refusal("{}", layer("a", 2)).find("expected \"quantization\" {bits, group_size} in config.json"), std::string::npos);
}

struct GptqCase {
  int64_t bits;
  bool reordered;
  const char* format;
};
class Gptq : public testing::TestWithParam<GptqCase> {};

TEST_P(Gptq, IsRead) {
  const auto [bits, reordered, format] = GetParam();
  constexpr int64_t R = 16, C = 64, kGroup = 32;
  const int64_t per_word = 32 / bits, offset = std::string(format) == "gptq" ? 1 : 0;
  const auto integer = [bits = bits](int64_t row, int64_t column) { return scramble(row, column, int64_t{1} << bits); };
  const auto zero = [bits = bits](int64_t row, int64_t group) { return 1 + scramble(row, group + 5, (int64_t{1} << bits) - 1); };
  const auto group_of = [reordered = reordered](int64_t column) { return reordered ? column % 2 : column / kGroup; };
  const auto scale = [](int64_t row, int64_t group) { return 0.5f * static_cast<float>(1 + row) + static_cast<float>(group); };
  std::vector<uint32_t> qweight(static_cast<size_t>(C / per_word * R)), qzeros(static_cast<size_t>(C / kGroup * R / per_word));
  std::vector<float> scales;
  std::vector<int32_t> g_idx;
  for (int64_t column = 0; column < C; ++column) {
    g_idx.push_back(static_cast<int32_t>(group_of(column)));
    for (int64_t row = 0; row < R; ++row)
      qweight[static_cast<size_t>(column / per_word * R + row)] |= static_cast<uint32_t>(integer(row, column)) << (column % per_word * bits);
  }
  for (int64_t group = 0; group < C / kGroup; ++group)
    for (int64_t row = 0; row < R; ++row) {
      qzeros[static_cast<size_t>(group * R / per_word + row / per_word)] |= static_cast<uint32_t>(zero(row, group) - offset) << (row % per_word * bits);
      scales.push_back(scale(row, group));
    }
  const std::string config = R"({"quantization_config": {"quant_method": "gptq", "bits": )" + std::to_string(bits) + R"(, "group_size": 32, "sym": false, "desc_act": )" +
                             (reordered ? "true" : "false") + R"(, "checkpoint_format": ")" + format + "\"}}";
  const TemporaryFolder folder;
  const auto checkpoint =
      openWritten(folder, config, {Written::of("a.qweight", DType::kI32, {C / per_word, R}, qweight), Written::of("a.qzeros", DType::kI32, {C / kGroup, R / per_word}, qzeros),
                                   Written::of("a.scales", DType::kF32, {C / kGroup, R}, scales), Written::of("a.g_idx", DType::kI32, {C}, g_idx)});
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error();
  expectValues(*checkpoint, "a.weight", R, C, [&](int64_t row, int64_t column) {
    const int64_t group = group_of(column);
    return static_cast<float>(integer(row, column) - zero(row, group)) * scale(row, group);
  });
}

INSTANTIATE_TEST_SUITE_P(Every, Gptq, testing::Values(GptqCase{4, false, "gptq"}, GptqCase{4, true, "gptq"}, GptqCase{8, false, "gptq"}, GptqCase{4, false, "gptq_v2"}));

TEST(Formats, GptqNamesAGroupThatIsNotThere) {
  const TemporaryFolder folder;
  const auto checkpoint = openWritten(folder, R"({"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 8}})",
                                      {Written::of("a.qweight", DType::kI32, {1, 8}, std::vector<uint32_t>(8)), Written::of("a.qzeros", DType::kI32, {1, 1}, std::vector<uint32_t>(1)),
                                       Written::of("a.scales", DType::kF32, {1, 8}, std::vector<float>(8)), Written::of("a.g_idx", DType::kI32, {8}, std::vector<int32_t>(8, 3))});
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error();
  std::vector<float> values(64);
  EXPECT_NE(checkpoint->readAll({"a.weight", {8, 8}}, values).error().message().find("a.g_idx[0]: expected a group below 1, got 3"), std::string::npos);
}

TEST(Formats, Awq) {
  constexpr int64_t R = 16, C = 64, kGroup = 32;
  constexpr int64_t kOutputOfNibble[] = {0, 2, 4, 6, 1, 3, 5, 7};
  const auto integer = [](int64_t row, int64_t column) { return scramble(row, column, 16); };
  const auto zero = [](int64_t row, int64_t group) { return scramble(row, group + 9, 16); };
  const auto scale = [](int64_t row, int64_t group) { return static_cast<float>(1 + row + 3 * group); };
  std::vector<uint32_t> qweight(C * R / 8), qzeros(C / kGroup * R / 8);
  std::vector<float> scales;
  for (int64_t word = 0; word < R / 8; ++word)
    for (int64_t nibble = 0; nibble < 8; ++nibble) {
      const int64_t row = word * 8 + kOutputOfNibble[nibble];
      for (int64_t column = 0; column < C; ++column) qweight[static_cast<size_t>(column * R / 8 + word)] |= static_cast<uint32_t>(integer(row, column)) << (4 * nibble);
      for (int64_t group = 0; group < C / kGroup; ++group) qzeros[static_cast<size_t>(group * R / 8 + word)] |= static_cast<uint32_t>(zero(row, group)) << (4 * nibble);
    }
  for (int64_t group = 0; group < C / kGroup; ++group)
    for (int64_t row = 0; row < R; ++row) scales.push_back(scale(row, group));
  const TemporaryFolder folder;
  const auto checkpoint = openWritten(folder, R"({"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": true, "version": "GEMM"}})",
                                      {Written::of("a.qweight", DType::kI32, {C, R / 8}, qweight), Written::of("a.qzeros", DType::kI32, {C / kGroup, R / 8}, qzeros),
                                       Written::of("a.scales", DType::kF32, {C / kGroup, R}, scales)});
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error();
  expectValues(*checkpoint, "a.weight", R, C, [&](int64_t row, int64_t column) {
    return static_cast<float>(integer(row, column) - zero(row, column / kGroup)) * scale(row, column / kGroup);
  });
  std::vector<uint16_t> halves(2);
  ASSERT_TRUE(checkpoint->readScales("a.weight", 0, 0, halves));
  EXPECT_EQ(halves[0], 15 << 10);         // 1
  EXPECT_EQ(halves[1], (2 + 15) << 10);   // 4
}

struct Sample {
  const char *model, *tensor;
  std::vector<int64_t> shape;
  int64_t row, column;
  float value;  // decoded from the file's bytes with Python's struct module
};

TEST(Formats, SamplesOfWholeModels) {
  const char* shared = std::getenv("EXO_SHARED");
  const auto folder = std::filesystem::path(shared ? shared : "") / "golden";
  if (!shared || !std::filesystem::exists(folder)) GTEST_SKIP() << "EXO_SHARED names no folder with golden models";
  for (const Sample& sample : {Sample{"deepseek_v3_fp8", "model.layers.0.self_attn.q_a_proj.weight", {192, 256}, 150, 200, -0.11380441021174192f},
                               Sample{"gpt_oss_mxfp4", "model.layers.0.mlp.experts.3.up_proj.weight", {128, 128}, 5, 77, -0.5f},
                               Sample{"gpt_oss_mxfp4", "model.layers.0.mlp.experts.2.down_proj.weight", {128, 128}, 10, 40, 0.015625f},
                               Sample{"gpt_oss_bf16", "model.layers.0.mlp.experts.3.gate_proj.weight", {96, 128}, 5, 77, 0.21484375f},
                               Sample{"kimi_k2_int4", "model.layers.1.mlp.experts.5.gate_proj.weight", {64, 128}, 7, 100, 6 * 0.0361328125f}}) {
    const auto checkpoint = Checkpoint::open(folder / sample.model);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.error();
    float value = 0;
    const Status read = checkpoint->readRows({sample.tensor, sample.shape}, {sample.row, sample.row + 1, sample.column, sample.column + 1}, {&value, 1});
    ASSERT_TRUE(read.ok()) << read.error();
    EXPECT_EQ(value, sample.value) << sample.model << " " << sample.tensor;
  }
}

TEST(Formats, ExactHalf) {
  EXPECT_EQ(exactHalf(1.0f), 0x3c00);
  EXPECT_EQ(exactHalf(-2.5f), 0xc100);
  EXPECT_EQ(exactHalf(0.0f), 0);
  EXPECT_EQ(exactHalf(65504.0f), 0x7bff);
  EXPECT_EQ(exactHalf(0x1p-14f), 0x0400);
  EXPECT_EQ(exactHalf(0x1p-24f), 0x0001);       // the smallest subnormal
  EXPECT_EQ(exactHalf(0x1.8p-15f), 0x0300);
  EXPECT_EQ(exactHalf(0x1.8p-24f), std::nullopt);  // between two subnormals
  EXPECT_EQ(exactHalf(65536.0f), std::nullopt);
  EXPECT_EQ(exactHalf(1.0f + 0x1p-11f), std::nullopt);
}

}  // namespace
}  // namespace exo
