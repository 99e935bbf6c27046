#include "frontend/config/quantization.h"

#include <algorithm>
#include <array>

#include "frontend/config/suggest.h"
#include "frontend/config/text_part.h"

namespace exo {
namespace {

Error unsupported(const JsonObject& json, const std::string& key, const std::string& what) {
  const Json* value = json.find(key);
  return makeError(ErrorCode::kUnsupported, json.path(key), ": expected ", what, ", got ", value ? describe(*value) : "nothing");
}

/// Error unless the key is absent or one of `values`.
Status onlyText(const JsonObject& json, const std::string& key, const std::vector<std::string>& values, const std::string& what) {
  EXO_ASSIGN(const std::string text, json.stringOr(key, values[0]));
  if (std::find(values.begin(), values.end(), text) == values.end()) return unsupported(json, key, what);
  return {};
}

Status onlyFlag(const JsonObject& json, const std::string& key, bool wanted) {
  EXO_ASSIGN(const bool value, json.booleanOr(key, wanted));
  if (value != wanted) return unsupported(json, key, wanted ? "true" : "false");
  return {};
}

Status onlyBits(const JsonObject& json, const std::string& key, int64_t bits, const std::vector<int64_t>& known) {
  if (std::find(known.begin(), known.end(), bits) != known.end()) return {};
  std::string text;
  for (const int64_t width : known) text += (text.empty() ? "" : width == known.back() ? " or " : ", ") + std::to_string(width);
  return unsupported(json, key, text + " bits");
}

/// -1 (and absence) mean a whole row.
Result<int64_t> readGroupSize(const JsonObject& json) {
  EXO_ASSIGN(const int64_t size, json.integerOr("group_size", -1, {-1, 1 << 20}));
  if (size == 0) return json.expected("group_size", "at least 1, or -1 for whole rows");
  return std::max<int64_t>(size, 0);
}

Status readBlocks(const JsonObject& json, const std::string& key, QuantizationConfig& config) {
  EXO_ASSIGN(const auto blocks, json.findIntegers(key, {1, 1 << 20}));
  if (!blocks) return {};
  if (blocks->size() != 2) return json.expected(key, "two sizes, rows and columns");
  config.block_rows = (*blocks)[0];
  config.block_columns = (*blocks)[1];
  return {};
}

Status readFp8(const JsonObject& json, QuantizationConfig& config) {
  EXO_TRY(json.refuseUnknown({"quant_method", "activation_scheme", "fmt", "weight_block_size", "modules_to_not_convert",
                              "ignored_layers", "scale_fmt", "dequantize"}));
  EXO_TRY(onlyText(json, "fmt", {"e4m3", "float8_e4m3fn"}, "e4m3"));
  EXO_TRY(onlyText(json, "activation_scheme", {"dynamic", "static"}, "dynamic or static"));
  EXO_TRY(onlyText(json, "scale_fmt", {"float", "ue8m0"}, "float or ue8m0"));
  return readBlocks(json, "weight_block_size", config);
}

Status readMxfp4(const JsonObject& json, QuantizationConfig&) {
  return json.refuseUnknown({"quant_method", "modules_to_not_convert", "dequantize"});
}

Status readGptq(const JsonObject& json, QuantizationConfig& config) {
  // Options of the quantiser that leave no trace in the file are known by name; the others are read.
  EXO_TRY(json.refuseUnknown({"quant_method", "bits", "group_size", "desc_act", "sym", "checkpoint_format", "true_sequential",
                              "damp_percent", "damp_auto_increment", "static_groups", "model_name_or_path", "model_file_base_name", "is_marlin_format",
                              "lm_head", "meta", "pack_dtype", "dynamic", "batch_size", "block_name_to_quantize", "cache_block_outputs",
                              "dataset", "exllama_config", "max_input_length", "module_name_preceding_first_block",
                              "modules_in_block_to_quantize", "pad_token_id", "tokenizer", "use_cuda_fp16", "use_exllama",
                              "disable_exllama", "backend", "model_seqlen", "hyb_act", "quantizer"}));
  EXO_ASSIGN(config.width.bits, json.integer("bits"));
  EXO_TRY(onlyBits(json, "bits", config.width.bits, {4, 8}));
  EXO_ASSIGN(config.width.group_size, readGroupSize(json));
  EXO_TRY(onlyFlag(json, "is_marlin_format", false));
  EXO_TRY(onlyText(json, "checkpoint_format", {"gptq", "gptq_v2"}, "gptq or gptq_v2"));
  EXO_TRY(onlyText(json, "pack_dtype", {"int32"}, "int32"));
  if (json.has("dynamic") && !json.find("dynamic")->empty()) return unsupported(json, "dynamic", "one width for all layers");
  EXO_ASSIGN(const std::string format, json.stringOr("checkpoint_format", "gptq"));
  config.zero_offset = format == "gptq" ? 1 : 0;
  EXO_ASSIGN(const bool symmetric, json.booleanOr("sym", true));
  EXO_ASSIGN(const bool reordered, json.booleanOr("desc_act", false));
  config.symmetric = symmetric && !reordered;
  return {};
}

Status readAwq(const JsonObject& json, QuantizationConfig& config) {
  EXO_TRY(json.refuseUnknown({"quant_method", "bits", "w_bit", "group_size", "q_group_size", "zero_point", "version", "modules_to_not_convert",
                              "backend", "do_fuse", "fuse_max_seq_len", "modules_to_fuse", "exllama_config"}));
  EXO_ASSIGN(config.width.bits, json.integer("bits"));
  EXO_TRY(onlyBits(json, "bits", config.width.bits, {4}));
  EXO_ASSIGN(config.width.group_size, readGroupSize(json));
  EXO_TRY(onlyFlag(json, "zero_point", true));
  EXO_ASSIGN(std::string version, json.stringOr("version", "gemm"));
  std::transform(version.begin(), version.end(), version.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (version != "gemm") return unsupported(json, "version", "\"gemm\"");
  return {};
}

/// The one group of config_groups, as both ways of compressed-tensors need it.
Status readWeightScheme(const JsonObject& weights, const std::string& type, QuantizationConfig& config) {
  EXO_TRY(weights.refuseUnknown({"actorder", "block_structure", "dynamic", "group_size", "num_bits", "observer", "observer_kwargs",
                                 "strategy", "symmetric", "type", "scale_dtype", "zp_dtype"}));
  EXO_TRY(onlyText(weights, "type", {type}, '"' + type + '"'));
  EXO_TRY(onlyFlag(weights, "symmetric", true));
  if (weights.has("actorder") && *weights.find("actorder") != Json(false)) return unsupported(weights, "actorder", "null");
  EXO_ASSIGN(config.width.bits, weights.integer("num_bits"));
  EXO_ASSIGN(config.width.group_size, readGroupSize(weights));
  EXO_TRY(onlyText(weights, "strategy", {"tensor", "channel", "group", "block"}, "tensor, channel, group or block"));
  return readBlocks(weights, "block_structure", config);
}

Status readCompressedTensors(const JsonObject& json, QuantizationConfig& config) {
  EXO_TRY(json.refuseUnknown({"quant_method", "config_groups", "format", "global_compression_ratio", "ignore", "kv_cache_scheme",
                              "quantization_status", "sparsity_config", "transform_config", "version"}));
  for (const char* key : {"kv_cache_scheme", "sparsity_config", "transform_config"})
    if (json.has(key) && !json.find(key)->empty()) return unsupported(json, key, "null");
  EXO_ASSIGN(const std::string format, json.string("format"));
  if (format != "pack-quantized" && format != "float-quantized" && format != "naive-quantized")
    return unsupported(json, "format", "pack-quantized, float-quantized or naive-quantized");
  const bool packed = format == "pack-quantized";
  config.method = packed ? QuantMethod::kPackedInt : QuantMethod::kFp8;
  EXO_ASSIGN(const JsonObject groups, json.object("config_groups"));
  if (groups.json().size() != 1) return unsupported(json, "config_groups", "one group");
  EXO_ASSIGN(const JsonObject group, groups.object(groups.json().begin().key()));
  EXO_ASSIGN(const JsonObject weights, group.object("weights"));
  EXO_TRY(readWeightScheme(weights, packed ? "int" : "float", config));
  return packed ? onlyBits(weights, "num_bits", config.width.bits, {4, 8}) : onlyBits(weights, "num_bits", config.width.bits, {8});
}

Result<QuantWidth> readMlxWidth(const JsonObject& json) {
  EXO_TRY(onlyText(json, "mode", {"affine", "mxfp4"}, "affine or mxfp4"));
  EXO_ASSIGN(const std::string mode, json.stringOr("mode", "affine"));
  QuantWidth width;
  width.mxfp4 = mode == "mxfp4";
  EXO_ASSIGN(width.bits, json.integer("bits"));
  EXO_ASSIGN(width.group_size, json.integer("group_size", {1, 1 << 20}));
  EXO_TRY(onlyBits(json, "bits", width.bits, width.mxfp4 ? std::vector<int64_t>{4} : std::vector<int64_t>{2, 3, 4, 5, 6, 8}));
  if (width.mxfp4 && width.group_size != 32) return unsupported(json, "group_size", "32 for mxfp4");
  return width;
}

Status readMlx(const JsonObject& json, QuantizationConfig& config) {
  config.method = QuantMethod::kMlx;
  EXO_ASSIGN(config.width, readMlxWidth(json));
  for (const auto& [key, value] : json.json().items()) {
    if (key == "bits" || key == "group_size" || key == "mode") continue;
    // Anything else is a layer's path: a width of its own, false (kept as it was), or true (the default).
    if (value.is_boolean()) {
      config.overrides[key] = value.get<bool>() ? std::optional(config.width) : std::nullopt;
      continue;
    }
    if (!value.is_object()) return json.expected(key, "a layer's {bits, group_size}, true or false");
    EXO_ASSIGN(const JsonObject layer, json.object(key));
    EXO_TRY(layer.refuseUnknown({"bits", "group_size", "mode"}));
    EXO_ASSIGN(const QuantWidth width, readMlxWidth(layer));
    config.overrides[key] = width;
  }
  return {};
}

struct Method {
  const char* name;
  QuantMethod method;
  Status (*read)(const JsonObject&, QuantizationConfig&);
};
constexpr std::array kMethods = {
    Method{"fp8", QuantMethod::kFp8, readFp8},
    Method{"mxfp4", QuantMethod::kMxfp4, readMxfp4},
    Method{"compressed-tensors", QuantMethod::kPackedInt, readCompressedTensors},
    Method{"gptq", QuantMethod::kGptq, readGptq},
    Method{"awq", QuantMethod::kAwq, readAwq},
};

Status readMethod(const JsonObject& json, QuantizationConfig& config) {
  EXO_ASSIGN(const std::string text, json.string("quant_method"));
  std::vector<std::string> names;
  for (const Method& method : kMethods) {
    if (method.name == text) {
      config.method = method.method;
      return method.read(json, config);
    }
    names.emplace_back(method.name);
  }
  return makeError(ErrorCode::kUnsupported, json.path("quant_method"),
                   ": expected fp8, mxfp4, compressed-tensors, gptq or awq, got ", describe(Json(text)), didYouMean(text, names));
}

}  // namespace

Result<QuantizationConfig> readQuantization(const JsonObject& json) {
  QuantizationConfig config;
  for (const std::string key : {"quantization", "quantization_config", "compression_config"}) {
    EXO_ASSIGN(const auto object, json.findObject(key));
    if (!object || object->json().empty()) continue;
    QuantizationConfig read;
    // MLX names no method; its files carry the same object under both keys.
    EXO_TRY(object->has("quant_method") ? readMethod(*object, read) : readMlx(*object, read));
    if (config.method != QuantMethod::kNone && config != read) return json.expected(key, "the same as the other quantization of this file");
    config = std::move(read);
  }
  return config;
}

Result<QuantizationConfig> loadQuantization(const std::filesystem::path& directory) {
  const std::filesystem::path file = directory / "config.json";
  std::error_code code;
  if (!std::filesystem::exists(file, code)) return QuantizationConfig{};
  EXO_ASSIGN(const Json json, readJsonFile(file));
  EXO_ASSIGN(const JsonObject object, JsonObject::root(json, file.string()));
  EXO_ASSIGN(const auto text, findTextPart(object));
  if (!text) return readQuantization(object);
  EXO_ASSIGN(const JsonObject part, JsonObject::root(text->json, file.string() + ": text_config"));
  return readQuantization(part);
}

}  // namespace exo
