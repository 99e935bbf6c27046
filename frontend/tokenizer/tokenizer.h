// Text → token ids → text, as a Hugging Face tokenizer.json says (BPE models: byte-level and SentencePiece-style).
// Whatever the file asks and we do not do is refused by name when it is loaded. Files and texts are untrusted.
// A Tokenizer is immutable, cheap to copy and thread-safe; a StreamDecoder belongs to one stream.
//
//   raw text → added tokens (not normalized) → normalizer → added tokens (normalized) → pre_tokenizer → BPE per word → post_processor
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ir/base/quoted_text.h"
#include "ir/base/result.h"

namespace exo::tokenizer {

/// Special tokens that are spelt in the text: their ids (chat templates), or ordinary text (what users write).
/// Added tokens that the file does not call special ("<think>" of Qwen3) are found either way, as in the reference.
enum class Specials { kParse, kAsText };
/// Whether the post-processor adds its tokens (bos, as a rule).
enum class AddSpecial { kNo, kYes };
/// Whether special tokens leave no trace in decoded text.
enum class SkipSpecial { kNo, kYes };

class StreamDecoder;
struct TokenizerConfig;

class Tokenizer {
 public:
  /// `model`: a directory with tokenizer.json and, if there is one, tokenizer_config.json; or a GGUF file. Errors name the
  /// file and the place in it.
  static Result<Tokenizer> load(const std::filesystem::path& model);
  /// True if there is something to load.
  static bool exists(const std::filesystem::path& model);
  /// The texts of the two files; `config_json` may be empty.
  static Result<Tokenizer> parse(std::string_view tokenizer_json, std::string_view config_json = {});

  /// Errors: text that is not valid UTF-8 (names the offset), longer than 256 MiB, or beyond the limits of a regular expression.
  Result<std::vector<int32_t>> encode(std::string_view text, Specials specials, AddSpecial add_special) const;
  /// Special tokens are found where no byte of them is quoted.
  Result<std::vector<int32_t>> encode(const QuotedText& text, AddSpecial add_special) const;
  /// Always valid UTF-8; ids that belong to no token leave no trace.
  std::string decode(std::span<const int32_t> ids, SkipSpecial skip_special) const;

  /// Largest id plus one. The model's vocab_size may be larger (padding).
  int32_t vocabSize() const;
  std::optional<int32_t> tokenToId(std::string_view token) const;
  /// The token as the file spells it ("Ġthe"), or nothing for an id without token.
  std::optional<std::string> idToToken(int32_t id) const;
  bool isSpecial(int32_t id) const;
  /// What the token adds to a text, as bytes: with those of its neighbours a character may become whole. Spaces that the decoder strips at
  /// a text's beginning are there. Empty for an id without token.
  std::string tokenBytes(int32_t id) const;

  std::optional<int32_t> bosId() const;      ///< "bos_token" of tokenizer_config.json
  std::vector<int32_t> eosIds() const;       ///< "eos_token" of it: none or one; generation_config.json may know more
  std::optional<bool> addBosToken() const;   ///< "add_bos_token" of it; encode follows it where tokenizer.json has no template

 private:
  friend class StreamDecoder;
  struct Parts;
  static Result<Tokenizer> build(const nlohmann::json& document, const TokenizerConfig& config);
  explicit Tokenizer(std::shared_ptr<const Parts> parts) : parts_(std::move(parts)) {}
  std::shared_ptr<const Parts> parts_;
};

class DecoderChain;

/// decode(), id by id: the concatenated output of all push() and the one finish() equals decode() of all ids, and every
/// piece is valid UTF-8 (bytes of incomplete characters wait; what never completes is U+FFFD at the end).
class StreamDecoder {
 public:
  StreamDecoder(const Tokenizer& tokenizer, SkipSpecial skip_special);
  StreamDecoder(StreamDecoder&&) noexcept;
  StreamDecoder& operator=(StreamDecoder&&) noexcept;
  ~StreamDecoder();

  std::string push(int32_t id);
  /// To be called once, after the last push().
  std::string finish();

 private:
  std::shared_ptr<const Tokenizer::Parts> parts_;
  SkipSpecial skip_special_;
  std::unique_ptr<DecoderChain> chain_;
};

}  // namespace exo::tokenizer
