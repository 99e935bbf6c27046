// Quantisations that configurations name: those we know, and refusals by name of those we do not.
#include "frontend/config/quantization.h"

#include <gtest/gtest.h>

namespace exo {
namespace {

Result<QuantizationConfig> read(const std::string& text) {
  const Json json = Json::parse(text);
  EXO_ASSIGN(const JsonObject object, JsonObject::root(json, "config.json"));
  return readQuantization(object);
}

TEST(Quantization, NothingIsNothing) {
  EXPECT_EQ(read("{}")->method, QuantMethod::kNone);
  EXPECT_EQ(read(R"({"quantization_config": null, "quantization": {}})")->method, QuantMethod::kNone);
}

TEST(Quantization, MlxWidthsByLayer) {
  const auto config = read(R"({"quantization": {"bits": 4, "group_size": 64, "mode": "affine", "a.b": {"bits": 8, "group_size": 32}, "c": false},
                               "quantization_config": {"bits": 4, "group_size": 64, "mode": "affine", "a.b": {"bits": 8, "group_size": 32}, "c": false}})");
  ASSERT_TRUE(config.ok()) << config.error();
  EXPECT_EQ(config->method, QuantMethod::kMlx);
  EXPECT_EQ(config->width, (QuantWidth{4, 64}));
  EXPECT_EQ(config->overrides.at("a.b"), (QuantWidth{8, 32}));
  EXPECT_EQ(config->overrides.at("c"), std::nullopt);
}

TEST(Quantization, TwoSectionsMustAgree) {
  const auto config = read(R"({"quantization": {"bits": 4, "group_size": 64}, "quantization_config": {"bits": 8, "group_size": 64}})");
  EXPECT_NE(config.error().message().find("quantization_config: expected the same"), std::string::npos) << config.error();
}

struct Refusal {
  const char* config;
  const char* says;
};
class RefusedQuantization : public testing::TestWithParam<Refusal> {};

TEST_P(RefusedQuantization, IsNamed) {
  const auto config = read(R"({"quantization_config": )" + std::string(GetParam().config) + "}");
  ASSERT_FALSE(config.ok());
  EXPECT_NE(config.error().message().find(GetParam().says), std::string::npos) << config.error();
}

INSTANTIATE_TEST_SUITE_P(
    Each, RefusedQuantization,
    testing::Values(Refusal{R"({"quant_method": "bitsandbytes", "load_in_4bit": true})", "quant_method: expected fp8, mxfp4, compressed-tensors, gptq or awq, got \"bitsandbytes\""},
                    Refusal{R"({"quant_method": "fp8", "fmt": "e5m2"})", "fmt: expected e4m3, got \"e5m2\""},
                    Refusal{R"({"quant_method": "fp8", "weight_block_size": [128]})", "weight_block_size: expected two sizes"},
                    Refusal{R"({"quant_method": "fp8", "rotation": true})", "rotation"},
                    Refusal{R"({"quant_method": "gptq", "bits": 3})", "bits: expected 4 or 8 bits, got 3"},
                    Refusal{R"({"quant_method": "gptq", "bits": 4, "is_marlin_format": true})", "is_marlin_format: expected false, got true"},
                    Refusal{R"({"quant_method": "awq", "bits": 8})", "bits: expected 4 bits, got 8"},
                    Refusal{R"({"quant_method": "awq", "bits": 4, "version": "gemv"})", "version: expected \"gemm\", got \"gemv\""},
                    Refusal{R"({"quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized"})", "format: expected pack-quantized, float-quantized or naive-quantized"},
                    Refusal{R"({"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {"a": {"weights": {"num_bits": 4, "type": "int", "symmetric": false}}}})",
                            "symmetric: expected true, got false"},
                    Refusal{R"({"bits": 7, "group_size": 64})", "bits: expected 2, 3, 4, 5, 6 or 8 bits, got 7"},
                    Refusal{R"({"bits": 4, "group_size": 16, "mode": "nvfp4"})", "mode: expected affine or mxfp4, got \"nvfp4\""},
                    Refusal{R"({"bits": 4})", "group_size"}));

}  // namespace
}  // namespace exo
