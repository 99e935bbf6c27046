// What lists show of a model on disk: read from its configuration and from names, sizes and times of its files; no weight is
// read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "ir/base/result.h"

namespace exo {

struct StoredModel {
  std::filesystem::path path;     // what to open: a directory or a GGUF file
  std::string format;             // "safetensors", "gguf"
  std::string family;             // "qwen3"
  std::string quantization;       // as stored: "BF16", "Q4_K_M", "MXFP4"; empty: the files do not say
  int64_t parameters = 0;
  int64_t context_length = 0;
  int64_t size_bytes = 0;         // of the weights' files
  int64_t modified = 0;           // the newest of them, seconds since 1970
  /// SHA-256, 64 hexadecimal digits, over what names the files' contents: their digests in the hub's cache, elsewhere name, size and time. The
  /// same on two machines only in the first case.
  std::string digest;
};

/// `path`: a directory with config.json and safetensors, or a GGUF file (the first part of a split one). Errors: kNotFound without weights;
/// those of loadModelConfig.
Result<StoredModel> describeStoredModel(const std::filesystem::path& path);

/// "596M", "1.2B".
std::string parametersShown(int64_t parameters);

}  // namespace exo
