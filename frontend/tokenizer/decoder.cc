#include "frontend/tokenizer/decoder.h"

#include <algorithm>
#include <array>

#include "frontend/tokenizer/byte_alphabet.h"
#include "frontend/tokenizer/normalizer.h"
#include "frontend/tokenizer/utf8.h"

namespace exo::tokenizer {
namespace {

constexpr int64_t kMaxStrip = 1024;

/// Every byte is settled when its UTF-8 sequence is complete or broken; at most three bytes wait.
class ByteLevelStage : public DecoderStage {
 public:
  void push(std::string_view piece, Sink& out) override {
    appendFromByteAlphabet(bytes_, piece);
    std::string text;
    size_t done = 0;
    while (done < bytes_.size()) {
      const Utf8Sequence sequence = classifyUtf8(bytes_, done);
      if (sequence.kind == Utf8Sequence::Kind::kIncomplete) break;
      const bool valid = sequence.kind == Utf8Sequence::Kind::kValid;
      text += valid ? std::string_view(bytes_).substr(done, sequence.size_bytes) : kReplacementCharacter;
      done += sequence.size_bytes;
    }
    bytes_.erase(0, done);
    if (!text.empty()) out.push_back(std::move(text));
  }
  void finish(Sink& out) override {
    if (!bytes_.empty()) out.emplace_back(kReplacementCharacter);
    bytes_.clear();
  }

