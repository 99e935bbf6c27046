#include "frontend/config/stored_model.h"

#include <openssl/sha.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <vector>

#include "frontend/config/model_config.h"

namespace exo {
namespace {

namespace fs = std::filesystem;

bool isGgufFile(const fs::path& path) { return path.extension() == ".gguf"; }

/// "Model-Q4_K_M-00001-of-00003" → "Model-Q4_K_M": what the parts of one file share.
std::string wholeStem(const fs::path& file) {
  const std::string stem = file.stem().string();
  const size_t of = stem.rfind("-of-"), part = of == std::string::npos ? of : stem.rfind('-', of - 1);
  return part == std::string::npos ? stem : stem.substr(0, part);
}

/// Sorted: model.safetensors, or model-00001-of-00002.safetensors and the others. Links of the hub's cache keep their names.
std::vector<fs::path> weightFiles(const fs::path& path) {
  const bool one = isGgufFile(path);
  std::vector<fs::path> files;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(one ? path.parent_path().empty() ? fs::path(".") : path.parent_path() : path, error)) {
    const fs::path& file = entry.path();
    const bool wanted = one ? isGgufFile(file) && wholeStem(file) == wholeStem(path) : file.extension() == ".safetensors" && file.filename().string().starts_with("model");
    if (wanted && fs::is_regular_file(file, error)) files.push_back(file);
  }
  std::sort(files.begin(), files.end());
  return files;
}

/// The hub's cache names contents by their digests.
std::string contentName(const fs::path& file, const struct stat& status) {
  std::error_code error;
  const fs::path target = fs::read_symlink(file, error);
  if (!error && target.parent_path().filename() == "blobs") return target.filename().string();
  return std::to_string(status.st_size) + " " + std::to_string(status.st_mtim.tv_sec) + "." + std::to_string(status.st_mtim.tv_nsec);
}

std::string sha256Hex(const std::string& text) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  ::SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest);
  std::string hex;
  for (const unsigned char byte : digest) {
    char pair[3];
    std::snprintf(pair, sizeof pair, "%02x", byte);
    hex += pair;
  }
  return hex;
}

/// The end of "Model-Q4_K_M", where it is a format's name.
std::string ggufQuantization(const fs::path& file) {
  const std::string stem = wholeStem(file);
  const size_t cut = stem.find_last_of("-.");
  std::string name = cut == std::string::npos ? stem : stem.substr(cut + 1);
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::toupper(c); });
  for (const char* prefix : {"Q", "IQ", "F16", "F32", "BF16", "MXFP4", "TQ"}) {
    if (name.starts_with(prefix) && name.find_first_of("0123456789") != std::string::npos) return name;
  }
  return "";
}

std::string quantizationOf(const ModelConfig& config) {
  const std::string bits = std::to_string(config.quantization.width.bits);
  switch (config.quantization.method) {
    case QuantMethod::kFp8: return "FP8";
    case QuantMethod::kMxfp4: return "MXFP4";
    case QuantMethod::kPackedInt: return "INT" + bits;
    case QuantMethod::kMlx: return config.quantization.width.mxfp4 ? "MXFP4" : "MLX" + bits;
    case QuantMethod::kGptq: return "GPTQ" + bits;
    case QuantMethod::kAwq: return "AWQ";
    case QuantMethod::kNone: break;
  }
  if (!config.dtype) return "";
  const auto traits = std::find_if(kDTypes.begin(), kDTypes.end(), [&](const DTypeTraits& t) { return t.dtype == *config.dtype; });
  return traits == kDTypes.end() ? "" : std::string(traits->name);
}

}  // namespace

Result<StoredModel> describeStoredModel(const fs::path& path) {
  const std::vector<fs::path> files = weightFiles(path);
  if (files.empty()) return makeError(ErrorCode::kNotFound, path.string(), ": expected safetensors or a GGUF file, there are none");
  EXO_ASSIGN(const ModelConfig config, loadModelConfig(path));
  StoredModel model{.path = path, .format = isGgufFile(path) ? "gguf" : "safetensors", .family = config.family};
  model.quantization = isGgufFile(path) ? ggufQuantization(path) : quantizationOf(config);
  model.parameters = countParameters(config).total;
  model.context_length = config.max_position_embeddings;
  std::string contents;
  for (const fs::path& file : files) {
    struct stat status = {};
    if (::stat(file.c_str(), &status) != 0) continue;
    model.size_bytes += status.st_size;
    model.modified = std::max<int64_t>(model.modified, status.st_mtim.tv_sec);
    contents += file.filename().string() + " " + contentName(file, status) + "\n";
  }
  model.digest = sha256Hex(contents);
  return model;
}

std::string parametersShown(int64_t parameters) {
  if (parameters <= 0) return "";
  constexpr std::pair<int64_t, const char*> kUnits[] = {{1'000'000'000, "B"}, {1'000'000, "M"}, {1'000, "K"}, {1, ""}};
  for (const auto& [unit, name] : kUnits) {
    if (parameters < unit) continue;
    const double value = static_cast<double>(parameters) / static_cast<double>(unit);
    char text[32];
    std::snprintf(text, sizeof text, value < 10 && unit > 1 ? "%.1f%s" : "%.0f%s", value, name);
    return text;
  }
  return "";
}

}  // namespace exo
