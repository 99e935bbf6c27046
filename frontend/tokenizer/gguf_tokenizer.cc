#include "frontend/tokenizer/gguf_tokenizer.h"

#include <algorithm>
#include <array>
#include <tuple>
#include <unordered_map>

#include "frontend/tokenizer/utf8.h"

namespace exo::tokenizer {
namespace {

using nlohmann::json;
using Texts = std::vector<std::string_view>;

enum TokenType : int64_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };
constexpr size_t kMaxScoredToken = 4096;  // bytes; all its splits are tried

/// How byte-level models split text into words before merging: expressions applied one after the other.
struct PreTokenizer {
  std::string_view name;  // tokenizer.ggml.pre
  std::vector<const char*> expressions;
  bool gpt2 = false;          // then as GPT-2 does
  bool composes = false;      // text is brought to NFC first
  bool whole_words = false;   // a word that is a token needs no merges
  bool begins_text = false;   // add_bos_token, where the file does not say
};

constexpr const char* kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kO200k =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kTekken =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kDeepseek3 =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

const std::vector<PreTokenizer>& preTokenizers() {
  static const std::vector<PreTokenizer> table = {
      {.name = "gpt-2", .expressions = {}, .gpt2 = true},
      {.name = "olmo", .expressions = {}, .gpt2 = true},
      {.name = "smollm", .expressions = {R"(\p{N})"}, .gpt2 = true},
      {.name = "starcoder", .expressions = {R"(\p{N})"}, .gpt2 = true},
      {.name = "llama-bpe", .expressions = {kLlama3}, .whole_words = true, .begins_text = true},
      {.name = "llama3", .expressions = {kLlama3}, .whole_words = true, .begins_text = true},
      {.name = "llama-v3", .expressions = {kLlama3}, .whole_words = true, .begins_text = true},
      {.name = "dbrx", .expressions = {kLlama3}},
      {.name = "smaug-bpe", .expressions = {kLlama3}},
      {.name = "qwen2", .expressions = {kQwen2}, .composes = true},
      {.name = "deepseek-r1-qwen", .expressions = {kQwen2}, .composes = true},
      {.name = "gpt-4o", .expressions = {kO200k}, .whole_words = true},
      {.name = "tekken", .expressions = {kTekken}, .whole_words = true, .begins_text = true},
      {.name = "deepseek-v3", .expressions = {R"(\p{N}{1,3})", "[一-龥぀-ゟ゠-ヿ]+", kDeepseek3}},
  };
  return table;
}

json replace(const char* from, const char* to) { return {{"type", "Replace"}, {"pattern", {{"String", from}}}, {"content", to}}; }

class Reader {
 public:
  explicit Reader(const GgufMetadata& metadata) : metadata_(metadata) {}

  Result<TokenizerDocuments> run() {
    EXO_ASSIGN(const std::string_view model, metadata_.text("tokenizer.ggml.model"));
    EXO_TRY(readTokens());
    if (model != "gpt2" && model != "llama")
      return makeError(ErrorCode::kUnsupported, metadata_.where(), ": tokenizer.ggml.model: expected \"gpt2\" or \"llama\", got \"", model, '"');
    EXO_TRY(model == "gpt2" ? byteLevel() : scored());
    EXO_TRY(config());
    documents_.tokenizer["added_tokens"] = std::move(added_);
    return std::move(documents_);
  }

 private:
  Error wrong(std::string_view key, const auto&... parts) const { return invalid(metadata_.where(), ": ", key, ": ", parts...); }

  int64_t typeOf(size_t id) const { return types_ ? (*types_)[id] : static_cast<int64_t>(kNormal); }

