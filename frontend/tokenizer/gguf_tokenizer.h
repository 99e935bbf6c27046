// The vocabulary in a GGUF file's metadata (tokenizer.ggml.*) as the documents a Hugging Face directory would have, so that
// both are read, checked and run alike. "gpt2": byte-level BPE with merges, its expressions by tokenizer.ggml.pre; "llama":
// SentencePiece-style BPE, whose merges follow from the tokens' scores.
#pragma once

#include <nlohmann/json.hpp>

#include "frontend/gguf/gguf.h"
#include "ir/base/result.h"

namespace exo::tokenizer {

struct TokenizerDocuments {
  nlohmann::json tokenizer;         // tokenizer.json
  nlohmann::json tokenizer_config;  // tokenizer_config.json
};

/// Errors: kUnsupported naming a model, pre-tokenizer or option that is not known; kInvalidInput.
Result<TokenizerDocuments> readGgufTokenizer(const GgufMetadata& metadata);

}  // namespace exo::tokenizer