 private:
  std::string bytes_;
};

int hexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

/// The byte that "<0xE2>" spells; -1 for other pieces.
int byteOf(std::string_view piece) {
  if (piece.size() != 6 || !piece.starts_with("<0x") || piece[5] != '>') return -1;
  const int high = hexDigit(piece[3]), low = hexDigit(piece[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/// A run of byte tokens is one text or, as a whole, one U+FFFD per byte: it is settled when the run ends.
class ByteFallbackStage : public DecoderStage {
 public:
  void push(std::string_view piece, Sink& out) override {
    if (const int byte = byteOf(piece); byte >= 0) {
      run_ += static_cast<char>(byte);
      return;
    }
    finish(out);
    out.emplace_back(piece);
  }
  void finish(Sink& out) override {
    if (run_.empty()) return;
    if (!firstInvalidUtf8(run_)) {
      out.push_back(run_);
    } else {
      for (size_t i = 0; i < run_.size(); ++i) out.emplace_back(kReplacementCharacter);
    }
    run_.clear();
  }

 private:
  std::string run_;
};

class FuseStage : public DecoderStage {
 public:
  void push(std::string_view piece, Sink& out) override { out.emplace_back(piece); }
};

std::string replaced(std::string_view piece, const std::string& from, const std::string& to) {
  std::string text;
  size_t done = 0;
  for (size_t at = piece.find(from); at != std::string_view::npos; at = piece.find(from, done)) {
    text.append(piece, done, at - done).append(to);
    done = at + from.size();
  }
  return text.append(piece, done);
}

class ReplaceStage : public DecoderStage {
 public:
  explicit ReplaceStage(ReplaceDecoder step) : step_(std::move(step)) {}
  void push(std::string_view piece, Sink& out) override { out.push_back(replaced(piece, step_.from, step_.to)); }

 private:
  ReplaceDecoder step_;
};

/// Strips every token by itself.
class StripTokenStage : public DecoderStage {
 public:
  explicit StripTokenStage(StripDecoder step) : step_(std::move(step)) {}
  void push(std::string_view piece, Sink& out) override {
    for (size_t i = 0; i < step_.start && piece.starts_with(step_.content); ++i) piece.remove_prefix(step_.content.size());
    for (size_t i = 0; i < step_.stop && piece.ends_with(step_.content); ++i) piece.remove_suffix(step_.content.size());
    out.emplace_back(piece);
  }

 private:
  StripDecoder step_;
};

/// Strips the text as a whole: counts at its begin, holds back at its end.
class StripTextStage : public DecoderStage {
 public:
  explicit StripTextStage(StripDecoder step) : step_(std::move(step)) {}
  void push(std::string_view piece, Sink& out) override {
    std::string text;
    for (size_t i = 0; i < piece.size();) {
      const std::string_view character = piece.substr(i, sequenceSize(piece[i]));
      i += character.size();
      if (character != step_.content) {
        at_start_ = false;
        for (; held_ > 0; --held_) text += step_.content;
        text += character;
      } else if (at_start_ && stripped_ < step_.start) {
        ++stripped_;
      } else if (held_ < step_.stop) {
        ++held_;
      } else {
        text += step_.content;  // the end has `stop` of them already: the first one is no longer at the end
      }
    }
    if (!text.empty()) out.push_back(std::move(text));
  }

 private:
  StripDecoder step_;
  bool at_start_ = true;
  size_t stripped_ = 0, held_ = 0;
};

class MetaspaceStage : public DecoderStage {
 public:
  MetaspaceStage(MetaspaceDecoder step, Pieces input) : step_(std::move(step)), input_(input) {}
  void push(std::string_view piece, Sink& out) override {
    const bool drop = first_ && step_.drop_in_first;
    if (input_ == Pieces::kTokens) first_ = false;  // fragments are all of the first token
    ReplaceStage({step_.replacement, drop ? "" : " "}).push(piece, out);
  }

 private:
  MetaspaceDecoder step_;
  Pieces input_;
  bool first_ = true;
};

class JoinStage : public DecoderStage {
 public:
  void push(std::string_view piece, Sink& out) override {
    out.push_back((first_ ? "" : " ") + std::string(piece));
    first_ = false;
  }

 private:
  bool first_ = true;
};

using Steps = std::vector<DecoderStep>;
Status parseNested(const JsonNode& node, int depth, Steps& steps);

Status parseByteLevel(const JsonNode& node, int, Steps& steps) {
  EXO_TRY(node.requireKeys({"type", "add_prefix_space", "trim_offsets", "use_regex"}));
  steps.emplace_back(std::in_place_type<ByteLevelDecoder>);
  return {};
}

template <class Step>
Status parsePlain(const JsonNode& node, int, Steps& steps) {
  EXO_TRY(node.requireKeys({"type"}));
  steps.emplace_back(std::in_place_type<Step>);
  return {};
}

Status parseReplace(const JsonNode& node, int, Steps& steps) {
  EXO_TRY(node.requireKeys({"type", "pattern", "content"}));
  EXO_ASSIGN(const TextPattern pattern, TextPattern::parse(node.member("pattern")));
  if (!pattern.literal()) return node.refuse("a decoder that replaces a regular expression");
  EXO_ASSIGN(std::string content, node.member("content").string());
  steps.emplace_back(std::in_place_type<ReplaceDecoder>, *pattern.literal(), std::move(content));
  return {};
}

Status requireOneCharacter(const JsonNode& node, std::string_view text) {
  if (text.empty() || sequenceSize(text[0]) != text.size()) return node.wrong("one character");
  return {};
}

Status parseStrip(const JsonNode& node, int, Steps& steps) {
  EXO_TRY(node.requireKeys({"type", "content", "start", "stop"}));
  EXO_ASSIGN(std::string content, node.member("content").string());
  EXO_TRY(requireOneCharacter(node.member("content"), content));
  EXO_ASSIGN(const int64_t start, node.member("start").index(kMaxStrip));
  EXO_ASSIGN(const int64_t stop, node.member("stop").index(kMaxStrip));
  steps.emplace_back(std::in_place_type<StripDecoder>, std::move(content), static_cast<size_t>(start), static_cast<size_t>(stop));
  return {};
}

Status parseMetaspace(const JsonNode& node, int, Steps& steps) {
  EXO_TRY(node.requireKeys({"type", "replacement", "str_rep", "prepend_scheme", "add_prefix_space", "split"}));
  EXO_ASSIGN(std::string replacement, node.member("replacement").string());
  EXO_TRY(requireOneCharacter(node.member("replacement"), replacement));
  bool drop = true;
  if (const JsonNode scheme = node.member("prepend_scheme"); !scheme.isNull()) {
    EXO_ASSIGN(const std::string name, scheme.string());
    drop = name != "never";
  } else {
    EXO_ASSIGN(drop, node.member("add_prefix_space").booleanOr(true));
  }
  steps.emplace_back(std::in_place_type<MetaspaceDecoder>, std::move(replacement), drop);
  return {};
}

Status parseSequence(const JsonNode& node, int depth, Steps& steps) {
  EXO_TRY(node.requireKeys({"type", "decoders"}));
  const JsonNode list = node.member("decoders");
  EXO_ASSIGN(const size_t count, list.arraySize());
  for (size_t i = 0; i < count; ++i) EXO_TRY(parseNested(list.element(i), depth + 1, steps));
  return {};
}

struct Kind {
  std::string_view name;
  Status (*parse)(const JsonNode&, int depth, Steps&);
};
constexpr std::array<Kind, 7> kKinds = {{
    {"Sequence", parseSequence},
    {"ByteLevel", parseByteLevel},
    {"ByteFallback", parsePlain<ByteFallbackDecoder>},
    {"Fuse", parsePlain<FuseDecoder>},
    {"Replace", parseReplace},
    {"Strip", parseStrip},
    {"Metaspace", parseMetaspace},
}};

Status parseNested(const JsonNode& node, int depth, Steps& steps) {
  if (depth > kMaxComponentDepth) return node.refuse("such deep nesting");
  EXO_ASSIGN(const std::string type, node.typeName());
  for (const Kind& kind : kKinds) {
    if (kind.name == type) return kind.parse(node, depth, steps);
  }
  return node.refuse("the decoder \"" + type + "\"");
}

bool fuses(const DecoderStep& step) {
  return std::holds_alternative<FuseDecoder>(step) || std::holds_alternative<ByteLevelDecoder>(step);
}

/// Steps that need whole tokens cannot work on fragments of a text that is still growing.
Status checkOrder(const JsonNode& node, const Steps& steps) {
  bool fragments = false;
  for (const DecoderStep& step : steps) {
    const auto* replace = std::get_if<ReplaceDecoder>(&step);
    const bool long_replace = replace && sequenceSize(replace->from[0]) != replace->from.size();
    const bool needs_tokens = std::holds_alternative<ByteFallbackDecoder>(step) || std::holds_alternative<ByteLevelDecoder>(step);
    if (fragments && (long_replace || needs_tokens)) {
      return node.refuse("ByteLevel, ByteFallback or Replace of several characters behind Fuse or ByteLevel");
    }
    fragments |= fuses(step);
  }
  return {};
}

struct MakeStage {
  using Stage = std::unique_ptr<DecoderStage>;
  Pieces input;
  Stage operator()(const ByteLevelDecoder&) const { return std::make_unique<ByteLevelStage>(); }
  Stage operator()(const ByteFallbackDecoder&) const { return std::make_unique<ByteFallbackStage>(); }
  Stage operator()(const FuseDecoder&) const { return std::make_unique<FuseStage>(); }
  Stage operator()(const ReplaceDecoder& step) const { return std::make_unique<ReplaceStage>(step); }
  Stage operator()(const MetaspaceDecoder& step) const { return std::make_unique<MetaspaceStage>(step, input); }
  Stage operator()(const JoinDecoder&) const { return std::make_unique<JoinStage>(); }
  Stage operator()(const StripDecoder& step) const {
    if (input == Pieces::kTokens) return std::make_unique<StripTokenStage>(step);
    return std::make_unique<StripTextStage>(step);
  }
};

}  // namespace

Result<std::vector<DecoderStep>> parseDecoder(const JsonNode& node) {
  Steps steps;
  if (node.isNull()) {
    steps.emplace_back(std::in_place_type<JoinDecoder>);
    return steps;
  }
  EXO_TRY(parseNested(node, 0, steps));
  EXO_TRY(checkOrder(node, steps));
  return steps;
}

std::string bytesOfPiece(const std::vector<DecoderStep>& steps, std::string_view piece) {
  std::string bytes(piece);
  for (const DecoderStep& step : steps) {
    if (std::holds_alternative<ByteLevelDecoder>(step)) {
      std::string decoded;
      appendFromByteAlphabet(decoded, bytes);
      bytes = std::move(decoded);
    } else if (std::holds_alternative<ByteFallbackDecoder>(step)) {
      if (const int byte = byteOf(bytes); byte >= 0) bytes = std::string(1, static_cast<char>(byte));
    } else if (const auto* replace = std::get_if<ReplaceDecoder>(&step)) {
      bytes = replaced(bytes, replace->from, replace->to);
    } else if (const auto* metaspace = std::get_if<MetaspaceDecoder>(&step)) {
      bytes = replaced(bytes, metaspace->replacement, " ");
    }
  }
  return bytes;
}

DecoderChain::DecoderChain(const std::vector<DecoderStep>& steps) {
  Pieces pieces = Pieces::kTokens;
  for (const DecoderStep& step : steps) {
    stages_.push_back(std::visit(MakeStage{pieces}, step));
    if (fuses(step)) pieces = Pieces::kFragments;
  }
}

void DecoderChain::pushFrom(size_t stage, std::string_view piece, std::string& out) {
  if (stage == stages_.size()) {
    out += piece;
    return;
  }
  DecoderStage::Sink pieces;
  stages_[stage]->push(piece, pieces);
  for (const std::string& next : pieces) pushFrom(stage + 1, next, out);
}

std::string DecoderChain::push(std::string_view token) {
  std::string out;
  pushFrom(0, token, out);
  return out;
}

std::string DecoderChain::finish() {
  std::string out;
  for (size_t stage = 0; stage < stages_.size(); ++stage) {
    DecoderStage::Sink pieces;
    stages_[stage]->finish(pieces);
    for (const std::string& piece : pieces) pushFrom(stage + 1, piece, out);
  }
  return out;
}

}  // namespace exo::tokenizer
