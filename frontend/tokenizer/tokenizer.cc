#include "frontend/tokenizer/tokenizer.h"

#include <fstream>
#include <unordered_map>

#include "frontend/tokenizer/added_tokens.h"
#include "frontend/tokenizer/bpe.h"
#include "frontend/tokenizer/decoder.h"
#include "frontend/tokenizer/gguf_tokenizer.h"
#include "frontend/tokenizer/normalizer.h"
#include "frontend/tokenizer/post_processor.h"
#include "frontend/tokenizer/pre_tokenizer.h"
#include "frontend/tokenizer/tokenizer_config.h"
#include "frontend/tokenizer/utf8.h"

namespace exo::tokenizer {

struct Tokenizer::Parts {
  Vocabulary vocabulary;
  BpeModel model;
  std::unique_ptr<Normalizer> normalizer;
  AddedTokens added_tokens;
  std::unique_ptr<PreTokenizer> pre_tokenizer;
  PostProcessor post_processor;
  std::vector<DecoderStep> decoder;
  std::optional<int32_t> bos_id, eos_id;
  std::optional<bool> add_bos_token;
};

namespace {

constexpr size_t kMaxFileBytes = size_t{256} << 20;
constexpr size_t kMaxTextBytes = size_t{256} << 20;
// The word cache of one call: words repeat a lot in long texts. Long words rarely do, and would fill the memory.
constexpr size_t kMaxCachedWords = 1 << 16;
constexpr size_t kMaxCachedWordBytes = 64;
// Ordinary expressions split some 20 MB a second; only pathological ones see this limit.
constexpr auto kRegexTime = std::chrono::seconds(10);
constexpr auto kRegexTimePerByte = std::chrono::microseconds(1);

/// Encodes one text; holds the word cache.
class Encoder {
 public:
  Encoder(const Vocabulary& vocabulary, const BpeModel& model) : vocabulary_(vocabulary), model_(model) {}

  void word(const std::string& text) {
    if (text.size() > kMaxCachedWordBytes) return model_.encode(text, vocabulary_, ids);
    const auto known = cache_.find(text);
    if (known != cache_.end()) {
      ids.insert(ids.end(), known->second.begin(), known->second.end());
      return;
    }
    const size_t before = ids.size();
    model_.encode(text, vocabulary_, ids);
    if (cache_.size() == kMaxCachedWords) cache_.clear();
    cache_.emplace(text, std::vector<int32_t>(ids.begin() + static_cast<std::ptrdiff_t>(before), ids.end()));
  }

  std::vector<int32_t> ids;