  Status readTokens() {
    EXO_ASSIGN(tokens_, metadata_.findTexts("tokenizer.ggml.tokens"));
    EXO_ASSIGN(types_, metadata_.findIntegers("tokenizer.ggml.token_type"));
    if (!tokens_ || tokens_->empty()) return wrong("tokenizer.ggml.tokens", "expected a list of texts, but it is missing or empty");
    if (types_ && types_->size() != tokens_->size()) return wrong("tokenizer.ggml.token_type", "expected ", tokens_->size(), " types, one per token, got ", types_->size());
    for (size_t id = 0; id < tokens_->size(); ++id) {
      const std::string token((*tokens_)[id]);
      if (firstInvalidUtf8(token)) return wrong("tokenizer.ggml.tokens", "expected UTF-8, got other bytes in token ", id);
      const int64_t type = typeOf(id);
      if (type < kNormal || type > kByte) return wrong("tokenizer.ggml.token_type", "expected 1 to 6, got ", type, " for token ", id);
      if (type == kUnused || vocabulary_.contains(token)) continue;  // of equal texts the first is the token
      vocabulary_[token] = id;
      if (type == kControl || type == kUserDefined || type == kUnknown)
        added_.push_back({{"id", id}, {"content", token}, {"single_word", false}, {"lstrip", false}, {"rstrip", false}, {"normalized", false}, {"special", type != kUserDefined}});
    }
    return {};
  }

  Status byteLevel() {
    EXO_ASSIGN(const std::string_view pre, metadata_.text("tokenizer.ggml.pre"));
    const auto& table = preTokenizers();
    const auto found = std::find_if(table.begin(), table.end(), [&](const PreTokenizer& entry) { return entry.name == pre; });
    if (found == table.end()) return makeError(ErrorCode::kUnsupported, metadata_.where(), ": tokenizer.ggml.pre: expected a known one (", names(), "), got \"", pre, '"');
    EXO_ASSIGN(const Texts* merges, metadata_.findTexts("tokenizer.ggml.merges"));
    if (!merges) return wrong("tokenizer.ggml.merges", "expected a list of texts, but it is missing");
    json list = json::array();
    for (const std::string_view merge : *merges) {
      if (firstInvalidUtf8(merge)) return wrong("tokenizer.ggml.merges", "expected UTF-8, got other bytes in entry ", list.size());
      list.push_back(std::string(merge));
    }
    json steps = json::array();
    for (const char* expression : found->expressions) steps.push_back({{"type", "Split"}, {"pattern", {{"Regex", expression}}}, {"behavior", "Isolated"}, {"invert", false}});
    steps.push_back({{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", found->gpt2}});
    documents_.tokenizer = {{"version", "1.0"},
                            {"normalizer", found->composes ? json{{"type", "NFC"}} : json(nullptr)},
                            {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", std::move(steps)}}},
                            {"post_processor", nullptr},
                            {"decoder", {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}}},
                            {"model", {{"type", "BPE"}, {"ignore_merges", found->whole_words}, {"vocab", vocabulary_}, {"merges", std::move(list)}}}};
    begins_text_ = found->begins_text;
    return {};
  }

  Status scored() {
    if (metadata_.has("tokenizer.ggml.precompiled_charsmap")) return makeError(ErrorCode::kUnsupported, metadata_.where(), ": tokenizer.ggml.precompiled_charsmap: this normalisation is not known");
    EXO_ASSIGN(const auto strips, metadata_.findBoolean("tokenizer.ggml.remove_extra_whitespaces"));
    if (strips.value_or(false)) return makeError(ErrorCode::kUnsupported, metadata_.where(), ": tokenizer.ggml.remove_extra_whitespaces: expected false, got true");
    EXO_ASSIGN(const auto prefix, metadata_.findBoolean("tokenizer.ggml.add_space_prefix"));
    EXO_ASSIGN(json merges, mergesByScore());
    json normalizers = json::array(), decoders = {replace("▁", " "), {{"type", "ByteFallback"}}, {{"type", "Fuse"}}};
    if (prefix.value_or(true)) {
      normalizers.push_back({{"type", "Prepend"}, {"prepend", "▁"}});
      decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1u}, {"stop", 0u}});
    }
    normalizers.push_back(replace(" ", "▁"));
    json unknown = nullptr;
    for (size_t id = 0; id < tokens_->size(); ++id)
      if (typeOf(id) == kUnknown) unknown = std::string((*tokens_)[id]);
    documents_.tokenizer = {{"version", "1.0"},
                            {"normalizer", {{"type", "Sequence"}, {"normalizers", std::move(normalizers)}}},
                            {"pre_tokenizer", nullptr},
                            {"post_processor", nullptr},
                            {"decoder", {{"type", "Sequence"}, {"decoders", std::move(decoders)}}},
                            {"model", {{"type", "BPE"}, {"unk_token", std::move(unknown)}, {"fuse_unk", true}, {"byte_fallback", true}, {"vocab", vocabulary_}, {"merges", std::move(merges)}}}};
    begins_text_ = true;
    return {};
  }