 private:
  const Vocabulary& vocabulary_;
  const BpeModel& model_;
  std::unordered_map<std::string, std::vector<int32_t>> cache_;
};

Result<std::string> readFile(const std::filesystem::path& path) {
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  if (error) return makeError(ErrorCode::kIo, "cannot read ", path.string(), ": ", error.message());
  if (size > kMaxFileBytes) return invalid(path.string(), " has ", size, " bytes, at most ", kMaxFileBytes, " are allowed");
  std::string text(size, '\0');
  std::ifstream file(path, std::ios::binary);
  if (!file.read(text.data(), static_cast<std::streamsize>(size))) return makeError(ErrorCode::kIo, "cannot read ", path.string());
  return text;
}

/// The id of a token that the configuration names; nothing when it names none.
Result<std::optional<int32_t>> namedId(const char* what, const std::optional<std::string>& token, const Vocabulary& vocabulary) {
  if (!token) return std::optional<int32_t>();
  const auto id = vocabulary.find(*token);
  if (!id) return invalid("tokenizer_config.", what, ": the token \"", *token, "\" is not in tokenizer.json");
  return id;
}

/// tokenizer.json wins; the configuration's flags fill in where it has no template (DeepSeek).
Status fillTemplate(const TokenizerConfig& config, std::optional<int32_t> bos, std::optional<int32_t> eos, PostProcessor& out) {
  if (out.has_template) return {};
  const bool add_bos = config.add_bos_token.value_or(false), add_eos = config.add_eos_token.value_or(false);
  if (add_bos && !bos) return invalid("tokenizer_config: add_bos_token is true, but there is no bos_token");
  if (add_eos && !eos) return invalid("tokenizer_config: add_eos_token is true, but there is no eos_token");
  if (add_bos) out.prefix.insert(out.prefix.begin(), *bos);
  if (add_eos) out.suffix.push_back(*eos);
  return {};
}

Status addTokens(const JsonNode& list, const TokenizerConfig& config, AddedTokens& added, Vocabulary& vocabulary) {
  if (!list.isNull()) {
    EXO_ASSIGN(const size_t count, list.arraySize());
    for (size_t i = 0; i < count; ++i) {
      EXO_ASSIGN(AddedToken token, AddedToken::parse(list.element(i)));
      EXO_TRY(added.add(std::move(token), vocabulary));
    }
  }
  for (const AddedToken& token : config.added_tokens) EXO_TRY(added.add(token, vocabulary));
  return {};
}

}  // namespace

bool Tokenizer::exists(const std::filesystem::path& model) {
  std::error_code error;
  if (!isGguf(model)) return std::filesystem::exists(model / "tokenizer.json", error);
  const auto file = GgufModel::open(model);
  return !file.ok() || file->metadata().has("tokenizer.ggml.model");  // load() says what is wrong with the file
}

Result<Tokenizer> Tokenizer::load(const std::filesystem::path& directory) {
  if (isGguf(directory)) {
    EXO_ASSIGN(const GgufModel model, GgufModel::open(directory));
    EXO_ASSIGN(const TokenizerDocuments documents, readGgufTokenizer(model.metadata()));
    EXO_ASSIGN(const TokenizerConfig config, TokenizerConfig::parse(documents.tokenizer_config));
    auto tokenizer = build(documents.tokenizer, config);
    if (!tokenizer.ok()) return std::move(tokenizer).error().note("while loading the tokenizer of " + directory.string());
    return tokenizer;
  }
  const auto tokenizer_path = directory / "tokenizer.json", config_path = directory / "tokenizer_config.json";
  EXO_ASSIGN(const std::string tokenizer_json, readFile(tokenizer_path));
  std::string config_json;
  std::error_code error;
  if (std::filesystem::exists(config_path, error)) {
    EXO_ASSIGN(config_json, readFile(config_path));
  }
  auto tokenizer = parse(tokenizer_json, config_json);
  if (!tokenizer.ok()) return std::move(tokenizer).error().note("while loading " + tokenizer_path.string());
  return tokenizer;
}

Result<Tokenizer> Tokenizer::parse(std::string_view tokenizer_json, std::string_view config_json) {
  EXO_ASSIGN(const nlohmann::json document, parseJson(tokenizer_json, "tokenizer.json"));
  TokenizerConfig config;
  if (!config_json.empty()) {
    EXO_ASSIGN(const nlohmann::json config_document, parseJson(config_json, "tokenizer_config.json"));
    EXO_ASSIGN(config, TokenizerConfig::parse(config_document));
  }
  return build(document, config);
}

Result<Tokenizer> Tokenizer::build(const nlohmann::json& document, const TokenizerConfig& config) {
  const JsonNode root(document, "");
  if (!document.is_object()) return invalid("tokenizer.json must be an object, got ", document.type_name());
  // truncation and padding are of no concern: callers decide the length, and there is one text per call.
  EXO_TRY(root.requireKeys({"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor",
                            "decoder", "model"}));
  auto parts = std::make_shared<Parts>();
  EXO_ASSIGN(parts->model, BpeModel::parse(root.member("model"), parts->vocabulary));
  EXO_ASSIGN(parts->normalizer, parseNormalizer(root.member("normalizer")));
  EXO_TRY(addTokens(root.member("added_tokens"), config, parts->added_tokens, parts->vocabulary));
  EXO_TRY(parts->added_tokens.finish(*parts->normalizer));
  EXO_ASSIGN(parts->pre_tokenizer, parsePreTokenizer(root.member("pre_tokenizer")));
  EXO_ASSIGN(parts->post_processor, PostProcessor::parse(root.member("post_processor"), parts->vocabulary));
  EXO_ASSIGN(parts->decoder, parseDecoder(root.member("decoder")));
  EXO_ASSIGN(parts->bos_id, namedId("bos_token", config.bos_token, parts->vocabulary));
  EXO_ASSIGN(parts->eos_id, namedId("eos_token", config.eos_token, parts->vocabulary));
  parts->add_bos_token = config.add_bos_token;
  EXO_TRY(fillTemplate(config, parts->bos_id, parts->eos_id, parts->post_processor));
  return Tokenizer(std::move(parts));
}

Result<std::vector<int32_t>> Tokenizer::encode(std::string_view text, Specials specials, AddSpecial add_special) const {
  QuotedText whole{std::string(text), {}};
  if (specials == Specials::kAsText) whole.quoteAll();
  return encode(whole, add_special);
}

Result<std::vector<int32_t>> Tokenizer::encode(const QuotedText& quoted, AddSpecial add_special) const {
  const std::string& text = quoted.text;
  if (text.size() > kMaxTextBytes) return invalid("text of ", text.size(), " bytes, at most ", kMaxTextBytes, " are allowed");
  if (const auto bad = firstInvalidUtf8(text)) return invalid("text is not valid UTF-8 at byte ", *bad);
  const Deadline deadline = std::chrono::steady_clock::now() + kRegexTime + kRegexTimePerByte * text.size();
  const Parts& parts = *parts_;
  Encoder encoder(parts.vocabulary, parts.model);
  const bool framed = add_special == AddSpecial::kYes;
  if (framed) encoder.ids = parts.post_processor.prefix;

  for (const AddedTokenSpan& raw : parts.added_tokens.raw().split(text, quoted.quoted)) {
    if (raw.id >= 0) {
      encoder.ids.push_back(raw.id);
      continue;
    }
    const QuotedText piece = quoted.part(raw.begin, raw.end - raw.begin);
    EXO_ASSIGN(const std::string normal, parts.normalizer->apply(piece.text, deadline));
    if (normal.size() > 4 * kMaxTextBytes) return invalid("the normalised text has ", normal.size(), " bytes, too many");
    for (const AddedTokenSpan& span : parts.added_tokens.normalized().split(normal, parts.added_tokens.normalizedQuotes(piece, normal))) {
      if (span.id >= 0) {
        encoder.ids.push_back(span.id);
        continue;
      }
      const bool at_start = raw.begin == 0 && span.begin == 0;
      std::vector<Word> words = {{normal.substr(span.begin, span.end - span.begin), at_start}};
      EXO_ASSIGN(words, parts.pre_tokenizer->apply(std::move(words), deadline));
      for (const Word& word : words) encoder.word(word.text);
    }
  }
  if (framed) encoder.ids.insert(encoder.ids.end(), parts.post_processor.suffix.begin(), parts.post_processor.suffix.end());
  return std::move(encoder.ids);
}

std::string Tokenizer::decode(std::span<const int32_t> ids, SkipSpecial skip_special) const {
  StreamDecoder stream(*this, skip_special);
  std::string text;
  for (const int32_t id : ids) text += stream.push(id);
  return text + stream.finish();
}

int32_t Tokenizer::vocabSize() const { return parts_->vocabulary.idEnd(); }

std::optional<int32_t> Tokenizer::tokenToId(std::string_view token) const { return parts_->vocabulary.find(token); }

std::optional<std::string> Tokenizer::idToToken(int32_t id) const {
  const std::string* token = parts_->vocabulary.token(id);
  if (!token) return std::nullopt;
  return *token;
}

bool Tokenizer::isSpecial(int32_t id) const { return parts_->added_tokens.isSpecial(id); }

std::string Tokenizer::tokenBytes(int32_t id) const {
  const std::string* token = parts_->vocabulary.token(id);
  return token == nullptr ? "" : bytesOfPiece(parts_->decoder, *token);
}

std::optional<int32_t> Tokenizer::bosId() const { return parts_->bos_id; }

std::vector<int32_t> Tokenizer::eosIds() const {
  if (!parts_->eos_id) return {};
  return {*parts_->eos_id};
}

std::optional<bool> Tokenizer::addBosToken() const { return parts_->add_bos_token; }

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, SkipSpecial skip_special)
    : parts_(tokenizer.parts_), skip_special_(skip_special), chain_(std::make_unique<DecoderChain>(parts_->decoder)) {}
StreamDecoder::StreamDecoder(StreamDecoder&&) noexcept = default;
StreamDecoder& StreamDecoder::operator=(StreamDecoder&&) noexcept = default;
StreamDecoder::~StreamDecoder() = default;

std::string StreamDecoder::push(int32_t id) {
  const std::string* token = parts_->vocabulary.token(id);
  if (!token || (skip_special_ == SkipSpecial::kYes && parts_->added_tokens.isSpecial(id))) return {};
  return chain_->push(*token);
}

std::string StreamDecoder::finish() { return chain_->finish(); }

}  // namespace exo::tokenizer