  /// SentencePiece joins the two neighbours whose joint token has the best score: every way to split a token into two is a
  /// merge, in the order of scores.
  Result<json> mergesByScore() const {
    EXO_ASSIGN(const std::vector<double>* scores, metadata_.findNumbers("tokenizer.ggml.scores"));
    if (!scores || scores->size() != tokens_->size()) return wrong("tokenizer.ggml.scores", "expected ", tokens_->size(), " scores, one per token, got ", scores ? scores->size() : 0);
    std::unordered_map<std::string_view, size_t> ids;
    for (size_t id = 0; id < tokens_->size(); ++id)
      if (typeOf(id) == kNormal) ids.emplace((*tokens_)[id], id);
    struct Merge {
      double score;
      size_t left, right;
    };
    std::vector<Merge> merges;
    for (const auto& [token, id] : ids) {
      if (token.size() > kMaxScoredToken) return wrong("tokenizer.ggml.tokens", "expected at most ", kMaxScoredToken, " bytes, got ", token.size(), " in token ", id);
      for (size_t cut = 1; cut < token.size(); ++cut) {
        const auto left = ids.find(token.substr(0, cut)), right = ids.find(token.substr(cut));
        if (left != ids.end() && right != ids.end()) merges.push_back({(*scores)[id], left->second, right->second});
      }
    }
    for (const double score : *scores)
      if (!(score == score)) return wrong("tokenizer.ggml.scores", "expected numbers, got NaN");
    std::sort(merges.begin(), merges.end(), [](const Merge& a, const Merge& b) { return std::tuple(-a.score, a.left, a.right) < std::tuple(-b.score, b.left, b.right); });
    json list = json::array();
    for (const Merge& merge : merges) list.push_back(json::array({std::string((*tokens_)[merge.left]), std::string((*tokens_)[merge.right])}));
    return list;
  }

  Status config() {
    for (const auto& [key, name] : {std::pair("tokenizer.ggml.bos_token_id", "bos_token"), std::pair("tokenizer.ggml.eos_token_id", "eos_token")}) {
      EXO_ASSIGN(const auto id, metadata_.findInteger(key));
      if (!id) continue;
      if (*id < 0 || *id >= static_cast<int64_t>(tokens_->size())) return wrong(key, "expected a token below ", tokens_->size(), ", got ", *id);
      documents_.tokenizer_config[name] = std::string((*tokens_)[static_cast<size_t>(*id)]);
    }
    EXO_ASSIGN(const auto begin, metadata_.findBoolean("tokenizer.ggml.add_bos_token"));
    EXO_ASSIGN(const auto end, metadata_.findBoolean("tokenizer.ggml.add_eos_token"));
    const bool has_begin = documents_.tokenizer_config.contains("bos_token");
    documents_.tokenizer_config["add_bos_token"] = begin.value_or(begins_text_ && has_begin);
    documents_.tokenizer_config["add_eos_token"] = end.value_or(false);
    return {};
  }

  static std::string names() {
    std::string text;
    for (const PreTokenizer& entry : preTokenizers()) text += (text.empty() ? "" : ", ") + std::string(entry.name);
    return text;
  }

  const GgufMetadata& metadata_;
  const Texts* tokens_ = nullptr;
  const std::vector<int64_t>* types_ = nullptr;
  json vocabulary_ = json::object(), added_ = json::array();
  bool begins_text_ = false;
  TokenizerDocuments documents_{json::object(), json::object()};
};

}  // namespace

Result<TokenizerDocuments> readGgufTokenizer(const GgufMetadata& metadata) { return Reader(metadata).run(); }

}  // namespace exo::tokenizer
